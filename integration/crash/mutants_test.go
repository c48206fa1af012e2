package crash

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// mutant is a program with a bug in it: stores between it and the place change
// the order of what it does, or what it sees, as the bug would. The program
// itself has no such switches.
type mutant struct {
	write   func(store.Store) store.Store // what the backup goes through
	collect func(store.Store) store.Store // what the collector goes through
	heal    func(store.Store) store.Store // what repairs go through
}

// clocked is a store with a clock.
type clocked interface {
	store.Store
	store.Clock
}

// writer returns the store of a run.
func (m mutant) writer(s clocked) store.Store { return through(m.write, s) }

// collector returns the store of a collection.
func (m mutant) collector(s clocked) store.Store { return through(m.collect, s) }

// healer returns the store of a repair.
func (m mutant) healer(s clocked) store.Store { return through(m.heal, s) }

// through keeps the clock of the place in sight.
func through(wrap func(store.Store) store.Store, s clocked) store.Store {
	if wrap == nil {
		return s
	}
	return struct {
		store.Store
		store.Clock
	}{wrap(s), s}
}

// bugs are the planted ones that a crash shows.
var bugs = []struct {
	name string
	mutant
	from int // the first day on which it can be seen
}{
	{"point before packs", mutant{write: holdBack("packs/", "points/")}, 0},
	{"point before live set", mutant{write: holdBack("live/", "points/")}, 0},
	{"healing that deletes first", mutant{heal: func(s store.Store) store.Store { return &rash{s} }}, 0},
	{"original deleted before the moved record", mutant{collect: func(s store.Store) store.Store { return &premature{s} }}, 5},
}

// Each of the planted bugs is found.
func TestCrashesFindPlantedBugs(t *testing.T) {
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			states := int64(0)
			for seed := uint64(1); seed < 4; seed++ {
				c := &crasher{seed: seed, rounds: 11, from: b.from, mutant: b.mutant}
				if err := c.live(t.Context()); err != nil {
					states += c.states.Load()
					text, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("| %s | crash | %d states | %s |", b.name, states, text)
					return
				}
				states += c.states.Load()
			}
			t.Error("nobody noticed")
		})
	}
}

// rash has no copy of what it heals while it does so.
type rash struct{ store.Store }

func (r *rash) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, "healed/") {
		return nil
	}
	return r.Store.Put(ctx, name, data)
}

// premature deletes a pack before it says where its frames are now.
type premature struct{ store.Store }

func (p *premature) Put(ctx context.Context, name string, data []byte) error {
	if id, _, err := pack.ParseMovedName(name); err == nil {
		if err := p.Delete(ctx, id.Name()); err != nil {
			return err
		}
	}
	return p.Store.Put(ctx, name, data)
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
