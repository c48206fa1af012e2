package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// readLedger reads the ledger. One that is damaged keeps nobody from his
// points; one that went back in time does.
func (o *opened) readLedger(ctx context.Context, app *cli.App) error {
	err := o.OpenLedger(ctx, o.local, repo.LedgerOptions{Accept: app.Globals.AcceptRollback})
	switch kind := fault.KindOf(err); {
	case err == nil:
	case errors.Is(err, fault.Rollback):
		return rolledBack(err)
	case kind == fault.Corrupt, kind == fault.TooLarge, kind == fault.Unavailable:
		fmt.Fprintf(app.Stderr, "tidemark: warning: the ledger cannot be read, so nobody knows what was deleted or is missing: %s; `tidemark repair` heals it\n", cli.Quote(err.Error()))
		return nil
	default:
		return err
	}
	if app.Globals.Verbose && o.Book().Ledger().Remembered().Number == 0 {
		app.Notef("tidemark: this machine has not seen this repository's ledger before: that it is the newest is not proven")
	}
	o.Book().View(func(s *retain.State) {
		if s.Faulty > 0 {
			first := s.Faults[0]
			fmt.Fprintf(app.Stderr, "tidemark: warning: the ledger breaks the rules of retention (%d times): entry %d %s; `tidemark vault ledger verify` names all\n",
				s.Faulty, first.Entry, cli.Quote(first.Text))
		}
	})
	return nil
}

func rolledBack(err error) error {
	return cli.Hint(err, "somebody put an older state of the repository back; find out who. If it was you, --accept-rollback goes on with what is there, and this machine forgets what is missing")
}

// openBook opens the repository and its ledger for writing into the ledger,
// which needs no passphrase.
func openBook(ctx context.Context, app *cli.App) (*opened, error) {
	o, err := openLocked(ctx, app)
	if err != nil {
		return nil, err
	}
	if _, err = o.Grant(ctx, o.local); err == nil {
		err = o.readBook(ctx, app)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// readBook reads the ledger for who can do nothing without it.
func (o *opened) readBook(ctx context.Context, app *cli.App) error {
	err := o.OpenLedger(ctx, o.local, repo.LedgerOptions{Accept: app.Globals.AcceptRollback})
	switch kind := fault.KindOf(err); {
	case err == nil:
	case errors.Is(err, fault.Rollback):
		return rolledBack(err)
	case kind == fault.Corrupt, kind == fault.TooLarge:
		return healLedger(err)
	}
	return err
}

// healLedger says what helps against a damaged ledger.
func healLedger(err error) error {
	return cli.Hint(err, "`tidemark repair` heals the ledger from a replica, or from what this machine remembers of it")
}

// withBook does something with an open ledger.
func withBook(ctx context.Context, app *cli.App, do func(*opened) error) error {
	o, err := openBook(ctx, app)
	if err != nil {
		return err
	}
	return errors.Join(do(o), o.close())
}

// write appends to the ledger what plan says. Points that have no receipt get
// theirs before, so that plan can speak of them.
func (o *opened) write(ctx context.Context, app *cli.App, plan func(*retain.State, retain.Verdict) ([]ledger.Record, error)) (*ledger.Entry, error) {
	d, err := o.local.Device()
	if err != nil {
		return nil, err
	}
	if _, err := o.Adopt(ctx, d, app.Now()); err != nil {
		return nil, err
	}
	r, err := o.Book().Read(ctx, app.Now())
	if err != nil {
		return nil, err
	}
	e, err := o.Book().Append(ctx, d.Key, r, plan)
	if err == nil && o.Book().Ledger().Memory() != nil {
		app.Notef("tidemark: %v", o.Book().Ledger().Memory())
	}
	return e, err
}

// verdict says what time it is in the vault. In a place that cannot be written
// to, this machine's clock must do.
func (o *opened) verdict(ctx context.Context, app *cli.App) retain.Verdict {
	r, err := o.Book().Read(ctx, app.Now())
	if err != nil {
		r = retain.Reading{Place: app.Now().Unix(), Machine: app.Now().Unix()}
	}
	var v retain.Verdict
	o.Book().View(func(s *retain.State) { v = s.Judge(r) })
	return v
}

// decisions returns what is due for each point that has a receipt.
func (o *opened) decisions(ctx context.Context, app *cli.App) (map[uint64]retain.Decision, retain.Verdict) {
	out := map[uint64]retain.Decision{}
	if o.Book() == nil {
		return out, retain.Verdict{}
	}
	v := o.verdict(ctx, app)
	o.Book().View(func(s *retain.State) {
		for _, d := range s.Plan(v) {
			p := *d.Point // the State's own may change
			d.Point = &p
			out[p.Sequence] = d
		}
	})
	return out, v
}

// suspended tells why nothing expires, if that is so.
func suspended(app *cli.App, v retain.Verdict) {
	switch {
	case !v.Suspended:
	case v.Confirm:
		app.Notef("Expiry is suspended: %s. If the vault's clock is right, `tidemark vault clock confirm` says so.", v.Why)
	default:
		app.Notef("Expiry is suspended: %s. Set the clock right that is wrong.", v.Why)
	}
}

// ends returns when a life ends, as lists show it.
func ends(app *cli.App, at int64) string {
	if at == 0 {
		return "never"
	}
	return time.Unix(at, 0).In(app.Zone).Format("2006-01-02 15:04")
}

// pointIn finds a point of the ledger that a POINT argument names. Times are
// those at which points arrived.
func pointIn(app *cli.App, points []*retain.Point, arg string) (*retain.Point, error) {
	names := make([]cli.PointName, len(points))
	for i, p := range points {
		names[i] = cli.PointName{ID: p.ID.String(), Time: time.Unix(p.Arrival, 0)}
	}
	i, err := cli.SelectPoint(names, arg, app.Now(), app.Zone)
	if err != nil {
		return nil, err
	}
	return points[i], nil
}

// tagJSON is a reason for which a point lives.
type tagJSON struct {
	Tier    string `json:"tier"`
	Slot    string `json:"slot,omitempty"`
	Expires string `json:"expires"`
}

// lifeJSON is what the ledger says of a point.
type lifeJSON struct {
	Arrived string    `json:"arrived"`
	Tags    []tagJSON `json:"tags"`
	Ends    string    `json:"ends,omitempty"` // none: not as things are
	Why     string    `json:"why"`
	Action  string    `json:"action"`
	Held    bool      `json:"held"`
}

func unixJSON(at int64) string { return cli.JSONTime(time.Unix(at, 0)) }

func newLifeJSON(d retain.Decision) *lifeJSON {
	j := &lifeJSON{Arrived: unixJSON(d.Point.Arrival), Tags: newTagsJSON(d.Point.Tags), Why: d.Why, Action: d.Action.String(), Held: d.Point.Held}
	if d.Ends != 0 {
		j.Ends = unixJSON(d.Ends)
	}
	return j
}

func newTagsJSON(tags []ledger.Tag) []tagJSON {
	out := []tagJSON{}
	for _, t := range tags {
		tag := tagJSON{Tier: t.Tier.String(), Expires: unixJSON(t.Expiry)}
		if t.Slot != 0 {
			tag.Slot = unixJSON(t.Slot)
		}
		out = append(out, tag)
	}
	return out
}
