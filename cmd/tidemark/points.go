package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

type pointsOptions struct {
	tags    []string
	last    int
	deleted bool
}

func newPoints(app *cli.App) *cobra.Command {
	var o pointsOptions
	c := &cobra.Command{
		Use:   "points",
		Short: "List the recovery points",
		Long: `List the recovery points, the oldest first.

SIZE is what the files of a point hold together, NEW what was in none of the
points before, STORED what that takes in the repository. A ! behind the time
says that something was left out or changed while it was read. TYPE tells how
the files fit together: "application" if programs were told to write what they
had (commands before the run) or printed it themselves, "file-system" for a
snapshot, "crash" for one as after a loss of power, "live" if each file was read
at its own moment; --json says why. SUSPECT
says that the files look as if somebody had encrypted them (--json says why);
latest-clean is the newest point of which that is not so. EXPIRES is when
the policy lets it go, KEPT AS the tiers or the reason that keep it. With
--deleted it lists the points that "points undelete" brings back; EXPIRES is
until when.

With --json it prints one list.`,
		Example: `  tidemark points
  tidemark points --last 5 --json
  tidemark points --tag nightly`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), app) },
	}
	c.Flags().StringArrayVar(&o.tags, "tag", nil, "only points with this tag; several: with all of them")
	c.Flags().IntVar(&o.last, "last", 0, "only the newest so many")
	deletedFlag(c, &o.deleted)
	c.AddCommand(newPointsHold(app), newPointsRelease(app), newPointsDelete(app), newPointsUndelete(app))
	return c
}

func (o *pointsOptions) run(ctx context.Context, app *cli.App) error {
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	list := r.Points
	if o.deleted {
		list = r.DeletedPoints
	}
	points, damaged := list(ctx)
	if points == nil && damaged != nil {
		return errors.Join(damaged, r.close())
	}
	points = o.filter(points)
	decisions, v := r.decisions(ctx, app)
	if app.Globals.JSON {
		list := make([]pointJSON, len(points))
		for i, p := range points {
			list[i] = newPointJSON(p)
			if d, ok := decisions[p.Sequence]; ok {
				list[i].Life = newLifeJSON(d)
			}
		}
		err = app.JSON(list)
	} else {
		suspended(app, v)
		err = printPoints(app, points, decisions)
	}
	// The list goes first, then what is missing in it and why.
	return errors.Join(err, damaged, r.close())
}

func (o *pointsOptions) filter(points []*repo.Point) []*repo.Point {
	var out []*repo.Point
	for _, p := range points {
		if hasAll(p.Tags, o.tags) {
			out = append(out, p)
		}
	}
	if o.last > 0 && len(out) > o.last {
		out = out[len(out)-o.last:]
	}
	return out
}

func hasAll(have, want []string) bool {
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || h == w
		}
		if !found {
			return false
		}
	}
	return true
}

func printPoints(app *cli.App, points []*repo.Point, decisions map[uint64]retain.Decision) error {
	if len(points) == 0 {
		app.Notef("There are no recovery points.")
		return nil
	}
	rows := [][]string{{"POINT", "TIME", "HOST", "TYPE", ">FILES", ">SIZE", ">NEW", ">STORED", "EXPIRES", "KEPT AS", "PATHS", "TAGS"}}
	for _, p := range points {
		s := p.Statistics
		at := cli.Time(p.Started, app.Zone)
		if s.Warnings > 0 {
			at += " !"
		}
		if len(p.Suspect) > 0 {
			at += " SUSPECT"
		}
		expires, why := "?", "no receipt yet"
		if d, ok := decisions[p.Sequence]; ok {
			expires, why = ends(app, d.Ends), d.Why
		}
		paths := make([]string, len(p.Paths))
		for i, path := range p.Paths {
			paths[i] = cli.Quote(path)
		}
		rows = append(rows, []string{
			p.ID.Short(), at, cli.Quote(p.Host), pointType(p), cli.Count(s.Files), cli.Size(s.Bytes), cli.Size(s.BytesNew), cli.Size(s.BytesStored),
			expires, cli.Quote(why), strings.Join(paths, " "), cli.Quote(strings.Join(p.Tags, ",")),
		})
	}
	return cli.Table(app.Stdout, rows)
}

// pointType says how a point's files fit together.
func pointType(p *repo.Point) string {
	if t := p.Consistency.Type; t != repo.Untyped {
		return t.String()
	}
	return "?"
}

// pointJSON is a recovery point in JSON.
type pointJSON struct {
	ID         string         `json:"id"`
	Sequence   uint64         `json:"sequence"`
	Started    string         `json:"started"`
	Finished   string         `json:"finished"`
	Host       string         `json:"host"`
	User       string         `json:"user"`
	OS         string         `json:"os"`
	Program    string         `json:"program"`
	Type       string         `json:"type,omitempty"` // how its files fit together; none in points of early versions
	TypeWhy    string         `json:"type_why,omitempty"`
	Suspect    []string       `json:"suspect,omitempty"` // why it looks as if somebody had encrypted its files
	Paths      []cli.Path     `json:"paths"`
	Tags       []string       `json:"tags"`
	Statistics statisticsJSON `json:"statistics"`
	Life       *lifeJSON      `json:"life,omitempty"` // none: no receipt yet
}

type statisticsJSON struct {
	Files       uint64 `json:"files"`
	Folders     uint64 `json:"folders"`
	Links       uint64 `json:"links"`
	Others      uint64 `json:"others"`
	Bytes       uint64 `json:"bytes"`
	New         uint64 `json:"new"`
	Changed     uint64 `json:"changed"`
	Unchanged   uint64 `json:"unchanged"`
	Removed     uint64 `json:"removed"`
	BytesRead   uint64 `json:"bytes_read"`
	BytesNew    uint64 `json:"bytes_new"`
	BytesStored uint64 `json:"bytes_stored"`
	Warnings    uint64 `json:"warnings"`
}

func newPointJSON(p *repo.Point) pointJSON {
	out := pointJSON{
		ID: p.ID.String(), Sequence: p.Sequence, Started: cli.JSONTime(p.Started), Finished: cli.JSONTime(p.Finished),
		Host: p.Host, User: p.User, OS: p.OS, Program: strings.TrimSpace(p.Program + " " + p.Version),
		Paths: []cli.Path{}, Tags: append([]string{}, p.Tags...), Statistics: statisticsJSON(p.Statistics),
		Type: p.Consistency.Type.String(), TypeWhy: p.Consistency.Why, Suspect: p.Suspect,
	}
	for _, path := range p.Paths {
		out.Paths = append(out.Paths, cli.JSONPath(path))
	}
	return out
}
