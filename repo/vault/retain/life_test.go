package retain

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

const oneDay = 24 * time.Hour

func (v *vault) delete(n uint64) error {
	return v.say(func(s *State, verdict Verdict) ([]ledger.Record, error) { return s.Delete(verdict, n) })
}

func (v *vault) undelete(n uint64) error {
	return v.say(func(s *State, verdict Verdict) ([]ledger.Record, error) { return s.Undelete(verdict, n) })
}

// days lets days pass, each with an entry, as a prune writes one.
func (v *vault) days(n int) {
	v.t.Helper()
	for range n {
		v.pass(oneDay)
		v.must(func(*State, Verdict) ([]ledger.Record, error) { return []ledger.Record{ledger.Collected{}}, nil })
	}
}

func (v *vault) wantShown(want ...uint64) {
	v.t.Helper()
	if got := v.shown(); !slices.Equal(got, want) {
		v.t.Errorf("shown %v, want %v", got, want)
	}
}

func (v *vault) kept(n uint64) bool {
	kept := false
	v.book.View(func(s *State) { kept = s.Point(n) != nil })
	return kept
}

// Deleted by hand: there on day 13, gone on day 15, and back in between.
func TestSoftDelete(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 60}}`)
	for range 3 {
		v.arrive()
		v.days(1)
	}
	for _, n := range []uint64{1, 2} {
		if err := v.delete(n); err != nil {
			t.Fatal(err)
		}
	}
	v.wantShown(3)
	v.days(13)
	v.prune()
	if !v.kept(1) || !v.kept(2) {
		t.Error("gone before 14 days")
	}
	if err := v.undelete(2); err != nil {
		t.Fatal(err)
	}
	v.days(2)
	v.prune()
	v.wantShown(2, 3)
	if v.kept(1) {
		t.Error("there after 15 days")
	}
	if err := v.undelete(1); !errors.Is(err, fault.NotExist) {
		t.Errorf("%v", err)
	}
	v.book.View(func(s *State) {
		r := s.Removed(0)
		if len(r) != 1 || r[0].Sequence != 1 || r[0].Why != ledger.WasDeleted || r[0].ID != id(1) || len(s.Removed(r[0].Entry)) != 0 {
			t.Errorf("%+v", r)
		}
	})
	v.lawful()
}

// The time of grace is that of the policy in force at the deletion.
func TestGraceOfThePolicy(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 60}, "soft_delete_days": 180}`)
	v.arrive()
	v.arrive()
	if err := v.delete(1); err != nil {
		t.Fatal(err)
	}
	v.policy(`{"daily": {"keep": 60}, "soft_delete_days": 14}`)
	v.days(179)
	v.prune()
	if !v.kept(1) {
		t.Error("gone before 180 days")
	}
	v.days(1)
	v.prune()
	if v.kept(1) {
		t.Error("there after 180 days")
	}
	v.lawful()
}

// One that no tag keeps is held when it comes back.
func TestUndeleteOfTheExpired(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}}`)
	v.arrive()
	v.days(1)
	v.arrive()
	if err := v.delete(1); err != nil {
		t.Fatal(err)
	}
	v.days(10)
	if err := v.undelete(1); err != nil {
		t.Fatal(err)
	}
	v.days(100)
	v.prune()
	v.wantShown(1, 2)
	v.must(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Release(1) })
	v.prune()
	v.wantShown(2)
	v.lawful()
}

func TestKeepLastAndWithin(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}, "keep_last": 5}`)
	for range 8 {
		v.arrive()
		v.days(1)
	}
	v.days(300)
	v.prune()
	v.wantShown(4, 5, 6, 7, 8)
	if err := v.delete(8); err != nil {
		t.Fatal(err)
	}
	v.prune()
	v.wantShown(4, 5, 6, 7)
	v = newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}, "keep_within_days": 30, "others_days": 1}`)
	v.arrive()
	v.arrive()
	v.days(1)
	v.arrive()
	v.days(28)
	v.prune()
	v.wantShown(1, 2, 3)
	v.days(1)
	v.prune()
	v.wantShown(3)
	v.lawful()
}

func TestUntil(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}}`)
	v.arriveUntil(v.now.Add(100 * oneDay).Unix())
	v.arrive()
	v.days(99)
	v.policy(`{"daily": {"keep": 30}}`)
	v.arrive()
	v.prune()
	v.wantShown(1, 2, 3)
	v.days(1)
	v.prune()
	v.wantShown(2, 3) // 2 was the newest for so long
	v.lawful()
}

