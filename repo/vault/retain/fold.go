package retain

import (
	"slices"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Fold takes an entry, which must be the one after the last. What it must not
// say is not done, and noted in Faults.
func (s *State) Fold(e *ledger.Entry) {
	s.init()
	before := s.Head
	s.checkTime(e)
	// An unlawful time has been noted; going on with it keeps the chain's
	// order, and whoever decides on it sees the fault.
	s.Head = e.Head()
	if before.Number > 0 && e.Time != before.Time {
		s.goOn(e.Time - before.Time)
	}
	f := &folding{State: s, entry: e}
	for _, r := range e.Records {
		f.record(r)
		s.newest = 0
	}
}

func (s *State) init() {
	if s.points == nil {
		s.points, s.removedAt = map[uint64]*Point{}, map[uint64]int{}
		s.rounds, s.moving, s.taken = map[uint64]*Round{}, map[pack.ID]int64{}, map[slot]bool{}
	}
}

// folding is the work on one entry.
type folding struct {
	*State
	entry  *ledger.Entry
	before *Policy // in force before this entry's policy
	edits  bool    // a policy stands before in this entry
	stands bool    // so does that time stands still
}

func (f *folding) record(r ledger.Record) {
	switch r := r.(type) {
	case ledger.Receipt:
		f.receipt(r)
	case ledger.Retag:
		f.retag(r)
	case ledger.Deleted:
		f.deleted(r)
	case ledger.Undeleted:
		if p := f.point(r.Sequence, "undeletes"); p != nil {
			p.Deleted = nil
		}
	case ledger.Removed:
		f.remove(r)
	case ledger.Hold:
		if p := f.point(r.Sequence, "holds"); p != nil {
			p.Held, p.Reason = true, r.Reason
		}
	case ledger.Release:
		if p := f.point(r.Sequence, "releases"); p != nil {
			p.Held, p.Reason = false, ""
		}
	case ledger.Extended:
		if p := f.point(r.Sequence, "extends"); p != nil {
			p.extend(r.Until)
		}
	case ledger.Policy:
		f.policy(r)
	case ledger.Clock:
		f.confirmed = &r
	case ledger.Standing:
		f.stands = true
	default:
		f.collection(r)
	}
}

// collection takes the collector's own records.
func (f *folding) collection(r ledger.Record) {
	switch r := r.(type) {
	case ledger.Condemned:
		f.round(r.Round).Condemned = f.entry.Time
	case ledger.Dropped:
		f.round(r.Round).Dropped = f.entry.Time
	case ledger.Compacted:
		for _, id := range r.Packs {
			if r.Step == ledger.Moved {
				f.moving[id] = f.entry.Time
			} else {
				delete(f.moving, id)
			}
		}
	case ledger.Collected:
		f.Collected = r
	}
}

func (f *folding) round(n uint64) *Round {
	r := f.rounds[n]
	if r == nil {
		r = &Round{Number: n, Condemned: -1, Dropped: -1}
		f.rounds[n] = r
	}
	r.Entry = f.entry.Number
	return r
}

func (f *folding) point(sequence uint64, does string) *Point {
	p := f.points[sequence]
	if p == nil {
		f.fault(f.entry, "%s point %d, which has no receipt or is removed", does, sequence)
	}
	return p
}

func (f *folding) receipt(r ledger.Receipt) {
	if f.Known(r.Sequence) {
		f.fault(f.entry, "gives point %d a second receipt", r.Sequence)
		return
	}
	p := &Point{Sequence: r.Sequence, ID: r.Point, Live: r.Live, Arrival: r.Arrival, Entry: f.entry.Number, Tags: r.Tags}
	f.succeed(p)
	f.points[p.Sequence] = p
	f.stand(p)
	i, _ := slices.BinarySearch(f.order, p.Sequence)
	f.order = slices.Insert(f.order, i, p.Sequence)
	f.highest = max(f.highest, p.Sequence)
	f.take(p.Tags)
}

// succeed gives the point that was the newest until now the time that others
// get, if it lived for being the newest alone: else the arrival of a point
// would end another's life.
func (f *folding) succeed(p *Point) {
	old := f.Newest()
	if old == nil || f.Policy == nil || old.Sequence > p.Sequence || len(old.Tags) == 0 {
		return
	}
	if end := old.end(); end <= max(p.Arrival, f.entry.Time) {
		old.Extended = f.Policy.end(ledger.Others, max(p.Arrival, f.entry.Time))
	}
}

// extend gives the point a tag Until.
func (p *Point) extend(until int64) {
	tags := slices.Clone(p.Tags) // the entry keeps its own
	i := slices.IndexFunc(tags, func(t ledger.Tag) bool { return t.Tier == ledger.Until })
	if i < 0 {
		i = len(tags)
		tags = append(tags, ledger.Tag{Tier: ledger.Until})
	}
	tags[i].Expiry = max(tags[i].Expiry, until)
	p.Tags = tags
}

func (f *folding) take(tags []ledger.Tag) {
	for _, t := range tags {
		if t.Slot != 0 {
			f.taken[slot{t.Tier, t.Slot}] = true
		}
	}
}

func (f *folding) remove(r ledger.Removed) {
	p := f.point(r.Sequence, "removes")
	if p == nil {
		return
	}
	switch {
	case p.ID != r.Point || p.Live != r.Live:
		f.fault(f.entry, "removes point %d under the name of another", r.Sequence)
	case r.Why == ledger.WasDeleted && p.Deleted == nil:
		f.fault(f.entry, "removes point %d (%s) as deleted, which it is not", r.Sequence, p.ID.Short())
	case r.Why == ledger.WasDeleted && f.entry.Time < p.Deleted.GoneAfter:
		f.fault(f.entry, "removes point %d (%s) on %s, before its time of grace ends on %s", r.Sequence, p.ID.Short(), stamp(f.entry.Time), stamp(p.Deleted.GoneAfter))
	case r.Why == ledger.Expired && p.Deleted != nil:
		f.fault(f.entry, "removes point %d (%s) as expired during its time of grace", r.Sequence, p.ID.Short())
	case r.Why == ledger.Expired && !f.over(p, f.entry.Time):
		f.fault(f.entry, "removes point %d (%s) on %s, before it expired", r.Sequence, p.ID.Short(), stamp(f.entry.Time))
	}
	// It is gone, lawfully or not: what it named is garbage to everybody.
	f.removedAt[p.Sequence] = len(f.removed)
	f.removed = append(f.removed, Removed{p.Sequence, p.ID, p.Live, p.Arrival, f.entry.Number, f.entry.Time, r.Why})
	delete(f.points, p.Sequence)
	if i, ok := slices.BinarySearch(f.order, p.Sequence); ok {
		f.order = slices.Delete(f.order, i, i+1)
	}
}

func (f *folding) deleted(r ledger.Deleted) {
	p := f.point(r.Sequence, "deletes")
	if p == nil || p.Deleted != nil {
		return // twice is as good as once, and the first time of grace stands
	}
	if why := f.mayDelete(p, r); why != "" {
		f.fault(f.entry, "deletes point %d (%s): %s", r.Sequence, p.ID.Short(), why)
		return
	}
	p.Deleted = &Deletion{r.Why, f.entry.Time, r.GoneAfter}
	f.stand(p)
}

// mayDelete says why a deletion is unlawful, "" if it is not.
func (f *folding) mayDelete(p *Point, r ledger.Deleted) string {
	immutable := f.immutable()
	if r.Why == ledger.ByPolicy {
		if !f.edits {
			return "no policy of this entry cut it"
		}
		immutable = immutable || isImmutable(f.before)
	}
	if immutable && !f.over(p, f.entry.Time) {
		return "the policy says that nothing is deleted before it expires"
	}
	if r.GoneAfter < f.entry.Time+f.grace() {
		return "with too short a time of grace"
	}
	return ""
}

// grace is how long deleted points are kept, in seconds.
func (s *State) grace() int64 {
	if s.Policy == nil {
		return int64(MinSoft) * day
	}
	return int64(s.Policy.SoftDeleteDays) * day
}

func (s *State) immutable() bool { return isImmutable(s.Policy) }

func isImmutable(p *Policy) bool { return p != nil && p.Immutable != ImmutableOff }

func (f *folding) retag(r ledger.Retag) {
	p := f.point(r.Sequence, "retags")
	if p == nil {
		return
	}
	if !f.edits {
		f.fault(f.entry, "retags point %d (%s) without a policy", r.Sequence, p.ID.Short())
		return
	}
	if isImmutable(f.before) && len(p.Tags) > 0 && endOf(r.Tags) < endOf(p.Tags) {
		f.fault(f.entry, "shortens the life of point %d (%s), which is immutable", r.Sequence, p.ID.Short())
		return
	}
	p.Tags = r.Tags
	f.take(p.Tags)
}

func (f *folding) policy(r ledger.Policy) {
	p, err := ParsePolicy(r.JSON)
	if err != nil {
		f.fault(f.entry, "%v", err)
		return
	}
	if err := f.Policy.allows(p); err != nil {
		f.fault(f.entry, "%v", err)
		return
	}
	// A tier that comes back finds its slots free, and those tags that stay
	// take theirs again below.
	for at := range f.taken {
		if p.keep(at.tier) > 0 && (f.Policy == nil || f.Policy.keep(at.tier) == 0) {
			delete(f.taken, at)
		}
	}
	f.before, f.edits = f.Policy, true
	f.Policy, f.PolicyAt = p, f.entry.Number
}
