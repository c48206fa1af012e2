package keep_test

import (
	"testing"
)

// The protocol of FORMAT.md, section 9, as a model small enough that every
// interleaving can be tried: two writers and two collectors about one frame,
// which nobody needs at the beginning, and two rounds. A step is one operation
// on the store. Listings are not atomic: what two writers have put is looked at
// in two steps. Any of the four may stop for ever at any step, collectors may
// begin again at any step, and any intent may be 30 days old at any time.

// modelWriter is where a writer is.
type modelWriter struct {
	step                 uint8
	intent, point, acked bool // in the store; acked: its user was told that the point is whole
}

// Steps of a writer.
const (
	wRead   = iota // rounds, before it relies on the frame
	wClaim         // puts the intent
	wReread        // rounds again
	wGone          // is the intent there?
	wPoint         // puts the point
	wLook          // is the intent still there?
	wLast          // rounds once more, since it is not
	wClear         // deletes the intent
	wEnd
)

// round is what is stored of a round.
type modelRound uint8

const (
	none      modelRound = iota
	condemned            // and the frame is in it
	dropped              // with the frame
	released             // dropped, without the frame
)

// modelCollector is where a collector is, and what it has seen.
type modelCollector struct {
	step   uint8
	needed bool  // by what it has seen
	old    uint8 // intents that it takes for old, a bit each
	rounds [2]modelRound
}

// Steps of a collector.
const (
	cRounds  = iota // reads in the ledger which rounds are condemned
	cFall           // old intents go
	cIntent1        // looks for the intent of writer 1, of writer 2
	cIntent2
	cPoint1 // and for their points
	cPoint2
	cAgain // the moment of some mistakes
	cDrop1 // finishes round 1, round 2
	cDrop2
	cDelete  // the frame
	cCondemn // under the first number that is free
)

type modelState struct {
	writers    [2]modelWriter
	collectors [2]modelCollector
	rounds     [2]modelRound
	frame      bool
}

// variant is the protocol, with or without a mistake.
type variant struct {
	pointsFirst, noReread, noWait, lateFall, loserGoesOn, noLastLook, roundsLast bool
}

func (s *modelState) absent() bool {
	for _, r := range s.rounds {
		if r == condemned || r == dropped {
			return true
		}
	}
	return false
}

// stepWriter returns the states that a step of a writer leads to.
func (v variant) stepWriter(s modelState, i int) []modelState {
	w := &s.writers[i]
	next := func(step uint8) []modelState { w.step = step; return []modelState{s} }
	switch w.step {
	case wRead:
		if s.absent() {
			return nil // it stores the content again, elsewhere: no more of that here
		}
		return next(wClaim)
	case wClaim:
		w.intent = true
		return next(wReread)
	case wReread:
		if s.absent() && !v.noReread {
			w.intent = false
			return next(wRead)
		}
		return next(wGone)
	case wGone:
		if !w.intent {
			return next(wRead)
		}
		return next(wPoint)
	case wPoint:
		w.point = true
		return next(wLook)
	case wLook:
		if !w.intent && !v.noLastLook {
			return next(wLast)
		}
		w.acked = true
		return next(wClear)
	case wLast:
		w.acked = !s.absent()
		return next(wEnd)
	case wClear:
		w.intent = false
		return next(wEnd)
	}
	return nil
}

// stepCollector returns the states that a step of a collector leads to.
func (v variant) stepCollector(s modelState, i int) []modelState {
	c := &s.collectors[i]
	next := func() []modelState { c.step++; return []modelState{s} }
	order := [4]func() bool{
		func() bool { return s.writers[0].intent && c.old&1 == 0 }, func() bool { return s.writers[1].intent && c.old&2 == 0 },
		func() bool { return s.writers[0].point }, func() bool { return s.writers[1].point },
	}
	if v.pointsFirst {
		order[0], order[1], order[2], order[3] = order[2], order[3], order[0], order[1]
	}
	switch c.step {
	case cRounds:
		c.needed, c.rounds = false, s.rounds
		return next()
	case cFall:
		c.step++
		var out []modelState
		for old := range uint8(4) { // time is no part of the model: any of them may be
			t := s
			if t.collectors[i].old = old; !v.lateFall {
				t.fall(i)
			}
			out = append(out, t)
		}
		return out
	case cIntent1, cIntent2, cPoint1, cPoint2:
		c.needed = c.needed || order[c.step-cIntent1]()
		return next()
	case cAgain:
		if c.step++; v.roundsLast {
			c.rounds = s.rounds
		}
		s.fall(i)
		return []modelState{s}
	case cDrop1, cDrop2:
		v.drop(&s, c, int(c.step-cDrop1))
		return next()
	case cDelete:
		if c.rounds[0] == dropped || c.rounds[1] == dropped {
			s.frame = false
		}
		return next()
	case cCondemn:
		c.step = cRounds
		out := []modelState{s}
		if absent := c.rounds[0] == condemned || c.rounds[1] == condemned || c.rounds[0] == dropped || c.rounds[1] == dropped; !c.needed && !absent {
			for n := range s.rounds {
				if s.rounds[n] == none {
					s.rounds[n] = condemned
					if v.noWait { // and drops it at once, by what it has seen
						s.rounds[n] = dropped
						s.frame = false
					}
					return append(out, s)
				}
			}
		}
		return out
	}
	return nil
}

