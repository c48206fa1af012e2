package repo

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
)

// reader opens frames and keeps the decoded ones, within a budget.
type reader struct {
	heads   heads
	decoder *seal.Decoder
	workers chan struct{} // one token per frame that is being decoded
	scratch sync.Pool     // *[]byte for sealed frames

	mu     sync.Mutex
	budget int // bytes
	used   int
	frames map[frameKey]*frame
	lru    list.List // *frame with bytes in memory, the most recently used first
}

type frameKey struct {
	pack   pack.ID
	number int32
}

// frame is one decoded frame, or one that is being decoded.
type frame struct {
	key   frameKey
	ready chan struct{} // closed once bytes or err stand
	bytes []byte        // may be shorter than the span; zeros follow
	err   error
	place *list.Element // nil while it is being decoded
}

func (rd *reader) init(r *Repository, o Options) {
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
	rd.scratch.New = func() any { return new([]byte) }
	rd.budget = o.FrameCache
	rd.frames = make(map[frameKey]*frame)
	rd.lru.Init()
}

// processors is how many goroutines compute at a time. A program that waits
// for cold disks runs with more of Go's processors than the machine has (see
// cmd/tidemark), but its codecs, of some MiB each, gain nothing from that.
func processors() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }

// ReadRaw fills dst with the raw bytes of a pack from offset on. Every frame
// that it touches is checked whole.
func (r *Repository) ReadRaw(ctx context.Context, id pack.ID, offset uint32, dst []byte) error {
	o, err := r.openPack(ctx, id)
	if err != nil {
		return err
	}
	if uint64(offset)+uint64(len(dst)) > uint64(o.Total) {
		return fmt.Errorf("read pack %s: bytes %d to %d of %d: %w", id, offset, uint64(offset)+uint64(len(dst)), o.Total, fault.Corrupt)
	}
	for len(dst) > 0 {
		i := o.FrameOf(offset)
		start, end := o.Span(i)
		b, err := r.frame(ctx, o, i)
		if err != nil {
			return err
		}
		want := min(int(end-offset), len(dst))
		n := 0
		if at := int(offset - start); at < len(b) {
			n = copy(dst[:want], b[at:])
		}
		clear(dst[n:want])
		dst, offset = dst[want:], offset+uint32(want)
	}
	return nil
}

// Prefetch begins to open the frames of raw bytes that will be read soon, and
// returns at once. It opens no more at a time than there are workers. What lies
// past the pack's end is ignored, and so are errors: reading meets them again.
func (r *Repository) Prefetch(ctx context.Context, id pack.ID, offset uint32, length int) {
	if length <= 0 {
		return
	}
	o := r.knownPack(id)
	if o != nil {
		r.openAhead(ctx, o, offset, length)
		return
	}
	// A stream asks for the next pack before it reads a byte of it. Without
	// this its first frames would be opened one by one.
	go func() {
		if o, err := r.openPack(context.WithoutCancel(ctx), id); err == nil {
			r.openAhead(ctx, o, offset, length)
		}
	}()
}

// openAhead begins to open the frames of a run of raw bytes, up to the pack's end.
func (r *Repository) openAhead(ctx context.Context, o *opened, offset uint32, length int) {
	end := min(uint64(offset)+uint64(length), uint64(o.Total))
	if uint64(offset) >= end {
		return
	}
	for i := o.FrameOf(offset); i <= o.FrameOf(uint32(end-1)); i++ {
		f, mine := r.reader.claim(frameKey{o.id, int32(i)})
		if mine {
			go r.decode(context.WithoutCancel(ctx), o, i, f)
		}
	}
}

func (r *Repository) knownPack(id pack.ID) *opened {
	h := &r.reader.heads
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.packs[id]
}

// frame returns the raw bytes of a frame, which nobody changes.
func (r *Repository) frame(ctx context.Context, o *opened, i int) ([]byte, error) {
	f, mine := r.reader.claim(frameKey{o.id, int32(i)})
	if mine {
		r.decode(ctx, o, i, f)
		return f.bytes, f.err
	}
	select {
	case <-f.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.err != nil && ctx.Err() == nil {
		// Who decoded it may have been cancelled; that is not our error.
		return r.openFrame(ctx, o, i, nil)
	}
	return f.bytes, f.err
}

// claim finds a frame in the cache, or makes a place for it that the caller
// must fill.
func (rd *reader) claim(key frameKey) (f *frame, mine bool) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if f = rd.frames[key]; f != nil {
		if f.place != nil {
			rd.lru.MoveToFront(f.place)
		}
		return f, false
	}
	f = &frame{key: key, ready: make(chan struct{})}
	rd.frames[key] = f
	return f, true
}

