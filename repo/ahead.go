package repo

import (
	"context"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// ahead is the line of frames that will be wanted, and of packs whose heads
// must be read to know them. reader.mu guards it.
type ahead struct {
	line    []task
	bytes   int // raw, of the frames in the line
	running int // goroutines that work it off
}

// task is a frame to open; or, where that is not known yet, a run of raw bytes
// of a pack.
type task struct {
	opened *opened
	frame  *frame
	number int

	pack   pack.ID
	offset uint32
	length int
}

// maxTasks bounds the line; so does half of the cache's budget, as more would
// be dropped before it is used.
const maxTasks = 1024

// Prefetch begins to open the frames of raw bytes that will be read soon, and
// returns at once. It opens no more at a time than there are workers, and
// forgets what finds no room in the line. What lies past the pack's end is
// ignored, and so are errors: reading meets them again.
func (r *Repository) Prefetch(ctx context.Context, id pack.ID, offset uint32, length int) {
	if length <= 0 {
		return
	}
	o := r.knownPack(id)
	rd := &r.reader
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if o != nil {
		rd.lineUp(o, offset, length)
	} else {
		// A stream asks for the next pack before it reads a byte of it. Without
		// this its first frames would be opened one by one.
		rd.queue(task{pack: id, offset: offset, length: length})
	}
	for rd.ahead.running < min(cap(rd.workers), len(rd.ahead.line)) {
		rd.ahead.running++
		go r.openAhead(context.WithoutCancel(ctx))
	}
}

// queue puts a task into the line, if there is room. The lock is held.
func (rd *reader) queue(t task) bool {
	if len(rd.ahead.line) >= maxTasks {
		return false
	}
	rd.ahead.line = append(rd.ahead.line, t)
	return true
}

// lineUp puts the frames of a run of raw bytes into the line, up to the pack's
// end. The lock is held.
func (rd *reader) lineUp(o *opened, offset uint32, length int) {
	end := min(uint64(offset)+uint64(length), uint64(o.Total))
	if uint64(offset) >= end {
		return
	}
	for i := o.FrameOf(offset); i <= o.FrameOf(uint32(end-1)); i++ {
		key := frameKey{o.id, int32(i)}
		if f := rd.frames[key]; f != nil && (!f.done || f.whole) {
			if f.place != nil { // it will be wanted: it stays
				rd.lru.MoveToFront(f.place)
			}
			continue
		} else if f != nil {
			rd.drop(f)
		}
		size := span(o, i)
		if rd.ahead.bytes+size > rd.budget/2 || !rd.queue(task{opened: o, number: i}) {
			return
		}
		f := rd.add(key)
		f.queued = true
		rd.ahead.line[len(rd.ahead.line)-1].frame = f
		rd.ahead.bytes += size
	}
}

// span is how many raw bytes a frame stands for.
func span(o *opened, i int) int {
	start, end := o.Span(i)
	return int(end - start)
}

// openAhead works the line off.
func (r *Repository) openAhead(ctx context.Context) {
	rd := &r.reader
	rd.mu.Lock()
	defer rd.mu.Unlock()
	defer func() { rd.ahead.running-- }()
	for len(rd.ahead.line) > 0 {
		t := rd.ahead.line[0]
		rd.ahead.line = rd.ahead.line[1:]
		if t.frame == nil {
			rd.mu.Unlock()
			o, err := r.openPack(ctx, t.pack)
			rd.mu.Lock()
			if err == nil {
				rd.lineUp(o, t.offset, t.length)
			}
			continue
		}
		size := span(t.opened, t.number)
		rd.ahead.bytes -= size
		if !t.frame.queued {
			continue // somebody could not wait
		}
		t.frame.queued = false
		rd.mu.Unlock()
		r.open(ctx, t.opened, t.frame, size)
		rd.mu.Lock()
	}
	rd.ahead.line = nil
}

func (r *Repository) knownPack(id pack.ID) *opened {
	h := &r.reader.heads
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.packs[id]
}
