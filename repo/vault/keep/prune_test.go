package keep_test

import (
	"path/filepath"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
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
			w.gone[first] = true
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
			w.gone[second] = true
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
