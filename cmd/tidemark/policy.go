package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

func newPolicy(app *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Say what the agent backs up, and how long points are kept",
		Long: `Say what the agent backs up and when, and how long recovery points are kept.

"add", "edit", "remove" and "list" are about the agent's policies, which have
names and stand in the configuration: paths, exclusions, schedule.

"set", "preview" and "show" are about the retention of the repository, which is
one for all its points: hourly, daily, weekly, monthly, yearly, each if wanted.
Without one everything is kept for ever. A policy of the agent may say it, too;
it then becomes that of its repository.

A point gets its tags when it arrives: of each tier, the latest slot that is
due and not yet taken. So when Saturday's run fails, the next one becomes the
weekly point. A point lives as long as its longest tag. The newest point never
expires. All times are those of the vault's clock; the policy is kept in the
vault's ledger, and no passphrase is needed.`,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newPolicyShow(app), newPolicySet(app), newPolicyPreview(app),
		newPolicyAdd(app), newPolicyEdit(app), newPolicyRemove(app), newPolicyList(app))
	return c
}

func newPolicyShow(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show the retention in force, or a policy of the agent",
		Long: `Show the retention of the repository that is in force, as JSON, which "policy
set FILE" reads. If none was ever set nothing is printed, and everything is
kept.

With NAME show that policy of the agent, as it stands in the configuration, and
its next runs.`,
		Example: `  tidemark policy show > policy.json
  tidemark policy show documents`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return showPolicy(app, args[0])
			}
			return withBook(c.Context(), app, func(r *opened) error {
				var text []byte
				r.Book().View(func(s *retain.State) {
					if s.Policy != nil {
						text = s.Policy.Marshal()
					}
				})
				switch {
				case text != nil && app.Globals.JSON:
					return app.JSON(json.RawMessage(text))
				case text != nil:
					app.Printf("%s\n", text)
				case app.Globals.JSON:
					return app.JSON(nil)
				default:
					app.Notef("No policy is set: every point is kept. `tidemark policy set --daily 30` sets one.")
				}
				return nil
			})
		},
	}
}

func newPolicySet(app *cli.App) *cobra.Command {
	var flags policyFlags
	var yes bool
	c := &cobra.Command{
		Use:   "set [FILE]",
		Short: "Change how long points are kept",
		Long: `Change the retention of the repository: to that of FILE, or as the flags say;
what they do not name stays. Points that are there follow: where a tier keeps
longer, they live longer; where it keeps less or ends, less; a tier that is new
takes points that would have been taken. "policy preview" shows all that
beforehand.

Points that the change cuts are deleted, and can be had back with "points
undelete" for 14 days. If there are any, it asks first; scripts give --yes.
Where points are immutable, nothing can be cut or kept for less time.`,
		Example: `  tidemark policy set --daily 30 --weekly 12 --weekly-on sat --monthly 24
  tidemark policy set --yearly 10 --yearly-in mar --yearly-on "last sat"
  tidemark policy set policy.json`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return withBook(c.Context(), app, func(r *opened) error {
				return setPolicy(c.Context(), app, r, yes, func(old *retain.Policy) (*retain.Policy, error) { return flags.apply(c, args, old) })
			})
		},
	}
	flags.declare(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask, whatever it cuts")
	return c
}

// setPolicy puts an edited policy into force, and tells what it did.
func setPolicy(ctx context.Context, app *cli.App, r *opened, yes bool, change func(*retain.Policy) (*retain.Policy, error)) error {
	edit, err := applyPolicy(ctx, app, r, yes, change)
	if err != nil {
		return err
	}
	if app.Globals.JSON {
		return app.JSON(struct {
			Changed int `json:"changed"`
			Deleted int `json:"deleted"`
		}{edit.Changed, len(edit.Doomed)})
	}
	app.Printf("the policy is in force; %s other tags, %s deleted\n",
		cli.Counted(uint64(edit.Changed), "point has", "points have"), cli.Counted(uint64(len(edit.Doomed)), "point is", "points are"))
	return nil
}

// applyPolicy puts an edited policy into force, after it has asked about points
// that it cuts.
func applyPolicy(ctx context.Context, app *cli.App, r *opened, yes bool, change func(*retain.Policy) (*retain.Policy, error)) (*retain.Edit, error) {
	edit, err := previewEdit(ctx, app, r, change)
	if err != nil {
		return nil, err
	}
	if len(edit.Doomed) > 0 && !yes {
		names := ""
		for _, p := range edit.Doomed {
			names += fmt.Sprintf("  %s of %s\n", p.ID.Short(), ends(app, p.Arrival))
		}
		if err := app.Confirm(fmt.Sprintf("The policy cuts these points, which then are deleted:\n%s", names)); err != nil {
			return nil, err
		}
	}
	seen := len(edit.Doomed)
	_, err = r.write(ctx, app, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		next, err := change(s.Policy)
		if err != nil {
			return nil, err
		}
		if edit, err = s.Edit(next, v); err != nil {
			return nil, err
		}
		if len(edit.Doomed) > seen && !yes {
			return nil, cli.Hint(errors.New("set policy: other points arrived or expired meanwhile, and it would cut more"), "try again")
		}
		return edit.Records, nil
	})
	return edit, err
}

