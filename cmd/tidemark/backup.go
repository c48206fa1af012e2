package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/platform/snapshot"
	"github.com/tidemark-backup/tidemark/repo"
)

type backupOptions struct {
	exclude       []string
	excludeFiles  []string
	excludeCaches bool
	oneFileSystem bool
	tags          []string
	dryRun        bool
	until         string
	stdin         string
	snapshot      string
	trust         bool
}

func newBackup(app *cli.App) *cobra.Command {
	var o backupOptions
	c := &cobra.Command{
		Use:   "backup [PATH…]",
		Short: "Write a recovery point",
		Long: `Write a recovery point of files and folders; without PATH of those that the
configuration names. The point is complete, but only what no point before holds
is stored. A run that was stopped costs nothing but time: the next one finds
what it had stored.

A file that cannot be read, vanishes or changes meanwhile does not stop the
run: it is named with its reason, and the exit code is 3.

--exclude takes patterns as in a gitignore file: *.o at any depth, build/ for
folders only, /build at the top of each PATH, ** for any folders, ! to take
back. A pattern that begins with a slash and leads to a PATH or into it, as
/home/*/.cache does for /home, is an absolute path. The last one that matches
decides. What the configuration excludes comes first, then --exclude-file, then
--exclude. The repository itself and this machine's keys are always left out,
and so is what the kernel makes up (/proc, /sys), unless a PATH leads into it.

--snapshot reads files as they were at one moment, open ones too: from snapshots
of btrfs, LVM and ZFS, and from shadow copies on Windows. They are always
removed, if need be by the next run. What cannot be frozen is named, and read
live.

A run in which an unusual share of the files came to look encrypted, or was
given a suffix that known ransomware gives, is told (exit code 3), its point and
those that follow are marked, and the good points before do not expire any more,
until --trust, and "points release", say that it is fine.

--stdin saves what a program prints, with no file in between. Let the shell
report a program that fails (set -o pipefail): its end looks like any other.`,
		Example: `  tidemark backup /home /etc
  tidemark backup --exclude '*.tmp' --exclude-caches --one-file-system /
  tidemark backup -r /srv/backup/me --passphrase-file pass /home
  pg_dump shop | tidemark backup --stdin shop.sql`,
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, app, args) },
	}
	f := c.Flags()
	f.StringArrayVarP(&o.exclude, "exclude", "e", nil, "leave out what matches this pattern")
	f.StringArrayVar(&o.excludeFiles, "exclude-file", nil, "leave out what matches a pattern of this file")
	f.BoolVar(&o.excludeCaches, "exclude-caches", false, "leave out folders that a CACHEDIR.TAG marks as caches")
	f.BoolVarP(&o.oneFileSystem, "one-file-system", "x", false, "do not enter other file systems")
	f.StringArrayVar(&o.tags, "tag", nil, "label the point")
	f.StringVar(&o.until, "retain-until", "", "keep the point at least until the end of this `DATE`, such as 2027-06-30")
	f.StringVar(&o.stdin, "stdin", "", "save standard input as a file of this `NAME`, instead of PATHs")
	f.StringVar(&o.snapshot, "snapshot", "", "read from snapshots of the file systems: `MODE` is auto (where there can be some), require or off")
	f.BoolVar(&o.trust, "trust", false, "what earlier runs of these PATHs took for encrypted by somebody is fine")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "store nothing, only say what would be done")
	c.AddCommand(newBackupNow(app))
	return c
}

func (o *backupOptions) run(c *cobra.Command, app *cli.App, args []string) error {
	job, err := o.job(c, app, args)
	if err != nil {
		return err
	}
	ctx := c.Context()
	r, err := openToWrite(ctx, app)
	if err != nil {
		return err
	}
	summary, err := o.frozen(ctx, app, r, job)
	if err == nil {
		err = printBackup(app, summary, o.dryRun)
	}
	return errors.Join(err, r.close())
}

