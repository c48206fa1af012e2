package keep_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// objectOfPoint is a whole point that somebody else has made.
func objectOfPoint(repository [16]byte, sequence uint64) []byte {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	h := &point.Header{Repository: repository, Sequence: sequence, Device: key.Public().(ed25519.PublicKey), BodySum: sha256.Sum256(nil)}
	return h.Sign([32]byte{}, key)
}

// What lies among the points and is none is named. While nobody can tell what it
// needs nothing is dropped, and all else goes on; what is whole and somebody
// else's counts for nothing.
func TestForeignObjectsAmongPoints(t *testing.T) {
	for what, c := range map[string]struct {
		object []byte
		waits  bool
	}{
		"a text":                  {[]byte("to be done: buy milk"), true},
		"nothing":                 {nil, true},
		"one without a live set":  {objectOfPoint(repository, 0x77), true},
		"of another repository":   {objectOfPoint([16]byte{8}, 0x77), false},
		"a point of other number": {objectOfPoint(repository, 0x78), false},
	} {
		w := newWorld(t)
		w.write(1, 2, 3)
		w.remove(w.write(4, 5, 6))
		w.write(1, 2)
		name := point.Name(0x77)
		if err := w.store.Put(t.Context(), name, c.object); err != nil {
			t.Fatal(err)
		}
		w.sleep(15 * day)
		before := len(w.names(pack.Prefix))
		for range 3 {
			p := w.prune(keep.Options{})
			if text := strings.Join(p.Warnings, "\n"); !strings.Contains(text, name+" ") || !strings.Contains(text, "delete it") {
				t.Errorf("%s: it is not named: %q", what, text)
			}
			w.sleep(day)
			w.whole()
		}
		if n := len(w.names(point.Prefix)); n != 3 {
			t.Errorf("%s: %d objects of points, so what was removed is there, or more is gone", what, n)
		}
		if waits := len(w.names(pack.Prefix)) == before; waits != c.waits {
			t.Errorf("%s: garbage waits: %v", what, waits)
		}
		if err := w.store.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if p := w.prune(keep.Options{}); len(p.Warnings) > 0 || len(w.names(pack.Prefix)) == before {
			t.Errorf("%s: when it is gone garbage goes: %q", what, p.Warnings)
		}
		w.whole()
	}
}

// What was stored while a clock ran ten years ahead is no fresher than the rest
// once the clock was set right and somebody said so: packs, pages and claims of
// runs that died then go within three collections.
func TestObjectsOfTheFuture(t *testing.T) {
	w := newWorld(t)
	w.write(1, 2)
	w.sleep(3650 * day)
	if _, err := w.writer(w.store, 98).putPack([]int{30, 31}); err != nil {
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
	w.write(1, 2)
	w.sleep(-3650 * day)
	w.mu.Lock()
	w.now = w.now.Add(day)
	w.mu.Unlock()
	for range 3 {
		if p := w.prune(keep.Options{}); p.Suspended != "" {
			t.Fatal(p.Suspended)
		}
		w.whole()
		w.sleep(day)
	}
	if n := len(w.names(pack.Prefix)); n != 1 {
		t.Errorf("%d packs", n)
	}
	if n := len(w.names("intents/")); n != 0 {
		t.Errorf("%d intents", n)
	}
}

// Parity whose pack is gone goes, also if it was put late; that of a pack which
// points need and that is lost stays for who repairs.
func TestOrphanedParity(t *testing.T) {
	w := newWorld(t)
	w.write(1, 2, 3)
	kept := w.names(pack.Prefix)
	parity := func(name string) string { return "parity/" + strings.TrimPrefix(name, pack.Prefix) }
	orphan := parity(pack.ID{1, 2, 3}.Name())
	for _, name := range append([]string{orphan}, parity(kept[0])) {
		if err := w.store.Put(t.Context(), name, []byte("parity")); err != nil {
			t.Fatal(err)
		}
	}
	w.prune(keep.Options{})
	if n := len(w.names("parity/")); n != 2 {
		t.Errorf("fresh parity, of a pack that was put since, perhaps, is gone: %d", n)
	}
	w.sleep(2 * day)
	p := w.prune(keep.Options{})
	if left := w.names("parity/"); len(left) != 1 || left[0] == orphan || len(p.Delete) != 1 || p.Delete[0].Bytes != 6 {
		t.Errorf("left %v, deleted %v", left, p.Delete)
	}
	if err := w.store.Delete(t.Context(), kept[0]); err != nil {
		t.Fatal(err)
	}
	w.prune(keep.Options{})
	if n := len(w.names("parity/")); n != 1 {
		t.Error("parity of a lost pack is gone")
	}
}

// A wait that a clock of the future began ends by the right time: the ledger was
// taken back, and what was condemned then is dropped a day later.
func TestRoundOfTheFuture(t *testing.T) {
	w := newWorld(t)
	w.sleep(3650 * day)
	w.write(1, 2, 3)
	if _, err := w.writer(w.store, 98).putPack([]int{30, 31}); err != nil {
		t.Fatal(err)
	}
	w.sleep(2 * day)
	if p := w.prune(keep.Options{}); p.Condemn.Packs != 1 {
		t.Fatalf("%+v", p)
	}
	w.sleep(-3652 * day)
	w.sleep(2 * day)
	if p := w.prune(keep.Options{}); len(p.Drop) != 1 || len(p.Delete) != 1 {
		t.Errorf("%+v", p)
	}
	w.whole()
	var faults []retain.Fault
	book, err := w.open(t.Context(), w.store)
	if err != nil {
		t.Fatal(err)
	}
	book.View(func(s *retain.State) { faults = s.Faults })
	for _, f := range faults {
		t.Errorf("entry %d %s", f.Entry, f.Text)
	}
	if book.Ledger().Head().Time != w.clock().Unix() {
		t.Error("the ledger's time is not the clock's")
	}
}
