package index

import (
	"math/bits"
	"slices"
	"sort"

	"github.com/tidemark-backup/tidemark/repo/chunk"
)

// A run is cut into shards by the first bits of the ID, each a hash table
// that grows on its own. Growing thus never needs a second copy of the run,
// and shards sorted one after the other are the run in order.
const (
	shardBits = 6
	numShards = 1 << shardBits
)

// run is the part of the index in memory.
type run struct {
	shards [numShards]shard
	count  int // records
	limit  int // records that the run should not exceed
}

// shard is an open-addressing hash table without pointers; a slot of length 0
// is empty. While it is sorted it is a sorted list of count records instead.
type shard struct {
	slots  []record
	count  int
	sorted bool
}

// newRun returns an empty run that takes about memory bytes when full.
func newRun(memory int) *run {
	return &run{limit: max(numShards, memory/recordSize*3/4)}
}

func shardOf(id *chunk.ID) int { return int(id[0] >> (8 - shardBits)) }

// get returns the record of id.
func (r *run) get(id *chunk.ID) (Location, bool) {
	s := &r.shards[shardOf(id)]
	if s.count == 0 {
		return Location{}, false
	}
	if s.sorted {
		i, ok := sort.Find(s.count, func(i int) int { return compare(id, &s.slots[i].id) })
		if !ok {
			return Location{}, false
		}
		return s.slots[i].loc, true
	}
	slot := s.slot(id)
	return slot.loc, slot.loc.Length != 0
}

// put adds a record; one of the same ID is replaced.
func (r *run) put(rec record) {
	s := &r.shards[shardOf(&rec.id)]
	if s.count >= len(s.slots)*7/8 {
		s.resize(r.roomFor(len(s.slots)))
	}
	slot := s.slot(&rec.id)
	if slot.loc.Length == 0 {
		s.count++
		r.count++
	}
	*slot = rec
}

// roomFor returns how many slots come after slots. It stops at a shard's
// share of the run, which suffices when IDs are uniform; beyond, it goes on.
func (r *run) roomFor(slots int) int {
	share := r.limit*4/3/numShards + 1
	next := max(32, slots*3/2)
	if slots < share && next > share {
		return max(share, slots+1)
	}
	return next
}

// slot returns where id is, or the empty slot where it belongs.
func (s *shard) slot(id *chunk.ID) *record {
	// IDs are uniform; the multiplication only spreads those of tests.
	mixed := (lo(id) ^ hi(id)) * 0x9e3779b97f4a7c15
	at, _ := bits.Mul64(mixed, uint64(len(s.slots)))
	for {
		slot := &s.slots[at]
		if slot.loc.Length == 0 || slot.id == *id {
			return slot
		}
		if at++; at == uint64(len(s.slots)) {
			at = 0
		}
	}
}

// resize moves the records to a table of n slots.
func (s *shard) resize(n int) {
	old := s.slots
	if s.sorted {
		old = old[:s.count]
	}
	s.slots, s.sorted = make([]record, n), false
	for i := range old {
		if old[i].loc.Length != 0 {
			*s.slot(&old[i].id) = old[i]
		}
	}
}

// sort turns the table into a sorted list, in place.
func (s *shard) sort() {
	n := 0
	for i := range s.slots {
		if s.slots[i].loc.Length != 0 {
			s.slots[n] = s.slots[i]
			n++
		}
	}
	slices.SortFunc(s.slots[:n], func(a, b record) int { return compare(&a.id, &b.id) })
	s.sorted = true
}

// unsort makes hash tables of shards that were sorted.
func (r *run) unsort() {
	for i := range r.shards {
		if s := &r.shards[i]; s.sorted {
			s.resize(len(s.slots))
		}
	}
}

// clear empties the run, keeping its memory.
func (r *run) clear() {
	share := r.limit*4/3/numShards + 1
	for i := range r.shards {
		s := &r.shards[i]
		if len(s.slots) > share {
			s.slots = nil // a pack of unusually many chunks
		}
		clear(s.slots)
		s.count, s.sorted = 0, false
	}
	r.count = 0
}