// frozen runs the job, on snapshots if they are wanted.
func (o *backupOptions) frozen(ctx context.Context, app *cli.App, r *opened, job backup.Job) (*backup.Summary, error) {
	mode := app.Globals.Config.Backup.Snapshot
	if o.snapshot != "" {
		mode = snapshot.Mode(o.snapshot)
	}
	if o.dryRun {
		mode = snapshot.Off
	}
	set, err := job.Freeze(ctx, app.Globals.CacheDir, mode)
	if err != nil {
		if set == nil && mode == snapshot.Require {
			return nil, cli.Hint(err, "`--snapshot auto` reads live what cannot be frozen")
		}
		fmt.Fprintf(app.Stderr, "tidemark: warning: %s\n", cli.Quote(err.Error()))
	}
	if set == nil {
		return runBackup(ctx, app, r, job)
	}
	for _, l := range set.Live {
		app.Notef("tidemark: no snapshot of %s, which is read live: %s", cli.Quote(l.Path), cli.Quote(l.Why))
	}
	s, err := runBackup(ctx, app, r, job)
	if closing := set.Close(); closing != nil {
		fmt.Fprintf(app.Stderr, "tidemark: warning: %s\n", cli.Quote(closing.Error()))
	}
	return s, err
}

// job is what the flags and the configuration ask for.
func (o *backupOptions) job(c *cobra.Command, app *cli.App, args []string) (backup.Job, error) {
	if err := snapshot.Mode(o.snapshot).Validate(); err != nil {
		return backup.Job{}, cli.Usage("--snapshot %q: give auto, require or off", o.snapshot)
	}
	if o.stdin != "" {
		return o.stream(app, args)
	}
	conf := app.Globals.Config.Backup
	if len(args) == 0 {
		args = conf.Paths
	}
	if len(args) == 0 {
		return backup.Job{}, cli.Hint(cli.Usage("backup: no path is given"),
			"name what to back up, or write \"paths\" below [backup] in the configuration")
	}
	paths := make([]string, len(args))
	for i, arg := range args {
		path, err := filepath.Abs(arg)
		if err != nil {
			return backup.Job{}, fmt.Errorf("back up %s: %w", arg, err)
		}
		paths[i] = path
	}
	matcher, err := o.matcher(app, paths)
	if err != nil {
		return backup.Job{}, err
	}
	job := newJob(app, paths, matcher)
	job.Tags = append(append([]string{}, conf.Tags...), o.tags...)
	job.DryRun = o.dryRun
	if o.trust {
		job.Trust = app.Now()
	}
	if o.until != "" {
		if job.Until, err = parseUntil(app, o.until); err != nil {
			return backup.Job{}, err
		}
	}
	job.ExcludeCaches, job.OneFileSystem = conf.ExcludeCaches, conf.OneFileSystem
	if c.Flags().Changed("exclude-caches") {
		job.ExcludeCaches = o.excludeCaches
	}
	if c.Flags().Changed("one-file-system") {
		job.OneFileSystem = o.oneFileSystem
	}
	return job, nil
}

// stream is a job of standard input.
func (o *backupOptions) stream(app *cli.App, args []string) (job backup.Job, err error) {
	if len(args) > 0 {
		return job, cli.Usage("--stdin and a PATH cannot be given together")
	}
	if o.dryRun {
		return job, cli.Usage("--stdin and --dry-run cannot be given together: it can be read once only")
	}
	if cli.IsTerminal(app.Stdin) {
		return job, cli.Hint(cli.Usage("standard input is a terminal"), "write a program in front: pg_dump shop | tidemark backup --stdin shop.sql")
	}
	job = newJob(app, nil, nil)
	job.Stream = &backup.Stream{Name: o.stdin, From: app.Stdin}
	job.Tags = append(append([]string{}, app.Globals.Config.Backup.Tags...), o.tags...)
	if o.until != "" {
		job.Until, err = parseUntil(app, o.until)
	}
	return job, err
}

// maxUntil is the latest end that can be asked for, in years from now.
const maxUntil = 99

// parseUntil reads a date, and returns when that day ends.
func parseUntil(app *cli.App, text string) (time.Time, error) {
	day, err := time.ParseInLocation("2006-01-02", text, app.Zone)
	if err != nil {
		return time.Time{}, cli.Usage("--retain-until %q: give a date, as in 2027-06-30", text)
	}
	end := day.AddDate(0, 0, 1)
	switch now := app.Now(); {
	case !end.After(now):
		return time.Time{}, cli.Usage("--retain-until %s: that day is over", text)
	case end.After(now.AddDate(maxUntil, 0, 0)):
		return time.Time{}, cli.Usage("--retain-until %s: more than %d years from now", text, maxUntil)
	}
	return end, nil
}

