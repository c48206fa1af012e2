package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
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
	// The ledger's time is ahead of the place's clock from here on, and so stands
	// still until the next clock record: the time of grace is longer by that.
	now.Place = gone
	_, err = b.Append(t.Context(), key, now, func(*retain.State, retain.Verdict) ([]ledger.Record, error) {
		return []ledger.Record{ledger.Clock{Place: gone, Machine: now.Machine}}, nil
	})
	if err != nil {
		t.Error(err)
	}
	b.View(func(s *retain.State) { now.Place = s.Point(n).Deleted.GoneAfter })
	_, err = b.Append(t.Context(), key, now, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		p := s.Point(n)
		return []ledger.Record{ledger.Clock{Place: now.Place, Machine: now.Machine}, ledger.Removed{Sequence: n, Point: p.ID, Live: p.Live, Why: ledger.WasDeleted}}, nil
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

// Fifty days of a real repository on a clock of their own: what the policy
// keeps is shown and whole, and the ledger verifies from its first byte on.
func TestFiftyDays(t *testing.T) {
	m := newMachine(t)
	now := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	m.store.SetClock(func() time.Time { return now })
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))
	write := func(b *retain.Book, plan func(*retain.State, retain.Verdict) ([]ledger.Record, error)) {
		t.Helper()
		r, err := b.Read(t.Context(), now)
		if err == nil {
			_, err = b.Append(t.Context(), key, r, plan)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	policy, err := retain.ParsePolicy([]byte(`{"daily": {"keep": 7}, "weekly": {"keep": 4, "days": ["sat"]}, "monthly": {"keep": 3, "on": ["last"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		m.write("file", fmt.Appendf(nil, "day %d", n))
		r := m.open()
		if err := r.OpenLedger(t.Context(), r.Local(m.state), repo.LedgerOptions{}); err != nil {
			t.Fatal(err)
		}
		s, err := backup.Run(t.Context(), r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: func() time.Time { return now }})
		if err != nil || s.Statistics.Warnings > 0 || s.Receipt.Point != s.Point || s.Receipt.Arrival != now.Unix() {
			t.Fatalf("day %d: %+v, %v", n, s, err)
		}
		if n == 0 {
			write(r.Book(), func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
				e, err := s.Edit(policy, v)
				return e.Records, err
			})
		}
		write(r.Book(), func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) { return s.Due(v), nil })
		r.Book().View(func(s *retain.State) {
			for _, gone := range s.Removed(0) {
				m.delete(point.Name(gone.Sequence))
			}
		})
		now = now.Add(24 * time.Hour)
	}
	state := &retain.State{}
	report, err := ledger.Verify(t.Context(), m.store, m.open().ID, state.Fold)
	if err != nil || len(report.Faults) > 0 || state.Faulty > 0 || len(report.Signers) != 2 {
		t.Fatalf("%+v, %v, %v", report, state.Faults, err)
	}
	// The 50th day is the 19th of February: 7 days, the Saturdays of 4 weeks,
	// January's last day, and day 1, which took December's.
	var days []int
	for _, p := range m.openedPoints() {
		days = append(days, int(p.Sequence))
	}
	if fmt.Sprint(days) != "[1 24 31 38 44 45 46 47 48 49 50]" {
		t.Errorf("points of days %v are left", days)
	}
	m.whole()
}

// openedPoints are the points that the ledger and the store show together.
func (m *machine) openedPoints() []*repo.Point {
	m.t.Helper()
	r := m.open()
	if err := r.OpenLedger(m.t.Context(), r.Local(m.state), repo.LedgerOptions{}); err != nil {
		m.t.Fatal(err)
	}
	points, err := r.Points(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return points
}

// A receipt that cannot be written, stored or not, fails no backup: it is a
// warning, and the next run writes it.
func TestReceiptFails(t *testing.T) {
	for _, stored := range []bool{false, true} {
		m := newMachine(t)
		m.write("file", noise(1, 700))
		m.store.SetHook(func(op mem.Op) (before, after error) {
			err := fmt.Errorf("boom: %w", fault.Unavailable)
			switch {
			case op.Verb != mem.Put || !strings.HasPrefix(op.Name, ledger.Prefix):
				return nil, nil
			case stored:
				return nil, err
			}
			return err, nil
		})
		s, err := m.try()
		if err != nil || s.Statistics.Warnings != 1 || !strings.Contains(s.Warned[0].Reason, "the next run writes it") || s.Receipt.Sequence != 0 {
			t.Fatalf("stored %v: %+v, %v", stored, s, err)
		}
		m.store.SetHook(nil)
		if n := len(m.openedPoints()); n != 1 {
			t.Errorf("stored %v: %d points without receipt", stored, n)
		}
		m.backup()
		r := m.open()
		if err := r.OpenLedger(t.Context(), r.Local(m.state), repo.LedgerOptions{}); err != nil {
			t.Fatal(err)
		}
		r.Book().View(func(s *retain.State) {
			if len(s.Kept()) != 2 || s.Faulty > 0 {
				t.Errorf("stored %v: %d receipts, %v", stored, len(s.Kept()), s.Faults)
			}
		})
	}
}

// A point is missed, whose object somebody deleted, by lists and by check; a
// backup goes on.
func TestMissingPoint(t *testing.T) {
	m := newMachine(t)
	for n := range 3 {
		m.write("file", noise(uint64(n), 700))
		m.backup()
	}
	m.delete(point.Name(2))
	r := m.open()
	if err := r.OpenLedger(context.Background(), r.Local(m.state), repo.LedgerOptions{}); err != nil {
		t.Fatal(err)
	}
	points, err := r.Points(t.Context())
	if len(points) != 2 || !errors.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), point.Name(2)) {
		t.Errorf("%d points, %v", len(points), err)
	}
	if s, err := m.try(); err != nil || s.Sequence != 4 || s.Statistics.Warnings > 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
