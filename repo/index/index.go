package index

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Options of an index.
type Options struct {
	Repository   [16]byte // an index of another repository is discarded
	MemoryRun    int      // bytes of the part in memory; 0 means 32 MiB
	FilterMemory int      // bytes of all filters in memory; 0 means 48 MiB

	small uint64 // smallSegment, but for tests
}

// Location is where a chunk lies in the raw bytes of a pack. Offset and
// Length are in bytes.
type Location struct {
	Pack   uint32 // number in the pack table of this Index
	Offset uint32
	Length uint32 // at least 1
}

// Chunk is a line of a pack's chunk list.
type Chunk struct {
	ID             chunk.ID
	Offset, Length uint32
}

// maxChunks bounds the chunks of one pack, and so how far the run can grow
// over its limit.
const maxChunks = 1 << 20

// blocks are not a part of an Index: the collector would keep one that was closed
// until it runs twice.
var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

// Index is an open index. All methods may be called by many goroutines.
type Index struct {
	dir     string
	options Options
	damaged atomic.Bool // stored files turned out to be damaged
	rebuilt atomic.Bool

	// write is held by what changes the index, before mu and for as long as
	// a merge takes; look-ups do not wait for it.
	write     sync.Mutex
	lock      *durable.Lock // nil if another process has it
	owner     bool          // whether the stored files are changed
	log       *os.File      // of the owner
	logEnd    int64
	logFrames uint32
	committed uint32   // packs of lower numbers are in the log
	dropped   []uint32 // of those, dropped since

	// What is below changes with both locks held, so either is enough to
	// read it. Segments are closed only when no look-up can use them.
	mu       sync.RWMutex
	closed   bool
	run      *run
	packs    table
	segments []*segment // oldest first
}

// Lookup returns where a chunk is, from the pack that was added last of those
// that have it. A chunk of dropped packs only, and one that is in a damaged
// part of the index, is not found.
func (ix *Index) Lookup(id chunk.ID) (Location, bool) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	if ix.closed {
		return Location{}, false
	}
	if loc, ok := ix.run.get(&id); ok && ix.packs.get(loc.Pack) != nil {
		return loc, true
	}
	if len(ix.segments) == 0 || ix.damaged.Load() {
		return Location{}, false
	}
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	for i := len(ix.segments) - 1; i >= 0; i-- {
		loc, ok, err := ix.segments[i].find(&id, block)
		if err != nil {
			// Flush and Close do the rest: this is no place to delete.
			ix.damaged.Store(true)
			ix.rebuilt.Store(true)
			return Location{}, false
		}
		if ok && ix.packs.get(loc.Pack) != nil {
			return loc, true
		}
	}
	return Location{}, false
}

// Add enters a pack and its chunks and returns the pack's number. A pack that
// is known keeps its number, and nothing else happens. The pack must be
// durable in the store: from now on content is replaced by references to it.
//
// Chunks outside the pack and impossible geometry are fault.Invalid, more
// than 2^20 chunks fault.TooLarge. Add writes to disk when the run is full; if
// that fails, nothing is added and nothing lost.
func (ix *Index) Add(p Pack, chunks []Chunk) (uint32, error) {
	if err := checkPack(p, chunks); err != nil {
		return 0, fmt.Errorf("add pack %s: %w", p.ID, err)
	}
	ix.write.Lock()
	defer ix.write.Unlock()
	if ix.closed {
		return 0, fmt.Errorf("add pack %s: index is closed: %w", p.ID, fault.Invalid)
	}
	if number, ok := ix.packs.number(p.ID); ok {
		return number, nil
	}
	if ix.packs.next == math.MaxUint32 {
		return 0, fmt.Errorf("add pack %s: no numbers left: %w", p.ID, fault.TooLarge)
	}
	// Between packs only, so that no pack is half stored.
	if ix.run.count > 0 && ix.run.count+len(chunks) > ix.run.limit {
		if err := ix.flush(); err != nil {
			return 0, fmt.Errorf("add pack %s: %w", p.ID, err)
		}
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	number := ix.packs.next
	ix.packs.add(number, newEntry(p, len(chunks)))
	for _, c := range chunks {
		ix.run.put(record{c.ID, Location{number, c.Offset, c.Length}})
	}
	return number, nil
}

// checkPack checks what is given to Add.
func checkPack(p Pack, chunks []Chunk) error {
	if err := checkGeometry(p.Geometry); err != nil {
		return errors.Join(fault.Invalid, err)
	}
	if len(chunks) > maxChunks {
		return fmt.Errorf("%d chunks: %w", len(chunks), fault.TooLarge)
	}
	for _, c := range chunks {
		if c.Length == 0 || uint64(c.Offset)+uint64(c.Length) > uint64(p.Total) {
			return fmt.Errorf("chunk %s: %d bytes at %d: %w", c.ID, c.Length, c.Offset, fault.Invalid)
		}
	}
	return nil
}

// Drop forgets the packs for which gone returns true, and returns how many
// those were. Their chunks are not found from now on. gone must not call the
// index.
func (ix *Index) Drop(gone func(pack.ID) bool) int {
	ix.write.Lock()
	defer ix.write.Unlock()
	var numbers []uint32
	for number, e := range ix.packs.all() {
		if gone(e.id) {
			numbers = append(numbers, number)
		}
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for _, number := range numbers {
		ix.packs.drop(number)
		if number < ix.committed && ix.owner {
			ix.dropped = append(ix.dropped, number)
		}
	}
	return len(numbers)
}

// Has tells whether the chunks of a pack are known.
func (ix *Index) Has(id pack.ID) bool {
	_, ok := ix.PackNumber(id)
	return ok
}

// PackNumber returns the number of a known pack. Numbers are good for this
// Index until the pack is dropped.
func (ix *Index) PackNumber(id pack.ID) (uint32, bool) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return ix.packs.number(id)
}

// Pack returns the known pack of a number.
func (ix *Index) Pack(number uint32) (Pack, bool) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	e := ix.packs.get(number)
	if e == nil {
		return Pack{}, false
	}
	return e.pack(), true
}

// Packs yields the known packs by number, that is, in the order in which they
// were added. Packs added or dropped meanwhile may or may not be among them.
func (ix *Index) Packs() iter.Seq2[uint32, Pack] {
	return func(yield func(uint32, Pack) bool) {
		ix.mu.RLock()
		next := ix.packs.next
		ix.mu.RUnlock()
		for number := range next {
			if p, ok := ix.Pack(number); ok && !yield(number, p) {
				return
			}
		}
	}
}

// Rebuilt tells whether stored files were damaged, foreign or of another
// version, and discarded for that: when the index was opened, or since. Then
// the caller adds packs again from their chunk lists, for dedup's sake;
// after a discovery since Open that has to wait for the next Open.
func (ix *Index) Rebuilt() bool { return ix.rebuilt.Load() }

// Stats are the measures of an index.
type Stats struct {
	Owner    bool   // whether Flush stores anything
	Packs    int    // known packs
	Run      int    // records in memory
	Segments int    // sorted files
	Stored   uint64 // records in them, of dropped packs too
	Filters  int64  // bytes of filters in memory
}

// Stats returns the measures.
func (ix *Index) Stats() Stats {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	s := Stats{Owner: ix.owner, Packs: ix.packs.count, Run: ix.run.count, Segments: len(ix.segments)}
	for _, g := range ix.segments {
		s.Stored += g.records
		if g.filter.Load() != nil {
			s.Filters += g.filterSize()
		}
	}
	return s
}
