package repo

import (
	"context"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// readRounds reads the collector's rounds, and, if one of them is damaged, what
// the points need that are there: all that a run may then rely on.
func (r *Repository) readRounds(ctx context.Context) (*keep.Absent, error) {
	absent, err := keep.ReadRounds(ctx, r.store, r.ID)
	if err != nil || len(absent.Unread()) == 0 {
		return absent, err
	}
	set, err := r.needOfPoints(ctx, 0)
	if err != nil {
		return nil, err
	}
	absent.Trust(set)
	return absent, nil
}

// needOfPoints returns what all points need but one. Those that are damaged,
// or gone since they were listed, are passed over.
func (r *Repository) needOfPoints(ctx context.Context, except uint64) (*live.Set, error) {
	sequences, err := r.sequences(ctx)
	if err != nil {
		return nil, err
	}
	set := live.NewSet()
	seen := make(map[live.Hash]bool)
	skip := func(h live.Hash) bool {
		before := seen[h]
		seen[h] = true
		return before
	}
	for _, n := range sequences {
		if n == except {
			continue
		}
		h, _, err := r.readPoint(ctx, n)
		if err == nil {
			err = addNeeds(ctx, r, set, h, skip)
		}
		if err != nil && !damaged(err) {
			return nil, err
		}
	}
	return set, nil
}

func addNeeds(ctx context.Context, r *Repository, set *live.Set, h *point.Header, skip func(live.Hash) bool) error {
	for need, err := range live.Walk(ctx, livePages{r.store, r}, h.Live, skip) {
		if err != nil {
			return err
		}
		if err := set.AddNeed(need); err != nil {
			return fmt.Errorf("live set of %s: %w: %w", point.Name(h.Sequence), err, fault.Corrupt)
		}
	}
	return nil
}

// lacks says whether raw bytes of a pack cannot be relied on. What the run has
// stored itself no round names that was there before.
func (w *Writer) lacks(id pack.ID, g pack.Geometry, offset, length uint32) bool {
	if !w.absent.Needs(id, g, offset, length) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, own := w.own[id]
	return !own
}

// stillTrusted says, after the point was put, whether all that the run relied
// on is needed by a point that is still there; without damaged rounds that does
// not matter. If a point has gone meanwhile, the collector of a damaged round
// may have seen neither that point nor the run's.
func (w *Writer) stillTrusted(ctx context.Context, p *Point) error {
	if len(w.absent.Unread()) == 0 {
		return nil
	}
	set, err := w.r.needOfPoints(ctx, p.Sequence)
	if err != nil {
		return fmt.Errorf("commit: point %s is written, but whether it is whole could not be seen; run check: %w", p.ID.Short(), err)
	}
	for need := range w.live.All() {
		if _, own := w.own[need.Pack]; own {
			continue
		}
		for i, m := range need.Masks() {
			if m != 0 && !set.Has(need.Pack, i) {
				return fmt.Errorf("commit: point %s may not be whole: a point that it relied on was removed meanwhile, and %s cannot be read; back up again: %w",
					p.ID.Short(), w.absent.Unread()[0].Name, fault.Corrupt)
			}
		}
	}
	return nil
}
