package crash

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidemark-backup/tidemark/integration/sim"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// A bit that flips in any object of any kind is found with no key, is put right
// from the replica, and nothing else is blamed. What a collection has dropped and
// not yet freed is told apart: nothing needs it any more.
func TestBitFlips(t *testing.T) {
	flips := 2_000
	if os.Getenv("TIDEMARK_LONG") != "" {
		flips = 50_000
	}
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
	for round := range 9 { // so many that something was moved
		if err := w.change(newRandom(uint64(round))); err != nil {
			t.Fatal(err)
		}
		for _, s := range daily {
			if err := s.run(w, ctx); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
		w.night(round)
	}
	if err := w.closed(ctx, w.primary); err != nil {
		t.Fatalf("before anything was damaged: %v", err)
	}
	kinds := map[string][]string{}
	for o, err := range w.primary.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(o.Name, "/")
		if kind == "keys" {
			kind = o.Name[:len("keys/epoc")]
		}
		kinds[kind] = append(kinds[kind], o.Name)
	}
	order := slices.Sorted(maps.Keys(kinds))
	t.Logf("kinds of objects: %v", order)
	var workers sync.WaitGroup
	for worker := range 2 {
		workers.Go(func() {
			random := newRandom(uint64(100 + worker))
			for i := worker; i < flips && !t.Failed(); i += 2 {
				names := kinds[order[i/2%len(order)]]
				name := names[random.IntN(len(names))]
				if err := w.flip(t, name, random.Uint64()); err != nil {
					t.Errorf("flip %d in %s: %v", i, name, err)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d flips", flips)
}

// opens says whether the passphrase opens the repository, without a fault.
func opens(ctx context.Context, s store.Store) bool {
	r, err := repo.Open(ctx, s, repo.Options{})
	if err == nil {
		_, err = r.Unlock(ctx, []byte(passphrase))
	}
	if err != nil {
		return false
	}
	report, err := repo.Check(ctx, r, repo.CheckOptions{})
	return err == nil && len(report.Faults) == 0
}

// flip flips a bit of an object, and has it found and healed.
func (w *world) flip(t *testing.T, name string, bit uint64) error {
	ctx := t.Context()
	good, err := store.ReadAll(ctx, w.primary.Mem(), name, 64<<20)
	if err != nil {
		return err
	}
	place := w.primary.Snapshot(sim.All, 0)
	bit %= 8 * uint64(len(good))
	if err := place.Mem().Tamper(name, func(b []byte) []byte { b[bit/8] ^= 1 << (bit % 8); return b }); err != nil {
		return err
	}
	id, err := scrub.Identify(ctx, place)
	if err != nil {
		return err
	}
	report, err := scrub.Run(ctx, place, scrub.Options{Repository: id, Now: w.now})
	if err != nil {
		return err
	}
	found := report.Dropped > 0
	if found && (len(report.Findings) > 0 || report.Dropped != 1) {
		return fmt.Errorf("bit %d is in %d frames that are dropped, and in %v", bit, report.Dropped, report.Findings)
	}
	for _, f := range report.Findings {
		if f.Object != name && f.Point == 0 {
			return fmt.Errorf("bit %d: %s is blamed: %v", bit, f.Object, f.Err)
		}
		found = found || f.Object == name
	}
	if !found && (name == "repository" || strings.HasPrefix(name, "keys/")) {
		// What only keys can tell is found by whoever has them.
		found = !opens(ctx, place)
	}
	if !found {
		return fmt.Errorf("bit %d of %d is not found", bit, 8*len(good))
	}
	if err := scrub.Heal(ctx, place, name, good); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	if b, err := store.ReadAll(ctx, place, name, 64<<20); err != nil || !bytes.Equal(b, good) {
		return fmt.Errorf("it is not as it was: %w", err)
	}
	return w.closed(ctx, place)
}
