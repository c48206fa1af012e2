package fs

import (
	"context"
	"sync"

	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Read-ahead watches who reads what, and asks the Source to open frames that
// will be wanted next, so that all cores open frames while the reader still
// has something to read. It watches two things:
//
//   - files: a reader that goes on where it was gets a window that doubles up
//     to maxWindow. A random read asks for nothing but itself.
//   - packs: who copies many small files reads them in the order in which
//     they lie in a pack.
//
// A stream that is not known costs one look into a small table.
type readAhead struct {
	src   Source
	mu    sync.Mutex
	tick  uint64
	files [maxStreams]stream[Node]
	packs [maxStreams]stream[pack.ID]
}

const (
	maxStreams  = 32
	firstWindow = 512 << 10 // bytes asked for ahead of the second read in a row
	maxWindow   = 16 << 20
	packWindow  = 4 << 20   // of small files
	smallFile   = 256 << 10 // files read in one go count for their pack
	maxReorder  = 4 << 20   // the kernel sends its read-ahead out of order
	packGap     = 1 << 20   // neighbours in a pack lie no further apart
	packStreak  = 3         // files in a row before a pack is read ahead
	bigRead     = 64 << 10  // reads that may meet several frames
)

// stream is a reader of one file, or of one pack's small files.
type stream[K comparable] struct {
	key    K
	used   uint64 // tick of the last use; 0 is a free place
	next   uint64 // behind the furthest byte read in a row
	window uint64 // bytes to ask for beyond next
	asked  uint64 // up to where has been asked
	streak int
}

func (r *readAhead) init(src Source) { r.src = src }

// pick returns the stream of key, or the place of the one used longest ago.
func pick[K comparable](all []stream[K], key K, tick uint64) (s *stream[K], known bool) {
	oldest := &all[0]
	for i := range all {
		if all[i].used != 0 && all[i].key == key {
			all[i].used = tick
			return &all[i], true
		}
		if all[i].used < oldest.used {
			oldest = &all[i]
		}
	}
	*oldest = stream[K]{key: key, used: tick}
	return oldest, false
}

// read notes a read of a file and asks for what it needs beyond one frame,
// and for what comes after it.
func (r *readAhead) read(ctx context.Context, t *Tree, n Node, e *table.Entry, offset, length uint64) {
	if e.Size <= smallFile {
		r.small(ctx, e)
		return
	}
	from, to := r.advance(n, offset, length, e.Size)
	if from >= to {
		return
	}
	for x, err := range t.extents(ctx, e, from) {
		if err != nil || x.Start >= to {
			return
		}
		if x.Hole {
			continue
		}
		begin, end := max(x.Start, from), min(x.Start+x.Length, to)
		r.src.Prefetch(ctx, x.Pack, x.Offset+uint32(begin-x.Start), int(end-begin))
	}
}

// advance updates the stream of a file and returns the range to ask for.
func (r *readAhead) advance(n Node, offset, length, size uint64) (from, to uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tick++
	s, known := pick(r.files[:], n, r.tick)
	end := offset + length
	switch {
	case known && offset <= s.next+maxReorder && end+maxReorder >= s.next:
		if offset <= s.next && end > s.next {
			s.window = min(max(2*s.window, firstWindow), maxWindow)
		}
		s.next = max(s.next, end)
	default:
		s.next, s.asked, s.window = end, offset, 0
		if offset == 0 && length >= firstWindow {
			s.window = firstWindow // nobody peeks with half a MiB
		}
	}
	from, to = max(s.asked, offset), min(s.next+s.window, size)
	switch {
	case to <= from, to-from <= bigRead && s.window == 0:
		return 0, 0 // all has been asked for, or one frame or two will do
	case from >= end && to < size && to-from < s.window/4:
		return 0, 0 // rather one question for more later
	}
	s.asked = to
	return from, to
}

// small notes that a small file is read and asks for what lies behind it in
// its pack.
func (r *readAhead) small(ctx context.Context, e *table.Entry) {
	if len(e.Extents) == 0 || e.Extents[0].Hole {
		return
	}
	x := &e.Extents[0]
	begin, end := uint64(x.Offset), uint64(x.Offset)+x.Length
	r.mu.Lock()
	r.tick++
	s, known := pick(r.packs[:], x.Pack, r.tick)
	if known && begin <= s.next+packGap && begin+packGap >= s.next {
		s.streak++
	} else {
		s.streak, s.asked = 0, 0
	}
	s.next = end
	from, to := uint64(0), uint64(0)
	if s.streak >= packStreak {
		if from, to = max(s.asked, s.next), s.next+packWindow; to-from >= packWindow/4 {
			s.asked = to
		} else {
			from, to = 0, 0
		}
	}
	r.mu.Unlock()
	if from < to && to <= pack.MaxRaw {
		r.src.Prefetch(ctx, x.Pack, uint32(from), int(to-from))
	}
}
