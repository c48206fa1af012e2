package scrub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

func (w *world) repair(t *testing.T, s store.Store, o scrub.RepairOptions) *scrub.Repaired {
	t.Helper()
	o.Repository, o.Now = w.id, newClock().Now
	d, err := scrub.Repair(t.Context(), s, o)
	must(t, err)
	return d
}

func (w *world) replica() scrub.Source { return scrub.Replica("replica", w.other, w.id) }

// same checks that a store has just the objects of another, but for some.
func same(t *testing.T, what string, got, want store.Store, but ...string) {
	t.Helper()
	names, have := listed(t, want), listed(t, got)
	drop := func(n string) bool { return slices.Contains(but, n) }
	if names, have = slices.DeleteFunc(names, drop), slices.DeleteFunc(have, drop); !slices.Equal(names, have) {
		t.Fatalf("%s: objects %q, want %q", what, have, names)
	}
	for _, name := range names {
		a, err := store.ReadAll(t.Context(), got, name, 64<<20)
		must(t, err)
		b, err := store.ReadAll(t.Context(), want, name, 64<<20)
		must(t, err)
		if !bytes.Equal(a, b) {
			t.Fatalf("%s: %s has other bytes than before", what, name)
		}
	}
}

// ownOnly says whether an object is the place's own, of which a replica has
// none.
func ownOnly(name string) bool {
	return slices.ContainsFunc([]string{"ledger/", "gc/", "intents/", "containers/", "moved/"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

// TestRepairFromReplica damages every object in many ways; a replica, which has
// packs as they were and a ledger of its own, heals what it can, byte by byte.
// What it cannot heal stays as it is, and is named.
func TestRepairFromReplica(t *testing.T) {
	w := newWorld(t, 1)
	path := filepath.Join(t.TempDir(), "state")
	w.scrub(t, w.store, scrub.Options{State: w.state(t, path)})
	random := rand.New(rand.NewPCG(1, 2))
	for what, edit := range map[string]func([]byte) []byte{
		"nothing left": func([]byte) []byte { return nil },
		"half":         func(b []byte) []byte { return b[:len(b)/2] },
		"longer":       func(b []byte) []byte { return append(b, 1, 2, 3) },
		"zeros":        func(b []byte) []byte { return make([]byte, len(b)) },
		"two bits":     func(b []byte) []byte { b[random.IntN(len(b)-1)] ^= 1; b[len(b)-1] ^= 8; return b },
		"bad sectors":  func(b []byte) []byte { copy(b[len(b)/3:len(b)/3*2], bytes.Repeat([]byte{7}, len(b))); return b },
		"gone":         nil,
	} {
		for _, name := range w.names() {
			if edit == nil && (strings.HasPrefix(name, "keys/") || ownOnly(name)) {
				continue // nobody misses it, or only the replica could know
			}
			s := w.store.Clone()
			if edit != nil {
				must(t, s.Tamper(name, edit))
			} else {
				must(t, s.Delete(t.Context(), name))
			}
			damaged := s.Clone()
			d := w.repair(t, s, scrub.RepairOptions{Options: scrub.Options{State: w.state(t, path)}, Sources: []scrub.Source{w.replica()}})
			switch {
			case strings.HasPrefix(name, "intents/"):
				same(t, name+" "+what, s, w.store, name)
			case len(d.Left) == 0 && len(d.Healed) == 1:
				same(t, name+" "+what, s, w.store)
			case !ownOnly(name) || len(d.Left) == 0 || d.Left[0].Object != name || d.Why[name] == nil:
				t.Fatalf("%s, %s: %+v, left %v, why %v", name, what, d.Healed, d.Left, d.Why)
			default:
				same(t, name+" "+what+", left", s, damaged)
			}
		}
	}
}

// TestRepairContainer heals a container's frames from a replica that has them
// in the packs in which they were written.
func TestRepairContainer(t *testing.T) {
	w := newWorld(t, 1)
	for _, name := range w.names() {
		if !strings.HasPrefix(name, pack.ContainerPrefix) {
			continue
		}
		s := w.store.Clone()
		must(t, s.Tamper(name, func(b []byte) []byte { clear(b[len(b)/2:]); return b[:len(b)-100] }))
		d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{w.replica()}})
		if len(d.Left) > 0 || len(d.Healed) != 1 {
			t.Fatalf("%+v, left %v, why %v", d.Healed, d.Left, d.Why)
		}
		same(t, name, s, w.store)
	}
	// And the other way: the replica compacted, and a pack is damaged here.
	here, there := w.other.Clone(), w.store
	must(t, here.Tamper(w.packs[3].Name(), func([]byte) []byte { return nil }))
	d := w.repair(t, here, scrub.RepairOptions{Sources: []scrub.Source{scrub.Replica("replica", there, w.id)}})
	if len(d.Left) > 0 {
		t.Fatalf("left %v, why %v", d.Left, d.Why)
	}
	same(t, "from containers", here, w.other)
}

// TestRepairFromBoth: frames that are damaged on both sides, but not the same.
func TestRepairFromBoth(t *testing.T) {
	w := newWorld(t, 1)
	name := w.packs[0].Name()
	hurt := func(frames ...int) func([]byte) []byte {
		return func(b []byte) []byte {
			h, err := pack.Parse(b)
			must(t, err)
			for _, i := range frames {
				at, _ := h.Frame(i)
				b[at] ^= 1
				b[at+100] ^= 1
			}
			return b
		}
	}
	s := w.store.Clone()
	must(t, s.Tamper(name, hurt(0, 3)))
	must(t, w.other.Tamper(name, hurt(1, 2, 4)))
	if d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{w.replica()}}); len(d.Left) > 0 {
		t.Fatalf("left %v, why %v", d.Left, d.Why)
	}
	same(t, "both", s, w.store)
	must(t, s.Tamper(name, hurt(0, 1)))
	before := s.Clone()
	d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{w.replica()}})
	if len(d.Left) != 2 || len(d.Healed) != 0 {
		t.Fatalf("frame 1 is damaged on both sides: %+v, left %v", d.Healed, d.Left)
	}
	same(t, "not healed", s, before)
}

