package keep_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// Garbage is gone after three collections with a day between: of runs that were
// killed, of points that were removed, containers that were superseded, claims
// of dead runs.
func TestGarbageIsGoneAfterThreeCollections(t *testing.T) {
	for _, counts := range []string{"", "counts"} {
		w := newWorld(t)
		o := keep.Options{}
		if counts != "" {
			o.Counts = filepath.Join(t.TempDir(), counts)
		}
		first := w.write(1, 2, 3, 4, 5, 6)
		second := w.write(1, 4, 7)
		third := w.write(7, 8)
		w.remove(first)
		// A run that was killed before it claimed, and one after.
		dead := w.writer(w.store, 99)
		if _, err := dead.putPack([]int{20, 21}); err != nil {
			t.Fatal(err)
		}
		set := live.NewSet()
		if err := set.Add(pack.ID{9}, geometry(1), 0, 1); err != nil {
			t.Fatal(err)
		}
		written, err := live.Write(t.Context(), w.store, set, live.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		i := &keep.Intent{Repository: repository, Run: 5, Number: 1, Live: written.Root}
		if err := w.store.Put(t.Context(), i.Name(), i.Marshal()); err != nil {
			t.Fatal(err)
		}
		w.sleep(14 * day)
		for range 3 {
			w.prune(o)
			w.whole()
			w.sleep(day)
		}
		if n := len(w.names("points/")); n != 2 {
			t.Errorf("%d points", n)
		}
		// Packs of three frames each: 2, 3 and 5, 6 went with the first point,
		// so that both packs were worth compacting.
		if n := len(w.names(pack.ContainerPrefix)); n == 0 {
			t.Error("nothing was compacted")
		}
		if n := len(w.names("intents/")); n != 1 {
			t.Errorf("%d intents after 17 days", n)
		}
		w.remove(second)
		w.sleep(16 * day)
		for range 3 {
			w.prune(o)
			w.whole()
			w.sleep(day)
		}
		// What is left: the pack of 7, that of 8, one live page, no container.
		if packs, pages := w.names(pack.Prefix), w.names(live.Prefix); len(packs) != 2 || len(pages) != 1 {
			t.Errorf("%v %v", packs, pages)
		}
		if left := append(append(w.names(pack.ContainerPrefix), w.names(pack.MovedPrefix)...), w.names("intents/")...); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if p := w.prune(o); p.Condemn.Round != 0 || len(p.Delete) != 0 || p.Recount != (counts == "") {
			t.Errorf("%+v", p)
		}
		_ = third
		if _, err := w.store.Get(t.Context(), place.Feature, 0, nil); err != nil {
			t.Error(err)
		}
	}
}

// Rounds and folds that are damaged stop no collection, nothing that is needed
// is lost by them, and what was garbage goes in the end.
func TestDamagedRounds(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for _, broken := range []string{"condemned", "dropped", "both", "fold"} {
		t.Run(broken, func(t *testing.T) {
			w := newWorld(t)
			first := w.write(1, 2, 3, 4, 5, 6)
			w.write(1, 4, 7)
			w.remove(first)
			w.sleep(14 * day)
			w.prune(keep.Options{})
			damage := func(part string) {
				t.Helper()
				for _, name := range w.names(keep.Rounds) {
					if strings.HasSuffix(name, part) {
						if err := w.store.Tamper(name, flip); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			switch broken {
			case "condemned":
				damage("condemned")
			case "fold":
				w.fold(t)
				damage("folded")
			default:
				w.sleep(day)
				w.prune(keep.Options{})
				damage("dropped")
				if broken == "both" {
					damage("condemned")
				}
			}
			if n, err := w.writer(w.store, 5).backup([]int{1, 4, 8}); err != nil || n == 0 {
				t.Error(err)
			}
			p := w.prune(keep.Options{})
			if len(p.Warnings) == 0 {
				t.Error("nobody was told")
			}
			w.whole()
			if broken == "fold" { // the last points that were deleted
				w.sleep(15 * day)
				w.prune(keep.Options{})
			}
			for range 4 {
				w.sleep(day)
				if p := w.prune(keep.Options{}); len(p.Warnings) > 0 {
					t.Error(p.Warnings)
				}
				w.whole()
			}
			if p := w.prune(keep.Options{}); p.Condemn.Round != 0 || len(p.Delete) != 0 || len(p.Waiting) > 0 {
				t.Errorf("%+v", p)
			}
		})
	}
}

// fold makes rounds until they are folded.
func (w *world) fold(t *testing.T) {
	t.Helper()
	for i := range 60 {
		n := w.write(1, 4, 200+i)
		if n > 3 {
			w.remove(n - 1)
		}
		w.sleep(day)
		w.prune(keep.Options{})
		for _, name := range w.names(keep.Rounds) {
			if strings.HasSuffix(name, "folded") {
				return
			}
		}
	}
	t.Fatal("nothing was folded")
}

// Rounds are folded, folded ones go, what is gone for a year is forgotten; a
// writer that began before a round that is folded now begins again.
func TestFolds(t *testing.T) {
	w := newWorld(t)
	w.write(1, 2)
	before, err := keep.ReadRounds(t.Context(), w.store, repository)
	if err != nil {
		t.Fatal(err)
	}
	w.fold(t)
	now, err := keep.ReadRounds(t.Context(), w.store, repository)
	if err != nil {
		t.Fatal(err)
	}
	if !before.Outdated(now) || now.Outdated(now) {
		t.Error("a writer that knows nothing of the rounds that were folded goes on")
	}
	many := len(w.names(keep.Rounds))
	w.sleep(31 * day)
	w.prune(keep.Options{})
	w.whole()
	few := w.names(keep.Rounds)
	if len(few) > many-30 || len(few) == 0 {
		t.Errorf("%d rounds of %d are left: %v", len(few), many, few)
	}
	later, err := keep.ReadRounds(t.Context(), w.store, repository)
	if err != nil || now.Outdated(later) {
		t.Errorf("the rounds that were folded are told twice, %v", err)
	}
	var gone pack.ID // the pack of the first garbage
	for id, chunks := range w.chunks {
		if slices.Contains(chunks, 201) {
			gone = id
		}
	}
	if !later.Has(gone, 0) {
		t.Error("what was dropped a month ago is forgotten")
	}
	w.sleep(370 * day)
	w.fold2(t)
	w.sleep(31 * day)
	w.prune(keep.Options{})
	if later, err = keep.ReadRounds(t.Context(), w.store, repository); err != nil || later.Has(gone, 0) {
		t.Errorf("what was dropped a year ago is remembered, %v", err)
	}
	w.whole()
}

// fold2 makes rounds until there is one more fold.
func (w *world) fold2(t *testing.T) {
	t.Helper()
	folds := func() int {
		n := 0
		for _, name := range w.names(keep.Rounds) {
			if strings.HasSuffix(name, "folded") {
				n++
			}
		}
		return n
	}
	for i, had := 0, folds(); folds() == had; i++ {
		n := w.write(1, 4, 400+i)
		w.remove(n - 1)
		w.sleep(day)
		w.prune(keep.Options{})
		if i > 60 {
			t.Fatal("nothing was folded")
		}
	}
}

// A collector that sleeps for days, and wakes up with what it read of the clock,
// takes claims and packs that came meanwhile for young ones and not for some of a
// clock that was ahead.
func TestCollectorThatSlept(t *testing.T) {
	w := newWorld(t)
	w.write(1, 2)
	written, err := live.Write(t.Context(), w.store, live.NewSet(), live.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	claim := &keep.Intent{Repository: repository, Run: 7, Number: 1, Live: written.Root}
	once := false
	w.store.SetHook(func(op mem.Op) (before, after error) {
		if op.Verb != mem.List || op.Name != "intents/" || once {
			return nil, nil
		}
		once = true
		w.sleep(3 * day)
		if _, err := w.writer(w.store, 50).putPack([]int{30, 31}); err != nil {
			t.Error(err)
		}
		return w.store.Put(t.Context(), claim.Name(), claim.Marshal()), nil
	})
	p := w.prune(keep.Options{})
	w.store.SetHook(nil)
	if names := w.names("intents/"); !once || !slices.Equal(names, []string{claim.Name()}) {
		t.Errorf("claims: %v", names)
	}
	if p.Condemn.Round != 0 {
		t.Errorf("a pack that was stored just now is condemned: %+v", p)
	}
}
