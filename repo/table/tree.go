package table

import (
	"context"
	"iter"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
)

// Options of a Tree. The zero Options are good for one-off use.
type Options struct {
	// Cache keeps decoded pages; nil: each Tree keeps a few of its own.
	Cache Cache

	// ReadAhead is how many leaf pages a stream asks for at a time ahead of
	// its consumer; 0 is none. It begins with one and doubles, so that a
	// short listing does not pay.
	ReadAhead int
}

// Tree reads a table. It may be used by several goroutines at a time.
type Tree struct{}

// New returns the tree with the given root. A root page that does not decode
// or does not have count entries below it is fault.Corrupt.
func New(p Pages, root Root, o Options) (*Tree, error) { return nil, fault.Internal }

// Item is an entry in a stream.
type Item struct {
	Ordinal uint64
	Entry   *Entry // shared: not to be changed
}

// Count returns the number of entries.
func (t *Tree) Count() uint64 { return 0 }

// At returns the entry with an ordinal; fault.NotExist beyond the last.
func (t *Tree) At(ctx context.Context, ordinal uint64) (*Entry, error) { return nil, fault.Internal }

// Seek returns the ordinal of the first entry whose key is not less than key
// (Count if there is none), and whether it is equal.
func (t *Tree) Seek(ctx context.Context, key []byte) (ordinal uint64, exact bool, err error) {
	return 0, false, fault.Internal
}

// Lookup returns the entry with a key; fault.NotExist if there is none.
func (t *Tree) Lookup(ctx context.Context, key []byte) (Item, error) { return Item{}, fault.Internal }

// From yields the entries from an ordinal to the table's end. After an
// error, yielded with a zero Item, nothing follows.
func (t *Tree) From(ctx context.Context, ordinal uint64) iter.Seq2[Item, error] {
	return t.Range(ctx, ordinal, t.Count())
}

// Range yields the entries with from ≤ ordinal < to, and reads no page
// beyond. After an error, yielded with a zero Item, nothing follows.
func (t *Tree) Range(ctx context.Context, from, to uint64) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {}
}

// Change is a difference between two tables at one key: A is nil for an
// entry that is only in the second, B for one that is only in the first.
type Change struct{ A, B *Entry }

// Diff yields what differs between two tables, in order of keys. It skips
// what they share, and so reads O(changed pages). Entries whose content lies
// in another place differ, even if the content is equal.
func Diff(ctx context.Context, a, b *Tree) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {}
}

// PageInfo is a page that Pages visits.
type PageInfo struct {
	Ref     *Ref // nil for the table's root page, which is in no pack
	Level   int
	Raw     []byte
	Extents bool // a page of a file's extent tree

	Leaf *Leaf    // the entries, if it is a leaf of the table
	Refs []Ref    // the references, if Level > 0
	Runs []Extent // the extents, if it is a leaf of an extent tree
}

// Pages visits every page: parents before children, and a file's extent tree
// after the leaf that names it. skip, if not nil, is asked before a page is
// read; a page for which it says true is not visited, nor is what is below
// it. Every rule between pages is checked: counts, separators, order.
func (t *Tree) Pages(ctx context.Context, skip func(chunk.ID) bool) iter.Seq2[PageInfo, error] {
	return func(yield func(PageInfo, error) bool) {}
}

// Leaf is a decoded page of entries. It never changes.
type Leaf struct{}

// Len returns the number of entries.
func (l *Leaf) Len() int { return 0 }

// Entry returns entry i, 0 ≤ i < Len. It is shared: not to be changed.
func (l *Leaf) Entry(i int) *Entry { return nil }

// Memory returns the bytes of memory that the leaf holds.
func (l *Leaf) Memory() int { return 0 }

// ExtentTree finds the extents of one file, in whatever Form they are. It may
// be used by several goroutines at a time.
type ExtentTree struct{}

// OpenExtents returns the extents of e, which it does not change. Inline
// content has none.
func OpenExtents(p Pages, e *Entry, o Options) (*ExtentTree, error) { return nil, fault.Internal }

// At returns the extent that holds the byte at offset, and where in the file
// it begins; fault.NotExist from the end of the file on.
func (t *ExtentTree) At(ctx context.Context, offset uint64) (start uint64, x Extent, err error) {
	return 0, Extent{}, fault.Internal
}

// Located is an extent and where in the file it begins, in bytes.
type Located struct {
	Start uint64
	Extent
}

// From yields the extents from the one that holds the byte at offset. After
// an error, yielded with a zero Located, nothing follows.
func (t *ExtentTree) From(ctx context.Context, offset uint64) iter.Seq2[Located, error] {
	return func(yield func(Located, error) bool) {}
}

// NewCache returns a Cache that holds about limit bytes of decoded pages and
// forgets the least recently used.
func NewCache(limit int64) Cache { return nil }
