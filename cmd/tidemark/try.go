package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs/mount"
	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
	"github.com/tidemark-backup/tidemark/repo"
)

func newTry(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "try DIR",
		Short: "Try it: back up a folder and show its recovery points",
		Long: `Try Tidemark with one command: back up DIR into a repository in your own data
folder, show its recovery points as folders, and say where they are. Run it
again for the next point, which is stored as the difference.

The passphrase is drawn and shown once. For the trial it is also kept in a file
that only you can read; a repository in earnest is made with "tidemark init".
To end the trial, unmount it and remove the folder: the command says how.`,
		Example: "  tidemark try ~/Documents",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE:    func(c *cobra.Command, args []string) error { return runTry(c.Context(), app, args[0]) },
	}
}

// trial is where things of the trial are.
type trial struct {
	dir, repository, passphrase, state, mount string
}

func newTrial(app *cli.App) (trial, error) {
	data, err := app.DataDir()
	if err != nil {
		return trial{}, err
	}
	dir := filepath.Join(data, "try")
	in := func(name string) string { return filepath.Join(dir, name) }
	return trial{dir, in("repository"), in("passphrase"), in("state"), in("mount")}, nil
}

func runTry(ctx context.Context, app *cli.App, folder string) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return fmt.Errorf("try %s: %w", folder, err)
	}
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("try: %w", err)
	}
	t, err := newTrial(app)
	if err != nil {
		return err
	}
	// The trial has a repository and a passphrase of its own, whatever the
	// flags, the environment and the configuration say of others.
	app.Globals.Repository, app.Globals.CacheDir = t.repository, t.state
	app.Globals.PassphraseFile, app.Globals.PassphraseCommand, app.Globals.PassphraseKeystore = t.passphrase, "", ""
	r, secret, err := t.open(ctx, app)
	if err != nil {
		return err
	}
	matcher, err := compile(app, []string{folder}, nil)
	if err != nil {
		return errors.Join(err, r.close())
	}
	summary, err := runBackup(ctx, app, r, newJob(app, []string{folder}, matcher))
	if err := errors.Join(err, r.close()); err != nil {
		return err
	}
	why := t.show(ctx, app)
	return t.print(app, folder, secret, summary, why)
}

// open makes the trial's repository, and then also returns its passphrase, or
// opens the one that is there.
func (t *trial) open(ctx context.Context, app *cli.App) (*opened, string, error) {
	_, err := os.Stat(filepath.Join(t.repository, "repository"))
	if err == nil {
		r, err := openToRead(ctx, app)
		return r, "", err
	}
	if !errors.Is(err, iofs.ErrNotExist) {
		return nil, "", fmt.Errorf("try: %w", err)
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("make the trial's folder: %w", err)
	}
	secret := drawPassphrase()
	// The passphrase goes first: a repository whose passphrase was lost to a
	// crash would be in the way for ever.
	if err := durable.WriteFile(t.passphrase, []byte(secret+"\n"), 0o600); err != nil {
		return nil, "", fmt.Errorf("keep the trial's passphrase: %w", err)
	}
	r, err := create(ctx, app, t.repository, "trial")
	if err != nil {
		return nil, "", err
	}
	if err := r.Keep(r.local, repo.Unattended); err != nil {
		return nil, "", errors.Join(err, r.close())
	}
	return r, secret, nil
}

// drawPassphrase draws 125 random bits as five groups of five characters.
func drawPassphrase() string {
	text := strings.ToLower(rand.Text())
	var groups []string
	for i := range 5 {
		groups = append(groups, text[5*i:5*i+5])
	}
	return strings.Join(groups, "-")
}

// show mounts the trial's repository, if it is not mounted still, and returns
// why that did not work.
func (t *trial) show(ctx context.Context, app *cli.App) error {
	if _, err := mountpoint.ClearDead(ctx, t.mount); err != nil && fault.KindOf(err) != fault.Unsupported {
		return err
	}
	if m, ok, err := mountpoint.At(t.mount); err == nil && ok && m.IsOurs() {
		return nil // it shows the new point within seconds
	}
	if err := os.MkdirAll(t.mount, 0o700); err != nil {
		return fmt.Errorf("make the folder for the mount: %w", err)
	}
	o := mountOptions{background: true, door: string(mount.FUSE), wait: defaultWait}
	_, _, err := o.startInBackground(ctx, app, t.mount)
	return err
}

// print says where to look. If the mount failed it says why, and what works
// without one; the point was written nevertheless.
func (t *trial) print(app *cli.App, folder, secret string, s *backup.Summary, why error) error {
	latest := filepath.Join(t.mount, "latest", folder)
	if app.Globals.JSON {
		if err := app.JSON(t.json(s, latest, secret, why)); err != nil {
			return err
		}
	} else {
		printSummary(app, s, false)
		t.printPlaces(app, folder, latest, secret, why)
	}
	if why != nil || s.Warnings > 0 {
		return cli.ErrWarnings
	}
	return nil
}

func (t *trial) printPlaces(app *cli.App, folder, latest, secret string, why error) {
	app.Printf("\n")
	if secret != "" {
		app.Printf("The passphrase of the trial, shown this once (and kept in %s):\n\n  %s\n\n", cli.Quote(t.passphrase), secret)
	}
	flags := fmt.Sprintf("-r %s --cache-dir %s", cli.Quote(t.repository), cli.Quote(t.state))
	if why != nil {
		app.Printf("The points could not be mounted: %s\n", cli.Quote(why.Error()))
		app.Printf("A mount needs FUSE: /dev/fuse, which this user may open, and for others than\nroot fusermount3 (on Debian: apt-get install fuse3).\n")
		app.Printf("Without a mount, these show and restore them:\n\n  tidemark ls %s %s\n  tidemark restore %s latest --to DIR\n\n",
			flags, cli.Quote("latest:"+folder), flags)
	} else {
		app.Printf("Look here, and copy out what you want:\n\n  %s\n  %s\n\n", cli.Quote(latest), cli.Quote(filepath.Join(t.mount, "points")))
	}
	app.Printf("Change something and run the same again: that writes the next point.\n")
	if why == nil {
		app.Printf("To end the trial: umount %s (if you are not root: fusermount3 -u), then rm -r %s\n", cli.Quote(t.mount), cli.Quote(t.dir))
	} else {
		app.Printf("To end the trial: rm -r %s\n", cli.Quote(t.dir))
	}
}

type trialJSON struct {
	Point      string         `json:"point"`
	Statistics statisticsJSON `json:"statistics"`
	Repository cli.Path       `json:"repository"`
	Mounted    bool           `json:"mounted"`
	Why        string         `json:"why,omitempty"` // it is not mounted
	Latest     cli.Path       `json:"latest"`
	Passphrase string         `json:"passphrase,omitempty"` // the first time
}

func (t *trial) json(s *backup.Summary, latest, secret string, why error) trialJSON {
	j := trialJSON{
		Point: s.Point.String(), Statistics: statisticsJSON(s.Statistics), Repository: cli.JSONPath(t.repository),
		Mounted: why == nil, Latest: cli.JSONPath(latest), Passphrase: secret,
	}
	if why != nil {
		j.Why = why.Error()
	}
	return j
}
