package scrub_test

import (
	"path/filepath"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
)

// TestRepairLedger damages entries of a ledger in every pattern: the copy in the
// replica heals them, and so does a machine's memory.
func TestRepairLedger(t *testing.T) {
	w := newWorld(t, 1)
	memory := filepath.Join(t.TempDir(), "ledger")
	remember(t, w, memory)
	if _, _, err := w.copyLedger(); err != nil {
		t.Fatal(err)
	}
	for pattern := range 1 << 4 {
		for _, what := range []string{"replica", "memory"} {
			s := w.store.Clone()
			source := scrub.Remembered(memory, s, w.id)
			if what == "replica" {
				source = scrub.Ledgers("replica", s, w.other, w.id)
			}
			damaged := 0
			for n := range uint64(4) {
				if pattern>>n&1 != 0 {
					must(t, s.Tamper(ledger.Name(n+1), func([]byte) []byte { return []byte("rubbish") }))
					damaged++
				}
			}
			d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{source}})
			if damaged == 4 && what == "replica" {
				// Nothing proves that the copy is this ledger's.
				if len(d.Left) != 4 || len(d.Healed) != 0 {
					t.Errorf("%04b: healed %v", pattern, d.Healed)
				}
				continue
			}
			if len(d.Left) > 0 || len(d.Healed) != damaged {
				t.Errorf("%s, %04b: left %v, why %v", what, pattern, d.Left, d.Why)
			}
			same(t, what, s, w.store)
		}
	}
}

func remember(t *testing.T, w *world, memory string) {
	t.Helper()
	if _, err := ledger.Open(t.Context(), w.store, ledger.Options{Repository: w.id, Memory: memory, Fold: func(*ledger.Entry) {}}); err != nil {
		t.Fatal(err)
	}
}

// TestRepairLedgerOfAnotherHistory: a copy that parts from the ledger heals only
// what both have.
func TestRepairLedgerOfAnotherHistory(t *testing.T) {
	w := newWorld(t, 1)
	before := w.store.Clone()
	w.ledger(3)
	if _, _, err := w.copyLedger(); err != nil {
		t.Fatal(err)
	}
	w.store = before
	w.ledger(1)
	w.ledger(2)
	for n := uint64(1); n <= 7; n++ {
		s := w.store.Clone()
		must(t, s.Tamper(ledger.Name(n), func([]byte) []byte { return []byte("rubbish") }))
		d := w.repair(t, s, scrub.RepairOptions{Sources: []scrub.Source{scrub.Ledgers("replica", s, w.other, w.id)}})
		if healed := len(d.Healed) == 1; healed != (n <= 4) {
			t.Errorf("entry %d: healed %v, left %v", n, d.Healed, d.Left)
		}
		if n <= 4 {
			same(t, "healed", s, w.store)
		}
	}
}

// TestScrubLedgerCopies: a damaged copy is found, and removed to be copied anew.
func TestScrubLedgerCopies(t *testing.T) {
	w := newWorld(t, 1)
	if _, _, err := w.copyLedger(); err != nil {
		t.Fatal(err)
	}
	name := ""
	for o := range w.other.List(t.Context(), ledger.Copied) {
		name = o.Name
	}
	if r := w.scrub(t, w.other, scrub.Options{}); len(r.Findings)+len(r.Unknown) > 0 {
		t.Fatal(r.Findings, r.Unknown)
	}
	must(t, w.other.Tamper(name, flip))
	if got := objects(w.scrub(t, w.other, scrub.Options{})); len(got) != 1 || got[0] != name {
		t.Fatal(got)
	}
	d := w.repair(t, w.other, scrub.RepairOptions{})
	if len(d.Healed) != 1 || len(d.Left) > 0 {
		t.Fatal(d.Healed, d.Left)
	}
	if n, _, err := w.copyLedger(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

// copyLedger copies the ledger to the replica.
func (w *world) copyLedger() (objects, bytes int64, err error) {
	l, err := ledger.Open(w.t.Context(), w.store, ledger.Options{Repository: w.id, Fold: func(*ledger.Entry) {}})
	if err != nil {
		return 0, 0, err
	}
	first, err := ledger.Parse(w.bytes(ledger.Name(1)))
	if err != nil {
		return 0, 0, err
	}
	return ledger.Copy(w.t.Context(), w.store, w.other, w.id, first.Hash, l.Head())
}
