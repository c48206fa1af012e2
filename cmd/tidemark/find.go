package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

type findOptions struct {
	point     string
	all       bool
	long, raw bool
	deleted   bool
}

func newFind(app *cli.App) *cobra.Command {
	var o findOptions
	c := &cobra.Command{
		Use:   "find PATTERN…",
		Short: "Find files by name, in one point or in all",
		Long: `Find files by name. A PATTERN is one of those that --exclude takes: *.odt, for
instance, or a folder and a name with a slash between them, as in
/home/**/letters/*.odt; with a slash at its end it finds folders only.

With --all-points every point is searched, and each line is a version of what
matches: the oldest point that has it, from when to when points have it, and in
how many. So "tidemark cat POINT:PATH" prints that version, deleted or not.

With --json it prints one object for each entry; with --all-points there are
"point", "time", "last_point", "last_time" and "points" in it.`,
		Example: `  tidemark find '*.odt'
  tidemark find --point yesterday '/home/*/.ssh/'
  tidemark find --all-points '/etc/fstab'`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(alone(c, "all-points", "point"), alone(c, "all-points", "print0")); err != nil {
				return err
			}
			return o.run(c.Context(), app, args)
		},
	}
	c.Flags().StringVar(&o.point, "point", "latest", "the POINT to search")
	c.Flags().BoolVar(&o.all, "all-points", false, "search all points")
	c.Flags().BoolVarP(&o.long, "long", "l", false, "mode, owner, size and time, too")
	c.Flags().BoolVarP(&o.raw, "print0", "0", false, "end each path with a zero byte")
	deletedFlag(c, &o.deleted)
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
	r.deleted = o.deleted
	f := finder{out: newPrinter(app), repo: r, matches: func(e *table.Entry) bool {
		return match.Excluded(table.Path(e.Key), e.Kind == table.Folder)
	}}
	f.out.long, f.out.zero = o.long, o.raw
	points, err := listPoints(ctx, app, r)
	if err == nil && !o.all {
		var p *repo.Point
		if p, err = r.pick(ctx, app, points, o.point); err == nil {
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

// all prints the versions of what matches in all points.
func (f *finder) all(ctx context.Context, points []*repo.Point) error {
	names, err := history.ReadNames(f.repo.local.Names(), f.repo.NamesKey())
	if err != nil {
		return err
	}
	for v, err := range history.Find(ctx, f.repo.Repository, points, f.matches, names, runtime.NumCPU()) {
		if err != nil {
			return err
		}
		f.found++
		if err := f.version(v); err != nil {
			return err
		}
	}
	if err := names.Write(); err != nil {
		f.out.app.Notef("The next search will take as long: %v", err)
	}
	return nil
}

// version prints a version with the points that have it.
func (f *finder) version(v *history.Found) error {
	if f.out.app.Globals.JSON {
		return f.out.json(newVersionJSON(v.First, v.Last, v.Points, v.Entry))
	}
	zone := f.out.app.Zone
	mark := fmt.Sprintf("%s  %s … %s  %14s  ", v.First.ID.Short(), cli.Time(v.First.Started, zone), cli.Time(v.Last.Started, zone),
		"in "+cli.Counted(uint64(v.Points), "point", "points"))
	return f.out.print(v.Last, v.Entry, table.Path(v.Entry.Key), mark)
}
