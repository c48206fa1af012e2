package retain

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

// dump is everything that a State says.
func dump(s *State) string {
	out := fmt.Sprintf("%+v %d %s %d %+v %v %d\n", s.Head, s.First, s.policyText(), s.PolicyAt, s.Collected, s.Faults, s.Highest())
	for _, p := range s.Kept() {
		q := *p
		if q.Deleted != nil {
			out += fmt.Sprintf("%+v ", *q.Deleted)
			q.Deleted = nil
		}
		out += fmt.Sprintf("%+v\n", q)
	}
	out += fmt.Sprintf("%+v\n%+v\n%+v\n%d %v %v\n", s.Removed(0), s.Rounds(), s.Compactions(), s.usual(), s.confirmed, s.steps)
	for at := range s.taken {
		if !s.taken[at] {
			out += "a slot that is and is not taken\n"
		}
	}
	return out + fmt.Sprint(len(s.taken))
}

func (s *State) policyText() string {
	if s.Policy == nil {
		return ""
	}
	return string(s.Policy.Marshal())
}

var histories = [...]string{
	`{"daily": {"keep": 7}}`,
	`{"zone": "Europe/Vienna", "daily": {"keep": 9, "at": ["02:30", "14:00"]}, "weekly": {"keep": 4, "days": ["sat"]}}`,
	`{"zone": "America/New_York", "hourly": {"keep": 30}, "daily": {"keep": 7}, "monthly": {"keep": 3, "on": ["last", "first sun"]}}`,
	`{"daily": {"keep": 40}, "yearly": {"keep": 1, "months": ["feb", "mar"], "on": ["29"]}, "keep_within_days": 5, "others_days": 2}`,
	`{"others_days": 3, "soft_delete_days": 30}`,
}

// step is one thing that happens in a history.
func (v *vault) step(r *rapid.T) {
	any := func() uint64 { return rapid.Uint64Range(1, max(v.points, 1)).Draw(r, "point") }
	// The vault's own rules refuse some of these; that is part of a history.
	switch rapid.IntRange(0, 13).Draw(r, "step") {
	case 0, 1, 2, 3:
		v.checkArrival(r)
	case 4:
		v.pass(time.Duration(rapid.Int64Range(0, 40*day).Draw(r, "pause")) * time.Second)
	case 5:
		v.machine = time.Duration(rapid.Int64Range(-4000, 4000).Draw(r, "machine")) * oneDay
	case 6:
		_ = v.delete(any())
	case 7:
		_ = v.undelete(any())
	case 8:
		_ = v.say(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Hold(any(), "why") })
	case 9:
		_ = v.say(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Release(any()) })
	case 10:
		_ = v.tryPolicy(rapid.SampledFrom(histories[:]).Draw(r, "policy"))
	case 12:
		v.pass(time.Duration(rapid.Int64Range(-4000, 4000).Draw(r, "jump")) * oneDay)
		if v.now.Unix() < 0 {
			v.now = time.Unix(0, 0)
		}
	case 11, 13:
		_ = v.say(func(s *State, _ Verdict) ([]ledger.Record, error) { return s.Confirm(v.reading()) })
	}
	v.pass(time.Duration(rapid.Int64Range(0, 2*day).Draw(r, "time")) * time.Second)
	v.prune()
}

// checkArrival lets a point arrive, which must not end another's life, nor
// bring its end forward.
func (v *vault) checkArrival(r *rapid.T) {
	reading := v.reading()
	before, was := v.ends(), map[uint64]Action{}
	v.book.View(func(s *State) {
		for _, d := range s.Plan(s.Judge(reading)) {
			was[d.Point.Sequence] = d.Action
		}
	})
	v.arrive()
	v.book.View(func(s *State) {
		for _, d := range s.Plan(s.Judge(reading)) {
			n := d.Point.Sequence
			if old, there := was[n]; there && (d.Point.end() < before[n] || d.Action != old) {
				r.Fatalf("point %d arrives: %d ended %d and ends %d; %v, before %v", v.points, n, before[n], d.Point.end(), d.Action, old)
			}
		}
	})
}

// Any history is lawful, loses no point to the arrival of another, keeps the
// newest, and says the same to everybody, in however many pieces he reads it.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := newVault(t, "2026-02-20 10:00")
		v.memory = filepath.Join(t.TempDir(), fmt.Sprint(rand.Uint64()))
		v.reopen()
		var entries []*ledger.Entry
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			v.step(r)
			if rapid.IntRange(0, 9).Draw(r, "reopen") == 0 {
				v.reopen()
			}
		}
		v.lawful()
		mine := ""
		v.book.View(func(s *State) {
			mine = dump(s)
			if n := s.Newest(); n == nil && len(s.Shown()) > 0 || n != nil && s.over(n, 1<<40) {
				r.Fatal("the newest point can expire")
			}
		})
		whole := &State{}
		if _, err := ledger.Verify(t.Context(), v.store, [16]byte{}, func(e *ledger.Entry) {
			entries = append(entries, e)
			whole.Fold(e)
		}); err != nil {
			r.Fatal(err)
		}
		if other := dump(whole); other != mine {
			r.Fatalf("folded in one go:\n%s\nas it was written:\n%s", other, mine)
		}
		piecewise := &State{}
		for _, e := range entries {
			if rapid.Bool().Draw(r, "copy") {
				piecewise = piecewise.clone()
			}
			if rapid.Bool().Draw(r, "look") {
				piecewise.Plan(Verdict{Now: e.Time})
			}
			piecewise.Fold(e)
		}
		if other := dump(piecewise); other != mine {
			r.Fatalf("folded in pieces:\n%s\nas it was written:\n%s", other, mine)
		}
	})
}

