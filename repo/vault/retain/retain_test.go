package retain

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

var device = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))

// vault is a store with a clock, and the book of a client whose own clock
// shows the same time unless it is set.
type vault struct {
	t       testing.TB
	store   *mem.Store
	memory  string
	book    *Book
	now     time.Time
	machine time.Duration // how far the client's clock is ahead
	points  uint64
}

func newVault(t testing.TB, at string) *vault {
	v := &vault{t: t, store: mem.New(), memory: filepath.Join(t.TempDir(), "ledger"), now: moment(t, at)}
	v.store.SetClock(func() time.Time { return v.now })
	v.reopen()
	return v
}

func moment(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func (v *vault) reopen() {
	v.t.Helper()
	b, err := Open(v.t.Context(), v.store, Options{Memory: v.memory})
	if err != nil {
		v.t.Fatal(err)
	}
	v.book = b
}

func (v *vault) reading() Reading {
	v.t.Helper()
	r, err := v.book.Read(v.t.Context(), v.now.Add(v.machine))
	if err != nil {
		v.t.Fatal(err)
	}
	return r
}

// say appends records.
func (v *vault) say(plan func(*State, Verdict) ([]ledger.Record, error)) error {
	_, err := v.book.Append(v.t.Context(), device, v.reading(), plan)
	return err
}

func (v *vault) must(plan func(*State, Verdict) ([]ledger.Record, error)) {
	v.t.Helper()
	if err := v.say(plan); err != nil {
		v.t.Fatal(err)
	}
}

func id(n uint64) point.ID { return point.ID{byte(n), byte(n >> 8), byte(n >> 16), 1} }

// arrive gives the next point its receipt.
func (v *vault) arrive() uint64 { v.t.Helper(); return v.arriveUntil(0) }

func (v *vault) arriveUntil(until int64) uint64 {
	v.t.Helper()
	v.points++
	a := Arrival{Sequence: v.points, ID: id(v.points), Live: id(v.points), Until: until}
	if _, err := v.book.Admit(v.t.Context(), device, v.reading(), []Arrival{a}); err != nil {
		v.t.Fatal(err)
	}
	return v.points
}

func (v *vault) prune() {
	v.t.Helper()
	v.must(func(s *State, verdict Verdict) ([]ledger.Record, error) { return s.Due(verdict), nil })
}

func (v *vault) policy(text string) *Edit {
	v.t.Helper()
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		v.t.Fatal(err)
	}
	var edit *Edit
	v.must(func(s *State, verdict Verdict) ([]ledger.Record, error) {
		if edit, err = s.Edit(p, verdict); err != nil {
			return nil, err
		}
		return edit.Records, nil
	})
	return edit
}

func (v *vault) tryPolicy(text string) error {
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		return err
	}
	return v.say(func(s *State, verdict Verdict) ([]ledger.Record, error) {
		e, err := s.Edit(p, verdict)
		if err != nil {
			return nil, err
		}
		return e.Records, nil
	})
}

func (v *vault) shown() []uint64 {
	var out []uint64
	v.book.View(func(s *State) {
		for _, p := range s.Shown() {
			out = append(out, p.Sequence)
		}
	})
	return out
}

func (v *vault) lawful() {
	v.t.Helper()
	v.book.View(func(s *State) {
		for _, f := range s.Faults {
			v.t.Errorf("entry %d %s", f.Entry, f.Text)
		}
	})
}

func (v *vault) pass(d time.Duration) { v.now = v.now.Add(d) }

// tags counts the tags of each tier that have not run out.
func (v *vault) tags() map[ledger.Tier]int {
	out := map[ledger.Tier]int{}
	v.book.View(func(s *State) {
		for _, p := range s.Shown() {
			for _, t := range p.Tags {
				if t.Expiry > v.now.Unix() {
					out[t.Tier]++
				}
			}
		}
	})
	return out
}

// Microsoft's worked example: two backups a day for 7 days, those of Saturday
// for 4 weeks, of the last Saturday for 12 months, one of the last Saturday of
// March for 10 years: 14 + 8 + 24 + 10 = 56 tags.
func TestWorkedExample(t *testing.T) {
	v := newVault(t, "2012-01-01 00:30")
	v.policy(`{"zone": "Europe/Vienna",
		"daily":   {"keep": 7, "at": ["09:00", "18:00"]},
		"weekly":  {"keep": 4, "days": ["sat"], "at": ["09:00", "18:00"]},
		"monthly": {"keep": 12, "on": ["last sat"], "at": ["09:00", "18:00"]},
		"yearly":  {"keep": 10, "months": ["mar"], "on": ["last sat"], "at": ["18:00"]}}`)
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2024, 4, 20, 0, 0, 0, 0, vienna)
	for d := time.Date(2012, 1, 1, 0, 0, 0, 0, vienna); d.Before(end); d = d.AddDate(0, 0, 1) {
		for _, hour := range []int{9, 18} {
			v.now = time.Date(d.Year(), d.Month(), d.Day(), hour, 0, 5, 0, vienna)
			v.arrive()
		}
		if d.Weekday() == time.Monday {
			v.prune()
		}
	}
	want := map[ledger.Tier]int{ledger.Daily: 14, ledger.Weekly: 8, ledger.Monthly: 24, ledger.Yearly: 10}
	if got := v.tags(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("tags %v, want %v", got, want)
	}
	v.prune()
	if n := len(v.shown()); n >= 56 || n < 40 {
		t.Errorf("%d points carry 56 tags", n)
	}
	v.lawful()
	// Everybody who reads it anew sees the same.
	before := fmt.Sprint(v.shown(), v.tags())
	v.reopen()
	if after := fmt.Sprint(v.shown(), v.tags()); after != before {
		t.Errorf("read anew:\n%s\nbefore:\n%s", after, before)
	}
}

