package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// policyEdit is an edit of a policy of the configuration.
type policyEdit struct {
	flags       agentPolicyFlags
	retention   policyFlags
	yes, dryRun bool
}

func (o *policyEdit) declare(c *cobra.Command) {
	o.flags.declare(c)
	o.retention.declare(c)
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would be done, and do nothing")
}

func newPolicyAdd(app *cli.App) *cobra.Command {
	var o policyEdit
	c := &cobra.Command{
		Use:   "add NAME PATH…",
		Short: "Add a policy: what the agent backs up, and when",
		Long: `Add a policy to the configuration: what the agent backs up by itself, and when.
The file is edited in place: what is there stays as it is, with comments. It is
shown what would be written, when the policy will run, and what else follows;
then it asks, but for --yes. An agent that runs takes the policy up at once.

Without --every, --at, --days or --cron it runs only when somebody asks. Flags
such as --daily say how long points are kept, for all points of the repository;
without them that stays as it is. -r names another repository than the file's.`,
		Example: `  tidemark policy add documents /home /srv/documents --every 4h --daily 30
  tidemark policy add machine /etc /var --at 03:00 --days mon,fri`,
		Args: arguments(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, args []string) error {
			return editConfig(c.Context(), app, &o, args[0], func(d *config.Document) error {
				p := config.Policy{Name: args[0]}
				var err error
				if p.Paths, err = absolutes(args[1:]); err != nil {
					return err
				}
				if c.Flags().Changed("repository") {
					p.Repository = app.Globals.Repository
				}
				if err := o.apply(c, &p); err != nil {
					return err
				}
				return d.AddPolicy(p)
			})
		},
	}
	o.declare(c)
	return c
}

func newPolicyEdit(app *cli.App) *cobra.Command {
	var o policyEdit
	var paths []string
	c := &cobra.Command{
		Use:   "edit NAME",
		Short: "Change a policy of the agent",
		Long: `Change a policy of the configuration: what the flags name; the rest stays. Lists
are replaced. The file is edited in place, with comments and order as they are.
It is shown what would be written, the next runs, and, where it is about how
long points are kept, which points that cuts; then it asks, but for --yes.

A change of retention is put into force in the repository at once. Points that
it cuts can be had back with "points undelete" for 14 days.`,
		Example: `  tidemark policy edit documents --at 12:00,18:00
  tidemark policy edit documents --daily 7 --dry-run`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return editConfig(c.Context(), app, &o, args[0], func(d *config.Document) error {
				return d.EditPolicy(args[0], func(p *config.Policy) error {
					var err error
					if c.Flags().Changed("path") {
						if p.Paths, err = absolutes(paths); err != nil {
							return err
						}
					}
					if c.Flags().Changed("repository") {
						p.Repository = app.Globals.Repository
					}
					return o.apply(c, p)
				})
			})
		},
	}
	o.declare(c)
	c.Flags().StringArrayVar(&paths, "path", nil, "what to back up, instead of what it was")
	return c
}

// apply puts flags into a policy.
func (o *policyEdit) apply(c *cobra.Command, p *config.Policy) error {
	if err := o.flags.apply(c, p); err != nil {
		return err
	}
	if !slices.ContainsFunc(policyFlagNames[:], c.Flags().Changed) {
		return nil
	}
	next, err := o.retention.apply(c, nil, p.Retention)
	if err == nil {
		p.Retention = next
	}
	return err
}

func absolutes(paths []string) ([]string, error) {
	out := make([]string, len(paths))
	for i, p := range paths {
		var err error
		if out[i], err = filepath.Abs(p); err != nil {
			return nil, fmt.Errorf("find %s: %w", p, err)
		}
	}
	return out, nil
}

// effect is what follows from an edit.
type effect struct {
	Policy  string      `json:"policy"`
	File    string      `json:"file"`
	Removed []string    `json:"lines_removed"`
	Added   []string    `json:"lines_added"`
	Next    []time.Time `json:"next"`           // runs, without jitter
	Cut     []string    `json:"cut"`            // points that the edit cuts
	Note    string      `json:"note,omitempty"` // why that is not known
	Written bool        `json:"written"`
}

// shownRuns is how many of the next runs are shown.
const shownRuns = 3

// editConfig edits the configuration, shows what follows, asks, writes, and has
// the agent read it.
func editConfig(ctx context.Context, app *cli.App, o *policyEdit, name string, edit func(*config.Document) error) error {
	d, err := config.OpenDocument(configPath(app))
	if err != nil {
		return err
	}
	before := *d.Config()
	old := d.Text()
	if err := edit(d); err != nil {
		return policyUnknown(app, err)
	}
	p := d.Config().Policy(name)
	e := effect{Policy: name, File: configPath(app), Next: nextRuns(app, p), Cut: []string{}}
	e.Removed, e.Added = changedLines(old, d.Text())
	retention := retentionChanged(before.Policy(name), p)
	if retention {
		if e.Cut, err = cutBy(ctx, app, p); err != nil {
			e.Note = err.Error()
		}
	}
	if !app.Globals.JSON {
		e.print(app)
	}
	if o.dryRun || old == d.Text() {
		return e.end(app)
	}
	if !o.yes {
		if err := app.Confirm(""); err != nil {
			return err
		}
	}
	if err := d.Save(); err != nil {
		return err
	}
	e.Written = true
	if retention && e.Note == "" {
		if err := putRetention(ctx, app, p); err != nil {
			return err
		}
	}
	return errors.Join(e.end(app), reloadAgent(ctx, app))
}

