package ledger

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

func copyTo(t *testing.T, from, to *mem.Store) int64 {
	t.Helper()
	n, size, err := copyLedger(t, from, to)
	if err != nil || (n > 0) != (size > 0) {
		t.Fatal(n, size, err)
	}
	return n
}

func copyLedger(t *testing.T, from, to *mem.Store) (objects, bytes int64, err error) {
	t.Helper()
	there, err := list(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	var first Hash
	if there.last > 0 {
		e, err := (&copying{}).entry(t.Context(), from, there, 1)
		if err != nil {
			t.Fatal(err)
		}
		first = e.Hash
	}
	return Copy(t.Context(), from, to, repository, first, Head{Number: there.last})
}

// copied reads the only copy in a place.
func copied(t *testing.T, to *mem.Store) []*Entry {
	t.Helper()
	copies, err := Copies(t.Context(), to)
	if err != nil || len(copies) != 1 {
		t.Fatal(copies, err)
	}
	s := &seen{}
	if _, err := Open(t.Context(), copies[0], Options{Repository: repository, Fold: s.fold}); err != nil {
		t.Fatal(err)
	}
	return s.entries
}

// A copy follows its ledger, through rolls too, with what is new alone, and goes
// with a place that went back in time.
func TestCopy(t *testing.T) {
	from, to := mem.New(), mem.New()
	if n := copyTo(t, from, to); n != 0 {
		t.Fatal("copied from nothing:", n)
	}
	l := fill(t, from, 200)
	mustPut(t, to, Name(1), []byte("the replica's own"))
	if n := copyTo(t, from, to); n != 200 {
		t.Errorf("%d objects", n)
	}
	before := from.Clone()
	for range 100 {
		say(t, l, 1, 7)
	}
	if n := copyTo(t, from, to); n != 1+300-256 {
		t.Errorf("%d objects after a roll", n)
	}
	if n := copyTo(t, from, to); n != 0 {
		t.Errorf("%d objects were copied again", n)
	}
	if got := copied(t, to); len(got) != 300 || got[299].Hash != l.Head().Hash {
		t.Errorf("the copy has %d entries", len(got))
	}
	for o, err := range to.List(t.Context(), Copied) {
		if err != nil {
			t.Fatal(err)
		}
		own, err := OfCopy(o.Name)
		if err != nil || !strings.HasSuffix(o.Name, own) || own < Name(257) && own != RollName(256) {
			t.Errorf("%s is left: %v", o.Name, err)
		}
	}
	other, _ := open(t, before, "")
	for range 101 { // further than the copy: a shorter one is seen when it has grown
		say(t, other, 1, 9)
	}
	copyTo(t, before, to)
	if got := copied(t, to); len(got) != 301 || got[300].Hash != other.Head().Hash {
		t.Errorf("after the place went back the copy has %d entries", len(got))
	}
	if !bytes.Equal(mustGet(t, to, Name(1)), []byte("the replica's own")) {
		t.Error("the replica's own ledger was touched")
	}
}

// What is damaged is not spread, and a damaged copy is copied anew.
func TestCopyOfDamage(t *testing.T) {
	from, to := mem.New(), mem.New()
	fill(t, from, 5)
	good := from.Clone()
	tamper(t, from, Name(3), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	if _, _, err := copyLedger(t, from, to); err == nil {
		t.Error("a damaged entry was copied")
	}
	copyTo(t, good, to)
	var last string
	for o := range to.List(t.Context(), Copied) {
		last = o.Name
	}
	tamper(t, to, last, func(b []byte) []byte { return b[:20] })
	l, _ := open(t, good, "")
	say(t, l, 1, 3)
	copyTo(t, good, to)
	if got := copied(t, to); len(got) != 6 {
		t.Errorf("%d entries", len(got))
	}
	for _, name := range []string{"copied/", "copied/0011223344556677/x", "copied/001122334455667/ledger/0000000000000001", "copied/001122334455667F/ledger/0000000000000001"} {
		if _, err := OfCopy(name); err == nil {
			t.Errorf("%s is a name", name)
		}
	}
}
