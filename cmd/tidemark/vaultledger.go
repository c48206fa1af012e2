package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

func newVaultLedger(app *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "ledger",
		Short: "Verify or show the vault's log",
		Long: `The ledger is the vault's own log: a chain of signed entries that says which
points arrived, for how long each is kept, and what became of those that are
gone. This machine remembers all entries that it has seen.`,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Check every signature and rule of the ledger",
		Long: `Read the whole ledger, check its chain and every signature, hold it against
what this machine remembers, and against the rules of retention: nothing was
removed before its time, no life was shortened without a policy, no time went
backwards. What is wrong is named; the exit code then is 6.`,
		Example: `  tidemark vault ledger verify`,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return verifyLedger(c.Context(), app) },
	}
	var last int
	show := &cobra.Command{
		Use:   "show",
		Short: "Show the entries of the ledger",
		Long: `Show the entries of the ledger, the oldest first: number, the vault's time, who
signed, and what the entry says. With --json each entry is one line.`,
		Example: `  tidemark vault ledger show --last 20`,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return showLedger(c.Context(), app, last) },
	}
	show.Flags().IntVar(&last, "last", 0, "only the newest so many")
	c.AddCommand(verify, show)
	return c
}

func verifyLedger(ctx context.Context, app *cli.App) error {
	o, err := openLocked(ctx, app)
	if err != nil {
		return err
	}
	return errors.Join(o.verifyLedger(ctx, app), o.close())
}

func (o *opened) verifyLedger(ctx context.Context, app *cli.App) error {
	state := &retain.State{}
	report, err := ledger.Verify(ctx, o.Store(), o.ID, state.Fold)
	if err != nil {
		return err
	}
	var remembered ledger.Head
	back := ""
	switch err := o.readBook(ctx, app); {
	case err == nil:
		remembered = o.Book().Ledger().Remembered()
		for _, n := range o.Book().Ledger().Damaged() {
			report.Faults = append(report.Faults, fmt.Errorf("%s: %w", ledger.Name(n), fault.Corrupt))
		}
	case errors.Is(err, fault.Rollback):
		back = err.Error()
	case len(report.Faults) == 0:
		return err
	}
	v := retain.Verdict{}
	if o.Book() != nil {
		v = o.verdict(ctx, app)
	}
	if err := printVerified(app, report, state, remembered, back, v); err != nil {
		return err
	}
	switch {
	case back != "":
		return rolledBack(fmt.Errorf("verify ledger: %w", fault.Rollback))
	case len(report.Faults) > 0 || state.Faulty > 0:
		err := fmt.Errorf("verify ledger: %d damaged, %d against the rules: %w", len(report.Faults), state.Faulty, fault.Corrupt)
		if len(report.Faults) > 0 {
			return healLedger(err)
		}
		return cli.Hint(err, "somebody with keys of this repository wrote what he must not; `tidemark vault ledger show` tells who signed each entry")
	}
	return nil
}

func printVerified(app *cli.App, report *ledger.Report, state *retain.State, remembered ledger.Head, back string, v retain.Verdict) error {
	if app.Globals.JSON {
		return app.JSON(newVerifiedJSON(report, state, remembered, back, v))
	}
	for _, f := range report.Faults {
		app.Printf("damaged: %s\n", cli.Quote(f.Error()))
	}
	for _, f := range state.Faults {
		app.Printf("unlawful: entry %d of the ledger %s\n", f.Entry, cli.Quote(f.Text))
	}
	if back != "" {
		app.Printf("went back: %s\n", cli.Quote(back))
	}
	suspended(app, v)
	app.Printf("%s, %s, %s kept (%s deleted), %s removed\n",
		cli.Counted(report.Head.Number, "entry", "entries"), cli.Counted(uint64(len(report.Signers)), "signer", "signers"),
		cli.Counted(uint64(len(state.Kept())), "point", "points"), cli.Count(uint64(len(state.Deleted()))), cli.Count(uint64(len(state.Removed(0)))))
	switch {
	case app.Globals.Quiet || back != "":
	case remembered.Number == 0:
		app.Printf("freshness: not proven, this machine had not seen this ledger before\n")
	default:
		app.Printf("freshness: holds all %s that this machine remembers, the last of %s\n",
			cli.Counted(remembered.Number, "entry", "entries"), ends(app, remembered.Time))
	}
	return nil
}

type verifiedJSON struct {
	Entries    uint64            `json:"entries"`
	Hash       string            `json:"hash"`
	Rolls      int               `json:"rolls"`
	Signers    map[string]uint64 `json:"signers"`
	Kept       int               `json:"kept"`
	Deleted    int               `json:"deleted"`
	Removed    int               `json:"removed"`
	Damaged    []string          `json:"damaged"`
	Unlawful   []string          `json:"unlawful"`
	Remembered uint64            `json:"remembered"`
	WentBack   string            `json:"went_back,omitempty"`
	Suspended  string            `json:"expiry_suspended,omitempty"`
}

