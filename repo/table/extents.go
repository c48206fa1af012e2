package table

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
)

// ExtentBuilder collects the extents of one file at a time. It is for one
// goroutine at a time.
//
// Its pages have no hints: they would be known only once a pack is complete,
// and to wait for that with each fragmented file would leave a pack for each.
type ExtentBuilder struct {
	sink Sink
	cut  *cutter
	ids  *chunk.Hasher
	leaf *level // nil while the list is short

	list  []Extent // what is not in a page yet
	w     pageWriter
	below uint64 // bytes in the page being written
	size  uint64
	page  []byte // scratch
}

// NewExtentBuilder returns an ExtentBuilder that gives the pages of long
// lists to sink. Params out of bounds are fault.Invalid.
func NewExtentBuilder(sink Sink, p Params) (*ExtentBuilder, error) {
	cut, err := newCutter(&p)
	if err != nil {
		return nil, fmt.Errorf("pages of %d bytes, at least %d: %w", p.Average, p.Min, err)
	}
	return &ExtentBuilder{sink: sink, cut: cut, ids: chunk.NewHasher(&p.Page)}, nil
}

// Reset forgets what was added.
func (b *ExtentBuilder) Reset() {
	b.list, b.leaf, b.size, b.below = b.list[:0], nil, 0, 0
	b.w.reset()
}

// Size returns the bytes of content so far.
func (b *ExtentBuilder) Size() uint64 { return b.size }

// Add appends an extent; one that goes on where the one before ends is
// joined to it. One out of bounds is fault.Invalid, a file that gets too long
// fault.TooLarge; other errors are the Sink's.
func (b *ExtentBuilder) Add(ctx context.Context, x Extent) error {
	if !validExtent(&x) {
		return fmt.Errorf("add extent of %d bytes at %d: %w", x.Length, x.Offset, fault.Invalid)
	}
	if x.Length > MaxSize-b.size {
		return fmt.Errorf("add extent to %d bytes: %w", b.size, fault.TooLarge)
	}
	b.size += x.Length
	if n := len(b.list); n > 0 && joins(&b.list[n-1], &x) {
		b.list[n-1].Length += x.Length
		return nil
	}
	b.list = append(b.list, x)
	if len(b.list) <= MaxExtents {
		return nil
	}
	return b.write(ctx, len(b.list)-1) // the last one may still grow
}

// write moves the first n extents of the list to pages.
func (b *ExtentBuilder) write(ctx context.Context, n int) error {
	if b.leaf == nil {
		b.leaf = &level{sink: b.sink, ids: b.ids}
	}
	for i := range n {
		x := &b.list[i]
		before := b.w.counted()
		b.w.extent(x)
		b.w.n++
		b.below += x.Length
		if b.cut.ends(b.w.counted(), 0, b.w.counted()-before, hashed(x)) {
			if err := b.end(ctx); err != nil {
				return err
			}
		}
	}
	b.list = b.list[:copy(b.list, b.list[n:])]
	return nil
}

