package fs

import (
	"context"
	"fmt"
	"iter"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Read fills dst with a file's content from a byte offset on, and returns how
// many bytes it has filled: fewer than len(dst) only at the file's end, 0
// behind it. Errors: fault.IsDir, fault.Invalid for what is no file, and what
// the Source says of damaged or missing packs.
func (t *Tree) Read(ctx context.Context, n Node, offset uint64, dst []byte) (int, error) {
	at, err := t.find(n)
	if err != nil {
		return 0, err
	}
	_, e, err := t.entry(ctx, at)
	if err != nil {
		return 0, err
	}
	if err := mustBeFile(e); err != nil {
		return 0, err
	}
	if offset >= e.Size || len(dst) == 0 {
		return 0, nil
	}
	dst = dst[:min(uint64(len(dst)), e.Size-offset)]
	if err := t.readContent(ctx, n, e, offset, dst); err != nil {
		return 0, fmt.Errorf("read %s of point %s: %w", table.Path(e.Key), at.slot.point.ID.Short(), err)
	}
	return len(dst), nil
}

func mustBeFile(e *table.Entry) error {
	switch e.Kind {
	case table.File:
		return nil
	case table.Folder:
		return fmt.Errorf("read %s: %w", table.Path(e.Key), fault.IsDir)
	}
	return fmt.Errorf("read %s: a %v: %w", table.Path(e.Key), e.Kind, fault.Invalid)
}

// readContent fills dst, which ends within the file.
func (t *Tree) readContent(ctx context.Context, n Node, e *table.Entry, offset uint64, dst []byte) error {
	if e.Form() == table.Inline {
		copy(dst, e.Inline[offset:])
		return nil
	}
	if e.Form() == table.One {
		t.ahead.read(ctx, t, n, e, offset, uint64(len(dst)))
		x := &e.Extents[0]
		return t.src.ReadRaw(ctx, x.Pack, x.Offset+uint32(offset), dst)
	}
	end := offset + uint64(len(dst))
	t.ahead.read(ctx, t, n, e, offset, uint64(len(dst)))
	for x, err := range t.extents(ctx, e, offset) {
		if err != nil {
			return err
		}
		from, to := max(x.Start, offset), min(x.Start+x.Length, end)
		part := dst[from-offset : to-offset]
		if x.Hole {
			clear(part)
		} else if err := t.src.ReadRaw(ctx, x.Pack, x.Offset+uint32(from-x.Start), part); err != nil {
			return err
		}
		if to == end {
			return nil
		}
	}
	return fmt.Errorf("extents end before the file: %w", fault.Corrupt)
}

// extents yields the extents of a file from the one that holds offset, which
// lies within the file.
func (t *Tree) extents(ctx context.Context, e *table.Entry, offset uint64) iter.Seq2[table.Located, error] {
	return func(yield func(table.Located, error) bool) {
		if e.Form() == table.Paged {
			list := table.OpenExtents(t.src, e, table.Options{Cache: t.pages})
			list.From(ctx, offset)(yield)
			return
		}
		var start uint64
		for _, x := range e.Extents {
			if start+x.Length > offset && !yield(table.Located{Start: start, Extent: x}, nil) {
				return
			}
			start += x.Length
		}
	}
}

// Data returns the run of data [start, end) that holds the byte at offset, or
// else the next one: what lies between offset and start is a hole. Neighbour
// extents are one run. Behind the last data start and end are the file's
// size. An offset beyond the size is fault.Invalid.
func (t *Tree) Data(ctx context.Context, n Node, offset uint64) (start, end uint64, err error) {
	at, err := t.find(n)
	if err != nil {
		return 0, 0, err
	}
	_, e, err := t.entry(ctx, at)
	if err != nil {
		return 0, 0, err
	}
	if err := mustBeFile(e); err != nil {
		return 0, 0, err
	}
	if offset > e.Size {
		return 0, 0, fmt.Errorf("seek in %s: %w", table.Path(e.Key), fault.Invalid)
	}
	if offset == e.Size {
		return e.Size, e.Size, nil
	}
	if f := e.Form(); f == table.Inline || f == table.One {
		return offset, e.Size, nil
	}
	start, end = e.Size, e.Size
	for x, err := range t.extents(ctx, e, offset) {
		if err != nil {
			return 0, 0, fmt.Errorf("seek in %s: %w", table.Path(e.Key), err)
		}
		switch {
		case x.Hole && start < e.Size:
			return start, x.Start, nil
		case !x.Hole && start == e.Size:
			start = max(offset, x.Start)
		}
	}
	return start, end, nil
}
