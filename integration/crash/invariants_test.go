package crash

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// whole checks that a repository has no damage, and that all points that were
// acknowledged are there and hold what they held, but for those whose time was
// over.
func (w *world) whole(ctx context.Context, s store.Store) error {
	r, err := w.open(ctx, s)
	if err != nil {
		return err
	}
	report, err := repo.Check(ctx, r, repo.CheckOptions{ReadData: 1})
	if err != nil {
		return err
	}
	for _, f := range report.Faults {
		return fmt.Errorf("check: %s hurts %v: %w", f.Object, f.Files, f.Err)
	}
	list, err := r.Points(ctx)
	if err != nil {
		return err
	}
	there, known := map[point.ID]bool{}, extents{}
	for _, p := range list {
		there[p.ID] = true
		want, ok := w.points[p.ID]
		if !ok {
			continue // its reply was lost
		}
		got, err := digestWith(ctx, r, p, known)
		if err != nil {
			return fmt.Errorf("point %d: %w", p.Sequence, err)
		}
		if got != want {
			return fmt.Errorf("point %d holds something else than when it was acknowledged: %w", p.Sequence, fault.Corrupt)
		}
	}
	for id := range w.points {
		if !there[id] && !w.removed[id] {
			return fmt.Errorf("point %s was acknowledged and is not there: %w", id.Short(), fault.NotExist)
		}
	}
	return nil
}

// closed checks, with no key, what must hold at any moment, with nobody having
// repaired anything: all objects are as they were put, and what points need is
// there.
func (w *world) closed(ctx context.Context, s store.Store) error {
	id, err := scrub.Identify(ctx, s)
	if errors.Is(err, fault.NotExist) {
		return nil // a replica that has nothing yet
	}
	if err != nil {
		return err
	}
	report, err := scrub.Run(ctx, s, scrub.Options{Repository: id, Now: w.now})
	if err != nil {
		return err
	}
	for _, f := range report.Findings {
		if s == store.Store(w.primary) && w.damaged && f.Kind == scrub.Damaged {
			continue // it waits for its repair
		}
		return fmt.Errorf("scrub: %s: %w", f, f.Err)
	}
	return nil
}
