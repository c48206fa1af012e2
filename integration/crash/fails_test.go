package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/integration/sim"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// failures are the ways in which a place fails an operation.
var failures = []struct {
	name string
	on   func(sim.Op) bool
	fate sim.Fate
}{
	{"I/O error", every, sim.Fate{Before: fmt.Errorf("injected: %w", syscall.EIO)}},
	{"full", sim.Op.Changes, sim.Fate{Before: fmt.Errorf("injected: %w: %w", fault.NoSpace, syscall.ENOSPC)}},
	{"short read", func(op sim.Op) bool { return op.Verb == mem.Get }, sim.Fate{Short: true}},
	{"timeout", every, sim.Fate{Before: fmt.Errorf("injected: %w: %w", fault.Unavailable, context.DeadlineExceeded)}},
	{"lost reply", every, sim.Fate{After: fmt.Errorf("injected: %w", fault.Unavailable)}},
}

func every(sim.Op) bool { return true }

// Each operation of everything that is done fails, in each way, once and from
// then on. What is done may fail with it; it does not hang, it harms nothing,
// and once the place works again all goes on.
func TestEveryOperationFails(t *testing.T) {
	ctx := t.Context()
	w, err := newWorld(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.gone(); err != nil {
			t.Error(err)
		}
	})
	var tried atomic.Int64
	for i, s := range w.prepare(t) {
		group, inner := errgroup.WithContext(ctx)
		group.SetLimit(2)
		for _, f := range failures {
			for _, ever := range []bool{false, true} {
				group.Go(func() error {
					stride := int64(3)
					if ever {
						stride = 5 // what fails from there on fails at the next one, too
					}
					if os.Getenv("TIDEMARK_LONG") != "" {
						stride = 1
					}
					for n := int64(1); inner.Err() == nil; n += stride {
						what := fmt.Sprintf("%s, operation %d, %s, for ever %v", s.name, n, f.name, ever)
						c, err := w.snapshot(sim.All, 0)
						if err != nil {
							return err
						}
						more, err := c.failAt(ctx, s, n, f.on, f.fate, ever)
						if err = errors.Join(err, c.gone()); err != nil {
							return fmt.Errorf("%s: %w", what, err)
						}
						if !more {
							break
						}
						tried.Add(1)
					}
					return nil
				})
			}
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := s.run(w, ctx); err != nil {
			t.Fatalf("step %d, %s: %v", i, s.name, err)
		}
	}
	t.Logf("%d failures", tried.Load())
}

// prepare makes a history, and returns the steps that come next.
func (w *world) prepare(t *testing.T) []step {
	t.Helper()
	const days = 7 // then a day has everything: points expire, packs go and move
	for round := range days {
		if err := w.change(newRandom(uint64(round))); err != nil {
			t.Fatal(err)
		}
		if round == days-1 {
			break
		}
		for _, s := range daily {
			if err := s.run(w, t.Context()); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
		w.night(round)
	}
	return daily
}

// failAt takes a step whose n-th operation fails, or all from it on, and then
// everything that follows in peace. It says whether there was an n-th.
func (w *world) failAt(ctx context.Context, s step, n int64, on func(sim.Op) bool, fate sim.Fate, ever bool) (bool, error) {
	counter := &faultCounter{n: n, on: on, fate: fate, ever: ever}
	w.primary.Watch(counter.watch)
	w.replica.Watch(counter.watch)
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := s.run(w, limited)
	w.primary.Watch(nil)
	w.replica.Watch(nil)
	if limited.Err() != nil {
		return false, fmt.Errorf("it hangs: %w", limited.Err())
	}
	if err != nil && !counter.hit() {
		return false, err
	}
	if err != nil && errors.Is(err, context.Canceled) {
		return false, fmt.Errorf("the reason is lost: %w", err)
	}
	if !counter.hit() {
		return false, nil
	}
	for _, s := range recovery {
		if err := s.run(w, ctx); err != nil {
			return false, fmt.Errorf("afterwards, %s: %w", s.name, err)
		}
	}
	if n%4 == 0 || os.Getenv("TIDEMARK_LONG") != "" {
		return true, w.verify(ctx)
	}
	return true, w.whole(ctx, w.primary)
}
