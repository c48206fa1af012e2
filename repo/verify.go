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

// Read hands length raw bytes of a pack from offset on to use, in order, in
// pieces that use must not keep. They must be whole chunks without a gap (as
// every extent is), each with the content that its ID says; else, and where the
// pack is damaged or missing, it is fault.Corrupt. A piece comes before all of
// its chunk has been read, so what use made of them is good only if Read
// succeeds; in return nothing is copied, and it is hashed while it is in the
// processor's cache.
func (v *Verifier) Read(ctx context.Context, id pack.ID, offset, length uint32, use func(piece []byte) error) error {
	p, err := v.pack(ctx, id)
	if err != nil {
		return err
	}
	chunks, err := p.run(offset, uint64(length))
	if err != nil {
		return err
	}
	c := chunkCheck{id: id, chunks: chunks, hasher: v.ids.Take()}
	defer v.ids.Give(c.hasher)
	c.hasher.Begin()
	return v.r.readRuns(ctx, p.opened, offset, length, true, func(b []byte, zeros int) error {
		for {
			if err := c.add(b); err != nil {
				return err
			}
			if err := use(b); err != nil {
				return err
			}
			if zeros == 0 {
				return nil
			}
			b = make([]byte, min(zeros, zeroPiece))
			zeros -= len(b)
		}
	})
}

// zeroPiece is how many zeros are handed out at a time.
const zeroPiece = 64 << 10

// chunkCheck compares pieces with the IDs of the chunks that they make up.
type chunkCheck struct {
	id     pack.ID
	chunks []index.Chunk // the one under way, and what follows
	seen   uint32        // bytes of the one under way
	hasher *chunk.Hasher
}

func (c *chunkCheck) add(b []byte) error {
	for len(b) > 0 {
		at := &c.chunks[0]
		n := min(at.Length-c.seen, uint32(len(b)))
		c.hasher.Add(b[:n])
		b, c.seen = b[n:], c.seen+n
		if c.seen < at.Length {
			return nil
		}
		if c.hasher.ID() != at.ID {
			return fmt.Errorf("chunk %s at byte %d of pack %s has other bytes than when it was written: %w", at.ID, at.Offset, c.id, fault.Corrupt)
		}
		c.hasher.Begin()
		c.chunks, c.seen = c.chunks[1:], 0
	}
	return nil
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
	for {
		v.mu.Lock()
		p := v.packs[id]
		if p == nil {
			p = &verified{ready: make(chan struct{})}
			v.packs[id] = p
			v.mu.Unlock()
			v.fill(ctx, id, p)
			return p, p.err
		}
		if p.place != nil {
			v.order.MoveToFront(p.place)
		}
		v.mu.Unlock()
		select {
		case <-p.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if ctx.Err() != nil || !canceled(p.err) {
			return p, p.err
		}
		// Who loaded it was called off, which is not our error.
	}
}

// fill loads the chunk list of a pack that others may wait for.
func (v *Verifier) fill(ctx context.Context, id pack.ID, p *verified) {
	p.err = v.load(ctx, id, p)
	v.mu.Lock()
	defer v.mu.Unlock()
	defer close(p.ready)
	if p.err != nil {
		delete(v.packs, id)
		return
	}
	v.used += p.memory()
	p.place = v.order.PushFront(p)
	for v.used > v.budget && v.order.Len() > 1 {
		old := v.order.Remove(v.order.Back()).(*verified)
		delete(v.packs, old.id)
		v.used -= old.memory()
	}
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
