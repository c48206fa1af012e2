package retain

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

// tiers are those that have slots.
var tiers = [...]ledger.Tier{ledger.Hourly, ledger.Daily, ledger.Weekly, ledger.Monthly, ledger.Yearly}

// Assign returns the tags of a point that arrives then: of each tier the
// latest slot that is due, unless a point has taken it. until is an end that
// was asked for, 0 for none.
func (s *State) Assign(arrival, until int64) []ledger.Tag {
	var tags []ledger.Tag
	if p := s.Policy; p != nil {
		for _, tier := range tiers {
			if t, ok := s.free(p, tier, arrival); ok {
				tags = append(tags, t)
			}
		}
		if p.KeepWithinDays > 0 {
			tags = append(tags, ledger.Tag{Tier: ledger.Within, Expiry: p.end(ledger.Within, arrival)})
		}
		if len(tags) == 0 && until == 0 {
			tags = append(tags, ledger.Tag{Tier: ledger.Others, Expiry: p.end(ledger.Others, arrival)})
		}
	}
	if until > 0 {
		tags = append(tags, ledger.Tag{Tier: ledger.Until, Expiry: clamp(until)})
	}
	return tags
}

// free returns the tag of a tier for a point that arrives then, if its slot is
// not taken.
func (s *State) free(p *Policy, tier ledger.Tier, arrival int64) (ledger.Tag, bool) {
	at, ok := p.latest(tier, unix(arrival))
	if !ok || at.Unix() <= 0 || s.taken[slot{tier, at.Unix()}] {
		return ledger.Tag{}, false
	}
	return ledger.Tag{Tier: tier, Slot: at.Unix(), Expiry: p.end(tier, arrival)}, true
}

// allows says whether a policy may follow this one, nil for none before.
func (p *Policy) allows(next *Policy) error {
	if p == nil {
		return nil
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("policy: %s: %w", fmt.Sprintf(format, args...), fault.Denied)
	}
	if p.Immutable == ImmutableLocked && next.Immutable != ImmutableLocked {
		return bad("immutability is locked and cannot be turned off")
	}
	old, keep := p.bounds(), next.bounds()
	for i, b := range keep {
		if isImmutable(p) && b.n < old[i].n {
			return bad("immutable: %s was %d %s and must not become %d", b.name, old[i].n, b.unit, b.n)
		}
	}
	was := p.floors()
	for i, f := range next.floors() {
		if f.keep < was[i].floor && was[i].keep > 0 {
			return bad("%s: the floor is %d %s, so it must not become %d", f.name, was[i].floor, f.unit, f.keep)
		}
		if f.keep > 0 && f.keep < was[i].floor {
			return bad("%s: %d %s, but the floor is %d", f.name, f.keep, f.unit, was[i].floor)
		}
	}
	return nil
}

// Edit is what a new policy does to the points that are there.
type Edit struct {
	Records []ledger.Record // the policy, then what follows from it
	Changed int             // points whose tags change
	Doomed  []*Point        // that it cuts: they are deleted, and have their time of grace
	After   []Decision      // about every kept point, once it is in force
}

