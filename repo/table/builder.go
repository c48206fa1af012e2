package table

import (
	"context"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
)

// Params say how a repository cuts pages. All of its writers must use the
// same ones; readers need none.
type Params struct {
	Min     int       // bytes below which no page is cut, 256 to Average
	Average int       // bytes, up to 32 KiB
	Table   chunk.Key // where pages are cut
	Page    chunk.Key // names pages
}

// Root is the top of a table: what the body of a point holds.
type Root struct {
	Page  []byte // the root page itself
	Level int    // 0 if one leaf holds all
	Count uint64 // entries of the table
	ID    chunk.ID
}

// Builder makes a table of entries that come in order. It is for one
// goroutine at a time.
//
// # Why a page can be taken over
//
// What the record of an entry looks like depends on the records before it in
// its page, and on nothing else: prefixes, modes, owners, times, packs and
// offsets all begin anew with the page. Where a page ends depends on its
// records alone. So at the beginning of a page, a Builder that is given the
// entries of an old page that ended at a cut writes the same bytes and cuts
// in the same place: not earlier, or the old page would have ended there
// too. Only the last leaf of a table may have ended without a cut, because
// there was nothing more; it is never taken over. Of a page's Ref only the
// separator depends on what came before, and it is computed anew. Therefore
// AddPage and Keep give the same table as Add, byte for byte, if the Sink
// gives the page's old address when it is put again.
//
// # Memory
//
// About 45 bytes for each leaf page: 45 MiB for 100 million entries.
type Builder struct {
	w    entryWriter
	cut  *cutter
	sink Sink
	leaf level

	last   []byte // key of the last entry
	nameAt int    // where the name begins in it
	count  uint64 // entries so far, in pages that ended
	sep    []byte // of the page being written
	page   []byte // scratch
	alone  *Leaf  // the first page, if it was taken over and is the only one
	kept   *leafPage
	keptN  int // entries of kept so far: 0 to n-1
}

// NewBuilder returns a Builder that gives its pages to sink. Params out of
// bounds are fault.Invalid.
func NewBuilder(sink Sink, p Params) (*Builder, error) {
	cut, err := newCutter(&p)
	if err != nil {
		return nil, fmt.Errorf("pages of %d bytes, at least %d: %w", p.Average, p.Min, err)
	}
	return &Builder{cut: cut, sink: sink, leaf: level{sink: sink, ids: chunk.NewHasher(&p.Page)}}, nil
}

// Count returns the number of entries so far: the next one's ordinal.
func (b *Builder) Count() uint64 { return b.count + uint64(b.w.n) + uint64(b.keptN) }

// AtBoundary reports whether the next entry begins a page.
func (b *Builder) AtBoundary() bool { return b.w.n == 0 && b.kept == nil }

// Add appends an entry, whose key must be greater than all before. The first
// one is the root's, a folder; that the others' folders are there is for the
// caller to see to. It keeps nothing of e. An entry that breaks a rule of the format is fault.Invalid or
// fault.TooLarge and is not added; the Builder goes on. Other errors are the
// Sink's, and end it.
func (b *Builder) Add(ctx context.Context, e *Entry) error {
	if err := b.settle(ctx); err != nil {
		return err
	}
	shared, ok := checkOrder(b.last, e.Key)
	if !ok {
		return fmt.Errorf("add entry %.200q after %.200q: %w", Path(e.Key), Path(b.last), fault.Invalid)
	}
	nameAt := b.nameAt
	if shared >= nameAt && nameAt > 0 && len(e.Key) <= MaxPath {
		ok = validName(e.Key[nameAt:]) // same folder: only the name is new
	} else {
		nameAt, ok = checkKey(e.Key)
	}
	if !ok || b.count == 0 && b.w.n == 0 && (len(e.Key) > 1 || e.Kind != Folder) {
		return fmt.Errorf("add entry with the key %.200q: %w", e.Key, fault.Invalid)
	}
	if err := validate(e); err != nil {
		return err
	}
	if b.w.n == 0 {
		b.begin(e.Key, shared)
		shared = 0
	}
	before := b.w.counted()
	b.w.add(e, shared)
	b.last, b.nameAt = append(b.last[:0], e.Key...), nameAt
	if b.cut.ends(b.w.counted(), b.w.keys, b.w.counted()-before, e.Key) {
		return b.end(ctx)
	}
	return nil
}

// begin computes the separator of a page whose first key shares shared bytes
// with the last one.
func (b *Builder) begin(key []byte, shared int) {
	b.sep = b.sep[:0]
	if b.count > 0 {
		b.sep = append(b.sep, key[:shared+1]...)
	}
}

// end ends the page being written.
func (b *Builder) end(ctx context.Context) error {
	b.page = b.w.appendPage(b.page[:0], entryPage)
	n := uint64(b.w.n)
	b.w.reset()
	b.count += n
	b.alone = nil
	return b.leaf.add(ctx, b.page, b.sep, n)
}