// 99 years of days, 9,999 points and more: what stands in a ledger is bounded
// by what happens, and opening it stays fast.
func TestLegalRange(t *testing.T) {
	v := newVault(t, "2026-01-01 00:00")
	v.policy(`{"daily": {"keep": 9999}, "weekly": {"keep": 5163}, "monthly": {"keep": 1188}, "yearly": {"keep": 99}}`)
	for range 10200 {
		v.arrive()
		v.pass(oneDay)
	}
	v.prune()
	n := len(v.shown())
	if n < 9999 || n > 10200 {
		t.Errorf("%d points", n)
	}
	got := v.tags()
	if got[ledger.Daily] != 9999 && got[ledger.Daily] != 9998 || got[ledger.Yearly] < 27 {
		t.Errorf("tags %v", got)
	}
	if _, err := v.book.Ledger().Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.book.Ledger().Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, memory := range []string{"", v.memory} {
		v.store.ResetCounts()
		start := time.Now()
		b, err := Open(t.Context(), v.store, Options{Memory: memory})
		took := time.Since(start)
		if err != nil || b.Ledger().Head().Number < 10000 {
			t.Fatal(err)
		}
		trips := v.store.Counts().RoundTrips()
		t.Logf("memory %v: %d entries in %v, %d round trips", memory != "", b.Ledger().Head().Number, took.Round(time.Millisecond), trips)
		if memory == "" && trips > 700 || memory != "" && trips > 2 {
			t.Errorf("%d round trips", trips)
		}
	}
	v.lawful()
}

// FuzzFold: whatever well-formed records say, the fold holds its own.
func FuzzFold(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		random := rand.New(rand.NewPCG(a, b))
		s := &State{}
		n := func(k int) uint64 { return uint64(random.IntN(k)) + 1 }
		for number := uint64(1); number < 60; number++ {
			e := &ledger.Entry{Number: number, Time: s.Head.Time + random.Int64N(3*day)}
			for range n(5) {
				e.Records = append(e.Records, wild(random, n, e.Time))
			}
			s.Fold(e)
			checkSound(t, s)
		}
	})
}

// FuzzParsePolicy: what is accepted can be written and read again, and says
// when everything ends.
func FuzzParsePolicy(f *testing.F) {
	for _, text := range histories {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"zone": "Asia/Tokyo", "keep_last": 9, "floors": {"daily": 7}, "immutable": "locked", "daily": {"keep": 7}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		if again := p.Clone(); string(again.Marshal()) != string(p.Marshal()) {
			t.Fatalf("%s, and then %s", again.Marshal(), p.Marshal())
		}
		s := &State{Policy: p}
		for _, tag := range s.Assign(1_700_000_000, 0) {
			if tag.Expiry <= 1_700_000_000 || tag.Slot > 1_700_000_000 {
				t.Fatalf("%s gives %+v", text, tag)
			}
		}
	})
}

func wild(random *rand.Rand, n func(int) uint64, now int64) ledger.Record {
	tags := []ledger.Tag{{Tier: ledger.Tier(n(9)), Slot: int64(n(3)), Expiry: now + random.Int64N(20*day)}}[:random.IntN(2)]
	switch n(10) {
	case 1, 2, 3:
		p := n(12)
		return ledger.Receipt{Sequence: p, Point: id(p), Live: id(p), Arrival: now, Tags: tags}
	case 4:
		p := n(12)
		return ledger.Removed{Sequence: p, Point: id(p), Live: id(p), Why: ledger.RemoveReason(n(2))}
	case 5:
		return ledger.Deleted{Sequence: n(12), Why: ledger.DeleteReason(n(2)), GoneAfter: now + random.Int64N(30*day)}
	case 6:
		return ledger.Undeleted{Sequence: n(12)}
	case 7:
		return ledger.Hold{Sequence: n(12)}
	case 8:
		return ledger.Retag{Sequence: n(12), Tags: tags}
	case 9:
		return ledger.Policy{JSON: []byte(histories[random.IntN(len(histories))])}
	}
	return ledger.Extended{Sequence: n(12), Until: now + day}
}

// checkSound holds a State against itself.
func checkSound(t *testing.T, s *State) {
	t.Helper()
	kept := map[uint64]bool{}
	for i, p := range s.Kept() {
		kept[p.Sequence] = true
		if i > 0 && s.Kept()[i-1].Sequence >= p.Sequence || s.Point(p.Sequence) != p {
			t.Fatal("kept points out of order")
		}
	}
	for _, r := range s.Removed(0) {
		if _, gone := s.Gone(r.Sequence); !gone || kept[r.Sequence] {
			t.Fatalf("point %d is kept and removed", r.Sequence)
		}
	}
	for _, r := range s.Due(Verdict{Now: s.Head.Time}) {
		c := s.clone()
		before := c.Faulty
		c.Fold(&ledger.Entry{Number: s.Head.Number + 1, Time: s.Head.Time, Records: []ledger.Record{r}})
		if c.Faulty != before {
			t.Fatalf("due, and unlawful: %+v: %v", r, c.Faults[len(c.Faults)-1])
		}
	}
}