// MARS's bounds: one less and one more are rejected.
func TestBounds(t *testing.T) {
	for tier, b := range map[string][2]int{
		`{"hourly": {"keep": %d}}`: {1, 9999}, `{"daily": {"keep": %d}}`: {7, 9999}, `{"weekly": {"keep": %d}}`: {4, 5163},
		`{"monthly": {"keep": %d}}`: {3, 1188}, `{"yearly": {"keep": %d}}`: {1, 99}, `{"soft_delete_days": %d}`: {14, 180},
		`{"others_days": %d}`: {1, 9999}, `{"floors": {"daily": %d}}`: {7, 9999}, `{"floors": {"weekly": %d}}`: {4, 5163},
		`{"floors": {"monthly": %d}}`: {3, 1188}, `{"floors": {"yearly": %d}}`: {1, 99}, `{"keep_last": %d}`: {0, 9999},
	} {
		for _, n := range b {
			if _, err := ParsePolicy(fmt.Appendf(nil, tier, n)); err != nil {
				t.Errorf(tier+": %v", n, err)
			}
		}
		for _, n := range []int{b[0] - 1, b[1] + 1} {
			// What is 0 is not set, for the numbers that have a default.
			if n == 0 && !strings.Contains(tier, "keep\"") {
				continue
			}
			if _, err := ParsePolicy(fmt.Appendf(nil, tier, n)); !errors.Is(err, fault.Invalid) {
				t.Errorf(tier+": %v", n, err)
			}
		}
	}
	for _, text := range []string{
		``, `[]`, `{`, `{} {}`, `{"dayly": {}}`, `{"zone": "Mars/Olympus"}`, `{"zone": "Local"}`, `{"immutable": "maybe"}`,
		`{"daily": {"keep": 7, "at": ["24:00"]}}`, `{"daily": {"keep": 7, "at": ["9:00"]}}`, `{"daily": {"keep": 7, "at": ["09:00", "08:00"]}}`,
		`{"daily": {"keep": 7, "at": ["09:00", "09:00"]}}`, `{"weekly": {"keep": 4, "days": ["saturday"]}}`,
		`{"monthly": {"keep": 3, "on": ["32"]}}`, `{"monthly": {"keep": 3, "on": ["0"]}}`, `{"monthly": {"keep": 3, "on": ["fifth sat"]}}`,
		`{"monthly": {"keep": 3, "on": ["01"]}}`, `{"yearly": {"keep": 1, "months": ["march"]}}`, `{"daily": {"keep": 8}, "floors": {"daily": 9}}`,
	} {
		if _, err := ParsePolicy([]byte(text)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// 400 idle days leave one point.
func TestIdle(t *testing.T) {
	v := newVault(t, "2025-01-01 03:00")
	v.policy(`{"daily": {"keep": 7}, "weekly": {"keep": 4}}`)
	for range 20 {
		v.arrive()
		v.pass(24 * time.Hour)
	}
	for range 400 {
		v.pass(24 * time.Hour)
		v.prune()
		v.must(func(*State, Verdict) ([]ledger.Record, error) {
			return []ledger.Record{ledger.Condemned{Round: 1}}, nil
		})
	}
	if got := v.shown(); !slices.Equal(got, []uint64{20}) {
		t.Errorf("left: %v", got)
	}
	// The one that replaces it does not end its life there and then.
	v.arrive()
	v.prune()
	if got := v.shown(); !slices.Equal(got, []uint64{20, 21}) {
		t.Errorf("left: %v", got)
	}
	for range 9 {
		v.pass(24 * time.Hour)
		v.prune()
		v.must(func(*State, Verdict) ([]ledger.Record, error) {
			return []ledger.Record{ledger.Condemned{Round: 1}}, nil
		})
	}
	if got := v.shown(); !slices.Equal(got, []uint64{21}) {
		t.Errorf("left: %v", got)
	}
	v.lawful()
}

// A missed Saturday passes to the next point that arrives.
func TestMissedSlot(t *testing.T) {
	v := newVault(t, "2026-06-01 02:00") // a Monday
	v.policy(`{"daily": {"keep": 7}, "weekly": {"keep": 4, "days": ["sat"]}}`)
	tiers := map[string]string{}
	for day := range 14 {
		if day == 5 || day == 6 { // the weekend of the 6th and 7th
			v.pass(24 * time.Hour)
			continue
		}
		n := v.arrive()
		v.book.View(func(s *State) { tiers[v.now.Format("02")] = tagWords(s.Point(n).Tags) })
		v.pass(24 * time.Hour)
	}
	want := map[string]string{"01": "weekly, daily", "02": "daily", "05": "daily", "08": "weekly, daily", "09": "daily", "13": "weekly, daily", "14": "daily"}
	for day, words := range want {
		if tiers[day] != words {
			t.Errorf("June %s: %q, want %q", day, tiers[day], words)
		}
	}
	v.lawful()
}
