package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

func newPolicyList(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the policies of the agent",
		Long: `List the policies of the configuration: what each backs up, when, and its next
run. "status" tells how they are.`,
		Example: `  tidemark policy list`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			list := app.Globals.Config.Policies
			if app.Globals.JSON {
				out := []*policyInFile{}
				for i := range list {
					out = append(out, newPolicyInFile(app, &list[i]))
				}
				return app.JSON(out)
			}
			if len(list) == 0 {
				app.Notef("There are no policies; `tidemark policy add` adds one.")
				return nil
			}
			rows := [][]string{{"POLICY", "PATHS", "WHEN", "NEXT RUN", "RETENTION", "REPOSITORY"}}
			for i := range list {
				p := &list[i]
				next := ""
				if runs := nextRuns(app, p); len(runs) > 0 {
					next = cli.Time(runs[0], app.Zone)
				}
				kept := "of the repository"
				if p.Retention != nil {
					kept = "its own"
				}
				rows = append(rows, []string{p.Name, cli.Quote(strings.Join(p.Paths, " ")), scheduleText(&p.Schedule), next, kept, cli.Quote(p.Repository)})
			}
			return cli.Table(app.Stdout, rows)
		},
	}
}

// policyInFile is a policy as JSON: what it says, as in the file, and what
// follows.
type policyInFile struct {
	Name       string          `json:"name"`
	Repository string          `json:"repository"`
	Says       json.RawMessage `json:"says"` // the keys of the configuration
	Next       []time.Time     `json:"next"`
}

func newPolicyInFile(app *cli.App, p *config.Policy) *policyInFile {
	j := &policyInFile{Name: p.Name, Repository: p.Repository, Next: nextRuns(app, p), Says: json.RawMessage("{}")}
	var text strings.Builder
	for _, k := range p.Keys() {
		fmt.Fprintf(&text, "%s = %s\n", k[0], k[1])
	}
	says := map[string]any{}
	if _, err := toml.Decode(text.String(), &says); err == nil {
		j.Says, _ = json.Marshal(says) // maps of what TOML has can be told in JSON
	}
	return j
}

func showPolicy(app *cli.App, name string) error {
	d, err := config.OpenDocument(configPath(app))
	if err != nil {
		return err
	}
	p := d.Config().Policy(name)
	if p == nil {
		return policyUnknown(app, fmt.Errorf("find policy %q in %s: %w", name, configPath(app), fault.NotExist))
	}
	if app.Globals.JSON {
		return app.JSON(newPolicyInFile(app, p))
	}
	app.Printf("%s", d.PolicyText(name))
	e := effect{Next: nextRuns(app, p)}
	for _, t := range e.Next {
		app.Printf("# next run: %s\n", cli.Time(t, app.Zone))
	}
	return nil
}

// What becomes of the points of a policy that is removed.
const (
	keepForever = "forever"
	keepExpiry  = "expiry"
	deleteThem  = "delete"
)

func newPolicyRemove(app *cli.App) *cobra.Command {
	var o policyEdit
	var points string
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a policy of the agent",
		Long: `Remove a policy from the configuration, with the comments in it and right above
it; the rest of the file stays as it is. --points says what becomes of the
recovery points that its jobs wrote:

  expiry    they expire as the repository's retention says
  forever   they are held until "points release"; where no other policy writes
            to the repository, all of its points are
  delete    they are deleted, and can be had back for 14 days

On a terminal it asks for what is not said. The points are those of the jobs
that the agent's journal knows.`,
		Example: `  tidemark policy remove documents --points expiry --yes`,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return removePolicy(c.Context(), app, &o, args[0], points)
		},
	}
	c.Flags().StringVar(&points, "points", "", "what becomes of its points: expiry, forever or delete")
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would be done, and do nothing")
	return c
}

func removePolicy(ctx context.Context, app *cli.App, o *policyEdit, name, points string) error {
	d, err := config.OpenDocument(configPath(app))
	if err != nil {
		return err
	}
	p := d.Config().Policy(name)
	if p == nil {
		return policyUnknown(app, fmt.Errorf("find policy %q in %s: %w", name, configPath(app), fault.NotExist))
	}
	if points == "" {
		if points, err = app.Choose("What is to become of its recovery points?", keepExpiry, keepForever, deleteThem); err != nil {
			return err
		}
	}
	if !slices.Contains([]string{keepExpiry, keepForever, deleteThem}, points) {
		return cli.Usage("--points %q: there are expiry, forever and delete", points)
	}
	gone := *p
	alone := !slices.ContainsFunc(d.Config().Policies, func(q config.Policy) bool { return q.Name != name && q.Repository == gone.Repository })
	var about []retain.Point
	if points != keepExpiry {
		if about, err = pointsOf(ctx, app, &gone, alone && points == keepForever); err != nil {
			return err
		}
	}
	edit := *o
	if !o.dryRun && !o.yes {
		app.Printf("policy %s is removed; %s\n", name, fateText(points, len(about)))
	}
	err = editConfig(ctx, app, &edit, name, func(d *config.Document) error { return d.RemovePolicy(name) })
	if err != nil || o.dryRun || len(about) == 0 {
		return err
	}
	return inRepository(ctx, app, gone.Repository, func(r *opened) error {
		_, err := r.write(ctx, app, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
			return fate(s, v, points, name, about)
		})
		if err == nil && !app.Globals.JSON {
			app.Printf("%s\n", fateText(points, len(about)))
		}
		return err
	})
}

// fate holds points, or deletes them.
func fate(s *retain.State, v retain.Verdict, points, name string, about []retain.Point) ([]ledger.Record, error) {
	var records []ledger.Record
	for _, p := range about {
		var more []ledger.Record
		var err error
		if points == keepForever {
			more, err = s.Hold(p.Sequence, "policy "+name+" was removed")
		} else {
			more, err = s.Delete(v, p.Sequence)
		}
		if err != nil {
			return nil, err
		}
		records = append(records, more...)
	}
	return records, nil
}

func fateText(points string, n int) string {
	switch points {
	case keepForever:
		return counted(n, "point") + " held until `tidemark points release`"
	case deleteThem:
		return counted(n, "point") + " deleted; `tidemark points undelete` brings them back for 14 days"
	}
	return "its points expire as the repository's retention says"
}

// pointsOf returns the points that are there of a policy: those of its jobs, or
// all of its repository. Those that are held are left out.
func pointsOf(ctx context.Context, app *cli.App, p *config.Policy, all bool) ([]retain.Point, error) {
	mine := map[string]bool{}
	if !all {
		f := agent.Filter{Policy: p.Name}
		jobs, err := fromJournal(app,
			func(c *agent.Client) ([]journal.Job, error) { return c.Jobs(ctx, f) },
			func(j *journal.Journal) ([]journal.Job, error) { return agent.Jobs(j, f) })
		if err != nil {
			return nil, err
		}
		for i := range jobs {
			mine[jobs[i].Point] = true
		}
	}
	var list []retain.Point
	err := inRepository(ctx, app, p.Repository, func(r *opened) error {
		// Points that have no receipt get theirs.
		if _, err := r.write(ctx, app, func(*retain.State, retain.Verdict) ([]ledger.Record, error) { return nil, nil }); err != nil {
			return err
		}
		r.Book().View(func(s *retain.State) {
			for _, p := range s.Shown() {
				if !p.Held && (all || mine[p.ID.String()]) {
					list = append(list, *p)
				}
			}
		})
		return nil
	})
	return list, err
}
