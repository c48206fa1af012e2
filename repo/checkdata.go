package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
)

// readData reads packs whole and compares every frame and chunk.
func (c *checker) readData(ctx context.Context) error {
	if c.o.ReadData <= 0 {
		return nil
	}
	var ids []pack.ID
	for id := range c.heads {
		if c.o.ReadData >= 1 || rand.Float64() < c.o.ReadData {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(processors())
	free := make(chan *packBuffers, processors())
	for range cap(free) {
		free <- &packBuffers{}
	}
	done := 0
	for _, id := range ids {
		group.Go(func() error {
			b := <-free
			defer func() { free <- b }()
			n, err := c.readPack(ctx, c.heads[id], b)
			if err != nil {
				return err
			}
			c.mu.Lock()
			done++
			c.read[id] = true
			c.report.PacksRead++
			c.report.Bytes += n
			k := done
			c.mu.Unlock()
			if c.o.Progress != nil {
				c.o.Progress(k, len(ids))
			}
			return nil
		})
	}
	return group.Wait()
}

// readPack reads all frames of a pack that are there, and returns how many
// bytes those were. It reads them again if a replica could heal it.
func (c *checker) readPack(ctx context.Context, p *checkedPack, buffers *packBuffers) (int64, error) {
	n, err := c.readPackOnce(ctx, p, buffers)
	c.mu.Lock()
	b := c.bad[p.id]
	c.mu.Unlock()
	if err != nil || b == nil {
		return n, err
	}
	if _, healed := c.healed(ctx, p.id, b.err); !healed {
		return n, nil
	}
	c.mu.Lock()
	delete(c.bad, p.id)
	c.mu.Unlock()
	return c.readPackOnce(ctx, p, buffers)
}

// packBuffers are what reading a pack takes: its object, as that is one round
// trip, and of its raw bytes a frame and the chunk that goes on from the last one.
type packBuffers struct {
	object []byte
	raw    []byte
}

// keptObject is how much of a buffer stays for the next pack: most packs are
// smaller.
const keptObject = 20 << 20

func (c *checker) readPackOnce(ctx context.Context, p *checkedPack, buffers *packBuffers) (int64, error) {
	h, err := c.r.readHead(ctx, p.id)
	if err != nil {
		if damaged(err) {
			c.breakPack(p.id, fmt.Errorf("changed while it was checked: %w", fault.Corrupt), -1)
			err = nil
		}
		return 0, err
	}
	list, err := c.r.chunkList(h, p.Geometry)
	if err != nil {
		c.breakPack(p.id, err, -1)
		return 0, nil
	}
	read := int64(h.Size())
	frame := c.frames(ctx, p, buffers)
	compare := c.newComparison(p, list, buffers.raw)
	for i := range h.Frames() {
		if p.gone(i) {
			_ = compare.frame(i, nil, false) // fails only for what it cannot decode
			continue
		}
		sealed, err := frame(i)
		if err != nil && !damaged(err) {
			return 0, err
		}
		if err == nil && sha256.Sum256(sealed) != h.Hashes[i] {
			err = fmt.Errorf("frame %d does not match its SHA-256: %w", i, fault.Corrupt)
		}
		if err == nil {
			read += int64(len(sealed))
			sealed, err = p.unseal(i, sealed)
		}
		if err == nil {
			err = compare.frame(i, sealed, true)
		}
		if err != nil {
			c.breakPack(p.id, err, i)
			_ = compare.frame(i, nil, false)
		}
	}
	buffers.raw = compare.raw[:0]
	return read, nil
}

// frames returns what reads the stored frames of a pack. The object of one that
// has not been moved is read at once: each read is a round trip.
func (c *checker) frames(ctx context.Context, p *checkedPack, buffers *packBuffers) func(int) ([]byte, error) {
	one := func(i int) ([]byte, error) { return c.r.readFrame(ctx, p.opened, i, &buffers.object) }
	if p.moved != nil {
		return one
	}
	size := int(p.opened.frames[p.Frames()])
	if cap(buffers.object) < size || cap(buffers.object) > max(size, keptObject) {
		buffers.object = nil // before the larger one is taken
		buffers.object = make([]byte, size)
	}
	object := buffers.object[:size]
	n, err := place.Get(ctx, c.r.store, p.id.Name(), 0, object)
	if err != nil || n < len(object) {
		return one // moved since, or each frame says what is wrong
	}
	return func(i int) ([]byte, error) { return object[p.opened.frames[i]:p.opened.frames[i+1]], nil }
}

// gone says whether a compaction did not keep a frame.
func (o *opened) gone(i int) bool {
	_, _, _, err := o.frame(i)
	return err != nil
}

// comparison compares the chunks of a pack with their IDs, while its frames
// come one by one. Of the raw bytes it keeps those of chunks that are not whole.
type comparison struct {
	c      *checker
	p      *checkedPack
	hasher *chunk.Hasher
	left   []index.Chunk // not compared yet, ascending
	raw    []byte        // from base on
	base   uint32
	bad    []bool // frames that are damaged, or gone
}

func (c *checker) newComparison(p *checkedPack, list []index.Chunk, buffer []byte) *comparison {
	key := c.r.ChunkKey()
	if p.Kind == pack.Pages {
		key = c.r.PageKey()
	}
	return &comparison{c: c, p: p, hasher: chunk.NewHasher(&key), left: list, raw: buffer[:0], bad: make([]bool, p.Frames())}
}

// frame takes the next frame's plain text, or that it is not there. After an
// error it is to be called again without.
func (m *comparison) frame(i int, plain []byte, ok bool) error {
	start, end := m.p.Span(i)
	at := int(start - m.base)
	if ok {
		raw, err := m.c.r.reader.decoder.Decode(m.raw[:at], plain, int(end-start), false)
		if err != nil {
			return fmt.Errorf("frame %d of pack %s: %w", i, m.p.id, err)
		}
		m.raw = raw
	} else {
		m.bad[i] = true
	}
	// What a frame does not hold to its end is zeros.
	m.raw = slices.Grow(m.raw, int(end-m.base)-len(m.raw))
	n := len(m.raw)
	m.raw = m.raw[:end-m.base]
	clear(m.raw[n:])
	for len(m.left) > 0 && m.left[0].Offset+m.left[0].Length <= end {
		m.chunk(&m.left[0])
		m.left = m.left[1:]
	}
	keep := end
	if len(m.left) > 0 {
		keep = min(end, m.left[0].Offset)
	}
	m.raw = m.raw[:copy(m.raw, m.raw[keep-m.base:])]
	m.base = keep
	return nil
}

func (m *comparison) chunk(ch *index.Chunk) {
	first, last := m.p.FrameOf(ch.Offset), m.p.FrameOf(ch.Offset+ch.Length-1)
	at := ch.Offset - m.base
	if slices.Contains(m.bad[first:last+1], true) || m.hasher.Sum(m.raw[at:at+ch.Length]) == ch.ID {
		return
	}
	for i := first; i <= last; i++ {
		m.c.breakPack(m.p.id, fmt.Errorf("chunk %s has other bytes than when it was written: %w", ch.ID, fault.Corrupt), i)
	}
}
