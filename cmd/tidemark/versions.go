package main

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

func newVersions(app *cli.App) *cobra.Command {
	var deleted bool
	c := &cobra.Command{
		Use:   "versions PATH",
		Short: "List the versions of a file that the recovery points hold",
		Long: `List the versions of a file: each content that it had, with the oldest point
that has it and how many do; deleted files, too. The newest version is last.

A line begins with the point, so that "tidemark cat POINT:PATH" prints that
version, and "tidemark restore POINT:PATH --to DIR" brings it back.`,
		Example: `  tidemark versions /etc/fstab
  tidemark versions --json /home/ann/letter.odt`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return listVersions(c.Context(), app, args[0], deleted) },
	}
	deletedFlag(c, &deleted)
	return c
}

func listVersions(ctx context.Context, app *cli.App, name string, deleted bool) error {
	if !path.IsAbs(name) {
		return cli.Usage("versions %q: give the whole path, as in /home/ann/letter.odt", name)
	}
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	r.deleted = deleted
	return errors.Join(printVersions(ctx, app, r, path.Clean(name)), r.close())
}

func printVersions(ctx context.Context, app *cli.App, r *opened, name string) error {
	points, err := listPoints(ctx, app, r)
	if err != nil {
		return err
	}
	out, found := newPrinter(app), 0
	for v, err := range history.Versions(ctx, r.Repository, points, name) {
		if err != nil {
			return errors.Join(out.flush(), err)
		}
		found++
		if err := out.version(v, name); err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil || found > 0 {
		return err
	}
	return cli.Hint(fmt.Errorf("find %s in %s: %w", name, cli.Counted(uint64(len(points)), "point", "points"), fault.NotExist),
		"`tidemark find --all-points PATTERN` searches by name")
}

// version prints a version: the newest state of its first point's name.
func (p *printer) version(v *history.Version, name string) error {
	if p.app.Globals.JSON {
		return p.json(newVersionJSON(v.First, v.Last, v.Points, v.Entry))
	}
	mark := fmt.Sprintf("%s  %s  %12s  ", v.First.ID.Short(), cli.Time(v.First.Started, p.app.Zone), "in "+cli.Counted(uint64(v.Points), "point", "points"))
	long := *p
	long.long = true
	return long.print(v.Last, v.Entry, name, mark)
}

// versionJSON is a version in JSON: an entry as the last of some points has it.
type versionJSON struct {
	Point  string `json:"point"`
	Time   string `json:"time"`
	Last   string `json:"last_point"`
	Until  string `json:"last_time"`
	Points int    `json:"points"`
	entryJSON
}

func newVersionJSON(first, last *repo.Point, points int, e *table.Entry) versionJSON {
	return versionJSON{first.ID.String(), cli.JSONTime(first.Started), last.ID.String(), cli.JSONTime(last.Started), points, newEntryJSON(last, e)}
}
