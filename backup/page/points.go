package page

import (
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// pointRow is a recovery point on a page.
type pointRow struct {
	Sequence uint64
	ID       string
	At       time.Time
	Ends     time.Time // zero: never, as things are
	Why      string    // it is kept
	Tags     []ledger.Tag
	Held     bool
	Receipt  bool   // the ledger knows it
	Policy   string // whose job wrote it, as far as the journal remembers

	Details *repo.Details // nil: the repository is locked
	Href    string        // of its folder, below the base; "": it cannot be entered
}

// Short is the beginning of its ID, as commands take it.
func (p *pointRow) Short() string { return p.ID[:min(8, len(p.ID))] }

// Warned says whether something was left out of it.
func (p *pointRow) Warned() bool { return p.Details != nil && p.Details.Statistics.Warnings > 0 }

// verdict says what time it is in the vault. In a place that cannot be written
// to, this machine's clock must do.
func (q *request) verdict(v *vault) retain.Verdict {
	now := q.o.Now()
	r, err := v.Book().Read(q.r.Context(), now)
	if err != nil {
		r = retain.Reading{Place: now.Unix(), Machine: now.Unix()}
	}
	var out retain.Verdict
	v.Book().View(func(s *retain.State) { out = s.Judge(r) })
	return out
}

// decisions returns what is due for each point that has a receipt.
func (q *request) decisions(v *vault) map[uint64]retain.Decision {
	out := map[uint64]retain.Decision{}
	if v.Book() == nil {
		return out
	}
	verdict := q.verdict(v)
	v.Book().View(func(s *retain.State) {
		for _, d := range s.Plan(verdict) {
			p := *d.Point // the State's own may change
			d.Point = &p
			out[p.Sequence] = d
		}
	})
	return out
}

// pointsOf returns the points of a repository, the newest first. An error with
// points names those that cannot be opened.
func (q *request) pointsOf(v *vault) ([]*pointRow, error) {
	if v.Locked() {
		return q.receipts(v)
	}
	points, bad := v.Points(q.r.Context())
	if len(points) == 0 && bad != nil {
		return nil, bad
	}
	decisions := q.decisions(v)
	rows := make([]*pointRow, 0, len(points))
	for _, p := range slices.Backward(points) {
		row := &pointRow{Sequence: p.Sequence, ID: p.ID.String(), At: p.Started, Details: &p.Details, Why: "has no receipt yet"}
		row.decide(decisions)
		if way, err := v.tree.Path(q.r.Context(), p.ID); err == nil {
			row.Href = "files/" + v.Name + "/" + way + "/"
		}
		rows = append(rows, row)
	}
	return rows, bad
}

// receipts returns what the ledger knows of points: that needs no passphrase.
func (q *request) receipts(v *vault) ([]*pointRow, error) {
	if v.Book() == nil {
		return nil, nil
	}
	if err := v.Book().Refresh(q.r.Context()); err != nil && fault.KindOf(err) != fault.Corrupt {
		return nil, err
	}
	decisions := q.decisions(v)
	var rows []*pointRow
	for _, d := range decisions {
		if d.Point.Deleted != nil {
			continue
		}
		row := &pointRow{Sequence: d.Point.Sequence, ID: d.Point.ID.String(), At: time.Unix(d.Point.Arrival, 0)}
		row.decide(decisions)
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b *pointRow) int { return int(int64(b.Sequence) - int64(a.Sequence)) })
	return rows, nil
}

// decide takes over what is due for the point.
func (p *pointRow) decide(all map[uint64]retain.Decision) {
	d, ok := all[p.Sequence]
	if !ok {
		return
	}
	p.Receipt, p.Why, p.Tags, p.Held = true, d.Why, d.Point.Tags, d.Point.Held
	if d.Ends != 0 {
		p.Ends = time.Unix(d.Ends, 0)
	}
}
