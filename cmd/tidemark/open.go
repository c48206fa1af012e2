package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
	"github.com/tidemark-backup/tidemark/repo/vault/store/await"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
	"github.com/tidemark-backup/tidemark/repo/vault/store/patient"
)

// opened is a repository and what this machine keeps of it.
type opened struct {
	*repo.Repository
	local   repo.Local
	close   func() error
	told    *notices // of its replicas; nil: it has none
	deleted bool     // POINT arguments name deleted points
	shown   bool     // and, with deleted, the others, too
}

// openLocked opens the repository without keys.
func openLocked(ctx context.Context, app *cli.App) (*opened, error) {
	return openLockedIn(ctx, app, func(s store.Store) store.Store { return s })
}

// openLockedIn is openLocked with a Store around the place.
func openLockedIn(ctx context.Context, app *cli.App, around func(store.Store) store.Store) (*opened, error) {
	address, err := app.NeedRepository()
	if err != nil {
		return nil, err
	}
	s, err := all.Open(ctx, address)
	if err != nil {
		return nil, cli.Hint(err, "`tidemark init -r %s` makes a repository", cli.Quote(address))
	}
	s = around(s)
	o := &opened{close: func() error { return nil }}
	if c, ok := s.(io.Closer); ok {
		o.close = c.Close
	}
	if app.Reads != nil {
		s = limit.New(s, app.Reads)
	}
	if o.Repository, err = repo.Open(ctx, s, repo.Options{}); err != nil {
		return nil, errors.Join(err, o.close())
	}
	o.local = localOf(app, o.ID, address)
	return o, nil
}

// openToWrite opens the repository with the keys that this machine keeps, or
// with the passphrase if it keeps none.
func openToWrite(ctx context.Context, app *cli.App) (*opened, error) {
	return open(ctx, app, openLocked, (*repo.Repository).CanWrite)
}

// openToRead is openToWrite, but keys that only write are not enough, and what
// cannot be read comes from the replicas.
func openToRead(ctx context.Context, app *cli.App) (*opened, error) {
	return open(ctx, app, openBeside, (*repo.Repository).CanRead)
}

// defaultWait is how long reads wait for a repository that is away: shorter
// than the two minutes after which kernels complain about programs that hang.
const defaultWait = 30 * time.Second

const (
	// shareWait is how long a folder on another machine may take to answer before
	// it counts as away, and sharePause until it is asked again.
	shareWait  = 10 * time.Second
	sharePause = 5 * time.Second
)

// openToShow is openToRead for what stays open: reads wait for a repository
// that is away, for wait at most, unless there are replicas to stand in for it.
func openToShow(ctx context.Context, app *cli.App, wait time.Duration, log *slog.Logger) (*opened, error) {
	if len(app.Globals.Replicas) > 0 {
		return openToRead(ctx, app)
	}
	tell := func(err error) {
		if err != nil {
			log.Warn("the repository is away, and reads wait for it", "at most", wait, "error", err)
		} else {
			log.Warn("the repository is there again")
		}
	}
	around := func(s store.Store) store.Store {
		if address := strings.TrimPrefix(app.Globals.Repository, "file://"); mountpoint.Remote(address) {
			// A server that does not answer makes a call hang, and whoever reads.
			share := s
			s = patient.New(address, func(context.Context) (store.Store, error) { return share, nil }, patient.Options{Wait: min(wait, shareWait), Pause: sharePause})
		}
		return await.New(s, await.Options{Sign: repo.Sign, Wait: wait, Tell: tell})
	}
	locked := func(ctx context.Context, app *cli.App) (*opened, error) { return openLockedIn(ctx, app, around) }
	return open(ctx, app, locked, (*repo.Repository).CanRead)
}

