package retain

import (
	"fmt"
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

// step notes how far an entry is from the one before.
func (s *State) step(seconds int64) {
	if seconds >= rest {
		s.steps[s.stepped%len(s.steps)] = seconds
		s.stepped++
	}
}

// time returns the time of an entry that is written when the place's clock
// says so; jumped says that it stands still because that is not believed.
func (s *State) time(place int64) (at int64, jumped bool) {
	switch {
	case s.Head.Number == 0:
		return clamp(place), false
	case place <= s.Head.Time:
		return s.Head.Time, false
	case place-s.Head.Time > jump+s.usual():
		return s.Head.Time, true
	}
	return clamp(place), false
}

func clamp(t int64) int64 { return min(max(t, 0), maxTime) }

// Judge says what time it is in the vault.
func (s *State) Judge(r Reading) Verdict {
	now, jumped := s.time(r.Place)
	v := Verdict{Now: now}
	off := r.Place - r.Machine
	if s.confirmed != nil {
		off -= s.confirmed.Place - s.confirmed.Machine
	}
	switch behind := s.Head.Time - r.Place; {
	case jumped:
		v.Why = fmt.Sprintf("the vault's clock jumped from %s to %s", stamp(s.Head.Time), stamp(r.Place))
		v.Confirm = true
	case s.Head.Number > 0 && behind > jump:
		v.Why = fmt.Sprintf("the vault's clock says %s, and the ledger has an entry of %s", stamp(r.Place), stamp(s.Head.Time))
	case apart(off) && apart(r.Place-r.Machine):
		v.Why = fmt.Sprintf("the vault's clock says %s, this machine's %s", stamp(r.Place), stamp(r.Machine))
		v.Confirm = true
	}
	v.Suspended = v.Why != ""
	return v
}

func apart(seconds int64) bool { return seconds > jump || seconds < -jump }

func stamp(t int64) string { return time.Unix(t, 0).UTC().Format("2006-01-02 15:04 UTC") }

// checkTime holds an entry's time against the rules, and takes it.
func (s *State) checkTime(e *ledger.Entry, confirms bool) {
	if s.Head.Number == 0 {
		s.First = e.Time
		return
	}
	step := e.Time - s.Head.Time
	if step > jump+s.usual() && !confirms {
		s.fault(e, "its time, %s, is %d days after that of the entry before, and nobody confirmed that", stamp(e.Time), step/day)
	}
	s.step(step)
}
