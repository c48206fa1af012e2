// Package table keeps the entries of a recovery point as a tree of pages.
//
// Nouns:
//
//   - An Entry describes one file, folder, link or device. Its Key sorts the
//     table, folder by folder; its ordinal is its place in it, from 0.
//   - A page is a run of entries (a Leaf), or of references to pages one level
//     below (upper pages). Leaves are level 0; the root page is the only page
//     of the highest level and is kept by the point, not in a pack.
//   - A Ref names a page: where it lies, what it is called, how much is below.
//   - A Tree reads, a Builder writes.
//   - An Extent is a run of a file's content; a file of many has an
//     ExtentTree, which is paged alike.
//
// The format stands in repo/FORMAT.md, sections 5 and 6. What a page looks
// like, and where it ends, depends on its own records only, so equal entries
// make equal pages whatever the trees before them were: pages are shared
// between points, and Diff skips what two trees share.
//
// The package does no I/O and no sealing: it gets pages from Pages and gives
// them to a Sink. It trusts nothing that it decodes: every count is checked
// before memory is taken, and there is exactly one encoding of each page;
// others are fault.Corrupt. It does not check that a page has the ID of its
// Ref, which Pages does, nor that the folder of an entry has an entry.
package table

import (
	"context"

	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Limits of the format. A reader checks them before it takes memory.
const (
	MaxPage      = 2 << 20   // bytes of a page
	MaxLevels    = 12        // levels of a tree, the leaves among them
	MaxPath      = 131072    // bytes of a key, a path or a link's target
	MaxName      = 1024      // bytes of one name
	MaxXattrs    = 1 << 20   // bytes of an entry's attributes, with their lengths
	MaxExtension = 64 << 10  // bytes of an entry's extension
	MaxInline    = 64 << 10  // bytes of inline content (writers stop at 512)
	MaxExtents   = 64        // extents in an entry; more are an extent tree
	MaxSize      = 1<<63 - 1 // bytes of a file
)

// Pages gives pages. It is used by several goroutines at a time.
type Pages interface {
	// Page returns the raw page that ref names: ref.Length bytes with the
	// keyed hash ref.ID, which it has checked. The caller does not change
	// them and may keep them.
	Page(ctx context.Context, ref *Ref) ([]byte, error)
}

// Sink takes the pages that a Builder makes.
type Sink interface {
	// Put stores a page, or finds out that it is stored already, and returns
	// its address. It does not keep page after it returns. The page need not
	// be durable before Flush.
	Put(ctx context.Context, page []byte, id chunk.ID) (Address, error)

	// Flush returns when the packs of all pages so far are complete, so that
	// Hint knows them. A Builder calls it after each level that is not the
	// root's: 2 or 3 times for a table, never for a list of extents.
	Flush(ctx context.Context) error

	// Hint tells where in its pack's object the stored frame begins in which
	// a page begins, and the frame's length; 0, 0 if it does not know. Hints
	// are part of upper pages: a Sink that answers differently for one address
	// in the next run makes those pages new.
	Hint(a Address) (offset, length uint32)
}

// Cache keeps decoded pages between uses. Values are shared and never
// changed. It is used by several goroutines at a time, and by many trees:
// equal IDs mean equal pages.
type Cache interface {
	Get(id chunk.ID) (value any, ok bool)
	Put(id chunk.ID, value any, size int) // size: bytes of memory it holds
}

// Address is where bytes lie in the raw bytes of a pack. It is valid for ever.
type Address struct {
	Pack   pack.ID
	Offset uint32 // raw bytes before it
	Length uint32 // bytes, ≥ 1
}

// Ref names a page.
type Ref struct {
	// Separator is greater than every key before the page and not greater
	// than its first; empty for the first reference of a page and for
	// extents.
	Separator []byte
	Count     uint64 // entries below it, or bytes for extents
	Address
	ID chunk.ID

	// Where in the pack's object the stored frame begins in which the page
	// begins, and its length; 0, 0 is unknown. It can be wrong.
	HintOffset, HintLength uint32
}

// Extent is a run of a file's content.
type Extent struct {
	Pack   pack.ID // zero for a hole
	Offset uint32  // in the pack's raw bytes; 0 for a hole
	Hole   bool    // reads as zeros
	Length uint64  // bytes of content, ≥ 1; at most pack.MaxRaw unless a hole
}

// Address returns where the bytes of an extent that is no hole lie.
func (x *Extent) Address() Address {
	return Address{Pack: x.Pack, Offset: x.Offset, Length: uint32(x.Length)}
}

// Subtree names the root of an extent tree. Its page is stored like others.
type Subtree struct {
	Level int // of the root page; 0 if it is a leaf
	Ref   Ref // Count is the file's size; there is no hint
}