// newJob fills in what does not depend on flags.
func newJob(app *cli.App, paths []string, matcher *exclude.Matcher) backup.Job {
	b := thisBuild()
	system, _, _ := strings.Cut(b.System, "/")
	host, _ := os.Hostname() // a point without the host's name is still a point
	job := backup.Job{
		Paths: paths, Exclude: matcher, Host: host, OS: system,
		Program: "tidemark", Version: b.Version, Now: app.Now,
	}
	if u, err := user.Current(); err == nil {
		job.User = u.Username
	}
	users, err := meta.HostUsers()
	if err != nil {
		app.Notef("the point will not know this server's users, so that accounts of serve that are known by name see nothing of it: %v", err)
	}
	job.ServerUsers = users
	return job
}

// matcher compiles all patterns, and those that keep the backup out of itself.
func (o *backupOptions) matcher(app *cli.App, paths []string) (*exclude.Matcher, error) {
	conf := app.Globals.Config.Backup
	var patterns []exclude.Pattern
	for _, file := range conf.ExcludeFiles {
		if err := readPatterns(file, &patterns); err != nil {
			return nil, err
		}
	}
	patterns = append(patterns, exclude.Flags("the configuration", conf.Exclude)...)
	for _, file := range o.excludeFiles {
		if err := readPatterns(file, &patterns); err != nil {
			return nil, err
		}
	}
	patterns = append(patterns, exclude.Flags("--exclude", o.exclude)...)
	return compile(app, paths, patterns)
}

func compile(app *cli.App, paths []string, patterns []exclude.Pattern) (*exclude.Matcher, error) {
	roots := make([]string, len(paths))
	for i, path := range paths {
		roots[i] = filepath.ToSlash(path)
	}
	patterns = append(patterns, exclude.Flags("tidemark", ownFolders(app))...)
	return exclude.Compile(roots, patterns)
}

func readPatterns(path string, into *[]exclude.Pattern) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read patterns: %w", err)
	}
	defer f.Close()
	list, err := exclude.Read(f, path)
	*into = append(*into, list...)
	return err
}

