package retain

import (
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

const tenYears = 10 * 365 * oneDay

func (v *vault) judge() (out Verdict) {
	v.t.Helper()
	reading := v.reading()
	v.book.View(func(s *State) { out = s.Judge(reading) })
	return out
}

func (v *vault) confirm() {
	v.t.Helper()
	v.must(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Confirm(v.reading()) })
}

// A ledger that a clock began which was years ahead does not suspend expiry
// until time catches up: the operator's word takes its time back. No life that
// was promised ends sooner by that, and what comes after lives by the right time.
func TestLedgerOfTheFuture(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	right := v.now
	v.now = right.Add(tenYears)
	v.policy(`{"daily": {"keep": 7}}`)
	v.arrive()
	v.arrive()
	v.must(func(*State, Verdict) ([]ledger.Record, error) {
		return []ledger.Record{ledger.Condemned{Round: 1}, ledger.Dropped{Round: 1}}, nil
	})
	if err := v.delete(1); err != nil {
		t.Fatal(err)
	}
	before := v.ends()
	v.now = right
	j := v.judge()
	if !j.Suspended || !j.Confirm || !strings.Contains(j.Why, "2035-12-30") {
		t.Fatalf("%+v", j)
	}
	v.confirm()
	if j = v.judge(); j.Suspended || j.Now != right.Unix() {
		t.Fatalf("after the operator's word: %+v", j)
	}
	for n, end := range before {
		if v.ends()[n] != end {
			t.Errorf("point %d ends %d, before %d", n, v.ends()[n], end)
		}
	}
	v.book.View(func(s *State) {
		for _, r := range s.Rounds() {
			if r.Condemned != right.Unix() || r.Dropped != right.Unix() {
				t.Errorf("a collection waits for years: %+v", r)
			}
		}
	})
	// New points live and die by the right time.
	v.arrive()
	v.days(1)
	v.arrive()
	v.days(8)
	v.arrive()
	v.prune()
	v.wantShown(2, 4, 5) // 2 was promised ten years; 4 was the newest until now
	// The point that was deleted then can be had, and deleted anew.
	if err := v.undelete(1); err != nil {
		t.Fatal(err)
	}
	if err := v.delete(1); err != nil {
		t.Fatal(err)
	}
	v.days(15)
	v.prune()
	if v.kept(1) {
		t.Error("the deleted point is kept for ten years")
	}
	v.lawful()
	v.reopen()
	v.lawful()
}

// The first entry has none before it: the place is believed, and no client's
// clock. Whichever of the two is years off, in either direction: while it is
// nothing expires, once it is right again one word of the operator is enough,
// none where the machine's was off, and no life is shorter than it would be by
// the right time.
func TestFirstEntryWhereClocksAreApart(t *testing.T) {
	for _, off := range []time.Duration{-tenYears, tenYears} {
		for _, machine := range []bool{true, false} {
			v := newVault(t, "2026-01-01 00:00")
			right := v.now
			if v.machine = off; !machine { // the machine's clock is that much beside the place's
				v.now, v.machine = right.Add(off), -off
			}
			v.policy(`{"daily": {"keep": 7}}`)
			v.book.View(func(s *State) {
				if s.Head.Time != v.now.Unix() {
					t.Errorf("%v, machine %v: the first entry is of %s", off, machine, stamp(s.Head.Time))
				}
			})
			v.arrive()
			if j := v.judge(); !j.Suspended {
				t.Errorf("%v, machine %v: something may expire: %+v", off, machine, j)
			}
			v.now, v.machine = right, 0
			if j := v.judge(); j.Suspended == machine {
				t.Errorf("%v, machine %v: both clocks are right: %+v", off, machine, j)
			} else if j.Suspended {
				v.confirm()
			}
			v.arrive() // so that the first is not the newest any more
			if j := v.judge(); j.Suspended || j.Now != right.Unix() {
				t.Errorf("%v, machine %v: %+v", off, machine, j)
			}
			v.days(6)
			v.prune()
			if !v.kept(1) || !v.kept(2) {
				t.Errorf("%v, machine %v: a point's life is too short", off, machine)
			}
			v.lawful()
		}
	}
}

