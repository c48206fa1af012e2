package replicate

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// openLedgers reads both ledgers. A source that went back in time ends the run;
// one whose ledger is damaged is copied without its tags, so that its points
// live for ever in the replica.
func (r *run) openLedgers(ctx context.Context) error {
	book, err := retain.Open(ctx, r.from, retain.Options{Repository: r.id, Memory: r.o.SourceMemory, Accept: r.o.Accept})
	switch {
	case err == nil:
		book.View(func(s *retain.State) { r.source = s })
	case errors.Is(err, fault.Rollback) || !damaged(ctx, err):
		return err
	default:
		r.problem("ledger/", 0, err)
	}
	// A replica without any point has none that could be missing: somebody has
	// emptied it, and it is made anew. That is told, and is no reason to stop.
	anew := len(r.have.points) == 0
	r.book, err = retain.Open(ctx, r.to, retain.Options{Repository: r.id, Memory: r.o.Memory, Accept: r.o.Accept || anew})
	if err != nil {
		return atReplica(err)
	}
	r.report.Emptied = anew && r.book.Ledger().Remembered().Number > r.book.Ledger().Head().Number
	return r.adopt(ctx)
}

// adopt gives receipts to points that a run which was killed right after them
// left without, and holds what the source holds.
func (r *run) adopt(ctx context.Context) error {
	var without []uint64
	r.book.View(func(s *retain.State) {
		for n := range r.have.points {
			if !s.Known(n) {
				without = append(without, n)
			}
		}
	})
	slices.Sort(without)
	for _, n := range without {
		b, err := store.ReadAll(ctx, r.to, point.Name(n), point.MaxObject)
		if err != nil {
			return atReplica(err)
		}
		h, _, err := point.Parse(b)
		if err != nil {
			continue // it is damaged there, which scrub tells
		}
		if err := r.receipt(ctx, n, h.ID, h.Live); err != nil {
			return err
		}
	}
	return r.hold(ctx)
}

// copyLedger keeps a copy of the source's ledger in the replica, from which the
// source's can be healed. It binds nobody here.
func (r *run) copyLedger(ctx context.Context) error {
	if r.source == nil {
		return nil // damaged, which is told; an older copy stays
	}
	objects, bytes, err := ledger.Copy(ctx, r.from, r.to, r.id, r.source.Origin, r.source.Head)
	r.copied.objects.Add(objects)
	r.copied.bytes.Add(bytes)
	if err != nil && damaged(ctx, err) {
		r.problem("ledger/", 0, err)
		return nil
	}
	return err
}

// receipt says in the replica's ledger that a point arrived.
func (r *run) receipt(ctx context.Context, n uint64, id point.ID, root [32]byte) error {
	reading, err := r.book.Read(ctx, r.o.Now())
	if err != nil {
		return atReplica(err)
	}
	_, err = r.book.Append(ctx, r.o.Key, reading, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		if s.Known(n) {
			return nil, nil
		}
		arrival := max(reading.Place, v.Now)
		records := []ledger.Record{ledger.Receipt{Sequence: n, Point: id, Live: root, Arrival: arrival, Tags: r.tags(n, id, s, arrival)}}
		if r.source != nil {
			if p := r.source.Point(n); p != nil && p.ID == id && p.Held {
				records = append(records, ledger.Hold{Sequence: n, Reason: p.Reason})
			}
		}
		return records, nil
	})
	return atReplica(err)
}

// hold holds points that the source has come to hold since they were copied.
// It releases none: that is the replica's own business.
func (r *run) hold(ctx context.Context) error {
	if r.source == nil {
		return nil
	}
	due := false
	r.book.View(func(s *retain.State) { due = len(r.held(s)) > 0 })
	if !due {
		return nil
	}
	reading, err := r.book.Read(ctx, r.o.Now())
	if err != nil {
		return atReplica(err)
	}
	_, err = r.book.Append(ctx, r.o.Key, reading, func(s *retain.State, _ retain.Verdict) ([]ledger.Record, error) {
		return r.held(s), nil
	})
	return atReplica(err)
}

// held returns the records that hold what the source holds and the replica does
// not.
func (r *run) held(s *retain.State) (records []ledger.Record) {
	for _, p := range r.source.Kept() {
		if q := s.Point(p.Sequence); q != nil && p.Held && !q.Held && p.ID == q.ID && len(records) < ledger.MaxRecords {
			records = append(records, ledger.Hold{Sequence: p.Sequence, Reason: p.Reason})
		}
	}
	return records
}

// tags returns those of a point's receipt: the source's, none of them shorter,
// and what the replica's own policy gives beside them. A point that lives for
// ever at its source gets none, and so lives for ever here.
func (r *run) tags(n uint64, id point.ID, replica *retain.State, arrival int64) []ledger.Tag {
	if r.source == nil {
		return nil
	}
	var tags []ledger.Tag
	switch p := r.source.Point(n); {
	case p != nil && p.ID == id:
		tags = p.Lives()
	case p == nil && r.source.Policy != nil:
		tags = r.source.Assign(arrival, 0) // its receipt is still to come
	}
	if len(tags) == 0 {
		return nil
	}
	return merge(append(tags, replica.Assign(arrival, 0)...))
}

// merge leaves one tag of each tier and slot, the longest.
func merge(tags []ledger.Tag) []ledger.Tag {
	slices.SortStableFunc(tags, func(a, b ledger.Tag) int {
		return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Slot, b.Slot), -cmp.Compare(a.Expiry, b.Expiry))
	})
	tags = slices.CompactFunc(tags, func(a, b ledger.Tag) bool { return a.Tier == b.Tier && a.Slot == b.Slot })
	if len(tags) > ledger.MaxTags { // the longest count
		slices.SortStableFunc(tags, func(a, b ledger.Tag) int { return -cmp.Compare(a.Expiry, b.Expiry) })
		tags = tags[:ledger.MaxTags]
	}
	return tags
}
