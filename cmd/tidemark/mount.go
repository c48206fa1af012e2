package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/mount"
)

// listTimeUsage says what --list-time does.
const listTimeUsage = "list the names that begin with @, too"

// patience is how long a mount that shall end waits for programs to leave it.
const patience = 10 * time.Second

type mountOptions struct {
	deleted    bool
	point      string
	owner      string
	open       bool
	allowOther bool
	listTime   bool
	background bool
	child      bool // the process behind --background
	door       string
	replace    bool
	browser    bool
	wait       time.Duration
	rate       string
	kept       bool // by the agent
}

func newMount(app *cli.App) *cobra.Command {
	var o mountOptions
	c := &cobra.Command{
		Use:   "mount [DIR]",
		Short: "Show all recovery points as read-only folders",
		Long: `Show all recovery points as read-only folders below DIR, which must be empty,
or on a free drive of Windows (X:):

  DIR/latest/…                       the newest point
  DIR/points/2026-11-22_10-00-00/…   each point, by its local time

Names that begin with @ are there for whoever asks for them, and listed only
with --list-time, so that nobody copies them with a folder:

  DIR/@GMT-2026.11.22-09.00.00/…     each point, as Samba's shadow_copy2 asks
                                     for it (UTC)
  …/@versions/FILE/…                 in each folder of a point: each content
                                     that FILE had, deleted ones, too
  …/@deleted/…                       what older points have there, and this
                                     one has not
  …/@diff/POINT..POINT/…             what the second has new or changed, and in
                                     @removed what only the first has

In a point stand the absolute paths that were backed up. Restoring is copying:
owner, mode, times, attributes, links and holes are there. New points appear
within seconds; backups and mounts do not disturb each other, and there can be
any number of mounts.

The door is FUSE, on Windows WinFsp. Where there is none, or no DIR is given,
the points are shared through WebDAV on a free port of this machine, for those
who know the URL, and mapped at DIR where the system can; else the command that
maps them is printed. "tidemark doctor" says what is missing for more.

The command stays until Ctrl-C, SIGTERM or an unmount (fusermount3 -u DIR).
With --background it returns as soon as the mount answers. A mount that a
killed process left behind is cleared; --replace also takes the place of one
that lives, as after an upgrade: what is open in it stays readable.

While the place of the repository is away, reads wait for it, for --wait at
most, then they fail with an I/O error until it is back; nobody need mount anew.

Only the user who mounts can look inside, with --allow-other all others can as
far as the original permissions let them; for root that is always so.`,
		Example: `  tidemark mount /mnt/backup
  tidemark mount --background --passphrase-file pass /mnt/backup
  tidemark mount --point yesterday --open --owner 1000:1000 --allow-other /mnt/y
  tidemark mount --door webdav --open-browser
  tidemark mount X:`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return o.run(c.Context(), app, strings.Join(args, ""))
		},
	}
	f := c.Flags()
	f.StringVar(&o.point, "point", "", "show this POINT alone, its top at DIR")
	deletedFlag(c, &o.deleted)
	f.StringVar(&o.owner, "owner", "", "show everything as owned by UID:GID")
	f.BoolVar(&o.open, "open", false, "let everybody who gets in read everything")
	f.BoolVar(&o.allowOther, "allow-other", false, "let other users in")
	f.BoolVar(&o.listTime, "list-time", false, listTimeUsage)
	f.BoolVar(&o.background, "background", false, "return when the mount answers")
	f.StringVar(&o.door, "door", string(mount.Auto), "show the points through fuse, winfsp or webdav; auto: the best that is there")
	f.BoolVar(&o.replace, "replace", false, "take the place of another Tidemark that is mounted there")
	f.BoolVar(&o.browser, "open-browser", false, "open the file manager when the mount answers")
	f.DurationVar(&o.wait, "wait", defaultWait, "let reads wait so long for a repository that is away")
	rateFlag(c, &o.rate)
	f.BoolVar(&o.child, backgroundFlag, false, "")
	_ = f.MarkHidden(backgroundFlag)
	f.BoolVar(&o.kept, keptFlag, false, "")
	_ = f.MarkHidden(keptFlag)
	return c
}

func (o *mountOptions) run(ctx context.Context, app *cli.App, dir string) error {
	if _, err := parseOwner(o.owner); err != nil {
		return err
	}
	door, err := mount.ParseDoor(o.door)
	switch {
	case err != nil:
		return cli.Usage("--door %q: give one of %s", o.door, doorNames())
	case dir == "" && (door == mount.FUSE || door == mount.WinFsp):
		return cli.Usage("mount: give a folder, or a drive")
	case o.wait < 0:
		return cli.Usage("--wait %s: give 0 or more, as in 30s", o.wait)
	}
	if dir != "" && !mount.IsDrive(dir) {
		if dir, err = filepath.Abs(dir); err != nil {
			return fmt.Errorf("mount on %s: %w", dir, err)
		}
	}
	if o.child {
		return o.serveInBackground(ctx, app, dir)
	}
	if o.kept {
		return beKept(ctx, app, func(ctx context.Context, log *slog.Logger, ready func(string) error) error {
			return o.serve(ctx, app, dir, log, func(m *mount.Mounted) error {
				w := whereOf(m)
				return ready(cmp.Or(w.Dir, w.URL))
			})
		})
	}
	if o.background {
		w, pid, err := o.startInBackground(ctx, app, dir)
		if err != nil {
			return err
		}
		if w.process = pid; w.Door == mount.WebDAV {
			return w.tell(app, fmt.Sprintf(" (process %d; ended by SIGTERM)", pid))
		}
		return w.tell(app, "")
	}
	level := slog.LevelWarn
	if app.Globals.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(app.Stderr, &slog.HandlerOptions{Level: level}))
	return o.serve(ctx, app, dir, log, func(m *mount.Mounted) error {
		note := " (Ctrl-C unmounts)"
		if m.Door() == mount.WebDAV {
			note = " (Ctrl-C ends it)"
		}
		return whereOf(m).tell(app, note)
	})
}

