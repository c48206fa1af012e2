package retain

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// What must not be is named, by whoever reads the ledger.
func TestUnlawful(t *testing.T) {
	for name, c := range map[string]struct {
		records func(s *State, now int64) []ledger.Record
		want    string
	}{
		"removed early": {func(s *State, _ int64) []ledger.Record {
			return []ledger.Record{ledger.Removed{Sequence: 3, Point: id(3), Live: id(3), Why: ledger.Expired}}
		}, "before it expired"},
		"removed, not deleted": {func(s *State, _ int64) []ledger.Record {
			return []ledger.Record{ledger.Removed{Sequence: 3, Point: id(3), Live: id(3), Why: ledger.WasDeleted}}
		}, "which it is not"},
		"no grace": {func(s *State, now int64) []ledger.Record {
			return []ledger.Record{ledger.Deleted{Sequence: 3, Why: ledger.ByHand, GoneAfter: now}}
		}, "too short a time of grace"},
		"removed in grace": {func(s *State, now int64) []ledger.Record {
			return []ledger.Record{ledger.Deleted{Sequence: 3, Why: ledger.ByHand, GoneAfter: now + 14*day}, ledger.Removed{Sequence: 3, Point: id(3), Live: id(3), Why: ledger.WasDeleted}}
		}, "before its time of grace ends"},
		"another point": {func(s *State, _ int64) []ledger.Record {
			return []ledger.Record{ledger.Removed{Sequence: 3, Point: id(4), Live: id(3), Why: ledger.Expired}}
		}, "under the name of another"},
		"retag": {func(s *State, now int64) []ledger.Record {
			return []ledger.Record{ledger.Retag{Sequence: 3, Tags: []ledger.Tag{{Tier: ledger.Others, Expiry: 1}}}}
		}, "without a policy"},
		"cut without policy": {func(s *State, now int64) []ledger.Record {
			return []ledger.Record{ledger.Deleted{Sequence: 3, Why: ledger.ByPolicy, GoneAfter: now + 14*day}}
		}, "no policy of this entry"},
		"twice": {func(s *State, now int64) []ledger.Record {
			return []ledger.Record{ledger.Receipt{Sequence: 3, Point: point.ID{9}, Arrival: now}}
		}, "second receipt"},
		"below the floor": {func(s *State, _ int64) []ledger.Record {
			return []ledger.Record{ledger.Policy{JSON: []byte(`{"daily": {"keep": 8}}`)}}
		}, "floor is 20"},
		"no policy": {func(s *State, _ int64) []ledger.Record { return []ledger.Record{ledger.Policy{JSON: []byte(`{`)}} }, "policy"},
		"nobody":    {func(s *State, _ int64) []ledger.Record { return []ledger.Record{ledger.Hold{Sequence: 77}} }, "no receipt"},
	} {
		v := newVault(t, "2026-01-01 00:00")
		v.policy(`{"daily": {"keep": 30}, "floors": {"daily": 20}}`)
		for range 5 {
			v.arrive()
			v.days(1)
		}
		v.must(func(s *State, verdict Verdict) ([]ledger.Record, error) { return c.records(s, verdict.Now), nil })
		v.reopen()
		v.book.View(func(s *State) {
			if len(s.Faults) != 1 || !strings.Contains(s.Faults[0].Text, c.want) {
				t.Errorf("%s: %+v, want %q", name, s.Faults, c.want)
			}
		})
	}
	// Time that jumps without anybody's word.
	v := newVault(t, "2026-01-01 00:00")
	v.arrive()
	_, err := v.book.Ledger().Append(t.Context(), device, func(h ledger.Head) (int64, []ledger.Record, error) {
		return h.Time + 40*day, []ledger.Record{ledger.Condemned{Round: 1}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	v.book.View(func(s *State) {
		if len(s.Faults) != 1 || !strings.Contains(s.Faults[0].Text, "nobody confirmed") {
			t.Errorf("%+v", s.Faults)
		}
	})
}

// A number is never used for two points, and what was asked for a point holds
// even if somebody else gave it its receipt first.
func TestAdmit(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}}`)
	v.arrive()
	other := Arrival{Sequence: 1, ID: point.ID{99}}
	if _, err := v.book.Admit(t.Context(), device, v.reading(), []Arrival{other}); !errors.Is(err, fault.Exist) {
		t.Errorf("%v", err)
	}
	until := v.now.Add(300 * oneDay).Unix()
	for range 2 {
		if _, err := v.book.Admit(t.Context(), device, v.reading(), []Arrival{{Sequence: 1, ID: id(1), Live: id(1), Until: until}}); err != nil {
			t.Fatal(err)
		}
	}
	if v.ends()[1] != until || v.book.Ledger().Head().Number != 3 {
		t.Errorf("ends %d, want %d; %d entries", v.ends()[1], until, v.book.Ledger().Head().Number)
	}
	// Adopted points came when the place says, one after the other.
	old := v.now.Add(-50 * oneDay).Unix()
	if _, err := v.book.Admit(t.Context(), device, v.reading(), []Arrival{
		{Sequence: 2, ID: id(2), Stored: old}, {Sequence: 3, ID: id(3), Stored: v.now.Add(oneDay).Unix()},
	}); err != nil {
		t.Fatal(err)
	}
	v.book.View(func(s *State) {
		if a, b := s.Point(2), s.Point(3); a.Arrival != s.Point(1).Arrival || b.Arrival != v.now.Unix() {
			t.Errorf("arrived %d and %d", a.Arrival, b.Arrival)
		}
		if s.Highest() != 3 {
			t.Errorf("highest %d", s.Highest())
		}
	})
	if s, err := v.book.Strangers(t.Context(), []store.Object{{Name: point.Name(3)}, {Name: point.Name(9)}, {Name: "points/x"}}, nil); err != nil || len(s) != 0 {
		t.Errorf("%v, %v", s, err)
	}
	v.lawful()
}