func newVerifiedJSON(report *ledger.Report, state *retain.State, remembered ledger.Head, back string, v retain.Verdict) verifiedJSON {
	j := verifiedJSON{
		Entries: report.Head.Number, Hash: report.Head.Hash.String(), Rolls: report.Rolls, Signers: map[string]uint64{},
		Kept: len(state.Kept()), Deleted: len(state.Deleted()), Removed: len(state.Removed(0)),
		Damaged: []string{}, Unlawful: []string{}, Remembered: remembered.Number, WentBack: back, Suspended: v.Why,
	}
	for s, n := range report.Signers {
		j.Signers[s.String()] += n
	}
	for _, f := range report.Faults {
		j.Damaged = append(j.Damaged, f.Error())
	}
	for _, f := range state.Faults {
		j.Unlawful = append(j.Unlawful, fmt.Sprintf("entry %d %s", f.Entry, f.Text))
	}
	return j
}

func showLedger(ctx context.Context, app *cli.App, last int) error {
	o, err := openLocked(ctx, app)
	if err != nil {
		return err
	}
	var entries []*ledger.Entry
	report, err := ledger.Verify(ctx, o.Store(), o.ID, func(e *ledger.Entry) {
		entries = append(entries, e)
		if last > 0 && len(entries) > last {
			entries = entries[1:]
		}
	})
	if err != nil {
		return errors.Join(err, o.close())
	}
	for _, e := range entries {
		if err := printEntry(app, e); err != nil {
			return errors.Join(err, o.close())
		}
	}
	return errors.Join(errors.Join(report.Faults...), o.close())
}

func printEntry(app *cli.App, e *ledger.Entry) error {
	if app.Globals.JSON {
		records := make([]recordJSON, len(e.Records))
		for i, r := range e.Records {
			records[i] = newRecordJSON(app, r)
		}
		return app.JSON(struct {
			Entry   uint64       `json:"entry"`
			Time    string       `json:"time"`
			Signer  string       `json:"signer"`
			Hash    string       `json:"hash"`
			Records []recordJSON `json:"records"`
		}{e.Number, unixJSON(e.Time), e.Signer.String(), e.Hash.String(), records})
	}
	for i, r := range e.Records {
		head := fmt.Sprintf("%d  %s  %s", e.Number, ends(app, e.Time), e.Signer)
		if i > 0 {
			head = fmt.Sprintf("%*s", len(head), "")
		}
		app.Printf("%s  %s\n", head, cli.Quote(recordText(app, r)))
	}
	return nil
}

type recordJSON struct {
	Kind     string `json:"kind"`
	Sequence uint64 `json:"sequence,omitempty"`
	Point    string `json:"point,omitempty"`
	Text     string `json:"text"`
}

func newRecordJSON(app *cli.App, r ledger.Record) recordJSON {
	j := recordJSON{Kind: r.Kind().String(), Text: recordText(app, r)}
	switch r := r.(type) {
	case ledger.Receipt:
		j.Sequence, j.Point = r.Sequence, r.Point.String()
	case ledger.Removed:
		j.Sequence, j.Point = r.Sequence, r.Point.String()
	case ledger.Retag:
		j.Sequence = r.Sequence
	case ledger.Deleted:
		j.Sequence = r.Sequence
	case ledger.Undeleted:
		j.Sequence = r.Sequence
	case ledger.Hold:
		j.Sequence = r.Sequence
	case ledger.Release:
		j.Sequence = r.Sequence
	}
	return j
}

// recordText says in a line what a record says.
func recordText(app *cli.App, r ledger.Record) string {
	kind := r.Kind().String()
	switch r := r.(type) {
	case ledger.Receipt:
		return fmt.Sprintf("%s: point %s (%d) arrived %s; %s", kind, r.Point.Short(), r.Sequence, ends(app, r.Arrival), tagText(app, r.Tags))
	case ledger.Retag:
		return fmt.Sprintf("%s: point %d: %s", kind, r.Sequence, tagText(app, r.Tags))
	case ledger.Deleted:
		return fmt.Sprintf("%s: point %d, gone after %s", kind, r.Sequence, ends(app, r.GoneAfter))
	case ledger.Removed:
		return fmt.Sprintf("%s: point %s (%d), %s", kind, r.Point.Short(), r.Sequence, r.Why)
	case ledger.Hold:
		return fmt.Sprintf("%s: point %d: %s", kind, r.Sequence, r.Reason)
	case ledger.Extended:
		return fmt.Sprintf("%s: point %d, until %s", kind, r.Sequence, ends(app, r.Until))
	case ledger.Policy:
		return kind + ": " + string(r.JSON)
	case ledger.Clock:
		return fmt.Sprintf("%s: the vault's says %s, the machine's %s", kind, ends(app, r.Place), ends(app, r.Machine))
	case ledger.Compacted:
		return fmt.Sprintf("%s: %d packs", kind, len(r.Packs))
	case ledger.Standing:
		return kind + ": the place's clock is behind, and the vault's time stands still"
	case ledger.Unknown:
		return fmt.Sprintf("%s: %d bytes", kind, len(r.Payload))
	}
	return fmt.Sprintf("%s: %v", kind, r)
}
