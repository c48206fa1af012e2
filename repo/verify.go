package repo

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Verifier reads content and compares it with the chunk lists of its packs, so
// that what it gives is what once was read from the host's files, whatever
// went wrong in between. It may be used by several goroutines. It keeps chunk
// lists of a few packs in memory, within a budget.
type Verifier struct {
	r   *Repository
	ids *chunk.Hashers

	mu     sync.Mutex
	budget int // bytes
	used   int
	packs  map[pack.ID]*verified
	order  list.List // *verified that are here, the one used last in front
}

// verified is a pack with its chunk list, or one whose list is being read.
type verified struct {
	*opened
	chunks []index.Chunk
	err    error
	ready  chan struct{} // closed once the rest stands
	place  *list.Element
}

const (
	verifierBudget = 8 << 20 // bytes of chunk lists: 10 packs of tiny files, or 2,000 of large ones
	chunkMemory    = 24
	verifiedMemory = 512
)

// NewVerifier returns a Verifier of what r can read.
func (r *Repository) NewVerifier() *Verifier {
	return &Verifier{r: r, ids: chunk.NewHashers(r.ChunkKey()), budget: verifierBudget, packs: make(map[pack.ID]*verified)}
}

// Read fills dst with the raw bytes of a pack from offset on, which must be
// whole chunks without a gap (as every extent is), each with the content that
// its ID says. Else, and where the pack is damaged or missing, it is
// fault.Corrupt, and dst is undefined.
func (v *Verifier) Read(ctx context.Context, id pack.ID, offset uint32, dst []byte) error {
	p, err := v.pack(ctx, id)
	if err != nil {
		return err
	}
	chunks, err := p.run(offset, uint64(len(dst)))
	if err != nil {
		return err
	}
	if err := v.r.readInto(ctx, p.opened, offset, dst); err != nil {
		return err
	}
	if i := v.differs(chunks, dst); i >= 0 {
		c := &chunks[i]
		return fmt.Errorf("chunk %s at byte %d of pack %s has other bytes than when it was written: %w", c.ID, c.Offset, id, fault.Corrupt)
	}
	return nil
}

// Matches says whether data is what Read would give, without reading it: only
// the chunk list is read. Errors are those of Read.
func (v *Verifier) Matches(ctx context.Context, id pack.ID, offset uint32, data []byte) (bool, error) {
	p, err := v.pack(ctx, id)
	if err != nil {
		return false, err
	}
	chunks, err := p.run(offset, uint64(len(data)))
	if err != nil {
		return false, err
	}
	return v.differs(chunks, data) < 0, nil
}

// Whole returns how many of at most limit bytes from offset on are whole
// chunks without a gap: as many as fit, but one at least.
func (v *Verifier) Whole(ctx context.Context, id pack.ID, offset, limit uint32) (uint32, error) {
	p, err := v.pack(ctx, id)
	if err != nil {
		return 0, err
	}
	i, ok := p.find(offset)
	if !ok {
		return 0, p.noChunk(offset)
	}
	n := p.chunks[i].Length
	for i++; i < len(p.chunks) && p.chunks[i].Offset == offset+n && uint64(n)+uint64(p.chunks[i].Length) <= uint64(limit); i++ {
		n += p.chunks[i].Length
	}
	return n, nil
}

// differs returns the index of the first chunk whose ID is not that of its
// part of data, -1 if there is none.
func (v *Verifier) differs(chunks []index.Chunk, data []byte) int {
	for i := range chunks {
		n := chunks[i].Length
		if v.ids.Sum(data[:n]) != chunks[i].ID {
			return i
		}
		data = data[n:]
	}
	return -1
}

func (p *verified) find(offset uint32) (int, bool) {
	return slices.BinarySearchFunc(p.chunks, offset, func(c index.Chunk, at uint32) int { return int(int64(c.Offset) - int64(at)) })
}

func (p *verified) noChunk(offset uint32) error {
	return fmt.Errorf("no chunk begins or ends at byte %d of pack %s: %w", offset, p.id, fault.Corrupt)
}

// run returns the chunks that make up the raw bytes from offset on.
func (p *verified) run(offset uint32, length uint64) ([]index.Chunk, error) {
	first, ok := p.find(offset)
	if !ok {
		return nil, p.noChunk(offset)
	}
	at, end := uint64(offset), uint64(offset)+length
	i := first
	for ; i < len(p.chunks) && at < end && uint64(p.chunks[i].Offset) == at; i++ {
		at += uint64(p.chunks[i].Length)
	}
	if at != end {
		return nil, p.noChunk(uint32(min(at, uint64(p.Total))))
	}
	return p.chunks[first:i], nil
}

// pack returns a pack with its chunk list.
func (v *Verifier) pack(ctx context.Context, id pack.ID) (*verified, error) {
	v.mu.Lock()
	p := v.packs[id]
	if p != nil {
		if p.place != nil {
			v.order.MoveToFront(p.place)
		}
		v.mu.Unlock()
		select {
		case <-p.ready:
			return p, p.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p = &verified{ready: make(chan struct{})}
	v.packs[id] = p
	v.mu.Unlock()
	p.err = v.load(ctx, id, p)
	v.mu.Lock()
	defer v.mu.Unlock()
	defer close(p.ready)
	if p.err != nil {
		delete(v.packs, id)
		return p, p.err
	}
	v.used += p.memory()
	p.place = v.order.PushFront(p)
	for v.used > v.budget && v.order.Len() > 1 {
		old := v.order.Remove(v.order.Back()).(*verified)
		delete(v.packs, old.id)
		v.used -= old.memory()
	}
	return p, nil
}

func (p *verified) memory() int { return len(p.chunks)*chunkMemory + verifiedMemory }

func (v *Verifier) load(ctx context.Context, id pack.ID, p *verified) error {
	o, err := v.r.openPack(ctx, id)
	if err != nil {
		return err
	}
	if o.Kind == pack.Pages {
		return fmt.Errorf("content in pack %s, which holds pages: %w", id, fault.Corrupt)
	}
	h, err := o.from.readHead(ctx, id)
	if err != nil {
		return err
	}
	p.opened = o
	p.chunks, err = v.r.chunkList(h, o.Geometry)
	return err
}

// readInto is ReadRaw for much at a time: frames that dst takes whole are
// opened into it and not kept.
func (r *Repository) readInto(ctx context.Context, o *opened, offset uint32, dst []byte) error {
	for len(dst) > 0 {
		i := o.FrameOf(offset)
		start, end := o.Span(i)
		n := min(int(end-offset), len(dst))
		var err error
		if offset == start && n == int(end-start) && !r.reader.has(frameKey{o.id, int32(i)}) {
			var b []byte
			if b, err = r.openFrame(ctx, o, i, dst[:0:n]); err == nil {
				clear(dst[len(b):n])
			}
		} else {
			err = r.ReadRaw(ctx, o.id, offset, dst[:n])
		}
		if err != nil {
			return err
		}
		dst, offset = dst[n:], offset+uint32(n)
	}
	return nil
}

// has says whether a frame is in the cache or on its way there.
func (rd *reader) has(key frameKey) bool {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return rd.frames[key] != nil
}
