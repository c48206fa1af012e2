package table

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
)

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
// it. Every rule between pages that are visited is checked: counts,
// separators, order. Pages come from Pages.Page, not from the cache. After an
// error, yielded with a zero PageInfo, nothing follows.
func (t *Tree) Pages(ctx context.Context, skip func(chunk.ID) bool) iter.Seq2[PageInfo, error] {
	return func(yield func(PageInfo, error) bool) {
		if skip == nil {
			skip = func(chunk.ID) bool { return false }
		}
		v := visitor{pages: t.pages, skip: skip, yield: yield}
		info := PageInfo{Level: t.root.Level, Raw: t.root.Page, Leaf: t.leaf}
		if t.top != nil {
			info.Refs = t.top.refs
		}
		if !yield(info, nil) {
			return
		}
		v.below(ctx, &info)
	}
}

// visitor is one walk over pages. Its methods return false when it has ended.
type visitor struct {
	pages pages
	skip  func(chunk.ID) bool
	yield func(PageInfo, error) bool
	last  []byte // the last key seen
}

func (v *visitor) fail(err error) bool {
	v.yield(PageInfo{}, err)
	return false
}

// below visits what a page names.
func (v *visitor) below(ctx context.Context, info *PageInfo) bool {
	if info.Leaf != nil {
		return v.entries(ctx, info)
	}
	for i := range info.Refs {
		if !v.page(ctx, &info.Refs[i], info.Level-1, info.Extents) {
			return false
		}
	}
	return true
}

// page visits the page that ref names and what is below it.
func (v *visitor) page(ctx context.Context, ref *Ref, level int, extents bool) bool {
	if v.skip(ref.ID) {
		return true
	}
	if err := ctx.Err(); err != nil {
		return v.fail(err)
	}
	if !extents && len(ref.Separator) > 0 && bytes.Compare(v.last, ref.Separator) >= 0 {
		return v.fail(fmt.Errorf("page %s in pack %s: separator is not above the keys before: %w", ref.ID, ref.Pack, fault.Corrupt))
	}
	info := PageInfo{Ref: ref, Level: level, Extents: extents}
	total, err := v.read(ctx, &info)
	if err == nil && total != ref.Count {
		err = fmt.Errorf("%d below it, not %d: %w", total, ref.Count, fault.Corrupt)
	}
	if err != nil {
		return v.fail(fmt.Errorf("page %s in pack %s: %w", ref.ID, ref.Pack, err))
	}
	return v.yield(info, nil) && v.below(ctx, &info)
}

// read gets and decodes a page, and returns what is below it.
func (v *visitor) read(ctx context.Context, info *PageInfo) (uint64, error) {
	raw, err := v.pages.fetch(ctx, info.Ref)
	if err != nil {
		return 0, err
	}
	info.Raw = raw
	switch {
	case info.Level > 0:
		n, err := decodeNode(raw, info.Extents)
		if err != nil {
			return 0, err
		}
		info.Refs = n.refs
		return n.total(), nil
	case info.Extents:
		x, err := decodeRuns(raw)
		if err != nil {
			return 0, err
		}
		info.Runs = x.extents
		return x.total(), nil
	default:
		if info.Leaf, err = DecodeLeaf(raw); err != nil {
			return 0, err
		}
		return uint64(info.Leaf.Len()), nil
	}
}

// entries checks the keys of a leaf and visits the extent trees that it
// names.
func (v *visitor) entries(ctx context.Context, info *PageInfo) bool {
	first, last := info.Leaf.Entry(0).Key, info.Leaf.Entry(info.Leaf.Len()-1).Key
	if info.Ref != nil && bytes.Compare(first, info.Ref.Separator) < 0 || bytes.Compare(v.last, first) >= 0 {
		return v.fail(fmt.Errorf("page of %.200q: keys are not in order: %w", Path(first), fault.Corrupt))
	}
	v.last = last
	for i := range info.Leaf.entries {
		e := info.Leaf.Entry(i)
		if e.Tree != nil && !v.page(ctx, &e.Tree.Ref, e.Tree.Level, true) {
			return false
		}
	}
	return true
}