// TestRepairOneBit heals one flipped bit anywhere, with nothing else to go by,
// but in what carries no proof.
func TestRepairOneBit(t *testing.T) {
	w := newWorld(t, 1)
	random := rand.New(rand.NewPCG(3, 4))
	for _, name := range w.names() {
		if unproven(name) {
			continue
		}
		for range 3 {
			s := w.store.Clone()
			must(t, s.Tamper(name, func(b []byte) []byte { b[random.IntN(len(b))] ^= 1 << random.IntN(8); return b }))
			if d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{scrub.Itself()}}); len(d.Left) > 0 {
				t.Fatalf("%s: left %v, why %v", name, d.Left, d.Why)
			}
			same(t, name, s, w.store)
		}
	}
}

// liar is a source that gives wrong bytes of every kind.
type liar struct{ w *world }

func (liar) Name() string { return "liar" }

func (l liar) Object(_ context.Context, name string, own []byte) ([]byte, error) {
	b := flip(l.w.bytes(name))
	return b, nil
}

func (liar) Frame(_ context.Context, f pack.Stored, own []byte) ([]byte, error) {
	return make([]byte, f.Length), nil
}

// TestRepairTrustsNobody puts nothing that is not proven.
func TestRepairTrustsNobody(t *testing.T) {
	w, foreign := newWorld(t, 1), newWorld(t, 2)
	for _, name := range w.names() {
		if unproven(name) {
			continue
		}
		s := w.store.Clone()
		must(t, s.Tamper(name, func(b []byte) []byte { return b[:len(b)-1] }))
		before := s.Clone()
		d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{liar{w}, scrub.Replica("another's", foreign.store, w.id)}})
		if len(d.Left) == 0 || len(d.Healed) > 0 {
			t.Fatalf("%s: healed %+v", name, d.Healed)
		}
		same(t, name, s, before)
	}
}

// TestRepairIsKilled fails each operation of a repair, in both ways and on both
// kinds of store; the next one goes on.
func TestRepairIsKilled(t *testing.T) {
	w := newWorld(t, 1)
	hurt := w.store.Clone()
	must(t, hurt.Tamper(w.packs[0].Name(), flip))
	must(t, hurt.Delete(t.Context(), w.packs[1].Name()))
	for _, name := range w.names() {
		if strings.HasPrefix(name, "live/") {
			must(t, hurt.Tamper(name, flip))
		}
	}
	states := 0
	for kind := range kinds(mem.New()) {
		for n := int64(1); ; n++ {
			ended := false
			for _, stored := range []bool{false, true} {
				s := hurt.Clone()
				s.SetHook(failFrom(n, stored, true))
				o := scrub.RepairOptions{Sources: []scrub.Source{w.replica()}}
				o.Repository, o.Now, o.Workers = w.id, newClock().Now, 1
				_, err := scrub.Repair(t.Context(), kinds(s)[kind], o)
				s.SetHook(nil)
				if ended = err == nil; !ended && !errors.Is(err, fault.Unavailable) {
					t.Fatal(err)
				}
				states++
				d := w.repair(t, kinds(s)[kind], scrub.RepairOptions{Sources: []scrub.Source{w.replica()}})
				if len(d.Left) > 0 {
					t.Fatalf("%s, operation %d: left %v, why %v", kind, n, d.Left, d.Why)
				}
				same(t, fmt.Sprint(kind, n, stored), s, w.store)
			}
			if ended {
				break
			}
		}
	}
	if states < 200 {
		t.Errorf("only %d states", states)
	}
}

// TestRepairFinishes ends a healing that was cut short.
func TestRepairFinishes(t *testing.T) {
	w := newWorld(t, 1)
	name := w.packs[0].Name()
	s := w.store.Clone()
	must(t, s.Put(t.Context(), place.HealedName(name), w.bytes(name)))
	must(t, s.Delete(t.Context(), name))
	if r := w.scrub(t, s, scrub.Options{}); len(r.Findings) > 0 || !slices.Equal(r.Healing, []string{name}) {
		t.Fatalf("%v, healing %q", r.Findings, r.Healing)
	}
	if d := w.repair(t, s, scrub.RepairOptions{}); !slices.Equal(d.Finished, []string{name}) || len(d.Scrub.Findings) > 0 {
		t.Fatalf("%+v", d)
	}
	same(t, "finished", s, w.store)
}
