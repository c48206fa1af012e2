package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

func newVaultClock(app *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "clock",
		Short: "Show the vault's clock",
		Long: `Show what time it is in the vault, and whether expiry is suspended. Points
expire by the clock of the place that keeps them, never by a client's. When
that clock jumps by more than 24 hours beyond what is usual, is as much behind
the ledger's last entry, or differs from this machine's by as much, nothing
expires until somebody says with "vault clock confirm" that it is right, or
sets it right.`,
		Example: `  tidemark vault clock
  tidemark vault clock confirm`,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error {
			return withBook(c.Context(), app, func(o *opened) error { return showClock(c.Context(), app, o) })
		},
	}
	var yes bool
	confirm := &cobra.Command{
		Use:   "confirm",
		Short: "Say that the vault's clock is right",
		Long: `Say that the vault's clock is right although it jumped, or differs from this
machine's. Points whose time is over by that clock then expire at the next
prune. On a terminal it asks first; scripts give --yes.

Where a clock was ahead when the ledger was written, expiry would wait until
time catches up. If the vault's clock and this machine's agree, this takes the
ledger's time back to theirs. No point's life becomes shorter by that: those
that arrived by the wrong clock live as long as it promised, and "points delete"
ends them sooner.`,
		Example: `  tidemark vault clock confirm`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return withBook(c.Context(), app, func(o *opened) error { return confirmClock(c.Context(), app, o, yes) })
		},
	}
	confirm.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.AddCommand(confirm)
	return c
}

func showClock(ctx context.Context, app *cli.App, o *opened) error {
	r, err := o.Book().Read(ctx, app.Now())
	if err != nil {
		return err
	}
	v := o.verdict(ctx, app)
	head := o.Book().Ledger().Head()
	if app.Globals.JSON {
		return app.JSON(struct {
			Place     string `json:"place"`
			Machine   string `json:"machine"`
			Now       string `json:"vault"`
			Last      string `json:"last_entry,omitempty"`
			Suspended string `json:"expiry_suspended,omitempty"`
		}{unixJSON(r.Place), unixJSON(r.Machine), unixJSON(v.Now), unixJSON(head.Time), v.Why})
	}
	rows := [][]string{{"CLOCK", "TIME"}, {"the vault's place", ends(app, r.Place)}, {"this machine", ends(app, r.Machine)}}
	if head.Number > 0 {
		rows = append(rows, []string{"last entry of the ledger", ends(app, head.Time)})
	}
	rows = append(rows, []string{"points expire by", ends(app, v.Now)})
	err = cli.Table(app.Stdout, rows)
	suspended(app, v)
	return err
}

func confirmClock(ctx context.Context, app *cli.App, o *opened, yes bool) error {
	r, err := o.Book().Read(ctx, app.Now())
	if err != nil {
		return err
	}
	v := o.verdict(ctx, app)
	if !v.Suspended {
		app.Notef("Nothing is to be confirmed: expiry is not suspended.")
		return nil
	}
	over, question := 0, ""
	o.Book().View(func(s *retain.State) {
		if s.Back(r) {
			question = backQuestion(app, s, r)
			return
		}
		for _, d := range s.Plan(retain.Verdict{Now: r.Place}) {
			if d.Action == retain.Expire || d.Action == retain.Erase {
				over++
			}
		}
	})
	if !yes {
		if question == "" {
			question = fmt.Sprintf("The vault's clock says %s. With that, %s over.\n", ends(app, r.Place), cli.Counted(uint64(over), "point's time is", "points' time is"))
		}
		if err := app.Confirm(question); err != nil {
			return err
		}
	}
	_, err = o.write(ctx, app, func(s *retain.State, _ retain.Verdict) ([]ledger.Record, error) { return s.Confirm(r) })
	if err != nil {
		return err
	}
	return showClock(ctx, app, o)
}

// backQuestion tells what it means that the vault's time goes back.
func backQuestion(app *cli.App, s *retain.State, r retain.Reading) string {
	ahead := uint64(0)
	for _, p := range s.Kept() {
		if p.Arrival > r.Place {
			ahead++
		}
	}
	text := fmt.Sprintf("The vault's clock says %s, and a clock was ahead when the ledger's last entry was written, %s.\nThe ledger's time goes back by that.",
		ends(app, r.Place), ends(app, s.Head.Time))
	if ahead > 0 {
		text += fmt.Sprintf(" %s by that clock, and live as long as it promised.", cli.Counted(ahead, "point came", "points came"))
	}
	return text + "\n"
}

func newVaultImmutable(app *cli.App) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "immutable off|on|locked",
		Short: "Forbid to delete points before they expire",
		Long: `With "on", no recovery point can be deleted before it expires, and no policy
can shorten a life; "off" ends that. "locked" is "on" for good: nobody can turn
it off again.

In a bare folder this binds Tidemark, and shows what others did. Whoever may
delete files there can still do so: a vault server, or a replica under another
administrator, binds him, too.`,
		Example: `  tidemark vault immutable on
  tidemark vault immutable locked --yes`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			kind := args[0]
			if kind == "lock" {
				kind = "locked"
			}
			return withBook(c.Context(), app, func(o *opened) error { return setImmutable(c.Context(), app, o, retain.Immutable(kind), yes) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func setImmutable(ctx context.Context, app *cli.App, o *opened, kind retain.Immutable, yes bool) error {
	var old *retain.Policy
	o.Book().View(func(s *retain.State) { old = s.Policy })
	if old == nil {
		return cli.Hint(cli.Usage("vault immutable: there is no policy, so nothing expires"), "`tidemark policy set` sets one first")
	}
	if kind == retain.ImmutableLocked && old.Immutable != kind && !yes {
		if err := app.Confirm("Locked is for good: nobody can delete points before they expire, or keep them for less time, ever.\n"); err != nil {
			return err
		}
	}
	change := func(old *retain.Policy) (*retain.Policy, error) {
		next := old.Clone()
		next.Immutable = kind
		return next, next.Validate()
	}
	if app.Globals.JSON {
		return setPolicy(ctx, app, o, false, change)
	}
	if _, err := applyPolicy(ctx, app, o, false, change); err != nil {
		return err
	}
	app.Printf("%s\n", map[retain.Immutable]string{
		retain.ImmutableOff:    "immutable: off; points can be deleted before they expire",
		retain.ImmutableOn:     "immutable: on; no point can be deleted before it expires, or be kept for less time",
		retain.ImmutableLocked: "immutable: locked for good; no point can be deleted before it expires, or be kept for less time",
	}[kind])
	return nil
}
