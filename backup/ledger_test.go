package backup_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// bury removes a point lawfully, as years would: it is deleted, and its time
// of grace passes.
func bury(t testing.TB, s store.Store, repository [16]byte, name string) {
	t.Helper()
	n, err := point.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := retain.Open(t.Context(), s, retain.Options{Repository: repository})
	if err != nil {
		t.Error(err)
		return
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))
	now, err := b.Read(t.Context(), time.Now())
	if err != nil {
		t.Error(err)
		return
	}
	// The collector may have been faster than the receipt.
	strangers, err := b.Strangers(t.Context(), []store.Object{{Name: name}}, nil)
	if err == nil && len(strangers) > 0 {
		_, err = b.Admit(t.Context(), key, now, strangers)
	}
	if err != nil {
		t.Error(err)
		return
	}
	var gone int64
	_, err = b.Append(t.Context(), key, now, func(_ *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		gone = v.Now + 14*24*3600
		return []ledger.Record{ledger.Deleted{Sequence: n, Why: ledger.ByHand, GoneAfter: gone}}, nil
	})
	if err != nil {
		t.Error(err)
	}
	now.Place = gone
	_, err = b.Append(t.Context(), key, now, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		p := s.Point(n)
		return []ledger.Record{ledger.Clock{Place: gone, Machine: now.Machine}, ledger.Removed{Sequence: n, Point: p.ID, Live: p.Live, Why: ledger.WasDeleted}}, nil
	})
	if err != nil {
		t.Error(err)
	}
	b.View(func(s *retain.State) {
		for _, f := range s.Faults {
			t.Errorf("ledger entry %d %s", f.Entry, f.Text)
		}
	})
	if err := s.Delete(t.Context(), name); err != nil {
		t.Error(err)
	}
}