func doorNames() string {
	var names []string
	for _, d := range mount.Doors() {
		names = append(names, string(d))
	}
	return strings.Join(names, ", ")
}

// where says where the points are shown.
type where struct {
	Door mount.Door `json:"door"`
	Dir  string     `json:"dir,omitempty"`
	URL  string     `json:"url,omitempty"`
	Hint string     `json:"hint,omitempty"`

	process int // in the background; 0: this one
}

func whereOf(m *mount.Mounted) where {
	return where{Door: m.Door(), Dir: m.Dir(), URL: m.URL(), Hint: m.Hint()}
}

// tell tells that the mount answers.
func (w where) tell(app *cli.App, note string) error {
	if app.Globals.JSON {
		var at *cli.Path
		if w.Dir != "" {
			p := cli.JSONPath(w.Dir)
			at = &p
		}
		return app.JSON(struct {
			Mounted *cli.Path  `json:"mounted,omitempty"`
			Door    mount.Door `json:"door"`
			URL     string     `json:"url,omitempty"`
			Connect string     `json:"connect,omitempty"`
			Process int        `json:"process,omitempty"`
		}{at, w.Door, w.URL, w.Hint, w.process})
	}
	switch {
	case w.Door != mount.WebDAV:
		app.Notef("mounted on %s%s", cli.Quote(w.Dir), note)
	case w.Dir != "":
		app.Notef("mapped on %s through WebDAV, %s%s", cli.Quote(w.Dir), w.URL, note)
	default:
		app.Notef("sharing %s with those who know this URL%s", w.URL, note)
		app.Notef("it is for a browser, too, and this maps it: %s", cli.Quote(w.Hint))
	}
	return nil
}

// serve mounts and stays until the mount ends; ready is called once the mount
// answers.
func (o *mountOptions) serve(ctx context.Context, app *cli.App, dir string, log *slog.Logger, ready func(*mount.Mounted) error) error {
	app, stop, err := throttled(ctx, app, o.rate, mountWindows(app))
	if err != nil {
		return err
	}
	defer stop()
	r, err := openToShow(ctx, app, o.wait, log)
	if err != nil {
		return err
	}
	r.deleted = o.deleted
	err = o.serveRepository(ctx, app, r, dir, log, ready)
	return errors.Join(err, r.close())
}

func (o *mountOptions) serveRepository(ctx context.Context, app *cli.App, r *opened, dir string, log *slog.Logger, ready func(*mount.Mounted) error) error {
	owner, err := parseOwner(o.owner)
	if err != nil {
		return err
	}
	opt := fs.Options{Owner: owner, Open: o.open, ListTime: o.listTime, Location: app.Zone, Now: app.Now, Log: log}
	opt.Keeper = &fs.Owner{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if o.point != "" {
		if opt.Point, err = selectPoint(ctx, app, r, o.point); err != nil {
			return err
		}
	}
	// The caches of a mount have budgets; what is garbage on the way to them
	// shall not double them.
	debug.SetMemoryLimit(mountMemory)
	tree := fs.New(r.source(), opt)
	defer tree.Close()
	m, err := mount.Mount(ctx, dir, tree, mount.Options{
		AllowOther: o.allowOther, Log: log, Door: mount.Door(strings.ToLower(o.door)), Replace: o.replace, KeepOwners: owner != nil,
	})
	if err != nil {
		return err
	}
	if err := ready(m); err != nil {
		return errors.Join(err, m.Unmount(ctx))
	}
	if o.browser {
		if err := m.Show(ctx); err != nil {
			log.Warn("the points are there, but no window opens", "error", err)
		}
	}
	return m.Serve(ctx, patience)
}

// mountMemory is where the collector begins to work harder, in bytes: below the
// 256 MiB that a mount of any size is promised to stay in. It counts the 64 MiB
// that are never touched (see main).
const mountMemory = 264 << 20

// parseOwner reads UID:GID; nothing given is nil.
func parseOwner(s string) (*fs.Owner, error) {
	if s == "" {
		return nil, nil
	}
	u, g, ok := strings.Cut(s, ":")
	uid, err := strconv.ParseUint(u, 10, 32)
	gid, err2 := strconv.ParseUint(g, 10, 32)
	if !ok || err != nil || err2 != nil {
		return nil, cli.Usage("--owner %q: give two numbers, as in 1000:1000", s)
	}
	return &fs.Owner{UID: uint32(uid), GID: uint32(gid)}, nil
}
