package scrub_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

// TestParity heals a pack up to the strength of its parity, and no further.
func TestParity(t *testing.T) {
	w := newWorld(t, 1)
	made := 0
	o := scrub.Options{Whole: func(ctx context.Context, id pack.ID, object []byte) error {
		ok, err := scrub.MakeParity(ctx, w.store, w.id, id, object, 5)
		if ok {
			made++
		}
		return err
	}}
	w.scrub(t, w.store, o)
	w.scrub(t, w.store, o)
	if made != len(w.packs)-1 {
		t.Fatalf("parity of %d packs", made)
	}
	name := w.packs[0].Name()
	size := len(w.bytes(name))
	shard := (size + 99) / 100
	random := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		shards int
		heals  bool
	}{{1, true}, {3, true}, {5, true}, {6, false}, {40, false}} {
		for range 10 {
			s := w.store.Clone()
			must(t, s.Tamper(name, func(b []byte) []byte {
				for _, i := range random.Perm(99)[:c.shards] {
					copy(b[i*shard:(i+1)*shard], storetest.Data(random.Uint64(), shard))
				}
				return b
			}))
			d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{scrub.FromParity(s)}})
			if healed := len(d.Left) == 0; healed != c.heals {
				t.Fatalf("%d shards: healed %v, why %v", c.shards, healed, d.Why)
			}
			if c.heals {
				same(t, "parity", s, w.store)
			}
		}
	}
	for what, edit := range map[string]func([]byte) []byte{
		"cut":    func(b []byte) []byte { return b[:len(b)-4*shard] },
		"longer": func(b []byte) []byte { return append(b, 1, 2, 3) },
	} {
		s := w.store.Clone()
		must(t, s.Tamper(name, edit))
		if d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{scrub.FromParity(s)}}); len(d.Left) > 0 {
			t.Fatalf("%s: %v", what, d.Why)
		}
		same(t, what, s, w.store)
	}
}

// TestParityIsScrubbed finds damage in parity itself.
func TestParityIsScrubbed(t *testing.T) {
	w := newWorld(t, 1)
	id := w.packs[0]
	_, err := scrub.MakeParity(t.Context(), w.store, w.id, id, w.bytes(id.Name()), 3)
	must(t, err)
	random := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		s := w.store.Clone()
		must(t, s.Tamper(scrub.ParityName(id), func(b []byte) []byte { b[random.IntN(len(b))] ^= 1; return b }))
		if got := objects(w.scrub(t, s, scrub.Options{})); len(got) != 1 || got[0] != scrub.ParityName(id) {
			t.Fatal(got)
		}
	}
}

func BenchmarkParity(b *testing.B) {
	object := storetest.Data(1, 16<<20)
	b.SetBytes(16 << 20)
	for b.Loop() {
		if _, err := scrub.Parity([16]byte{1}, pack.ID{2}, object, 5); err != nil {
			b.Fatal(err)
		}
	}
}
