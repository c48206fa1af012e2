package sim

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// mutant is a program with a bug in it. The program itself has no switches for
// that: stores between it and the place change the order of what it does, or
// what it sees, as the bug would; or something is done beside it.
type mutant struct {
	name    string
	write   func(store.Store) store.Store // what backups go through
	collect func(store.Store) store.Store // what collections go through
	// before is done by a collection before it begins.
	before func(context.Context, *world, *actor, store.Store, *repo.Device) error
	// after is done by a replication when it is done.
	after func(ctx context.Context, from, to store.Store) error
}

// clocked is a store with a clock.
type clocked interface {
	store.Store
	store.Clock
}

func (m *mutant) writer(s clocked) store.Store { return through(m.write, s) }

func (m *mutant) collector(s clocked) store.Store { return through(m.collect, s) }

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

// mutants are the planted bugs that this simulation must find.
func mutants() []mutant {
	return []mutant{
		{name: "collection without grace", collect: func(s store.Store) store.Store { return &hasty{s} }},
		{name: "point before packs", write: func(s store.Store) store.Store { return &holding{Store: s, what: "packs/", until: "points/"} }},
		{name: "point before live set", write: func(s store.Store) store.Store { return &holding{Store: s, what: "live/", until: "points/"} }},
		{name: "listing trusted", before: trustListing},
		{name: "client's time trusted", before: trustClients},
		{name: "expiry without confirmed clock", before: confirmAnything},
		{name: "tag moved", before: moveTags},
		{name: "entry not chained", before: forgeEntry},
		{name: "replica that obeys deletes", after: obeyDeletes},
	}
}

// hasty deletes what it has condemned at once.
type hasty struct{ store.Store }

func (h *hasty) Put(ctx context.Context, name string, data []byte) error {
	err := h.Store.Put(ctx, name, data)
	if err != nil || !strings.HasSuffix(name, "-condemned") {
		return err
	}
	r, err := keep.ParseRound(data)
	if err != nil {
		return err
	}
	for i := range r.Frames {
		if f := &r.Frames[i]; !slices.Contains(f.Masks(), 0) {
			err = errors.Join(err, h.Delete(ctx, f.Pack.Name()))
		}
	}
	for _, p := range r.Pages {
		err = errors.Join(err, h.Delete(ctx, live.Name(p)))
	}
	return err
}

