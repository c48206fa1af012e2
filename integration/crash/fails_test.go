package crash

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

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
	tried := 0
	for i, s := range w.prepare(t) {
		for _, f := range failures {
			for _, for_ever := range []bool{false, true} {
				for n := int64(1); ; n++ {
					c, err := w.snapshot(sim.All, 0)
					if err != nil {
						t.Fatal(err)
					}
					what := fmt.Sprintf("%s, operation %d, %s, for ever %v", s.name, n, f.name, for_ever)
					more, err := c.failAt(ctx, s, n, f.on, f.fate, for_ever)
					if err = errors.Join(err, c.gone()); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					if !more {
						break
					}
					tried++
				}
			}
		}
		if err := s.run(w, ctx); err != nil {
			t.Fatalf("step %d, %s: %v", i, s.name, err)
		}
	}
	t.Logf("%d failures", tried)
}

// prepare makes a history, and returns the steps that come next.
func (w *world) prepare(t *testing.T) []step {
	t.Helper()
	for round := range 3 {
		if err := w.change(newRandom(uint64(round))); err != nil {
			t.Fatal(err)
		}
		if round == 2 {
			break
		}
		if err := w.backup(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.advance(25 * time.Hour)
	}
	return recovery
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
	if err != nil && fault.KindOf(err) == fault.Canceled {
		return false, fmt.Errorf("the reason is lost: %w", err)
	}
	for _, s := range recovery {
		if err := s.run(w, ctx); err != nil {
			return false, fmt.Errorf("afterwards, %s: %w", s.name, err)
		}
	}
	return counter.hit(), w.verify(ctx)
}
