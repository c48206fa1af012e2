package repo

import (
	"context"

	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// pagesPack remembers where the frames of a pack of pages are, for hints.
type pagesPack struct {
	pack.Geometry
	offsets []uint32
}

func (w *Writer) rememberPages(b *building, head uint32) {
	p := &pagesPack{Geometry: pack.Geometry{First: min(b.first, b.total), Step: b.shape.step, Total: b.total, Kind: b.kind}, offsets: []uint32{head}}
	for _, l := range b.lengths {
		p.offsets = append(p.offsets, p.offsets[len(p.offsets)-1]+l)
	}
	w.mu.Lock()
	w.pages[b.id] = p
	w.mu.Unlock()
}

// Pages returns the Sink for the pages of tables and of extents. seen is given
// every page that is put, new or not; it may not keep it.
func (w *Writer) Pages(seen func(id chunk.ID, page []byte) error) table.Sink {
	return &pageSink{w: w, seen: seen}
}

type pageSink struct {
	w    *Writer
	seen func(id chunk.ID, page []byte) error
}

// Put implements table.Sink.
func (s *pageSink) Put(_ context.Context, page []byte, id chunk.ID) (table.Address, error) {
	a, _, err := s.w.Store(pack.Pages, id, page)
	if err == nil {
		err = s.seen(id, page)
	}
	return a, err
}

// Flush implements table.Sink.
func (s *pageSink) Flush(context.Context) error {
	if err := s.w.closePack(pack.Pages); err != nil {
		return err
	}
	return s.w.settle()
}

// Hint implements table.Sink. Packs of earlier runs are asked for their heads,
// so that an upper page comes out as it did before, and is shared.
func (s *pageSink) Hint(a table.Address) (offset, length uint32) {
	s.w.mu.Lock()
	p := s.w.pages[a.Pack]
	s.w.mu.Unlock()
	if p == nil {
		if p = s.w.oldPages(a.Pack); p == nil {
			return 0, 0
		}
		s.w.mu.Lock()
		s.w.pages[a.Pack] = p
		s.w.mu.Unlock()
	}
	i := p.FrameOf(a.Offset)
	if i+1 >= len(p.offsets) {
		return 0, 0
	}
	return p.offsets[i], p.offsets[i+1] - p.offsets[i]
}

func (w *Writer) oldPages(id pack.ID) *pagesPack {
	h, err := w.r.readHead(w.ctx, id)
	if err != nil {
		return nil
	}
	g, err := w.r.geometry(h)
	if err != nil {
		return nil
	}
	p := &pagesPack{Geometry: g}
	for i := range h.Frames() {
		at, _ := h.Frame(i)
		p.offsets = append(p.offsets, at)
	}
	p.offsets = append(p.offsets, uint32(h.ObjectSize()))
	return p
}
