package repo

import (
	"container/list"
	"context"
	"errors"
	"math/bits"
	"runtime"
	"sync"

	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// reader opens frames and keeps the decoded ones, within a budget.
//
// A frame is held by those who use its bytes, and in the cache; the last one
// gives its buffer back. That is worth the counting: buffers of half a MiB from
// the collector are cleared each time, and make it run, which together took a
// fifth of a stream's time.
type reader struct {
	heads   heads
	decoder *seal.Decoder
	workers chan struct{} // one token per frame that is being opened

	mu     sync.Mutex
	budget int // bytes
	used   int
	frames map[frameKey]*frame
	lru    list.List // *frame with bytes in memory, the most recently used first
	ahead  ahead
}

type frameKey struct {
	pack   pack.ID
	number int32
}

// frame is one opened frame, or one that is being opened, or waits for it.
type frame struct {
	key   frameKey
	ready chan struct{} // closed once content or err stand
	content
	err error

	// Guarded by reader.mu.
	users  int  // that hold it
	queued bool // nobody opens it yet
	done   bool
	place  *list.Element // nil when it is not kept
}

func (rd *reader) init(o Options) {
	if o.FrameCache == 0 {
		o.FrameCache = 32 << 20
	}
	if o.Workers == 0 {
		o.Workers = processors()
	}
	rd.heads.packs = make(map[pack.ID]*opened)
	rd.heads.sessions = make(map[string]seal.Key)
	rd.decoder = seal.NewDecoder(o.Workers)
	rd.workers = make(chan struct{}, o.Workers)
	rd.budget = o.FrameCache
	rd.frames = make(map[frameKey]*frame)
	rd.lru.Init()
}

// processors is how many goroutines compute at a time. A program that waits
// for cold disks runs with more of Go's processors than the machine has (see
// cmd/tidemark), but its codecs, of some MiB each, gain nothing from that.
func processors() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }

// hold returns a frame of which the first want bytes are there, or all. The
// caller must release it.
//
// Who asks first for a frame gets little more than that, in half the time on
// average; who then wants more of it gets all, so that no frame is opened a
// third time while it is in the cache.
func (r *Repository) hold(ctx context.Context, o *opened, i, want int) (*frame, error) {
	rd, key := &r.reader, frameKey{o.id, int32(i)}
	for {
		rd.mu.Lock()
		f, mine := rd.claim(key, want)
		rd.mu.Unlock()
		if mine {
			if f.again {
				want = span(o, i)
			}
			r.open(ctx, o, f.frame, want)
		} else {
			select {
			case <-f.ready:
			case <-ctx.Done():
				rd.release(f.frame)
				return nil, ctx.Err()
			}
		}
		switch {
		case f.err == nil && (f.whole || len(f.bytes) >= want):
			return f.frame, nil
		case f.err != nil && (mine || !canceled(f.err)):
			rd.release(f.frame)
			return nil, f.err
		}
		// Too little, or who opened it was called off, which is not our error.
		rd.release(f.frame)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func canceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// claimed is a frame that somebody has claimed.
type claimed struct {
	*frame
	again bool // less of it was there, and more is wanted
}

// claim finds a frame, and holds it. mine tells that the caller must open it,
// because nobody does, or too little is there. The lock is held.
func (rd *reader) claim(key frameKey, want int) (c claimed, mine bool) {
	f := rd.frames[key]
	switch {
	case f == nil:
	case f.queued: // rather open it than wait for those in front of it
		f.queued = false
		f.users++
		return claimed{f, true}, true
	case !f.done || f.whole || len(f.bytes) >= want:
		f.users++
		if f.place != nil {
			rd.lru.MoveToFront(f.place)
		}
		return claimed{f, false}, false
	default:
		rd.drop(f)
		c.again = true
	}
	c.frame = rd.add(key)
	c.users = 1
	return c, true
}

// add makes a place for a frame. The lock is held.
func (rd *reader) add(key frameKey) *frame {
	f := &frame{key: key, ready: make(chan struct{})}
	rd.frames[key] = f
	return f
}

// open opens a claimed frame. Failures are not kept.
func (r *Repository) open(ctx context.Context, o *opened, f *frame, want int) {
	c, err := r.openFrame(ctx, o, int(f.key.number), want)
	rd := &r.reader
	rd.mu.Lock()
	defer rd.mu.Unlock()
	defer close(f.ready)
	f.content, f.err, f.done = c, err, true
	if err != nil {
		delete(rd.frames, f.key)
		return
	}
	rd.used += len(c.buffer.all)
	f.place = rd.lru.PushFront(f)
	for rd.used > rd.budget && rd.lru.Len() > 1 {
		rd.drop(rd.lru.Back().Value.(*frame))
	}
}

// drop stops keeping a frame. The lock is held.
func (rd *reader) drop(f *frame) {
	rd.lru.Remove(f.place)
	f.place = nil
	delete(rd.frames, f.key)
	rd.used -= len(f.buffer.all)
	rd.free(f)
}

// release ends the use that hold began.
func (rd *reader) release(f *frame) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	f.users--
	rd.free(f)
}

// free gives a frame's buffer back if nobody needs it any more. The lock is held.
func (rd *reader) free(f *frame) {
	if f.users == 0 && f.place == nil && f.buffer != nil {
		freeBuffers.give(f.buffer)
		f.content = content{}
	}
}

// buffers are pools of buffers by size: powers of two, and some room for what
// surrounds a payload. What they hold the collector takes when it is not used.
type buffers struct {
	pools [24]sync.Pool // of *buffer
}

// freeBuffers are not a part of a Repository: the collector knows pools that were
// used, and would keep all that they are a part of until it runs twice.
var freeBuffers = &buffers{}

// buffer is a piece of memory that is used again.
type buffer struct {
	all  []byte // for sealed or raw bytes
	pool int
}

const (
	minBuffer  = 12 // bits
	bufferRoom = 4 << 10
)

// take returns a buffer of n bytes or more, whose content is anything.
func (bs *buffers) take(n int) *buffer {
	class := 0
	if n > 1<<minBuffer+bufferRoom {
		class = bits.Len(uint(n-bufferRoom-1)) - minBuffer
	}
	if b, ok := bs.pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{all: make([]byte, 1<<(minBuffer+class)+bufferRoom), pool: class}
}

// give takes a buffer back.
func (bs *buffers) give(b *buffer) { bs.pools[b.pool].Put(b) }