// AddPage appends all entries of a stored leaf page by its reference, when
// AtBoundary. The page must have been made by a Builder with the same Params
// and must not be the last leaf of its table. Keep does all that by itself.
func (b *Builder) AddPage(ctx context.Context, ref *Ref, leaf *Leaf) error {
	switch {
	case !b.AtBoundary():
		return fmt.Errorf("take over page %s within another: %w", ref.ID, fault.Invalid)
	case leaf.Len() == 0 || ref.Count != uint64(leaf.Len()) || !validRef(ref):
		return fmt.Errorf("take over page %s by a bad reference: %w", ref.ID, fault.Invalid)
	}
	first, last := leaf.Entry(0).Key, leaf.Entry(leaf.Len()-1).Key
	shared, ok := checkOrder(b.last, first)
	if !ok {
		return fmt.Errorf("take over page %s after %.200q: %w", ref.ID, Path(b.last), fault.Invalid)
	}
	b.begin(first, shared)
	if err := b.leaf.release(ctx); err != nil {
		return err
	}
	b.alone = nil
	if b.count == 0 {
		b.alone = leaf
	}
	taken := *ref
	taken.Separator = b.sep
	b.leaf.list.add(&taken, true)
	b.count += ref.Count
	b.last = append(b.last[:0], last...)
	b.nameAt, _ = checkKey(b.last)
	return nil
}

// Keep appends an entry of an older table unchanged, as a stream of that
// tree (Tree.From, Tree.Range) gave it. It gives the same result as Add, and
// is faster: a leaf page kept whole is taken over by its reference.
//
// The page must still be there when this table is read. Where that is not
// sure, because a collector condemned its frame, use Add; Item.Page tells
// the page.
func (b *Builder) Keep(ctx context.Context, it Item) error {
	if b.kept != nil && it.page == b.kept && it.index == b.keptN {
		return b.keepNext(ctx)
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	if it.page == nil || it.index != 0 || it.page.last || !b.AtBoundary() {
		return b.Add(ctx, it.Entry)
	}
	if _, ok := checkOrder(b.last, it.Entry.Key); !ok {
		return fmt.Errorf("keep entry %.200q after %.200q: %w", Path(it.Entry.Key), Path(b.last), fault.Invalid)
	}
	b.kept = it.page
	return b.keepNext(ctx)
}

func (b *Builder) keepNext(ctx context.Context) error {
	if b.keptN++; b.keptN < b.kept.leaf.Len() {
		return nil
	}
	page := b.kept
	b.kept, b.keptN = nil, 0
	return b.AddPage(ctx, page.ref, page.leaf)
}

// settle adds the entries of a page that is not kept whole one by one.
func (b *Builder) settle(ctx context.Context) error {
	if b.kept == nil {
		return nil
	}
	page, n := b.kept, b.keptN
	b.kept, b.keptN = nil, 0
	for i := range n {
		if err := b.Add(ctx, page.leaf.Entry(i)); err != nil {
			return err
		}
	}
	return nil
}

// Finish ends the table. The Builder is of no use after it. A table without
// entries is fault.Invalid.
func (b *Builder) Finish(ctx context.Context) (*Root, error) {
	if err := b.settle(ctx); err != nil {
		return nil, err
	}
	if b.w.n > 0 {
		if err := b.end(ctx); err != nil {
			return nil, err
		}
	}
	if b.count == 0 {
		return nil, fmt.Errorf("finish a table without entries: %w", fault.Invalid)
	}
	if b.leaf.list.n == 1 && b.alone != nil {
		return b.rebuild()
	}
	l, height := &b.leaf, 0
	for ; l.held == nil; height++ {
		if height+1 == MaxLevels {
			return nil, fmt.Errorf("finish a table of %d entries: more than %d levels: %w", b.count, MaxLevels, fault.TooLarge)
		}
		if err := b.sink.Flush(ctx); err != nil {
			return nil, fmt.Errorf("store pages of level %d: %w", height, err)
		}
		up, err := l.raise(ctx, b.cut, true)
		if err != nil {
			return nil, err
		}
		l = up
	}
	return &Root{Page: l.held, Level: height, Count: b.count, ID: b.leaf.ids.Sum(l.held)}, nil
}

// rebuild returns the root of a table whose only page was taken over.
func (b *Builder) rebuild() (*Root, error) {
	b.w.reset()
	var prev []byte
	for i := range b.alone.Len() {
		e := b.alone.Entry(i)
		b.w.add(e, commonPrefix(prev, e.Key))
		prev = e.Key
	}
	page := b.w.appendPage(nil, entryPage)
	return &Root{Page: page, Count: b.count, ID: b.leaf.ids.Sum(page)}, nil
}