// Nobody takes the time back without two clocks.
func TestBackNeedsTwoClocks(t *testing.T) {
	s := &State{}
	at := moment(t, "2036-01-01 00:00").Unix()
	early := moment(t, "2026-01-01 00:00").Unix()
	s.Fold(&ledger.Entry{Number: 1, Time: at, Records: []ledger.Record{ledger.Hold{Sequence: 1}}})
	faults := s.Faulty
	s.Fold(&ledger.Entry{Number: 2, Time: early, Records: []ledger.Record{ledger.Clock{Place: early, Machine: at}}})
	if s.Faulty != faults+1 || !strings.Contains(s.Faults[faults].Text, "no two clocks") {
		t.Errorf("%+v", s.Faults)
	}
}

// A point that is deleted while the vault's time stands still can be had back
// for 14 days from then, also once the operator has put time forward.
func TestDeletedWhileTimeStandsStill(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}}`)
	v.arrive()
	v.arrive()
	v.now = v.now.Add(60 * oneDay)
	if j := v.judge(); !j.Suspended {
		t.Fatalf("%+v", j)
	}
	if err := v.delete(1); err != nil {
		t.Fatal(err)
	}
	v.confirm()
	v.days(13)
	v.prune()
	if !v.kept(1) {
		t.Error("the point is gone before its 14 days were over")
	}
	v.days(2)
	v.prune()
	if v.kept(1) {
		t.Error("the point stays after its 14 days")
	}
	v.lawful()
}

// A point that was stored while the place's clock was years behind, and has its
// receipt from a later run, does not die at once: it came after the ledger began.
func TestAdoptedFromThePast(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}}`)
	v.days(2)
	stored := v.now.Add(-tenYears).Unix()
	if _, err := v.book.Admit(t.Context(), device, v.reading(), []Arrival{{Sequence: 1, ID: [32]byte{1}, Live: [32]byte{1}, Stored: stored}}); err != nil {
		t.Fatal(err)
	}
	v.book.View(func(s *State) {
		if p := s.Point(1); p.Arrival != s.First {
			t.Errorf("it arrived at %s", stamp(p.Arrival))
		}
	})
	v.lawful()
}

// While the place's clock is years behind, the vault's time stands still. What
// comes then, or is deleted, lives as long from then on as at any other time, also
// once the clock is right and time has made up for weeks at once; and not longer.
func TestTimeThatStoodStill(t *testing.T) {
	for _, again := range []bool{false, true} { // opened anew in between
		v := newVault(t, "2026-01-01 00:00")
		v.policy(`{"daily": {"keep": 7}, "others_days": 3}`)
		v.arrive()
		v.days(1)
		v.arrive()
		v.pass(20 * oneDay)
		right := v.now
		v.now, v.machine = right.Add(-tenYears), tenYears
		early, other := v.arrive(), v.arrive()
		if err := v.delete(1); err != nil {
			t.Fatal(err)
		}
		if j := v.judge(); !j.Suspended {
			t.Fatalf("%+v", j)
		}
		v.now, v.machine = right, 0
		v.confirm()
		v.arrive() // or the newest is kept for that
		if again {
			v.reopen()
		}
		v.pass(3*oneDay - time.Hour)
		v.prune()
		if !v.kept(early) || !v.kept(other) {
			t.Errorf("points that came while time stood still are gone: %v", v.shown())
		}
		v.pass(11 * oneDay)
		v.prune()
		if v.kept(other) || !v.kept(1) {
			t.Errorf("14 days later the other is kept: %v, the deleted one: %v", v.kept(other), v.kept(1))
		}
		v.pass(2 * time.Hour)
		v.prune()
		if v.kept(1) {
			t.Error("the deleted point is kept beyond its 14 days")
		}
		v.lawful()
	}
}

// Who is a few seconds behind the last entry finds no time that stands still.
func TestClocksOfOneMinute(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}}`)
	v.arrive()
	v.pass(-30 * time.Second)
	v.arrive()
	v.book.View(func(s *State) {
		if len(s.still) > 0 {
			t.Errorf("points %v stand still", s.still)
		}
	})
	v.pass(-time.Hour)
	n := v.arrive()
	v.book.View(func(s *State) {
		if len(s.still) != 1 || s.still[0] != n {
			t.Errorf("points %v stand still", s.still)
		}
	})
	v.lawful()
}
