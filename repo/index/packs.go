package index

import (
	"encoding/binary"
	"iter"
	"math/bits"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Pack is what the table keeps about a pack: what a reader needs to find the
// frames of a Location.
type Pack struct {
	ID pack.ID
	pack.Geometry
	Size uint32 // of the object in bytes; for the caller to compare
}

// entry is a Pack in the table; chunks counts its records, valid ones are
// known. 40 bytes and no pointer.
type entry struct {
	id                         pack.ID
	first, step, total, chunks uint32
	size                       uint32
	kind                       pack.Kind
	known                      bool
}

func (e *entry) pack() Pack {
	return Pack{e.id, pack.Geometry{First: e.first, Step: e.step, Total: e.total, Kind: e.kind}, e.size}
}

func newEntry(p Pack, chunks int) entry {
	return entry{p.ID, p.First, p.Step, p.Total, uint32(chunks), p.Size, p.Kind, true}
}

const tableBlock = 4096 // entries

// table numbers packs. Numbers of packs that are not there any more stay
// unused, so it is kept in blocks, and blocks without a pack are nil.
type table struct {
	blocks  []*[tableBlock]entry
	used    []uint16 // known packs of each block
	next    uint32   // the number of the next new pack
	count   int      // known packs
	chunks  uint64   // sum over known packs
	numbers []uint32 // open addressing by ID: number + 1; 0 is empty
	filled  int      // slots of numbers that are not empty
}

// get returns the entry of a number, nil unless it is known.
func (t *table) get(number uint32) *entry {
	if b := number / tableBlock; int(b) < len(t.blocks) && t.blocks[b] != nil {
		if e := &t.blocks[b][number%tableBlock]; e.known {
			return e
		}
	}
	return nil
}

// slot returns where in numbers the ID is, or would be put. Slots of dropped
// packs are passed over: they stay until the next resize.
func (t *table) slot(id pack.ID) int {
	// The last 8 bytes of an ID are random; the first are only mixed in.
	mixed := (binary.BigEndian.Uint64(id[:8]) ^ binary.BigEndian.Uint64(id[8:])) * 0x9e3779b97f4a7c15
	hi, _ := bits.Mul64(mixed, uint64(len(t.numbers)))
	for at := int(hi); ; at = (at + 1) % len(t.numbers) {
		n := t.numbers[at]
		if n == 0 {
			return at
		}
		if e := t.get(n - 1); e != nil && e.id == id {
			return at
		}
	}
}

// number returns the number of a known pack.
func (t *table) number(id pack.ID) (uint32, bool) {
	if t.count == 0 {
		return 0, false
	}
	n := t.numbers[t.slot(id)]
	return n - 1, n != 0
}

// add puts an entry, whose ID is not known yet, at a number not used before.
func (t *table) add(number uint32, e entry) {
	b := int(number / tableBlock)
	for len(t.blocks) <= b {
		t.blocks, t.used = append(t.blocks, nil), append(t.used, 0)
	}
	if t.blocks[b] == nil {
		t.blocks[b] = new([tableBlock]entry)
	}
	if t.filled >= len(t.numbers)*3/4 {
		t.rehash(max(1024, t.count*5/2))
	}
	t.blocks[b][number%tableBlock] = e
	t.used[b]++
	t.count++
	t.chunks += uint64(e.chunks)
	t.numbers[t.slot(e.id)] = number + 1
	t.filled++
	t.next = max(t.next, number+1)
}

// drop forgets a known pack.
func (t *table) drop(number uint32) {
	e := t.get(number)
	t.count--
	t.chunks -= uint64(e.chunks)
	*e = entry{}
	b := number / tableBlock
	if t.used[b]--; t.used[b] == 0 {
		t.blocks[b] = nil
	}
}

// rehash makes numbers of n slots anew.
func (t *table) rehash(n int) {
	t.numbers, t.filled = make([]uint32, n), 0
	for number, e := range t.all() {
		t.numbers[t.slot(e.id)] = number + 1
		t.filled++
	}
}

// all yields the known packs by number.
func (t *table) all() iter.Seq2[uint32, *entry] { return t.from(0) }

// from yields the known packs from a number on.
func (t *table) from(first uint32) iter.Seq2[uint32, *entry] {
	return func(yield func(uint32, *entry) bool) {
		i := int(first % tableBlock)
		for b := int(first / tableBlock); b < len(t.blocks); b++ {
			for ; i < tableBlock && t.blocks[b] != nil; i++ {
				e := &t.blocks[b][i]
				if e.known && !yield(uint32(b*tableBlock+i), e) {
					return
				}
			}
			i = 0
		}
	}
}
