package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// change is how an entry differs between two points.
type change uint8

const (
	added change = iota
	removed
	replaced     // it is of another kind
	otherContent // the content of a file, or a link's target, differs
	metadata     // only owner, mode, time or attributes differ
	moved        // it is the same but lies elsewhere in the repository
)

func (c change) mark() string { return [...]string{"+", "-", "T", "M", "m", "="}[c] }

func (c change) name() string {
	return [...]string{"added", "removed", "replaced", "content", "metadata", "same"}[c]
}

// compare classifies a difference without reading content: moved means that
// only the place of the content differs, which nearly always is the same
// content, stored again.
func compare(c table.Change) change {
	a, b := c.A, c.B
	switch {
	case a == nil:
		return added
	case b == nil:
		return removed
	case a.Kind != b.Kind:
		return replaced
	case a.Size != b.Size || a.Target != b.Target || a.Major != b.Major || a.Minor != b.Minor:
		return otherContent
	case !a.SameContent(b) && a.MTime != b.MTime:
		return otherContent
	case !a.SameMeta(b):
		return metadata
	}
	return moved
}

type diffOptions struct{ summary, deleted bool }

func newDiff(app *cli.App) *cobra.Command {
	var o diffOptions
	c := &cobra.Command{
		Use:   "diff POINT[:PATH] POINT",
		Short: "Show what differs between two recovery points",
		Long: `Show what differs between two recovery points, one line for each path:

  +  only in the second       M  content differs
  -  only in the first        m  only owner, mode, time or attributes differ
  T  another kind of file

What both points share is skipped unread, so this is fast where little differs.
With PATH only what is there or below is compared. With --deleted either point
may be a deleted one, and latest is the newest of all. With --json it prints one
object for each path, with the entry before and after.`,
		Example: `  tidemark diff yesterday latest
  tidemark diff 2026-11-01:/etc 2026-11-22`,
		Args: arguments(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c.Context(), app, args[0], args[1]) },
	}
	c.Flags().BoolVar(&o.summary, "summary", false, "print the numbers only")
	deletedFlag(c, &o.deleted)
	return c
}

func (o *diffOptions) run(ctx context.Context, app *cli.App, first, second string) error {
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	r.deleted, r.shown = o.deleted, true
	d := &differ{app: app, repo: r, out: newPrinter(app), silent: o.summary}
	firstName, below := cli.SplitPointPath(first)
	secondName, other := cli.SplitPointPath(second)
	if other != "/" && path.Clean(other) != path.Clean(below) {
		return errors.Join(cli.Usage("diff: both paths must be the same, not %q and %q", below, other), r.close())
	}
	d.below = path.Clean(below)
	points, err := listPoints(ctx, app, r)
	if err == nil {
		d.a.point, err = r.pick(ctx, app, points, firstName)
	}
	if err == nil {
		d.b.point, err = r.pick(ctx, app, points, secondName)
	}
	if err == nil {
		err = d.run(ctx)
	}
	return errors.Join(err, d.out.flush(), r.close())
}

// side is one of the two points.
type side struct {
	point *repo.Point
	table *table.Tree
	tree  *fs.Tree
}

type differ struct {
	app    *cli.App
	repo   *opened
	out    *printer
	a, b   side
	below  string
	silent bool
	counts [moved + 1]uint64
}

func (d *differ) run(ctx context.Context) error {
	var err error
	for _, s := range []*side{&d.a, &d.b} {
		if s.table, err = openTable(ctx, d.repo, s.point); err != nil {
			return err
		}
		s.tree = onePoint(d.repo, s.point)
	}
	if err := d.mustExist(ctx); err != nil {
		return err
	}
	for c, err := range table.Diff(ctx, d.a.table, d.b.table) {
		if err != nil {
			return err
		}
		if err := d.one(ctx, c); err != nil {
			return err
		}
	}
	return d.summary()
}

// mustExist refuses a path that neither point has: a typing error would look
// like "no difference".
func (d *differ) mustExist(ctx context.Context) error {
	_, err := lookUp(ctx, d.a.table, d.a.point, d.below)
	if fault.KindOf(err) == fault.NotExist && err != nil {
		_, err = lookUp(ctx, d.b.table, d.b.point, d.below)
	}
	return err
}

func (d *differ) one(ctx context.Context, c table.Change) error {
	e := c.A
	if e == nil {
		e = c.B
	}
	name := table.Path(e.Key)
	if !isBelow(name, d.below) {
		return nil
	}
	kind := compare(c)
	if kind == moved && c.A.Kind == table.File {
		same, err := d.sameBytes(ctx, name)
		if err != nil {
			return err
		}
		if !same {
			kind = otherContent
		}
	}
	d.counts[kind]++
	if kind == moved || d.silent {
		return nil
	}
	if d.app.Globals.JSON {
		return d.out.json(d.object(name, kind, c))
	}
	if _, err := fmt.Fprintf(d.out.out, "%s  %s\n", kind.mark(), cli.Quote(name)); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func isBelow(name, folder string) bool {
	return folder == "/" || name == folder || len(name) > len(folder) && name[:len(folder)] == folder && name[len(folder)] == '/'
}

// sameBytes compares the content of a file that was stored twice. That is
// rare: where parts of the repository were about to be removed.
func (d *differ) sameBytes(ctx context.Context, name string) (bool, error) {
	a, err := walkTo(ctx, d.a.tree, name)
	if err != nil {
		return false, err
	}
	b, err := walkTo(ctx, d.b.tree, name)
	if err != nil {
		return false, err
	}
	other := make([]byte, catBuffer)
	offset, same := uint64(0), true
	err = content(ctx, d.a.tree, a, make([]byte, catBuffer), func(piece []byte) error {
		n, err := d.b.tree.Read(ctx, b.Node, offset, other[:len(piece)])
		if err != nil {
			return err
		}
		offset += uint64(n)
		if !bytes.Equal(piece, other[:n]) {
			same = false
			return errDiffers
		}
		return nil
	})
	if errors.Is(err, errDiffers) {
		err = nil
	}
	return same, err
}

var errDiffers = errors.New("content differs")

func (d *differ) object(name string, kind change, c table.Change) any {
	type object struct {
		cli.Path
		Change string     `json:"change"`
		Before *entryJSON `json:"before"`
		After  *entryJSON `json:"after"`
	}
	o := object{Path: cli.JSONPath(name), Change: kind.name()}
	if c.A != nil {
		j := newEntryJSON(d.a.point, c.A)
		o.Before = &j
	}
	if c.B != nil {
		j := newEntryJSON(d.b.point, c.B)
		o.After = &j
	}
	return o
}

func (d *differ) summary() error {
	c := &d.counts
	if d.app.Globals.JSON {
		if !d.silent {
			return nil
		}
		return d.out.json(map[string]uint64{
			"added": c[added], "removed": c[removed], "replaced": c[replaced], "content": c[otherContent], "metadata": c[metadata],
		})
	}
	line := fmt.Sprintf("%s → %s: %s added, %s removed, %s with other content, %s with other metadata, %s of another kind",
		d.a.point.ID.Short(), d.b.point.ID.Short(),
		cli.Count(c[added]), cli.Count(c[removed]), cli.Count(c[otherContent]), cli.Count(c[metadata]), cli.Count(c[replaced]))
	if d.silent {
		_, err := fmt.Fprintln(d.out.out, line)
		return err
	}
	if err := d.out.flush(); err != nil {
		return err
	}
	d.app.Notef("%s", line)
	return nil
}
