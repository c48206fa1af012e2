package retain

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

const (
	// jump is how much further than usual a clock may go at once, and how far
	// two clocks may be apart, in seconds.
	jump = day
	// rest is the least step that says something of the rhythm.
	rest = 3600
	// longestStep is the longest rhythm that is learned.
	longestStep = 35 * day
)

// Reading is what clocks say, in Unix seconds.
type Reading struct {
	Place   int64 // the clock of the place that keeps the repository
	Machine int64 // the clock of the machine that asks; it can only suspend
}

// Verdict is what a State makes of a Reading.
type Verdict struct {
	Now       int64  // the vault's now
	Latest    int64  // that, or what the place's clock says, if it is later: promises count from it
	Suspended bool   // nothing expires, and nothing is removed for good
	Why       string // of the suspension
	// Confirm says whether the operator's word ends the suspension.
	Confirm bool
}

// usual is the longest of the steps that the ledger has lately made.
func (s *State) usual() int64 {
	var longest int64
	for _, step := range s.steps {
		longest = max(longest, step)
	}
	return min(longest, longestStep)
}

// confirmedTime is the time of an entry with the operator's word for a reading.
func (s *State) confirmedTime(r Reading) int64 {
	if at := clamp(r.Place); at > s.Head.Time || s.Back(r) && !apart(r.Place-r.Machine) {
		return at
	}
	return s.Head.Time
}

// step notes how far an entry is from the one before.
func (s *State) step(seconds int64) {
	if seconds >= rest {
		s.steps[s.stepped%len(s.steps)] = seconds
		s.stepped++
	}
}

// time returns the time of an entry that is written when clocks say so; jumped
// says that it stands still because the place's is not believed. The first
// entry has none before it to be held against: the place is believed. If its
// clock is wrong expiry is suspended until it is right and the operator says so.
func (s *State) time(r Reading) (at int64, jumped bool) {
	switch place := r.Place; {
	case s.Head.Number == 0:
		return clamp(place), false
	case place <= s.Head.Time:
		return s.Head.Time, false
	case place-s.Head.Time > jump+s.usual():
		return s.Head.Time, true
	}
	return clamp(r.Place), false
}

func clamp(t int64) int64 { return min(max(t, 0), maxTime) }

// Judge says what time it is in the vault.
func (s *State) Judge(r Reading) Verdict {
	now, jumped := s.time(r)
	v := Verdict{Now: now, Latest: max(now, clamp(r.Place))}
	off := r.Place - r.Machine
	if s.confirmed != nil {
		off -= s.confirmed.Place - s.confirmed.Machine
	}
	switch {
	case jumped:
		v.Why = fmt.Sprintf("the vault's clock jumped from %s to %s", stamp(s.Head.Time), stamp(r.Place))
		v.Confirm = true
	case s.Back(r):
		v.Why = fmt.Sprintf("the vault's clock says %s, and the ledger has an entry of %s", stamp(r.Place), stamp(s.Head.Time))
		v.Confirm = !apart(r.Place - r.Machine)
	case apart(off) && apart(r.Place-r.Machine):
		v.Why = fmt.Sprintf("the vault's clock says %s, this machine's %s", stamp(r.Place), stamp(r.Machine))
		v.Confirm = true
	}
	v.Suspended = v.Why != ""
	return v
}

// Back says whether the operator's word for a reading takes the vault's time
// back. What is less than a day stands still.
func (s *State) Back(r Reading) bool { return s.Head.Number > 0 && s.Head.Time-clamp(r.Place) > jump }

func apart(seconds int64) bool { return seconds > jump || seconds < -jump }

func stamp(t int64) string { return time.Unix(t, 0).UTC().Format("2006-01-02 15:04 UTC") }

// checkTime holds an entry's time against the rules, and takes it.
func (s *State) checkTime(e *ledger.Entry) {
	if s.Head.Number == 0 {
		s.First, s.Origin = e.Time, e.Hash
		return
	}
	step := e.Time - s.Head.Time
	if step > jump+s.usual() && !ledger.SetsClock(e.Records) {
		s.fault(e, "its time, %s, is %d days after that of the entry before, and nobody confirmed that", stamp(e.Time), step/day)
	}
	if step < 0 {
		if !slices.ContainsFunc(e.Records, func(r ledger.Record) bool { c, ok := r.(ledger.Clock); return ok && agrees(c, e.Time) }) {
			s.fault(e, "its time, %s, is before that of the entry before, %s, and no two clocks said so", stamp(e.Time), stamp(s.Head.Time))
		}
		s.back(e.Time)
	}
	s.step(step)
}

// agrees says whether a clock record lets time go back to that: both clocks
// must say so, since points that come in too early a time die early once it is
// put forward again.
func agrees(c ledger.Clock, at int64) bool { return c.Place == at && !apart(c.Place-c.Machine) }

// back takes the vault's time back: a clock had been ahead. What points were
// promised stands, since a life must not become shorter; the waits of
// collections begin at the latest now.
func (s *State) back(at int64) {
	for _, r := range s.rounds {
		r.Condemned, r.Dropped = min(r.Condemned, at), min(r.Dropped, at)
	}
	for id, since := range s.moving {
		s.moving[id] = min(since, at)
	}
}