// decode fills a claimed frame. Failures are not kept.
func (r *Repository) decode(ctx context.Context, o *opened, i int, f *frame) {
	f.bytes, f.err = r.openFrame(ctx, o, i, nil)
	rd := &r.reader
	rd.mu.Lock()
	if f.err != nil {
		delete(rd.frames, f.key)
	} else {
		rd.used += cap(f.bytes)
		f.place = rd.lru.PushFront(f)
		for rd.used > rd.budget && rd.lru.Len() > 1 {
			old := rd.lru.Remove(rd.lru.Back()).(*frame)
			delete(rd.frames, old.key)
			rd.used -= cap(old.bytes)
		}
	}
	rd.mu.Unlock()
	close(f.ready)
}

// openFrame reads, opens and decompresses one frame, and appends it to dst.
func (r *Repository) openFrame(ctx context.Context, o *opened, i int, dst []byte) ([]byte, error) {
	r.reader.workers <- struct{}{}
	defer func() { <-r.reader.workers }()
	buf := r.reader.scratch.Get().(*[]byte)
	defer r.reader.scratch.Put(buf)
	raw, err := r.openStored(ctx, o, i, buf, dst)
	if r.asksReplicas(ctx, err) {
		return r.frameElsewhere(ctx, o, i, buf, dst, err)
	}
	return raw, err
}

// openStored is openFrame from the place that the pack was opened in; buf is
// for the stored frame.
func (r *Repository) openStored(ctx context.Context, o *opened, i int, buf *[]byte, dst []byte) ([]byte, error) {
	sealed, err := o.from.readFrame(ctx, o, i, buf)
	if err != nil {
		return nil, err
	}
	if o.from == r && r.mender.away.Load() {
		r.tellBack()
	}
	return r.unsealFrame(dst, o, i, sealed)
}

// maxMoves bounds how often one reading runs after a pack that is moved.
const maxMoves = 4

// readFrame reads a stored frame into buf, wherever it is by now: an object
// that was there when the pack was opened may have been compacted since.
func (r *Repository) readFrame(ctx context.Context, o *opened, i int, buf *[]byte) ([]byte, error) {
	for moves := 0; ; moves++ {
		object, offset, length, err := o.frame(i)
		if err != nil {
			return nil, err
		}
		if cap(*buf) < int(length) {
			*buf = make([]byte, length)
		}
		sealed := (*buf)[:length]
		n, err := place.Get(ctx, r.store, object, int64(offset), sealed)
		if errors.Is(err, fault.NotExist) && moves < maxMoves {
			var again *opened
			if again, err = r.reopenPack(ctx, o); err == nil {
				o = again
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read frame %d of pack %s: %w", i, o.id, err)
		}
		if n < len(sealed) {
			return nil, fmt.Errorf("%s ends within frame %d of pack %s: %w", object, i, o.id, fault.Corrupt)
		}
		return sealed, nil
	}
}

// unsealFrame opens a stored frame in place, decompresses it and appends it to
// dst.
func (r *Repository) unsealFrame(dst []byte, o *opened, i int, sealed []byte) ([]byte, error) {
	kind := seal.DataFrame
	if o.Kind == pack.Pages {
		kind = seal.PageFrame
	}
	start, end := o.Span(i)
	if len(sealed) < seal.Overhead {
		return nil, fmt.Errorf("frame %d of pack %s: %d bytes: %w", i, o.id, len(sealed), fault.Corrupt)
	}
	plain, err := o.box.Open(sealed[12:12], sealed, seal.AD{Pack: o.id, Number: uint32(i), Kind: kind, Raw: end - start})
	if err != nil {
		return nil, fmt.Errorf("frame %d of pack %s: %w", i, o.id, err)
	}
	raw, err := r.reader.decoder.Decode(dst, plain, int(end-start), false)
	if err != nil {
		return nil, fmt.Errorf("frame %d of pack %s: %w", i, o.id, err)
	}
	return raw, nil
}

// Page implements table.Pages: it reads a page and checks its ID.
func (r *Repository) Page(ctx context.Context, ref *table.Ref) ([]byte, error) {
	if ref.Length > table.MaxPage {
		return nil, fmt.Errorf("page of %d bytes in pack %s: %w", ref.Length, ref.Pack, fault.Corrupt)
	}
	page := make([]byte, ref.Length)
	if err := r.ReadRaw(ctx, ref.Pack, ref.Offset, page); err != nil {
		return nil, fmt.Errorf("read page %s: %w", ref.ID, err)
	}
	if id := r.pageIDs.Sum(page); id != ref.ID {
		return nil, fmt.Errorf("page at byte %d of pack %s is %s and not %s: %w", ref.Offset, ref.Pack, id, ref.ID, fault.Corrupt)
	}
	return page, nil
}

var _ table.Pages = (*Repository)(nil)