func (e *effect) print(app *cli.App) {
	for _, line := range e.Removed {
		app.Printf("- %s\n", cli.Quote(line))
	}
	for _, line := range e.Added {
		app.Printf("+ %s\n", cli.Quote(line))
	}
	if len(e.Removed)+len(e.Added) == 0 {
		app.Printf("nothing changes in %s\n", cli.Quote(e.File))
	}
	var runs []string
	for _, t := range e.Next {
		runs = append(runs, cli.Time(t, app.Zone))
	}
	if len(runs) == 0 {
		runs = []string{"only when asked"}
	}
	app.Printf("next runs: %s\n", strings.Join(runs, ", "))
	if len(e.Cut) > 0 {
		app.Printf("points that are cut, and then deleted (`tidemark points undelete` brings them back for 14 days): %s\n", strings.Join(e.Cut, ", "))
	}
	if e.Note != "" {
		app.Notef("tidemark: which points are cut is not known: %s", cli.Quote(e.Note))
	}
}

func (e *effect) end(app *cli.App) error {
	if app.Globals.JSON {
		return app.JSON(e)
	}
	if e.Written {
		app.Printf("written to %s\n", cli.Quote(e.File))
	}
	return nil
}

// reloadAgent has an agent that runs read its configuration.
func reloadAgent(ctx context.Context, app *cli.App) error {
	err := agentClient(app).Reload(ctx)
	if errors.Is(err, agent.ErrNotRunning) {
		app.Notef("No agent runs; it reads the file when it starts.")
		return nil
	}
	return err
}

// policyUnknown says what policies there are.
func policyUnknown(app *cli.App, err error) error {
	if fault.KindOf(err) == fault.NotExist {
		return cli.Hint(err, "`tidemark policy list` lists them")
	}
	return err
}

// nextRuns are the next runs of a policy by its schedule.
func nextRuns(app *cli.App, p *config.Policy) []time.Time {
	list := []time.Time{}
	if p == nil || p.Schedule.IsZero() {
		return list
	}
	s, err := schedule.New(p.Schedule, app.Zone)
	if err != nil {
		return list
	}
	for t := s.Next(app.Now()); len(list) < shownRuns && !t.IsZero(); t = s.Next(t) {
		list = append(list, t)
	}
	return list
}

// changedLines are the lines between those that two texts begin and end with
// alike.
func changedLines(old, next string) (removed, added []string) {
	a, b := strings.SplitAfter(old, "\n"), strings.SplitAfter(next, "\n")
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	trim := func(list []string) []string {
		out := []string{}
		for _, l := range list {
			if l = strings.TrimRight(l, "\r\n"); l != "" {
				out = append(out, l)
			}
		}
		return out
	}
	return trim(a), trim(b)
}

// retentionChanged says whether points are to be kept for another time.
func retentionChanged(before, after *config.Policy) bool {
	if after == nil || after.Retention == nil {
		return false
	}
	return before == nil || before.Retention == nil || before.Repository != after.Repository ||
		string(before.Retention.Marshal()) != string(after.Retention.Marshal())
}

// inVault is what the repository's policy is to become.
func inVault(p *config.Policy) func(*retain.Policy) (*retain.Policy, error) {
	return func(old *retain.Policy) (*retain.Policy, error) { return agent.RetentionOf(p, old), nil }
}

// cutBy returns the points that the policy's retention would cut.
func cutBy(ctx context.Context, app *cli.App, p *config.Policy) ([]string, error) {
	list := []string{}
	err := inRepository(ctx, app, p.Repository, func(r *opened) error {
		edit, err := previewEdit(ctx, app, r, inVault(p))
		if err != nil {
			return err
		}
		for _, d := range edit.Doomed {
			list = append(list, d.ID.Short()+" of "+ends(app, d.Arrival))
		}
		return nil
	})
	return list, err
}

func putRetention(ctx context.Context, app *cli.App, p *config.Policy) error {
	return inRepository(ctx, app, p.Repository, func(r *opened) error {
		_, err := applyPolicy(ctx, app, r, true, inVault(p))
		return err
	})
}

// inRepository does something with the ledger of a repository that need not be
// that of the flags.
func inRepository(ctx context.Context, app *cli.App, address string, do func(*opened) error) error {
	other := *app
	other.Globals.Repository = address
	return withBook(ctx, &other, do)
}