// hashed is what decides whether a page ends after an extent.
func hashed(x *Extent) []byte {
	b := append(make([]byte, 0, 32), x.Pack[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(x.Offset))
	return binary.LittleEndian.AppendUint64(b, x.Length)
}

func (b *ExtentBuilder) end(ctx context.Context) error {
	b.page = b.w.appendPage(b.page[:0], extentPage)
	b.w.reset()
	below := b.below
	b.below = 0
	return b.leaf.add(ctx, b.page, nil, below)
}

// Finish sets e.Size, e.Inline, e.Extents and e.Tree to what was added (a
// list, or a tree if there are more than MaxExtents) and makes b ready for
// the next file. With nothing added the file is empty.
func (b *ExtentBuilder) Finish(ctx context.Context, e *Entry) error {
	defer b.Reset()
	e.Size, e.Inline, e.Extents, e.Tree = b.size, nil, nil, nil
	if b.leaf == nil {
		if len(b.list) > 0 {
			e.Extents = slices.Clone(b.list)
		}
		return nil
	}
	if err := b.write(ctx, len(b.list)); err != nil {
		return err
	}
	if b.w.n > 0 {
		if err := b.end(ctx); err != nil {
			return err
		}
	}
	l, height := b.leaf, 0
	for l.held == nil {
		if height++; height == MaxLevels {
			return fmt.Errorf("extents of %d bytes: more than %d levels: %w", b.size, MaxLevels, fault.TooLarge)
		}
		up, err := l.raise(ctx, b.cut, false)
		if err != nil {
			return err
		}
		l = up
	}
	if err := l.release(ctx); err != nil { // the root is stored, too
		return err
	}
	e.Tree = &Subtree{Level: height}
	return l.list.each(func(r *Ref, _ bool) error {
		e.Tree.Ref = *r
		e.Tree.Ref.Separator = nil
		return nil
	})
}

// ExtentTree finds the extents of one file, in whatever Form they are. It may
// be used by several goroutines at a time.
type ExtentTree struct {
	pages pages
	size  uint64
	level int
	root  Ref
	list  *runs // nil if there is a tree
}

// OpenExtents returns the extents of e, which it does not change. Inline
// content and empty files have none.
func OpenExtents(p Pages, e *Entry, o Options) *ExtentTree {
	t := &ExtentTree{pages: newPages(p, o), size: e.Size}
	if e.Tree != nil {
		t.level, t.root = e.Tree.Level, e.Tree.Ref
		return t
	}
	t.list = &runs{extents: e.Extents, starts: make([]uint64, 1, len(e.Extents)+1)}
	total := uint64(0)
	for i := range e.Extents {
		total += e.Extents[i].Length
		t.list.starts = append(t.list.starts, total)
	}
	t.size = total
	return t
}

// Located is an extent and where in the file it begins, in bytes.
type Located struct {
	Start uint64
	Extent
}

// At returns the extent that holds the byte at offset; fault.NotExist from
// the end of the file on.
func (t *ExtentTree) At(ctx context.Context, offset uint64) (Located, error) {
	x, i, base, err := t.leaf(ctx, offset)
	if err != nil {
		return Located{}, err
	}
	return Located{Start: base + x.starts[i], Extent: x.extents[i]}, nil
}

// leaf returns the page that holds the byte at offset, the extent's index in
// it, and where in the file the page begins.
func (t *ExtentTree) leaf(ctx context.Context, offset uint64) (x *runs, i int, base uint64, err error) {
	if offset >= t.size {
		return nil, 0, 0, fmt.Errorf("find extent at %d of %d bytes: %w", offset, t.size, fault.NotExist)
	}
	if t.list != nil {
		return t.list, find(t.list.starts, offset), 0, nil
	}
	ref := &t.root
	for level := t.level; level > 0; level-- {
		n, err := t.pages.node(ctx, ref, true)
		if err != nil {
			return nil, 0, 0, err
		}
		i := find(n.starts, offset-base)
		ref = &n.refs[i]
		base += n.starts[i]
	}
	if x, err = t.pages.runs(ctx, ref); err != nil {
		return nil, 0, 0, err
	}
	return x, find(x.starts, offset-base), base, nil
}

// From yields the extents from the one that holds the byte at offset. After
// an error, yielded with a zero Located, nothing follows.
func (t *ExtentTree) From(ctx context.Context, offset uint64) iter.Seq2[Located, error] {
	return func(yield func(Located, error) bool) {
		for offset < t.size {
			x, first, base, err := t.leaf(ctx, offset)
			if err != nil {
				yield(Located{}, err)
				return
			}
			for i := first; i < len(x.extents); i++ {
				if !yield(Located{Start: base + x.starts[i], Extent: x.extents[i]}, nil) {
					return
				}
			}
			offset = base + x.total()
		}
	}
}