// trustListing deletes what no listed point needs.
func trustListing(ctx context.Context, w *world, _ *actor, s store.Store, _ *repo.Device) error {
	needed := map[pack.ID]bool{}
	for o, err := range s.List(ctx, point.Prefix) {
		if err != nil {
			return err
		}
		b, err := store.ReadAll(ctx, s, o.Name, maxObject)
		if err != nil {
			return err
		}
		h, _, err := point.Parse(b)
		if err != nil {
			return err
		}
		for n, err := range live.Walk(ctx, s, h.Live, nil) {
			if err != nil {
				return err
			}
			needed[n.Pack] = true
		}
	}
	for o, err := range s.List(ctx, pack.Prefix) {
		if err != nil {
			return err
		}
		if id, err := pack.ParseName(o.Name); err == nil && !needed[id] {
			if err := s.Delete(ctx, o.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// trustClients removes points that are a week old by the clocks of those who
// wrote them.
func trustClients(ctx context.Context, w *world, _ *actor, s store.Store, _ *repo.Device) error {
	for o, err := range s.List(ctx, point.Prefix) {
		if err != nil {
			return err
		}
		b, err := store.ReadAll(ctx, s, o.Name, maxObject)
		if err != nil {
			return err
		}
		h, _, err := point.Parse(b)
		if err != nil {
			return err
		}
		if written := time.UnixMicro(int64(h.BodyID.Run())); w.truth.Sub(written) > 7*24*time.Hour {
			if err := s.Delete(ctx, o.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// says appends records, whatever they say.
func says(ctx context.Context, w *world, s store.Store, d *repo.Device, plan func(*retain.State, retain.Reading) []ledger.Record) error {
	book, err := retain.Open(ctx, s, retain.Options{Repository: w.repository})
	if err != nil {
		return err
	}
	reading, err := book.Read(ctx, w.truth)
	if err != nil {
		return err
	}
	_, err = book.Append(ctx, d.Key, reading, func(state *retain.State, _ retain.Verdict) ([]ledger.Record, error) {
		return plan(state, reading), nil
	})
	return err
}

// confirmAnything takes a clock that has jumped for right.
func confirmAnything(ctx context.Context, w *world, _ *actor, s store.Store, d *repo.Device) error {
	return says(ctx, w, s, d, func(state *retain.State, r retain.Reading) []ledger.Record {
		if r.Place < state.Head.Time+25*3600 {
			return nil
		}
		return []ledger.Record{ledger.Clock{Place: r.Place, Machine: r.Machine}}
	})
}

// moveTags gives the tags of each point to the next.
func moveTags(ctx context.Context, w *world, _ *actor, s store.Store, d *repo.Device) error {
	return says(ctx, w, s, d, func(state *retain.State, _ retain.Reading) []ledger.Record {
		kept := state.Kept()
		if len(kept) < 2 || state.Policy == nil {
			return nil
		}
		records := []ledger.Record{ledger.Policy{JSON: state.Policy.Marshal()}}
		for i, p := range kept[1:] {
			records = append(records, ledger.Retag{Sequence: p.Sequence, Tags: kept[i].Tags})
		}
		short := []ledger.Tag{{Tier: ledger.Others, Expiry: kept[0].Arrival}}
		return append(records, ledger.Retag{Sequence: kept[0].Sequence, Tags: short})
	})
}

// forgeEntry appends an entry that does not follow the one before.
func forgeEntry(ctx context.Context, w *world, _ *actor, s store.Store, d *repo.Device) error {
	book, err := retain.Open(ctx, s, retain.Options{Repository: w.repository})
	if err != nil {
		return err
	}
	head := book.Ledger().Head()
	e := &ledger.Entry{Repository: w.repository, Number: head.Number + 1, Time: head.Time, Records: []ledger.Record{ledger.Collected{}}}
	if err := e.Sign(d.Key); err != nil {
		return err
	}
	return s.Put(ctx, ledger.Name(e.Number), e.Bytes())
}

// obeyDeletes removes from the replica what the primary has no more.
func obeyDeletes(ctx context.Context, from, to store.Store) error {
	there := map[string]bool{}
	for o, err := range from.List(ctx, point.Prefix) {
		if err != nil {
			return err
		}
		there[o.Name] = true
	}
	for o, err := range to.List(ctx, point.Prefix) {
		if err != nil {
			return err
		}
		if !there[o.Name] {
			if err := to.Delete(ctx, o.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// holding acknowledges Puts of some objects at once, and does them only behind
// the next Put of others.
type holding struct {
	store.Store
	what, until string

	mu   sync.Mutex
	held map[string][]byte
}

func (h *holding) Put(ctx context.Context, name string, data []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if strings.HasPrefix(name, h.what) {
		if h.held == nil {
			h.held = map[string][]byte{}
		}
		h.held[name] = slices.Clone(data)
		return nil
	}
	err := h.Store.Put(ctx, name, data)
	if err != nil || !strings.HasPrefix(name, h.until) {
		return err
	}
	for _, name := range slices.Sorted(mapKeys(h.held)) {
		err = errors.Join(err, h.Store.Put(ctx, name, h.held[name]))
	}
	h.held = nil
	return err
}

// Get shows what is held back.
func (h *holding) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	h.mu.Lock()
	data, ok := h.held[name]
	h.mu.Unlock()
	if !ok {
		return h.Store.Get(ctx, name, offset, dst)
	}
	if offset >= int64(len(data)) {
		return 0, nil
	}
	return copy(dst, data[offset:]), nil
}
