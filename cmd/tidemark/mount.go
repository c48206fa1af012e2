package main

import (
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
}

func newMount(app *cli.App) *cobra.Command {
	var o mountOptions
	c := &cobra.Command{
		Use:   "mount DIR",
		Short: "Show all recovery points as read-only folders",
		Long: `Show all recovery points as read-only folders below DIR, which must be empty:

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
within seconds; backups and mounts do not disturb each other.

The command stays until Ctrl-C, SIGTERM or an unmount (fusermount3 -u DIR).
With --background it returns as soon as the mount answers. Only the user who
mounts can look inside, with --allow-other all others can as far as the
original permissions let them; for root that is always so.`,
		Example: `  tidemark mount /mnt/backup
  tidemark mount --background --passphrase-file pass /mnt/backup
  tidemark mount --point yesterday --open --owner 1000:1000 --allow-other /mnt/y`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c.Context(), app, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.point, "point", "", "show this POINT alone, its top at DIR")
	f.BoolVar(&o.deleted, "deleted", false, "show the deleted points instead, as long as they are there")
	f.StringVar(&o.owner, "owner", "", "show everything as owned by UID:GID")
	f.BoolVar(&o.open, "open", false, "let everybody who gets in read everything")
	f.BoolVar(&o.allowOther, "allow-other", false, "let other users in")
	f.BoolVar(&o.listTime, "list-time", false, listTimeUsage)
	f.BoolVar(&o.background, "background", false, "return when the mount answers")
	f.BoolVar(&o.child, backgroundFlag, false, "")
	_ = f.MarkHidden(backgroundFlag)
	return c
}

func (o *mountOptions) run(ctx context.Context, app *cli.App, dir string) error {
	if _, err := parseOwner(o.owner); err != nil {
		return err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("mount on %s: %w", dir, err)
	}
	if o.child {
		return o.serveInBackground(ctx, app, dir)
	}
	if o.background {
		if err := o.startInBackground(ctx, app, dir); err != nil {
			return err
		}
		return mounted(app, dir, "")
	}
	level := slog.LevelWarn
	if app.Globals.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(app.Stderr, &slog.HandlerOptions{Level: level}))
	return o.serve(ctx, app, dir, log, func() error { return mounted(app, dir, " (Ctrl-C unmounts)") })
}

// mounted tells that the mount answers.
func mounted(app *cli.App, dir, note string) error {
	if app.Globals.JSON {
		return app.JSON(struct {
			Mounted cli.Path `json:"mounted"`
		}{cli.JSONPath(dir)})
	}
	app.Notef("mounted on %s%s", cli.Quote(dir), note)
	return nil
}

// serve mounts and stays until the mount ends; ready is called once the mount
// answers.
func (o *mountOptions) serve(ctx context.Context, app *cli.App, dir string, log *slog.Logger, ready func() error) error {
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	r.deleted = o.deleted
	err = o.serveRepository(ctx, app, r, dir, log, ready)
	return errors.Join(err, r.close())
}

func (o *mountOptions) serveRepository(ctx context.Context, app *cli.App, r *opened, dir string, log *slog.Logger, ready func() error) error {
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
	var source fs.Source = r.Repository
	if o.deleted {
		source = deletedPoints{r.Repository}
	}
	tree := fs.New(source, opt)
	defer tree.Close()
	m, err := mount.Mount(ctx, dir, tree, mount.Options{AllowOther: o.allowOther, Log: log})
	if err != nil {
		return err
	}
	if err := ready(); err != nil {
		return errors.Join(err, m.Unmount(ctx))
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
