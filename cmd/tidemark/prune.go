package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
)

type pruneOptions struct{ dryRun, full bool }

func newPrune(app *cli.App) *cobra.Command {
	var o pruneOptions
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove points whose time is over, and free what nothing needs",
		Long: `Remove the recovery points whose time is over by the policy, and those that were
deleted and whose time of grace is over, and free what no point needs any more.

What is found to be garbage is written down first, waits for a day by the
vault's clock, is looked at again and only then deleted. So a prune frees what
the one of the day before has found: let it run daily. What is needed of mostly
dead packs is moved together, at most twice as much as is freed by that.

No passphrase is needed. Backups, mounts and other prunes can run at the same
time; a prune that was stopped is gone on with by the next. With --dry-run it
says what it would do and changes nothing.

This machine remembers what it counted, so that a prune costs what has changed
since the last one. With --full it counts everything anew.`,
		Example: `  tidemark prune --dry-run
  tidemark prune
  tidemark prune --full --json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), app) },
	}
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would be done, and do nothing")
	c.Flags().BoolVar(&o.full, "full", false, "count anew what all points need")
	return c
}

func (o *pruneOptions) run(ctx context.Context, app *cli.App) error {
	r, err := openLocked(ctx, app)
	if err != nil {
		return err
	}
	plan, err := o.prune(ctx, app, r)
	if plan != nil && err == nil {
		err = o.print(app, plan)
	}
	return errors.Join(err, r.close())
}

func (o *pruneOptions) prune(ctx context.Context, app *cli.App, r *opened) (*keep.Plan, error) {
	if err := r.OpenLedger(ctx, r.local, repo.LedgerOptions{}); err != nil {
		return nil, err
	}
	if r.Book() == nil {
		return nil, fmt.Errorf("prune: the repository cannot be reached: %w", fault.Unavailable)
	}
	var key ed25519.PrivateKey
	var unhealed error
	if !o.dryRun {
		d, err := r.local.Device()
		if err != nil {
			return nil, err
		}
		key = d.Key
		// A copy of a pack would keep it from being seen as gone.
		_, unhealed = scrub.Finish(ctx, r.Store())
	}
	var what atomic.Pointer[string]
	var done, total atomic.Int64
	stop := app.Meter().Poll(func() cli.Progress {
		p := cli.Progress{Files: uint64(done.Load()), TotalFiles: uint64(total.Load()), Noun: "object"}
		if w := what.Load(); w != nil {
			p.Current = *w
		}
		return p
	})
	defer stop()
	plan, err := keep.Prune(ctx, r.Store(), r.Book(), keep.Options{
		Repository: r.ID, Key: key, Counts: filepath.Join(r.local.Dir, "counts"), Machine: app.Now, Full: o.full, DryRun: o.dryRun,
		Progress: func(w string, d, t int) { what.Store(&w); done.Store(int64(d)); total.Store(int64(t)) },
	})
	if err == nil && unhealed != nil {
		plan.Warnings = append(plan.Warnings, unhealed.Error())
	}
	return plan, err
}

func (o *pruneOptions) print(app *cli.App, p *keep.Plan) error {
	if app.Globals.JSON {
		if err := app.JSON(newPruneJSON(p, o.dryRun)); err != nil {
			return err
		}
	} else {
		o.printPlan(app, p)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(app.Stderr, "tidemark: warning: %s\n", cli.Quote(w))
	}
	if len(p.Warnings) > 0 {
		return cli.ErrWarnings
	}
	return nil
}

func at(app *cli.App, seconds int64) string { return cli.Time(time.Unix(seconds, 0), app.Zone) }

// printPlan prints what was done, or would be.
func (o *pruneOptions) printPlan(app *cli.App, p *keep.Plan) {
	if p.Suspended != "" {
		app.Printf("nothing is removed: %s\n", cli.Quote(p.Suspended))
		return
	}
	would := func(done, would string) string {
		if o.dryRun {
			return would
		}
		return done
	}
	for _, e := range p.Expired {
		app.Printf("%s point %s (%s)\n", would("removed", "would remove"), e.ID.Short(), cli.Quote(e.Why))
	}
	if o.dryRun {
		for _, d := range p.Delete {
			app.Printf("would delete %s, %s: %s\n", cli.Quote(d.Name), cli.Size(uint64(d.Bytes)), d.Why)
		}
	}
	app.Printf("%s %s, %s\n", would("freed", "would free"), cli.Size(uint64(p.Bytes())), counted(len(p.Delete), "object"))
	if p.Condemn.Packs+p.Condemn.Parts+p.Condemn.Pages > 0 {
		app.Printf("%s about %s; a prune after %s frees it\n", would("found", "would find"), describeRound(&p.Condemn), at(app, p.Condemn.Until))
	}
	for i := range p.Waiting {
		w := &p.Waiting[i]
		until := at(app, w.Until)
		if w.Until <= p.Now {
			until = "that can be told"
		}
		app.Printf("waiting: about %s, until %s\n", describeRound(w), until)
	}
	if len(p.Compact) > 0 {
		var kept, dead int64
		for _, c := range p.Compact {
			kept, dead = kept+c.Kept, dead+c.Dead
			if o.dryRun {
				app.Printf("would compact %s: %s needed, %s not\n", cli.Quote(c.Name), cli.Size(uint64(c.Kept)), cli.Size(uint64(c.Dead)))
			}
		}
		app.Printf("%s %s of %s; a later prune frees %s by that\n", would("moved", "would move"), cli.Size(uint64(kept)), counted(len(p.Compact), "object"), cli.Size(uint64(kept+dead)))
	}
	if len(p.Expired)+len(p.Delete)+len(p.Compact)+len(p.Waiting) == 0 && p.Condemn.Until == 0 {
		app.Printf("there is no garbage\n")
	}
}

func describeRound(r *keep.RoundPlan) string {
	text := cli.Size(uint64(r.Bytes)) + " of garbage: " + counted(r.Packs, "pack")
	if r.Parts > 0 {
		text += ", parts of " + cli.Count(uint64(r.Parts))
	}
	if r.Pages > 0 {
		text += ", " + cli.Counted(uint64(r.Pages), "page of live sets", "pages of live sets")
	}
	return text
}

type roundJSON struct {
	Round uint64 `json:"round,omitempty"`
	Packs int    `json:"packs"`
	Parts int    `json:"parts"`
	Pages int    `json:"pages"`
	Bytes int64  `json:"bytes"`
	Until string `json:"until,omitempty"`
}

type expiryJSON struct {
	ID       string `json:"id"`
	Sequence uint64 `json:"sequence"`
	Why      string `json:"why"`
}

type deletionJSON struct {
	Object string `json:"object"`
	Bytes  int64  `json:"bytes"`
	Why    string `json:"why"`
}

type compactionJSON struct {
	Object string `json:"object"`
	Kept   int64  `json:"kept"`
	Dead   int64  `json:"dead"`
}

type pruneJSON struct {
	DryRun    bool             `json:"dry_run"`
	Time      string           `json:"time"` // the vault's
	Suspended string           `json:"suspended,omitempty"`
	Removed   []expiryJSON     `json:"removed"`
	Deleted   []deletionJSON   `json:"deleted"`
	Freed     int64            `json:"freed"` // bytes
	Condemned *roundJSON       `json:"condemned,omitempty"`
	Waiting   []roundJSON      `json:"waiting"`
	Compacted []compactionJSON `json:"compacted"`
	Moved     int64            `json:"moved"` // bytes
	Recounted bool             `json:"recounted"`
	Warnings  []string         `json:"warnings"`
}

func newRoundJSON(r *keep.RoundPlan) roundJSON {
	return roundJSON{r.Round, r.Packs, r.Parts, r.Pages, r.Bytes, cli.JSONTime(time.Unix(r.Until, 0))}
}

func newPruneJSON(p *keep.Plan, dryRun bool) pruneJSON {
	j := pruneJSON{
		DryRun: dryRun, Time: cli.JSONTime(time.Unix(p.Now, 0)), Suspended: p.Suspended, Removed: []expiryJSON{}, Deleted: []deletionJSON{},
		Freed: p.Bytes(), Waiting: []roundJSON{}, Compacted: []compactionJSON{}, Moved: p.Moved, Recounted: p.Recount, Warnings: append([]string{}, p.Warnings...),
	}
	for _, e := range p.Expired {
		j.Removed = append(j.Removed, expiryJSON{e.ID.String(), e.Sequence, e.Why})
	}
	for _, d := range p.Delete {
		j.Deleted = append(j.Deleted, deletionJSON{d.Name, d.Bytes, d.Why})
	}
	if p.Condemn.Until != 0 {
		r := newRoundJSON(&p.Condemn)
		j.Condemned = &r
	}
	for i := range p.Waiting {
		j.Waiting = append(j.Waiting, newRoundJSON(&p.Waiting[i]))
	}
	for _, c := range p.Compact {
		j.Compacted = append(j.Compacted, compactionJSON{c.Name, c.Kept, c.Dead})
	}
	return j
}
