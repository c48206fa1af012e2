package table

import (
	"context"

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
type Builder struct{}

// NewBuilder returns a Builder that gives its pages to sink.
func NewBuilder(sink Sink, p Params) (*Builder, error) { return nil, fault.Internal }

// Add appends an entry, whose key must be greater than all before. It keeps
// nothing of e. An entry that breaks a rule of the format is fault.Invalid or
// fault.TooLarge and is not added; the Builder goes on. Other errors are the
// Sink's, and end it.
func (b *Builder) Add(ctx context.Context, e *Entry) error { return fault.Internal }

// Keep appends an entry of an older table unchanged, as a stream of that
// tree (Tree.From, Tree.Range) gave it. It gives the same result as Add, and
// is faster: a leaf page kept whole is taken over by its reference.
func (b *Builder) Keep(ctx context.Context, it Item) error { return fault.Internal }

// AtBoundary reports whether the next entry begins a page.
func (b *Builder) AtBoundary() bool { return false }

// AddPage appends all entries of a stored leaf page by its reference, when
// AtBoundary. first and last are its first and last key. The page must have
// been made by a Builder with the same Params and must not be the last leaf
// of its table. Keep does all that by itself.
func (b *Builder) AddPage(ctx context.Context, ref *Ref, first, last []byte) error {
	return fault.Internal
}

// Count returns the number of entries so far: the next one's ordinal.
func (b *Builder) Count() uint64 { return 0 }

// Finish ends the table. The Builder is of no use after it. A table without
// entries is fault.Invalid.
func (b *Builder) Finish(ctx context.Context) (*Root, error) { return nil, fault.Internal }

// ExtentBuilder collects the extents of one file at a time. It is for one
// goroutine at a time.
type ExtentBuilder struct{}

// NewExtentBuilder returns an ExtentBuilder that gives the pages of long lists to sink.
func NewExtentBuilder(sink Sink, p Params) (*ExtentBuilder, error) { return nil, fault.Internal }

// Add appends an extent; one that goes on where the one before ends is
// joined to it.
func (b *ExtentBuilder) Add(ctx context.Context, x Extent) error { return fault.Internal }

// Size returns the bytes of content so far.
func (b *ExtentBuilder) Size() uint64 { return 0 }

// Finish sets e.Size, e.Extents and e.Tree to what was added (a list, or a tree if there
// are more than MaxExtents) and makes b ready for the next file.
func (b *ExtentBuilder) Finish(ctx context.Context, e *Entry) error { return fault.Internal }