// drop finishes a round that was condemned when the rounds were read.
func (v variant) drop(s *modelState, c *modelCollector, n int) {
	if c.rounds[n] != condemned {
		return
	}
	mine := dropped
	if c.needed {
		mine = released
	}
	if s.rounds[n] == condemned {
		s.rounds[n], c.rounds[n] = mine, mine
		return
	}
	c.rounds[n] = s.rounds[n] // another one was faster
	if v.loserGoesOn {
		c.rounds[n] = mine
	}
}

// fall deletes the intents that a collector takes for old.
func (s *modelState) fall(i int) {
	for w := range s.writers {
		if s.collectors[i].old>>w&1 != 0 {
			s.writers[w].intent = false
		}
	}
	s.collectors[i].old = 0
}

// pack returns the state as a number.
func (s *modelState) pack() uint64 {
	n := uint64(1)
	bit := func(b bool) {
		if n <<= 1; b {
			n |= 1
		}
	}
	for _, w := range s.writers {
		n = n<<4 | uint64(w.step)
		bit(w.intent)
		bit(w.point)
		bit(w.acked)
	}
	for _, c := range s.collectors {
		n = n<<4 | uint64(c.step)
		n = n<<2 | uint64(c.old)
		n = n<<4 | uint64(c.rounds[0])<<2 | uint64(c.rounds[1])
		bit(c.needed)
	}
	n = n<<4 | uint64(s.rounds[0])<<2 | uint64(s.rounds[1])
	bit(s.frame)
	return n
}

// explore tries everything, and returns how many states there are and the first
// in which a point that somebody was told to be whole has lost the frame.
func (v variant) explore() (states int, lost *modelState) {
	start := modelState{frame: true}
	seen := map[uint64]struct{}{start.pack(): {}}
	todo := []modelState{start}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, w := range s.writers {
			if w.acked && !s.frame {
				return len(seen), &s
			}
		}
		var out []modelState
		for i := range 2 {
			out = append(out, v.stepWriter(s, i)...)
			out = append(out, v.stepCollector(s, i)...)
			if s.collectors[i].step != cRounds { // killed, or begins again
				t := s
				t.collectors[i] = modelCollector{}
				out = append(out, t)
			}
		}
		for _, t := range out {
			if _, known := seen[t.pack()]; !known {
				seen[t.pack()] = struct{}{}
				todo = append(todo, t)
			}
		}
	}
	return len(seen), nil
}

// TestEveryInterleaving tries all of them, and that each mistake would be seen.
func TestEveryInterleaving(t *testing.T) {
	states, lost := variant{}.explore()
	if lost != nil {
		t.Fatalf("after %d states: %+v", states, *lost)
	}
	t.Logf("%d states", states)
	if states < 10_000 {
		t.Error("too few states: the model does not move")
	}
	for name, v := range map[string]variant{
		"points before intents":       {pointsFirst: true},
		"rounds not read again":       {noReread: true},
		"no wait":                     {noWait: true},
		"claims fall late":            {lateFall: true},
		"the loser goes by its word":  {loserGoesOn: true},
		"no look for the claim after": {noLastLook: true},
		"rounds read after intents":   {roundsLast: true},
	} {
		if states, lost := v.explore(); lost == nil {
			t.Errorf("%s: nothing is lost in %d states", name, states)
		} else {
			t.Logf("| %s | model of keep | %d states |", name, states)
		}
	}
}