// What a policy's edit does to points that are there.
func TestEdit(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	for range 40 { // no policy: nothing expires
		v.arrive()
		v.days(1)
	}
	v.prune()
	if n := len(v.shown()); n != 40 {
		t.Fatalf("%d points without a policy", n)
	}
	e := v.policy(`{"daily": {"keep": 30}, "weekly": {"keep": 8, "days": ["mon"]}}`)
	// It is the 10th of February. The last 30 days stay, and of those before
	// the Mondays; January 1 took the Monday before it.
	var doomed []uint64
	for _, p := range e.Doomed {
		doomed = append(doomed, p.Sequence)
	}
	if want := []uint64{2, 3, 4, 6, 7, 8, 9, 10, 11}; !slices.Equal(doomed, want) {
		t.Errorf("doomed %v, want %v", doomed, want)
	}
	v.book.View(func(s *State) {
		if n := len(s.Deleted()); n != len(doomed) {
			t.Errorf("%d deleted", n)
		}
		for _, d := range s.Plan(s.Judge(v.reading())) {
			if d.Action != Keep && d.Action != Grace {
				t.Errorf("point %d: %v", d.Point.Sequence, d.Action)
			}
		}
	})
	before := v.ends()
	v.policy(`{"daily": {"keep": 60}, "weekly": {"keep": 8, "days": ["mon"]}}`)
	for n, end := range v.ends() {
		if end < before[n] {
			t.Errorf("a longer policy ends point %d sooner", n)
		}
	}
	if after := v.ends(); after[20] != before[20]+30*day {
		t.Errorf("point 20 ends %d, before %d", after[20], before[20])
	}
	if e := v.policy(`{"daily": {"keep": 60}, "weekly": {"keep": 8, "days": ["fri"]}}`); e.Changed != 0 || len(e.Doomed) != 0 {
		t.Errorf("other days changed %d points", e.Changed)
	}
	if e := v.policy(`{"daily": {"keep": 7}}`); len(e.Doomed) == 0 {
		t.Error("nothing is cut")
	}
	v.lawful()
	v.reopen()
	v.lawful()
}

func (v *vault) ends() map[uint64]int64 {
	out := map[uint64]int64{}
	v.book.View(func(s *State) {
		for _, p := range s.Kept() {
			out[p.Sequence] = p.end()
		}
	})
	return out
}

