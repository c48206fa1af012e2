package crash

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// mutant is a program with a bug in it: stores between it and the place change
// the order of what it does, or what it sees, as the bug would. The program
// itself has no such switches.
type mutant struct {
	write func(store.Store) store.Store // what the backup goes through
}

// writer returns the store of a run.
func (m mutant) writer(s store.Store) store.Store {
	if m.write == nil {
		return s
	}
	return m.write(s)
}

// bugs are the planted ones that a crash shows.
var bugs = []struct {
	name string
	mutant
}{
	{"point before packs", mutant{write: holdBack("packs/", "points/")}},
	{"point before live set", mutant{write: holdBack("live/", "points/")}},
}

// Each of the planted bugs is found.
func TestCrashesFindPlantedBugs(t *testing.T) {
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			for seed := uint64(1); seed < 4; seed++ {
				c := &crasher{seed: seed, depth: 1, mutant: b.mutant}
				if err := c.live(t.Context()); err != nil {
					t.Logf("found after %d states: %v", c.states.Load(), err)
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}

// held is a Put that was acknowledged and not done.
type held struct {
	name string
	data []byte
}

// holdBack acknowledges Puts of some objects at once, and does them only behind
// the next Put of others: the order that the program took care of is lost.
func holdBack(what, until string) func(store.Store) store.Store {
	return func(s store.Store) store.Store { return &holding{Store: s, what: what, until: until} }
}

type holding struct {
	store.Store
	what, until string

	mu   sync.Mutex
	held []held
}

func (h *holding) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, h.what) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.held = append(h.held, held{name, slices.Clone(data)})
		return nil
	}
	err := h.Store.Put(ctx, name, data)
	if err != nil || !strings.HasPrefix(name, h.until) {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.held {
		err = errors.Join(err, h.Store.Put(ctx, o.name, o.data))
	}
	h.held = nil
	return err
}

// Get shows what is held back, as the program would not have to know.
func (h *holding) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	h.mu.Lock()
	for _, o := range h.held {
		if o.name == name {
			defer h.mu.Unlock()
			if offset >= int64(len(o.data)) {
				return 0, nil
			}
			return copy(dst, o.data[offset:]), nil
		}
	}
	h.mu.Unlock()
	return h.Store.Get(ctx, name, offset, dst)
}

func (h *holding) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return h.Store.List(ctx, prefix)
}