var address = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]+:`)

// ownFolders are patterns for the repository, if it is a folder, and for what
// this machine keeps of it: a backup that held itself would grow by itself.
func ownFolders(app *cli.App) []string {
	folders := []string{app.Globals.CacheDir}
	if at := strings.TrimPrefix(app.Globals.Repository, "file://"); !address.MatchString(at) {
		if path, err := filepath.Abs(at); err == nil {
			folders = append(folders, path)
		}
	}
	return exclude.Folders(folders...)
}

// runBackup runs the job with progress on a terminal.
func runBackup(ctx context.Context, app *cli.App, r *opened, job backup.Job) (*backup.Summary, error) {
	_, terminal := cli.Width(app.Stderr)
	job.Scan = terminal && !app.Globals.Quiet && !app.Globals.JSON
	p := &backup.Progress{}
	job.Progress = p
	stop := app.Meter().Poll(func() cli.Progress {
		return cli.Progress{
			Files: uint64(p.Files.Load()), Bytes: uint64(p.Bytes.Load()),
			TotalFiles: uint64(p.TotalFiles.Load()), TotalBytes: uint64(p.TotalBytes.Load()), Current: p.Current(),
		}
	})
	defer stop()
	return backup.Run(ctx, r.Repository, r.local, job)
}

// printBackup prints what a run did. With warnings it returns cli.ErrWarnings.
func printBackup(app *cli.App, s *backup.Summary, dryRun bool) error {
	if app.Globals.JSON {
		if err := app.JSON(newSummaryJSON(s, dryRun)); err != nil {
			return err
		}
	} else {
		printSummary(app, s, dryRun)
	}
	if s.Statistics.Warnings > 0 || len(s.Suspect) > 0 {
		return cli.ErrWarnings
	}
	return nil
}

// printSuspect tells that the files look encrypted.
func printSuspect(app *cli.App, s *backup.Summary) {
	for _, why := range s.Suspect {
		fmt.Fprintf(app.Stderr, "tidemark: warning: this looks as if somebody had encrypted the files: %s\n", cli.Quote(why))
	}
	if n := len(s.Alarm.Held); n > 0 {
		fmt.Fprintf(app.Stderr, "tidemark: %s of before will not expire until `tidemark points release`\n", cli.Counted(uint64(n), "point", "points"))
	}
	if len(s.Suspect) > 0 {
		fmt.Fprintf(app.Stderr, "hint: `tidemark diff latest-clean latest` shows what changed; `tidemark backup --trust` says that it is fine\n")
	}
}

func printSummary(app *cli.App, s *backup.Summary, dryRun bool) {
	n := s.Statistics
	printSkipped(app, s.Skipped)
	printSuspect(app, s)
	for _, w := range s.Warned {
		fmt.Fprintf(app.Stderr, "tidemark: warning: %s: %s\n", cli.Quote(w.Path), cli.Quote(w.Reason))
	}
	if more := n.Warnings - min(n.Warnings, uint64(len(s.Warned))); more > 0 {
		fmt.Fprintf(app.Stderr, "tidemark: warning: … and %s more\n", cli.Count(more))
	}
	if dryRun {
		app.Printf("would write a point of %s, %s\n", cli.Counted(n.Files, "file", "files"), cli.Size(n.Bytes))
	} else {
		app.Printf("wrote point %s of %s, %s\n", s.Point.Short(), cli.Counted(n.Files, "file", "files"), cli.Size(n.Bytes))
	}
	if app.Globals.Quiet {
		return
	}
	app.Printf("entries: %s new, %s changed, %s unchanged, %s removed\n",
		cli.Count(n.New), cli.Count(n.Changed), cli.Count(n.Unchanged), cli.Count(n.Removed))
	app.Printf("data: %s read, %s new, %s stored, in %s\n",
		cli.Size(n.BytesRead), cli.Size(n.BytesNew), cli.Size(n.BytesStored), cli.Duration(s.Finished.Sub(s.Started)))
	if s.Renewed > 0 {
		app.Printf("moved: %s out of old packs of which little is needed\n", cli.Size(s.Renewed))
	}
	if tags := s.Receipt.Tags; len(tags) > 0 {
		app.Printf("kept as: %s\n", tagText(app, tags))
	}
	if n.Warnings > 0 {
		app.Printf("with %s\n", cli.Counted(n.Warnings, "warning", "warnings"))
	}
}

// fewSockets are named without --verbose: some folders are full of them.
const fewSockets = 10

// printSkipped names sockets, of which there is nothing to save.
func printSkipped(app *cli.App, paths []string) {
	for i, path := range paths {
		if i == fewSockets && !app.Globals.Verbose {
			app.Notef("tidemark: … and %s more (-v names them)", cli.Counted(uint64(len(paths)-i), "socket", "sockets"))
			return
		}
		app.Notef("tidemark: skipped socket %s", cli.Quote(path))
	}
}

type warningJSON struct {
	cli.Path
	Reason string `json:"reason"`
}

func newWarningsJSON(list []repo.Warning) []warningJSON {
	out := make([]warningJSON, len(list))
	for i, w := range list {
		out[i] = warningJSON{cli.JSONPath(w.Path), w.Reason}
	}
	return out
}

type summaryJSON struct {
	Point      string         `json:"point,omitempty"` // none in a dry run
	Sequence   uint64         `json:"sequence,omitempty"`
	DryRun     bool           `json:"dry_run,omitempty"`
	Started    string         `json:"started"`
	Finished   string         `json:"finished"`
	Statistics statisticsJSON `json:"statistics"`
	Renewed    uint64         `json:"bytes_moved,omitempty"` // stored again, so that old packs of which little is needed can go
	Warnings   []warningJSON  `json:"warnings"`              // a thousand at most; statistics has their number
	Skipped    []cli.Path     `json:"skipped"`               // sockets
	Type       string         `json:"type,omitempty"`        // of the point: how its files fit together
	TypeWhy    string         `json:"type_why,omitempty"`
	Suspect    []string       `json:"suspect,omitempty"` // why it looks as if somebody had encrypted the files
	Kept       []tagJSON      `json:"kept"`              // for what, and until when; none without a policy
}

func newSummaryJSON(s *backup.Summary, dryRun bool) summaryJSON {
	j := summaryJSON{
		Sequence: s.Sequence, DryRun: dryRun, Started: cli.JSONTime(s.Started), Finished: cli.JSONTime(s.Finished),
		Statistics: statisticsJSON(s.Statistics), Renewed: s.Renewed, Warnings: newWarningsJSON(s.Warned), Skipped: []cli.Path{},
	}
	j.Kept = newTagsJSON(s.Receipt.Tags)
	j.Suspect = s.Suspect
	j.Type, j.TypeWhy = s.Consistency.Type.String(), s.Consistency.Why
	if !dryRun {
		j.Point = s.Point.String()
	}
	for _, path := range s.Skipped {
		j.Skipped = append(j.Skipped, cli.JSONPath(path))
	}
	return j
}
