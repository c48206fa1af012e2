package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

type findOptions struct {
	point     string
	all       bool
	long, raw bool
}

func newFind(app *cli.App) *cobra.Command {
	var o findOptions
	c := &cobra.Command{
		Use:   "find PATTERN…",
		Short: "Find files by name, in one point or in all",
		Long: `Find files by name. A PATTERN is one of those that --exclude takes: *.odt, for
instance, or a folder and a name with a slash between them, as in
/home/**/letters/*.odt; with a slash at its end it finds folders only.

With --all every point is searched, the oldest first, and each line says which
point brought it: + means that the file is new there, M that it differs from
the point before, - that it is gone.

With --json it prints one object for each entry; with --all there are "point",
"time" and "change" in it.`,
		Example: `  tidemark find '*.odt'
  tidemark find --point yesterday '/home/*/.ssh/'
  tidemark find --all '/etc/fstab'`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(alone(c, "all", "point"), alone(c, "all", "print0")); err != nil {
				return err
			}
			return o.run(c.Context(), app, args)
		},
	}
	c.Flags().StringVar(&o.point, "point", "latest", "the POINT to search")
	c.Flags().BoolVar(&o.all, "all", false, "search all points")
	c.Flags().BoolVarP(&o.long, "long", "l", false, "mode, owner, size and time, too")
	c.Flags().BoolVarP(&o.raw, "print0", "0", false, "end each path with a zero byte")
	return c
}

func (o *findOptions) run(ctx context.Context, app *cli.App, patterns []string) error {
	match, err := exclude.Compile([]string{"/"}, exclude.Flags("the command line", patterns))
	if err != nil {
		return err
	}
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	f := finder{out: newPrinter(app), repo: r, matches: func(e *table.Entry) bool {
		return match.Excluded(table.Path(e.Key), e.Kind == table.Folder)
	}}
	f.out.long, f.out.zero = o.long, o.raw
	points, err := listPoints(ctx, app, r)
	if err == nil && !o.all {
		var p *repo.Point
		if p, err = pick(app, points, o.point); err == nil {
			err = f.one(ctx, p)
		}
	} else if err == nil {
		err = f.all(ctx, points)
	}
	if err = errors.Join(err, f.out.flush()); err == nil && f.found == 0 {
		err = fmt.Errorf("find %q: %w", patterns, fault.NotExist)
	}
	return errors.Join(err, r.close())
}

// finder searches points.
type finder struct {
	out     *printer
	repo    *opened
	matches func(*table.Entry) bool
	found   uint64
}

// one prints what matches in one point.
func (f *finder) one(ctx context.Context, p *repo.Point) error {
	t, err := openTable(ctx, f.repo, p)
	if err != nil {
		return err
	}
	return f.each(ctx, t, func(e *table.Entry) error { return f.out.print(p, e, table.Path(e.Key), "") })
}

func (f *finder) each(ctx context.Context, t *table.Tree, print func(*table.Entry) error) error {
	for item, err := range t.From(ctx, 0) {
		if err != nil {
			return err
		}
		if f.matches(item.Entry) {
			f.found++
			if err := print(item.Entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// all searches the first point wholly and the others where they differ from
// the one before.
func (f *finder) all(ctx context.Context, points []*repo.Point) error {
	var before *table.Tree
	for _, p := range points {
		t, err := openTable(ctx, f.repo, p)
		if err != nil {
			return err
		}
		if before == nil {
			err = f.each(ctx, t, func(e *table.Entry) error { return f.version(p, e, added) })
		} else {
			err = f.changes(ctx, p, before, t)
		}
		if err != nil {
			return err
		}
		before = t
	}
	return nil
}

func (f *finder) changes(ctx context.Context, p *repo.Point, before, t *table.Tree) error {
	for c, err := range table.Diff(ctx, before, t) {
		if err != nil {
			return err
		}
		e := c.B
		if e == nil {
			e = c.A
		}
		if !f.matches(e) {
			continue
		}
		kind := compare(c)
		if kind == moved {
			continue // stored anew, otherwise the same
		}
		f.found++
		if err := f.version(p, e, kind); err != nil {
			return err
		}
	}
	return nil
}

// version prints an entry with the point that brought it.
func (f *finder) version(p *repo.Point, e *table.Entry, kind change) error {
	if f.out.app.Globals.JSON {
		return f.out.json(struct {
			Point  string `json:"point"`
			Time   string `json:"time"`
			Change string `json:"change"`
			entryJSON
		}{p.ID.String(), cli.JSONTime(p.Started), kind.name(), newEntryJSON(p, e)})
	}
	mark := fmt.Sprintf("%s  %s  %s  ", p.ID.Short(), cli.Time(p.Started, f.out.app.Zone), kind.mark())
	return f.out.print(p, e, table.Path(e.Key), mark)
}
