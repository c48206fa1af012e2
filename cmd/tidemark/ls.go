package main

import (
	"bytes"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

type lsOptions struct {
	long, recursive, zero, deleted bool
}

func newLs(app *cli.App) *cobra.Command {
	var o lsOptions
	c := &cobra.Command{
		Use:   "ls [POINT[:PATH]]",
		Short: "List a folder of a recovery point",
		Long: `List a folder of a recovery point; without PATH its top, without POINT the
newest point. Names that a terminal would not show as they are, are printed as
$'…', which shells understand; -0 prints them raw, each with a zero byte.

With --json it prints one object for each entry. A path that is not UTF-8
stands there twice: readable in "path", exact in "path_b64".`,
		Example: `  tidemark ls
  tidemark ls -l latest:/etc
  tidemark ls -R 2026-11-22:/home/me`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c.Context(), app, append(args, "latest")[0]) },
	}
	c.Flags().BoolVarP(&o.long, "long", "l", false, "mode, owner, size and time, too")
	c.Flags().BoolVarP(&o.recursive, "recursive", "R", false, "everything below, too")
	c.Flags().BoolVarP(&o.zero, "print0", "0", false, "end each name with a zero byte")
	deletedFlag(c, &o.deleted)
	return c
}

func (o *lsOptions) run(ctx context.Context, app *cli.App, arg string) error {
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	r.deleted = o.deleted
	name, path := cli.SplitPointPath(arg)
	p, err := selectPoint(ctx, app, r, name)
	if err == nil {
		err = o.list(ctx, app, r, p, path)
	}
	return errors.Join(err, r.close())
}

func (o *lsOptions) list(ctx context.Context, app *cli.App, r *opened, p *repo.Point, path string) error {
	t, err := openTable(ctx, r, p)
	if err != nil {
		return err
	}
	top, err := lookUp(ctx, t, p, path)
	if err != nil {
		return err
	}
	out := newPrinter(app)
	out.long, out.zero = o.long, o.zero
	if top.Kind != table.Folder {
		return errors.Join(out.print(p, top, table.Path(top.Key), ""), out.flush())
	}
	first, end := table.ChildrenPrefix(top.Key), table.ChildrenEnd(top.Key)
	if o.recursive {
		first, end = table.SubtreeBounds(top.Key)
	}
	err = eachBetween(ctx, t, first, end, func(e *table.Entry) error {
		if bytes.Equal(e.Key, top.Key) {
			return nil // the root stands among its own children
		}
		name := table.Path(e.Key)
		if !o.recursive {
			_, n := table.Split(e.Key)
			name = string(n)
		}
		return out.print(p, e, name, "")
	})
	return errors.Join(err, out.flush())
}

// eachBetween calls f for each entry with first ≤ key < end; a nil end is the
// table's.
func eachBetween(ctx context.Context, t *table.Tree, first, end []byte, f func(*table.Entry) error) error {
	from, _, err := t.Seek(ctx, first)
	if err != nil {
		return err
	}
	to := t.Count()
	if end != nil {
		if to, _, err = t.Seek(ctx, end); err != nil {
			return err
		}
	}
	for item, err := range t.Range(ctx, from, to) {
		if err != nil {
			return err
		}
		if err := f(item.Entry); err != nil {
			return err
		}
	}
	return nil
}