// Edit works out what a policy would do if it came into force now. fault.Denied:
// the present one forbids it.
func (s *State) Edit(next *Policy, v Verdict) (*Edit, error) {
	if err := s.Policy.allows(next); err != nil {
		return nil, err
	}
	e := &Edit{Records: []ledger.Record{ledger.Policy{JSON: next.Marshal()}}}
	// The records are folded into a copy, by the same rules that everybody
	// will apply to them.
	trial := s.clone()
	entry := &ledger.Entry{Number: s.Head.Number + 1, Time: v.Now, Records: e.Records}
	trial.Fold(entry)
	for _, p := range s.Kept() {
		tags := trial.retag(s.Policy, p)
		if slices.Equal(tags, p.Tags) {
			continue
		}
		r := ledger.Retag{Sequence: p.Sequence, Tags: tags}
		e.Records = append(e.Records, r)
		e.Changed++
		trial.points[p.Sequence].Tags = tags
		(&folding{State: trial, entry: entry}).take(tags)
	}
	gone := v.Latest + trial.grace()
	for _, p := range trial.Shown() {
		if trial.over(p, v.Now) && !s.over(s.points[p.Sequence], v.Now) {
			if isImmutable(s.Policy) || isImmutable(next) {
				return nil, fmt.Errorf("policy: it would cut point %s, and points are immutable: %w", p.ID.Short(), fault.Denied)
			}
			e.Records = append(e.Records, ledger.Deleted{Sequence: p.Sequence, Why: ledger.ByPolicy, GoneAfter: gone})
			e.Doomed = append(e.Doomed, p)
		}
	}
	for _, p := range e.Doomed {
		p.Deleted = &Deletion{ledger.ByPolicy, v.Now, gone}
	}
	e.After = trial.Plan(v)
	if len(e.Records) > ledger.MaxRecords {
		return nil, fmt.Errorf("policy: it changes %d points at once: %w", e.Changed, fault.TooLarge)
	}
	return e, nil
}

// retag returns the tags of a point under the policy of s, which has just
// replaced old. What is kept as long as before stays; a tier that is new takes
// the slots that were free.
func (s *State) retag(old *Policy, p *Point) []ledger.Tag {
	var before [ledger.Others + 1]int
	if old != nil {
		before = old.keeps()
	}
	keeps := s.Policy.keeps()
	expiry := func(t ledger.Tag) int64 {
		end := s.Policy.end(t.Tier, p.Arrival)
		switch was, is := before[t.Tier], keeps[t.Tier]; {
		case was == is:
			return t.Expiry
		case was < is:
			return max(end, t.Expiry)
		}
		return min(end, t.Expiry)
	}
	var tags, last []ledger.Tag
	for _, t := range p.Tags {
		switch {
		case t.Tier > ledger.Others:
			last = append(last, t)
		case t.Tier != ledger.Others && t.Tier != ledger.Within && keeps[t.Tier] > 0:
			t.Expiry = expiry(t)
			tags = append(tags, t)
		}
	}
	for _, tier := range tiers {
		if before[tier] == 0 && keeps[tier] > 0 {
			if t, ok := s.free(s.Policy, tier, p.Arrival); ok {
				tags = append(tags, t)
			}
		}
	}
	find := func(tier ledger.Tier) ledger.Tag {
		for _, t := range p.Tags {
			if t.Tier == tier {
				t.Expiry = expiry(t)
				return t
			}
		}
		return ledger.Tag{Tier: tier, Expiry: s.Policy.end(tier, p.Arrival)}
	}
	if keeps[ledger.Within] > 0 {
		tags = append(tags, find(ledger.Within))
	}
	if len(tags) == 0 && len(last) == 0 {
		tags = append(tags, find(ledger.Others))
	}
	tags = append(tags, last...)
	if len(tags) > ledger.MaxTags {
		tags = tags[:ledger.MaxTags]
	}
	return tags
}

// clone returns a State that shares nothing that changes with s.
func (s *State) clone() *State {
	s.init()
	c := *s
	c.points = make(map[uint64]*Point, len(s.points))
	for n, p := range s.points {
		q := *p
		c.points[n] = &q
	}
	c.order, c.removed, c.Faults = slices.Clone(s.order), slices.Clone(s.removed), slices.Clone(s.Faults)
	c.still = slices.Clone(s.still)
	c.removedAt, c.taken, c.moving = maps.Clone(s.removedAt), maps.Clone(s.taken), maps.Clone(s.moving)
	c.rounds = make(map[uint64]*Round, len(s.rounds))
	for n, r := range s.rounds {
		q := *r
		c.rounds[n] = &q
	}
	return &c
}
