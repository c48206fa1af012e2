package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// editPoints says something of points in the ledger.
type editPoints struct {
	yes    bool
	reason string
}

func newPointsHold(app *cli.App) *cobra.Command {
	var o editPoints
	c := &cobra.Command{
		Use:   "hold POINT…",
		Short: "Keep recovery points until they are released",
		Long: `Keep recovery points from expiring, whatever the policy says, until "points
release" ends that. No passphrase is needed.`,
		Example: `  tidemark points hold 3f2a9c01 --reason "audit of 2026"`,
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return o.run(c.Context(), app, args, "held", (*retain.State).Shown, func(s *retain.State, _ retain.Verdict, n uint64) ([]ledger.Record, error) {
				return s.Hold(n, o.reason)
			})
		},
	}
	c.Flags().StringVar(&o.reason, "reason", "", "why; `TEXT` is shown in lists")
	return c
}

func newPointsRelease(app *cli.App) *cobra.Command {
	var o editPoints
	return &cobra.Command{
		Use:     "release POINT…",
		Short:   "End the hold of recovery points",
		Long:    `Let recovery points that were held expire as the policy says.`,
		Example: `  tidemark points release 3f2a9c01`,
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return o.run(c.Context(), app, args, "released", (*retain.State).Kept, func(s *retain.State, _ retain.Verdict, n uint64) ([]ledger.Record, error) {
				return s.Release(n)
			})
		},
	}
}

func newPointsDelete(app *cli.App) *cobra.Command {
	var o editPoints
	c := &cobra.Command{
		Use:   "delete POINT…",
		Short: "Delete recovery points; they can be had back for 14 days",
		Long: `Delete recovery points. They are hidden at once, and removed for good by the
first prune after the policy's time of grace, 14 days at least. Until then
"points --deleted" lists them, "mount --deleted" shows them, and "points
undelete" brings them back.

A POINT must be an ID here. On a terminal it asks first; scripts give --yes.
Where points are immutable, only expired ones can be deleted.`,
		Example: `  tidemark points delete 3f2a9c01
  tidemark points delete --yes 3f2a9c01 77b0a4e2`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return o.run(c.Context(), app, args, "deleted", (*retain.State).Shown, (*retain.State).Delete)
		},
	}
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	return c
}

func newPointsUndelete(app *cli.App) *cobra.Command {
	var o editPoints
	return &cobra.Command{
		Use:   "undelete POINT…",
		Short: "Bring deleted recovery points back",
		Long: `Bring back recovery points that were deleted, by hand or by a policy, as long
as they are not removed for good. One that no policy would keep is held:
"points release" lets it go.`,
		Example: `  tidemark points --deleted
  tidemark points undelete 3f2a9c01`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return o.run(c.Context(), app, args, "undeleted", (*retain.State).Deleted, (*retain.State).Undelete)
		},
	}
}

// run applies an edit to each point that args name, all in one entry.
func (o *editPoints) run(ctx context.Context, app *cli.App, args []string, done string, from func(*retain.State) []*retain.Point,
	edit func(*retain.State, retain.Verdict, uint64) ([]ledger.Record, error)) error {
	return withBook(ctx, app, func(r *opened) error {
		// Before anybody is asked, the arguments must make sense, and points
		// that have no receipt need one.
		if _, err := r.write(ctx, app, func(*retain.State, retain.Verdict) ([]ledger.Record, error) { return nil, nil }); err != nil {
			return err
		}
		var points []retain.Point
		var err error
		r.Book().View(func(s *retain.State) { points, err = pickAll(app, from(s), args) })
		if err != nil {
			return err
		}
		if done == "deleted" {
			if err := o.confirm(app, args, points); err != nil {
				return err
			}
		}
		_, err = r.write(ctx, app, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
			var records []ledger.Record
			for _, p := range points {
				more, err := edit(s, v, p.Sequence)
				if errors.Is(err, fault.Denied) {
					return nil, forbidden(err, s.Policy)
				}
				if err != nil {
					return nil, err
				}
				records = append(records, more...)
			}
			return records, nil
		})
		if err != nil {
			return err
		}
		return o.print(ctx, app, r, points, done)
	})
}

// pickAll returns the points that arguments name, each once.
func pickAll(app *cli.App, from []*retain.Point, args []string) ([]retain.Point, error) {
	var out []retain.Point
	for _, arg := range args {
		p, err := pointIn(app, from, arg)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(q retain.Point) bool { return q.Sequence == p.Sequence }) {
			out = append(out, *p)
		}
	}
	return out, nil
}

// confirm asks before points are deleted, which must be named by their IDs: a
// time would name another point tomorrow.
func (o *editPoints) confirm(app *cli.App, args []string, points []retain.Point) error {
	for _, arg := range args {
		if !slices.ContainsFunc(points, func(p retain.Point) bool { return len(arg) >= 4 && len(arg) <= 64 && p.ID.String()[:len(arg)] == arg }) {
			return cli.Hint(cli.Usage("points delete: %q is no ID", arg), "`tidemark points` lists them")
		}
	}
	if o.yes {
		return nil
	}
	names := ""
	for _, p := range points {
		names += fmt.Sprintf("  %s of %s\n", p.ID.Short(), ends(app, p.Arrival))
	}
	return app.Confirm(fmt.Sprintf("Delete these recovery points?\n%s", names))
}

func (o *editPoints) print(ctx context.Context, app *cli.App, r *opened, points []retain.Point, done string) error {
	decisions, _ := r.decisions(ctx, app)
	type resultJSON struct {
		Point string `json:"point"`
		*lifeJSON
	}
	var list []resultJSON
	for _, p := range points {
		d, ok := decisions[p.Sequence]
		if !ok {
			continue
		}
		if app.Globals.JSON {
			list = append(list, resultJSON{p.ID.String(), newLifeJSON(d)})
			continue
		}
		switch {
		case done == "deleted":
			app.Printf("deleted point %s; it can be had back until %s\n", p.ID.Short(), ends(app, d.Ends))
		case done == "undeleted" && d.Point.Held:
			app.Printf("undeleted point %s; it is held, as nothing else keeps it\n", p.ID.Short())
		default:
			app.Printf("%s point %s; it expires: %s (%s)\n", done, p.ID.Short(), ends(app, d.Ends), cli.Quote(d.Why))
		}
	}
	if app.Globals.JSON {
		return app.JSON(list)
	}
	return nil
}
