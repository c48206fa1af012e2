package repo

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Span is a chunk where it lies in a pack.
type Span struct {
	ID             chunk.ID
	Offset, Length uint32 // raw bytes
}

// Verifier reads content and compares it with the chunk IDs that its writer
// noted, which finds what seals cannot: bytes that were wrong before they were
// sealed. It keeps the chunk lists of a few packs, and may be used by several
// goroutines.
type Verifier struct {
	r   *Repository
	ids *chunk.Hashers

	mu    sync.Mutex
	lists map[pack.ID][]Span
	order []pack.ID // the oldest first
}

// maxLists bounds the lists of a Verifier: at most about 1 MiB each.
const maxLists = 32

// NewVerifier returns a Verifier for a repository that can be read.
func (r *Repository) NewVerifier() *Verifier {
	return &Verifier{r: r, ids: chunk.NewHashers(r.ChunkKey()), lists: make(map[pack.ID][]Span)}
}

// Spans returns the chunks that raw bytes of a pack are made of.
// fault.Corrupt: they are not whole chunks without a gap.
func (v *Verifier) Spans(ctx context.Context, id pack.ID, offset, length uint32) ([]Span, error) {
	list, err := v.list(ctx, id)
	if err != nil {
		return nil, err
	}
	first, ok := slices.BinarySearchFunc(list, offset, func(s Span, at uint32) int { return int(int64(s.Offset) - int64(at)) })
	at, end := uint64(offset), uint64(offset)+uint64(length)
	last := first
	for ; ok && last < len(list) && at < end && uint64(list[last].Offset) == at; last++ {
		at += uint64(list[last].Length)
	}
	if !ok || at != end {
		return nil, fmt.Errorf("bytes %d to %d of pack %s are not whole chunks: %w", offset, end, id, fault.Corrupt)
	}
	return list[first:last], nil
}

// Read fills dst with chunks that lie one after the other, and compares each.
func (v *Verifier) Read(ctx context.Context, id pack.ID, spans []Span, dst []byte) error {
	if err := v.r.ReadRaw(ctx, id, spans[0].Offset, dst); err != nil {
		return err
	}
	for _, s := range spans {
		if got := v.ids.Sum(dst[:s.Length]); got != s.ID {
			return fmt.Errorf("chunk at byte %d of pack %s has other content than when it was written: %w", s.Offset, id, fault.Corrupt)
		}
		dst = dst[s.Length:]
	}
	return nil
}

func (v *Verifier) list(ctx context.Context, id pack.ID) ([]Span, error) {
	v.mu.Lock()
	list, ok := v.lists[id]
	v.mu.Unlock()
	if ok {
		return list, nil
	}
	h, err := v.r.readHead(ctx, id)
	if err != nil {
		return nil, err
	}
	g, err := v.r.geometry(h)
	if err != nil {
		return nil, err
	}
	chunks, err := v.r.chunkList(h, g)
	if err != nil {
		return nil, err
	}
	list = make([]Span, len(chunks))
	for i, c := range chunks {
		list[i] = Span{ID: c.ID, Offset: c.Offset, Length: c.Length}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.lists[id]; !ok {
		if len(v.order) >= maxLists {
			delete(v.lists, v.order[0])
			v.order = v.order[1:]
		}
		v.lists[id] = list
		v.order = append(v.order, id)
	}
	return list, nil
}