func open(ctx context.Context, app *cli.App, locked func(context.Context, *cli.App) (*opened, error), enough func(*repo.Repository) bool) (*opened, error) {
	o, err := locked(ctx, app)
	if err != nil {
		return nil, err
	}
	if _, err = o.Grant(ctx, o.local); err == nil && !enough(o.Repository) {
		err = unlock(ctx, app, o)
	}
	if err == nil {
		err = o.readLedger(ctx, app)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func unlock(ctx context.Context, app *cli.App, o *opened) error {
	passphrase, err := app.Passphrase(ctx)
	if err != nil {
		return err
	}
	_, err = o.Unlock(ctx, passphrase)
	// Deriving a key from a passphrase takes 64 MiB on purpose. They are given
	// back before the work begins.
	debug.FreeOSMemory()
	return err
}

// listPoints returns the points that can be opened, the oldest first. Damaged
// ones are named on standard error; they do not keep anybody from the others.
func listPoints(ctx context.Context, app *cli.App, o *opened) ([]*repo.Point, error) {
	points, err := o.wanted(ctx)
	if err == nil {
		return points, nil
	}
	if len(points) == 0 || fault.KindOf(err) != fault.Corrupt {
		return nil, err
	}
	fmt.Fprintf(app.Stderr, "tidemark: warning: some recovery points cannot be opened: %s\n", cli.Quote(err.Error()))
	return points, nil
}

// wanted returns the points that a command is about.
func (o *opened) wanted(ctx context.Context) ([]*repo.Point, error) {
	switch {
	case !o.deleted:
		return o.Points(ctx)
	case !o.shown:
		return o.DeletedPoints(ctx)
	}
	shown, err := o.Points(ctx)
	deleted, err2 := o.DeletedPoints(ctx)
	both := append(shown, deleted...)
	slices.SortFunc(both, func(a, b *repo.Point) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return both, errors.Join(err, err2)
}

// deletedFlag makes a command about the deleted points; the same flag, and the
// same words, wherever points are read.
func deletedFlag(c *cobra.Command, deleted *bool) {
	c.Flags().BoolVar(deleted, "deleted", false, "look at the points that were deleted and are not yet gone")
}

// deletedPoints is a repository of which the deleted points are shown.
type deletedPoints struct{ *repo.Repository }

// source returns what a tree shows.
func (o *opened) source() fs.Source {
	if o.deleted {
		return deletedPoints{o.Repository}
	}
	return o.Repository
}

// Points implements fs.Source.
func (d deletedPoints) Points(ctx context.Context) ([]*repo.Point, error) {
	return d.DeletedPoints(ctx)
}

// selectPoint returns the point that a POINT argument names.
func selectPoint(ctx context.Context, app *cli.App, o *opened, arg string) (*repo.Point, error) {
	points, err := listPoints(ctx, app, o)
	if err != nil {
		return nil, err
	}
	return o.pick(ctx, app, points, arg)
}

// pick finds the point that a POINT argument names among those listed.
func (o *opened) pick(ctx context.Context, app *cli.App, points []*repo.Point, arg string) (*repo.Point, error) {
	if o.deleted && len(points) == 0 {
		return nil, cli.Hint(fmt.Errorf("find recovery point %q: none is deleted, or all of those are gone: %w", arg, fault.NotExist), "`tidemark points` lists the others")
	}
	p, err := pick(app, points, arg)
	if err != nil && !o.deleted && fault.KindOf(err) == fault.NotExist {
		if deleted, _ := o.DeletedPoints(ctx); len(deleted) > 0 {
			if _, other := pick(app, deleted, arg); other == nil {
				return nil, cli.Hint(err, "it was deleted: --deleted looks at such points, and `tidemark points undelete` brings it back")
			}
		}
	}
	return p, err
}

func pick(app *cli.App, points []*repo.Point, arg string) (*repo.Point, error) {
	if arg == "latest-clean" {
		arg = "latest"
		all := points
		if points = slices.DeleteFunc(slices.Clone(points), func(p *repo.Point) bool { return len(p.Suspect) > 0 }); len(points) == 0 && len(all) > 0 {
			return nil, fmt.Errorf("find recovery point \"latest-clean\": all of them look as if somebody had encrypted their files: %w", fault.NotExist)
		}
	}
	names := make([]cli.PointName, len(points))
	for i, p := range points {
		names[i] = cli.PointName{ID: p.ID.String(), Time: p.Started}
	}
	i, err := cli.SelectPoint(names, arg, app.Now(), app.Zone)
	if err != nil {
		return nil, err
	}
	return points[i], nil
}

// openTable opens a point's table for listing.
func openTable(ctx context.Context, o *opened, p *repo.Point) (*table.Tree, error) {
	return o.Tree(ctx, p, table.Options{ReadAhead: 8})
}

// lookUp finds a path in a point's table.
func lookUp(ctx context.Context, t *table.Tree, p *repo.Point, name string) (*table.Entry, error) {
	name = path.Clean(name)
	item, err := t.Lookup(ctx, table.Key(name))
	if errors.Is(err, fault.NotExist) {
		return nil, cli.Hint(fmt.Errorf("find %s in point %s: %w", name, p.ID.Short(), fault.NotExist), "`tidemark ls` shows what a point holds; links are not followed")
	}
	return item.Entry, err
}

// idText returns the repository's ID in hexadecimal digits.
func (o *opened) idText() string { return fmt.Sprintf("%x", o.ID[:]) }