func TestImmutableAndFloors(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 30}, "weekly": {"keep": 8}, "floors": {"daily": 20, "weekly": 4}}`)
	for range 10 {
		v.arrive()
		v.days(1)
	}
	denied := func(policy string) {
		t.Helper()
		if err := v.tryPolicy(policy); !errors.Is(err, fault.Denied) && !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", policy, err)
		}
	}
	denied(`{"daily": {"keep": 19}, "weekly": {"keep": 8}}`)
	denied(`{"daily": {"keep": 20}}`)
	v.policy(`{"daily": {"keep": 20}, "weekly": {"keep": 8}, "floors": {"daily": 20, "weekly": 4}, "immutable": "on"}`)
	for _, weaker := range []string{
		`{"daily": {"keep": 19}, "weekly": {"keep": 8}, "immutable": "on"}`, `{"daily": {"keep": 30}, "immutable": "on"}`,
		`{"daily": {"keep": 20}, "weekly": {"keep": 8}, "immutable": "off"}`, // floors less
		`{"daily": {"keep": 20}, "weekly": {"keep": 8}, "floors": {"daily": 20, "weekly": 4}, "others_days": 6, "immutable": "on"}`,
	} {
		denied(weaker)
	}
	if err := v.delete(3); !errors.Is(err, fault.Denied) {
		t.Errorf("%v", err)
	}
	v.policy(`{"daily": {"keep": 40}, "weekly": {"keep": 8, "days": ["mon"]}, "floors": {"daily": 20, "weekly": 4}, "immutable": "locked"}`)
	denied(`{"daily": {"keep": 40}, "weekly": {"keep": 8}, "floors": {"daily": 20, "weekly": 4}, "immutable": "on"}`)
	denied(`{"daily": {"keep": 40}, "weekly": {"keep": 8}, "floors": {"daily": 20, "weekly": 4}, "immutable": "off"}`)
	v.days(60)
	v.prune()
	v.lawful()
}

// Clocks: ten years forward and back, and small steps.
func TestClockJumps(t *testing.T) {
	const years = 10 * 365 * oneDay
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}}`)
	for range 5 {
		v.arrive()
		v.days(1)
	}
	judge := func() (out Verdict) { v.book.View(func(s *State) { out = s.Judge(v.reading()) }); return out }
	if judge().Suspended {
		t.Fatal("suspended from the beginning")
	}
	right := v.now
	// Forward: points arrive, nothing expires, and the ledger's time stays.
	v.now = right.Add(years)
	if j := judge(); !j.Suspended || !j.Confirm || !strings.Contains(j.Why, "jumped") || j.Now != right.Unix() {
		t.Errorf("%+v", j)
	}
	n := v.arrive()
	v.prune()
	v.wantShown(1, 2, 3, 4, 5, n)
	// Back to where it was: it goes on as if nothing had been.
	v.now = right.Add(oneDay)
	if judge().Suspended {
		t.Error("suspended after the clock was set right")
	}
	v.days(10)
	v.arrive()
	v.prune()
	// 6 arrived in 2036, and 5 was the newest until then: a wrong clock
	// lengthens lives.
	v.wantShown(5, 6, 7)
	// Backwards. While the client's clock says otherwise nobody's word takes
	// the vault's time back.
	v.now = right.Add(-years)
	v.machine = years
	if j := judge(); !j.Suspended || j.Confirm || j.Now < right.Unix() {
		t.Errorf("%+v", j)
	}
	if err := v.say(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Confirm(v.reading()) }); !errors.Is(err, fault.Invalid) {
		t.Errorf("time went back: %v", err)
	}
	v.machine = 0
	v.arrive()
	v.prune()
	v.wantShown(5, 6, 7, 8)
	// A pause that is real ends with the operator's word.
	v.now = right.Add(200 * oneDay)
	v.arrive()
	if j := judge(); !j.Suspended {
		t.Errorf("%+v", j)
	}
	v.prune()
	v.wantShown(5, 6, 7, 8, 9)
	v.must(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Confirm(v.reading()) })
	if judge().Suspended {
		t.Error("suspended after confirmation")
	}
	v.prune()
	v.wantShown(5, 6, 8, 9) // 8 was the newest until the pause was over
	v.lawful()
	v.reopen()
	v.lawful()
}

// A weekly rhythm is asked about once; an operator who is not asked cannot be
// led years ahead by clocks that step on.
func TestRhythm(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 7}}`)
	asked := 0
	for range 30 {
		v.pass(7 * oneDay)
		v.book.View(func(s *State) {
			if s.Judge(v.reading()).Suspended {
				asked++
			}
		})
		if asked == 1 && len(v.shown()) == 0 {
			v.must(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Confirm(v.reading()) })
		}
		v.arrive()
		v.prune()
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	v.book.View(func(s *State) {
		if s.usual() != 7*day {
			t.Errorf("usual: %d days", s.usual()/day)
		}
	})
	v.lawful()
}

// A client's clock, however wrong, ends nothing; it can only suspend.
func TestClientsClock(t *testing.T) {
	for _, off := range []time.Duration{10 * 365 * oneDay, -10 * 365 * oneDay, 25 * time.Hour, -25 * time.Hour} {
		v := newVault(t, "2026-01-01 00:00")
		v.policy(`{"daily": {"keep": 7}}`)
		for range 5 {
			v.arrive()
			v.days(1)
		}
		before := v.ends()
		v.machine = off
		v.arrive()
		v.prune()
		for n, end := range before {
			if after := v.ends()[n]; after != end {
				t.Errorf("%v off: point %d ends %d, before %d", off, n, after, end)
			}
		}
		v.days(20)
		v.prune()
		if len(v.shown()) != 6 {
			t.Errorf("%v off: %v", off, v.shown())
		}
		// The operator says that the place's clock is the right one.
		v.must(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Confirm(v.reading()) })
		v.days(1)
		v.prune()
		v.wantShown(6)
		v.lawful()
	}
}
