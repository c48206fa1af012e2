package scrub_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

// plain is a store that cannot replace.
type plain struct{ store.Store }

// makePack returns a pack of frames of n bytes each.
func makePack(seed uint64, frames, n int) (pack.ID, []byte) {
	return makePackOf([16]byte{1}, seed, frames, n)
}

func makePackOf(repository [16]byte, seed uint64, frames, n int) (pack.ID, []byte) {
	h := pack.Head{Repository: repository, ID: pack.NewID(seed), Epoch: 1, Session: storetest.Data(seed, 80), ChunkList: storetest.Data(seed+1, 300)}
	var all []byte
	for i := range frames {
		frame := storetest.Data(seed+uint64(i)+2, n)
		all = append(all, frame...)
		h.Lengths = append(h.Lengths, uint32(n))
		h.Hashes = append(h.Hashes, sha256.Sum256(frame))
	}
	return h.ID, append(h.Marshal(), all...)
}

func flip(b []byte) []byte { b[len(b)/2] ^= 4; return b }

// damage is what may be wrong with the object that is to be healed.
var damages = map[string]func(*testing.T, *mem.Store, string){
	"flipped bit": func(t *testing.T, s *mem.Store, name string) { must(t, s.Tamper(name, flip)) },
	"cut short": func(t *testing.T, s *mem.Store, name string) {
		must(t, s.Tamper(name, func(b []byte) []byte { return b[:9] }))
	},
	"longer": func(t *testing.T, s *mem.Store, name string) {
		must(t, s.Tamper(name, func(b []byte) []byte { return append(b, 7) }))
	},
	"missing": func(t *testing.T, s *mem.Store, name string) { must(t, s.Delete(t.Context(), name)) },
	"none":    func(*testing.T, *mem.Store, string) {},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kinds(s *mem.Store) map[string]store.Store {
	return map[string]store.Store{"replaces": s, "plain": plain{s}}
}

// holdsOnly checks that the object is there and nothing else is.
func holdsOnly(t *testing.T, s store.Store, name string, data []byte) {
	t.Helper()
	b, err := store.ReadAll(t.Context(), s, name, int64(len(data)))
	if err != nil || !bytes.Equal(b, data) {
		t.Fatalf("the object: %d bytes of %d, %v", len(b), len(data), err)
	}
	for o, err := range s.List(t.Context(), "") {
		if must(t, err); o.Name != name {
			t.Fatalf("%s is left", o.Name)
		}
	}
}

// recoverable checks that the whole bytes are where a reader finds them, if the
// object was deleted or healed; and that no damage was made worse.
func recoverable(t *testing.T, s store.Store, name string, data []byte) {
	t.Helper()
	b, err := store.ReadAll(t.Context(), s, name, 1<<20)
	if err == nil && bytes.Equal(b, data) {
		return
	}
	b2, err2 := store.ReadAll(t.Context(), s, place.HealedName(name), 1<<20)
	if err2 == nil && bytes.Equal(b2, data) {
		return
	}
	if errors.Is(err, fault.NotExist) {
		t.Fatalf("object and copy are gone: %v, %v", err, err2)
	}
}

// TestHealEveryStepFails fails every operation of a healing, not stored and
// stored but reported failed, once and then for good; what remains is healed
// by a repetition, and by Finish once the copy is durable.
func TestHealEveryStepFails(t *testing.T) {
	id, data := makePack(1, 3, 500)
	name := id.Name()
	states := 0
	for what, damage := range damages {
		for kind := range kinds(mem.New()) {
			for n := int64(1); ; n++ {
				ended := false
				for _, stored := range []bool{false, true} {
					for _, forGood := range []bool{false, true} {
						s := mem.New()
						must(t, s.Put(t.Context(), name, data))
						damage(t, s, name)
						before := s.Clone()
						s.ResetCounts()
						s.SetHook(failFrom(n, stored, forGood))
						err := scrub.Heal(t.Context(), kinds(s)[kind], name, data)
						s.SetHook(nil)
						if err == nil {
							holdsOnly(t, s, name, data)
							ended = ended || s.Counts().RoundTrips() < n
							continue
						}
						states++
						where := fmt.Sprintf("%s, %s, operation %d, stored %v, for good %v", what, kind, n, stored, forGood)
						if what != "missing" {
							recoverable(t, s, name, data)
						}
						again := s.Clone()
						if err := scrub.Heal(t.Context(), kinds(again)[kind], name, data); err != nil {
							t.Fatalf("%s: a repetition: %v", where, err)
						}
						holdsOnly(t, again, name, data)
						finishes(t, where, s.Clone(), before, name, data)
					}
				}
				if ended {
					break
				}
			}
		}
	}
	if states < 50 {
		t.Errorf("only %d states were tried", states)
	}
}

// failFrom fails the n-th operation, and those after it too if it is for good.
func failFrom(n int64, stored, forGood bool) mem.Hook {
	return func(op mem.Op) (before, after error) {
		if op.N < n || op.N > n && !forGood {
			return nil, nil
		}
		if stored && op.N == n {
			return nil, fault.Unavailable
		}
		return fault.Unavailable, nil
	}
}

// finishes lets Finish find what a healing left, killed and repeated at each of
// its own steps.
func finishes(t *testing.T, where string, s, before *mem.Store, name string, data []byte) {
	t.Helper()
	_, copied := s.Get(t.Context(), place.HealedName(name), 0, nil)
	for n := int64(1); n < 100; n++ {
		c := s.Clone()
		c.SetHook(failFrom(n, n%2 == 0, true))
		_, err := scrub.Finish(t.Context(), plain{c})
		c.SetHook(nil)
		if copied == nil {
			recoverable(t, c, name, data)
		}
		if _, err2 := scrub.Finish(t.Context(), plain{c}); err2 != nil {
			t.Fatalf("%s: Finish after one that failed at %d: %v", where, n, err2)
		}
		if copied == nil {
			holdsOnly(t, c, name, data)
		} else if b, _ := store.ReadAll(t.Context(), c, name, 1<<20); !bytes.Equal(b, data) {
			want, _ := store.ReadAll(t.Context(), before, name, 1<<20)
			if !bytes.Equal(b, want) {
				t.Fatalf("%s: Finish without a copy changed the object", where)
			}
		}
		if err == nil {
			return
		}
	}
	t.Fatalf("%s: Finish never ends", where)
}

func TestHealRefusesWrongBytes(t *testing.T) {
	id, data := makePack(1, 3, 500)
	other, _ := makePack(9, 3, 500)
	bad := flip(bytes.Clone(data))
	for name, b := range map[string][]byte{
		id.Name(): bad, other.Name(): data, id.Name() + "0": data, live.Name(live.Hash{3}): data, "points/0000000000000001": data,
	} {
		s := mem.New()
		if err := scrub.Heal(t.Context(), s, name, b); !errors.Is(err, fault.Corrupt) {
			t.Errorf("Heal of %s from wrong bytes: %v", name, err)
		}
		for o := range s.List(t.Context(), "") {
			t.Errorf("%s was stored", o.Name)
		}
	}
}

// TestHealDamagedCopy heals over a copy that is damaged itself.
func TestHealDamagedCopy(t *testing.T) {
	id, data := makePack(1, 3, 500)
	for _, edit := range []func([]byte) []byte{flip, func([]byte) []byte { return nil }, func(b []byte) []byte { return append(b, 1) }} {
		s := mem.New()
		must(t, s.Put(t.Context(), id.Name(), flip(bytes.Clone(data))))
		must(t, s.Put(t.Context(), place.HealedName(id.Name()), edit(bytes.Clone(data))))
		if _, err := scrub.Finish(t.Context(), plain{s}); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("Finish with a damaged copy of a damaged object: %v", err)
		}
		must(t, scrub.Heal(t.Context(), plain{s}, id.Name(), data))
		holdsOnly(t, s, id.Name(), data)
		must(t, s.Put(t.Context(), place.HealedName(id.Name()), edit(bytes.Clone(data))))
		if _, err := scrub.Finish(t.Context(), plain{s}); err != nil {
			t.Fatalf("Finish with a damaged copy of a whole object: %v", err)
		}
		holdsOnly(t, s, id.Name(), data)
	}
}

// TestHealTogether lets several heal one object at once: it is whole when any
// of them is done, and readers find its bytes all the time.
func TestHealTogether(t *testing.T) {
	id, data := makePack(1, 3, 500)
	name := id.Name()
	for round := range 200 {
		s := mem.New()
		must(t, s.Put(t.Context(), name, flip(bytes.Clone(data))))
		place := kinds(s)[[]string{"plain", "replaces"}[round%2]]
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := scrub.Heal(t.Context(), place, name, data); err != nil && !strings.Contains(err.Error(), "again and again") {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if _, err := scrub.Finish(t.Context(), place); err != nil {
			t.Fatal(err)
		}
		holdsOnly(t, s, name, data)
	}
}
