// Package retain says, with no key, which points a repository keeps, for how
// long and why.
//
// Nouns: a Policy says how long points live. A slot is an instant at which a
// tier wants a point; the first point that arrives at or after it takes it and
// gets a tag with an expiry. A State is what all entries of a ledger say
// together: a fold, so that everybody who reads the same ledger knows the same.
// A Reading is what clocks say; a Verdict is what the State makes of it. A
// Plan tells for each point what is due and why. A Book is a ledger with its
// State, open for writing.
//
//	ledger entries ──► State (tags, deletions, policy, rounds)
//	State + Reading ──► Verdict (now, suspended) ──► Plan
//	State + Policy  ──► Edit (what it extends, shortens, dooms)
//
// All but Book is pure. Nothing is decided from a client's clock: it can only
// suspend expiry. What a ledger says against the rules of FORMAT.md, 11.5, is
// not done, and named in State.Faults.
package retain

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// maxTime is the end of the year 9999.
const maxTime = 253402300799

// maxFaults bounds the faults that are kept.
const maxFaults = 1000

// Point is a point that has a receipt and is not removed.
type Point struct {
	Sequence uint64
	ID       point.ID
	Live     [32]byte // root of its live set
	Arrival  int64    // vault's time, Unix seconds
	Entry    uint64   // of the ledger that has its receipt
	Tags     []ledger.Tag
	Held     bool
	Reason   string    // of the hold
	Deleted  *Deletion // nil: it is shown
	// Stood is by how much tags end later, in seconds: the vault's time stood still
	// when the point arrived, and then made up for that.
	Stood int64
	// Extended is until when it lives because its tags had run out when it
	// ceased to be the newest; 0: they had not.
	Extended int64
}

// Deletion is a deleted point's.
type Deletion struct {
	Why       ledger.DeleteReason
	At        int64 // vault's time
	GoneAfter int64 // not removed before
}

// Removed is a point that is gone for good.
type Removed struct {
	Sequence uint64
	ID       point.ID
	Live     [32]byte
	Arrival  int64
	Entry    uint64 // of the ledger that removed it
	At       int64  // vault's time
	Why      ledger.RemoveReason
}

// Round is what the ledger says of a collection round.
type Round struct {
	Number             uint64
	Condemned, Dropped int64 // vault's time; -1: no such record
	Entry              uint64
}

// Compaction is a pack whose containers are durable and whose original is
// still to be deleted.
type Compaction struct {
	Pack pack.ID
	At   int64 // vault's time
}

// Fault is an entry that says what it must not.
type Fault struct {
	Entry uint64
	Text  string
}

// State is what a ledger says so far. The zero State is that of an empty one.
// It is not for several goroutines at once.
type State struct {
	Head      ledger.Head
	First     int64       // vault's time of entry 1
	Origin    ledger.Hash // of entry 1
	Policy    *Policy     // nil: none was ever set, nothing expires
	PolicyAt  uint64      // entry of the policy
	Collected ledger.Collected
	Faults    []Fault // the first 1,000
	Faulty    int     // all of them

	points    map[uint64]*Point
	order     []uint64 // their sequences, ascending
	removed   []Removed
	removedAt map[uint64]int // sequence to place in removed
	highest   uint64         // sequence of any receipt
	rounds    map[uint64]*Round
	moving    map[pack.ID]int64
	steps     [16]int64 // the last steps of an hour or more, a ring
	stepped   int
	confirmed *ledger.Clock
	taken     map[slot]bool
	newest    uint64   // see protectedFrom; 0: to be found anew
	still     []uint64 // sequences of points that came, or were deleted, while time stands still
}

type slot struct {
	tier ledger.Tier
	at   int64
}

// Kept returns every point that is not removed, deleted ones included,
// ascending by sequence. A point in the store that has no receipt and is not
// removed is kept, too, but the ledger does not know it: see Find.
func (s *State) Kept() []*Point {
	out := make([]*Point, 0, len(s.order))
	for _, n := range s.order {
		out = append(out, s.points[n])
	}
	return out
}

// Shown returns the points that are neither removed nor deleted.
func (s *State) Shown() []*Point {
	return slices.DeleteFunc(s.Kept(), func(p *Point) bool { return p.Deleted != nil })
}

// Deleted returns the points that are deleted and not removed.
func (s *State) Deleted() []*Point {
	return slices.DeleteFunc(s.Kept(), func(p *Point) bool { return p.Deleted == nil })
}

// Point returns a point that is not removed, nil if there is none.
func (s *State) Point(sequence uint64) *Point { return s.points[sequence] }

// Removed returns the points that were removed by entries after that number,
// in the order of the ledger.
func (s *State) Removed(after uint64) []Removed {
	i, _ := slices.BinarySearchFunc(s.removed, after+1, func(r Removed, n uint64) int { return cmp.Compare(r.Entry, n) })
	return slices.Clip(s.removed[i:])
}

// Gone returns the tombstone of a removed point.
func (s *State) Gone(sequence uint64) (Removed, bool) {
	i, ok := s.removedAt[sequence]
	if !ok {
		return Removed{}, false
	}
	return s.removed[i], true
}

// Known says whether a point has, or had, a receipt.
func (s *State) Known(sequence uint64) bool {
	_, gone := s.removedAt[sequence]
	return gone || s.points[sequence] != nil
}

// Highest returns the greatest sequence that any receipt named. New points
// take greater ones, so that none gets the number of one that is gone.
func (s *State) Highest() uint64 { return s.highest }

// Rounds returns the rounds of collection, ascending.
func (s *State) Rounds() []Round {
	out := make([]Round, 0, len(s.rounds))
	for _, r := range s.rounds {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Round) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

// Compactions returns the packs that were moved and whose originals are still
// to be deleted, ascending.
func (s *State) Compactions() []Compaction {
	out := make([]Compaction, 0, len(s.moving))
	for id, at := range s.moving {
		out = append(out, Compaction{id, at})
	}
	slices.SortFunc(out, func(a, b Compaction) int { return slices.Compare(a.Pack[:], b.Pack[:]) })
	return out
}

// Newest returns the newest point that is shown, nil if there is none.
func (s *State) Newest() *Point {
	for _, n := range slices.Backward(s.order) {
		if p := s.points[n]; p.Deleted == nil {
			return p
		}
	}
	return nil
}

// fault notes that an entry breaks a rule.
func (s *State) fault(e *ledger.Entry, format string, args ...any) {
	s.Faulty++
	if len(s.Faults) < maxFaults {
		s.Faults = append(s.Faults, Fault{e.Number, fmt.Sprintf(format, args...)})
	}
}