// forbidden says what can be done about what the policy forbids.
func forbidden(err error, p *retain.Policy) error {
	switch {
	case p != nil && p.Immutable == retain.ImmutableLocked:
		return cli.Hint(err, "immutability is locked: nobody can change that, and each point goes when its time is over")
	case p != nil && p.Immutable == retain.ImmutableOn:
		return cli.Hint(err, "`tidemark vault immutable off` ends that, for whoever may write to the vault")
	}
	return cli.Hint(err, "`tidemark policy show` shows the policy and its floors; floors cannot be undercut")
}

// previewEdit works out what a change of the policy does, and writes no more
// than the receipts that are missing.
func previewEdit(ctx context.Context, app *cli.App, r *opened, change func(*retain.Policy) (*retain.Policy, error)) (*retain.Edit, error) {
	var edit *retain.Edit
	_, err := r.write(ctx, app, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		next, err := change(s.Policy)
		if err == nil {
			edit, err = s.Edit(next, v)
		}
		if errors.Is(err, fault.Denied) {
			err = forbidden(err, s.Policy)
		}
		return nil, err
	})
	return edit, err
}

func newPolicyPreview(app *cli.App) *cobra.Command {
	var flags policyFlags
	c := &cobra.Command{
		Use:   "preview [FILE]",
		Short: "Show what a policy keeps, and why",
		Long: `Show each recovery point with its tags, when it expires, and why it is kept;
with FILE or flags as for "policy set", what would be after that change: a - in
front marks the points that it cuts, d those that are deleted and can be had
back, x those whose time is over, which the next prune removes. Nothing is
changed.`,
		Example: `  tidemark policy preview
  tidemark policy preview --daily 7 --weekly 4
  tidemark policy preview policy.json --json`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return withBook(c.Context(), app, func(r *opened) error { return flags.preview(c, app, r, args) })
		},
	}
	flags.declare(c)
	return c
}

func (p *policyFlags) preview(c *cobra.Command, app *cli.App, r *opened, args []string) error {
	changes := len(args) > 0 || slices.ContainsFunc(policyFlagNames[:], c.Flags().Changed)
	var after []retain.Decision
	doomed := map[uint64]bool{}
	v := r.verdict(c.Context(), app)
	if changes {
		edit, err := previewEdit(c.Context(), app, r, func(old *retain.Policy) (*retain.Policy, error) { return p.apply(c, args, old) })
		if err != nil {
			return err
		}
		after = edit.After
		for _, d := range edit.Doomed {
			doomed[d.Sequence] = true
		}
	} else {
		r.Book().View(func(s *retain.State) { after = s.Plan(v) })
	}
	return printPlan(app, after, doomed, v)
}

// printPlan prints what is due for points, and why.
func printPlan(app *cli.App, plan []retain.Decision, doomed map[uint64]bool, v retain.Verdict) error {
	if app.Globals.JSON {
		type planJSON struct {
			Point string `json:"point"`
			Cut   bool   `json:"cut"`
			*lifeJSON
		}
		list := []planJSON{}
		for _, d := range plan {
			list = append(list, planJSON{d.Point.ID.String(), doomed[d.Point.Sequence], newLifeJSON(d)})
		}
		return app.JSON(list)
	}
	suspended(app, v)
	if len(plan) == 0 {
		app.Notef("There are no recovery points.")
		return nil
	}
	rows := [][]string{{"", "POINT", "ARRIVED", "EXPIRES", "WHY", "TAGS"}}
	for _, d := range plan {
		mark := ""
		switch {
		case doomed[d.Point.Sequence]:
			mark = "-"
		case d.Action == retain.Grace, d.Action == retain.Erase:
			mark = "d"
		case d.Action == retain.Expire:
			mark = "x"
		}
		rows = append(rows, []string{mark, d.Point.ID.Short(), ends(app, d.Point.Arrival), ends(app, d.Ends), cli.Quote(d.Why), tagText(app, d.Point.Tags)})
	}
	if err := cli.Table(app.Stdout, rows); err != nil {
		return err
	}
	if len(doomed) > 0 {
		app.Printf("%s; they are deleted, and can be had back for some days\n",
			cli.Counted(uint64(len(doomed)), "point would be cut (-)", "points would be cut (-)"))
	}
	return nil
}

// tagText names tags with the day each ends.
func tagText(app *cli.App, tags []ledger.Tag) string {
	words := make([]string, len(tags))
	for i, t := range tags {
		words[i] = t.Tier.String() + " " + time.Unix(t.Expiry, 0).In(app.Zone).Format("2006-01-02")
	}
	return strings.Join(words, ", ")
}
