package table

import (
	"context"
	"fmt"
	"iter"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Options of a Tree. The zero Options are good for one-off use.
type Options struct {
	// Cache keeps decoded pages; nil: each Tree keeps 4 MiB of its own.
	Cache Cache

	// ReadAhead is how many leaf pages a stream asks for at a time ahead of
	// its consumer; 0 is none. It begins with one and doubles, so that a
	// short listing does not pay.
	ReadAhead int
}

// Tree reads a table. It may be used by several goroutines at a time.
type Tree struct {
	pages pages
	root  Root
	ahead int
	top   *node // decoded root page; nil if it is a leaf
	leaf  *Leaf // decoded root page; nil if it is no leaf
}

// New returns the tree with the given root. A root page that does not decode
// or does not have root.Count entries below it is fault.Corrupt.
func New(p Pages, root Root, o Options) (*Tree, error) {
	t := &Tree{pages: newPages(p, o), root: root, ahead: max(o.ReadAhead, 0)}
	var total uint64
	var err error
	switch {
	case root.Level < 0 || root.Level >= MaxLevels:
		return nil, fmt.Errorf("table of level %d: %w", root.Level, fault.Corrupt)
	case root.Level == 0:
		if t.leaf, err = DecodeLeaf(root.Page); err == nil {
			total = uint64(t.leaf.Len())
		}
	default:
		if t.top, err = decodeNode(root.Page, false); err == nil {
			total = t.top.total()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("root page: %w", err)
	}
	if total != root.Count {
		return nil, fmt.Errorf("root page with %d entries, not %d: %w", total, root.Count, fault.Corrupt)
	}
	return t, nil
}

// Item is an entry in a stream.
type Item struct {
	Ordinal uint64
	Entry   *Entry // shared: not to be changed

	page  *leafPage
	index int
}

// leafPage is a leaf and where it comes from.
type leafPage struct {
	leaf *Leaf
	ref  *Ref // nil for a root page
	last bool // of its table
}

// Page returns the reference of the leaf page that the item stands in, nil if
// that is the root page.
func (it *Item) Page() *Ref {
	if it.page == nil {
		return nil
	}
	return it.page.ref
}

// Count returns the number of entries.
func (t *Tree) Count() uint64 { return t.root.Count }

// Cuts returns keys that part the table into pieces of about the same number of
// entries, ascending: where the pages below the root page begin.
func (t *Tree) Cuts() [][]byte {
	if t.top == nil {
		return nil
	}
	cuts := make([][]byte, 0, len(t.top.refs))
	for i := 1; i < len(t.top.refs); i++ {
		cuts = append(cuts, t.top.refs[i].Separator)
	}
	return cuts
}

// At returns the entry with an ordinal; fault.NotExist beyond the last.
func (t *Tree) At(ctx context.Context, ordinal uint64) (*Entry, error) {
	if ordinal >= t.root.Count {
		return nil, fmt.Errorf("entry %d of %d: %w", ordinal, t.root.Count, fault.NotExist)
	}
	if t.leaf != nil {
		return t.leaf.Entry(int(ordinal)), nil
	}
	n := t.top
	for level := t.root.Level; ; level-- {
		i := find(n.starts, ordinal)
		ordinal -= n.starts[i]
		if level == 1 {
			leaf, err := t.pages.leaf(ctx, &n.refs[i])
			if err != nil {
				return nil, err
			}
			return leaf.Entry(int(ordinal)), nil
		}
		next, err := t.pages.node(ctx, &n.refs[i], false)
		if err != nil {
			return nil, err
		}
		n = next
	}
}

// Seek returns the ordinal of the first entry whose key is not less than key
// (Count if there is none), and whether it is equal.
func (t *Tree) Seek(ctx context.Context, key []byte) (ordinal uint64, exact bool, err error) {
	it, err := t.seek(ctx, key)
	return it.Ordinal, it.Entry != nil, err
}

// Lookup returns the entry with a key; fault.NotExist if there is none.
func (t *Tree) Lookup(ctx context.Context, key []byte) (Item, error) {
	it, err := t.seek(ctx, key)
	if err == nil && it.Entry == nil {
		err = fmt.Errorf("entry %.200q: %w", Path(key), fault.NotExist)
	}
	return it, err
}

// seek returns the place of key, with the entry if there is one.
func (t *Tree) seek(ctx context.Context, key []byte) (Item, error) {
	base, page := uint64(0), &leafPage{leaf: t.leaf, last: true}
	if n := t.top; n != nil {
		for level := t.root.Level; ; level-- {
			i := n.search(key)
			base += n.starts[i]
			ref := &n.refs[i]
			page.last = page.last && i == len(n.refs)-1
			if level > 1 {
				next, err := t.pages.node(ctx, ref, false)
				if err != nil {
					return Item{}, err
				}
				n = next
				continue
			}
			leaf, err := t.pages.leaf(ctx, ref)
			if err != nil {
				return Item{}, err
			}
			page.leaf, page.ref = leaf, ref
			break
		}
	}
	i, exact := page.leaf.search(key)
	it := Item{Ordinal: base + uint64(i), page: page, index: i}
	if exact {
		it.Entry = page.leaf.Entry(i)
	}
	return it, nil
}

// From yields the entries from an ordinal to the table's end. After an
// error, yielded with a zero Item, nothing follows.
func (t *Tree) From(ctx context.Context, ordinal uint64) iter.Seq2[Item, error] {
	return t.Range(ctx, ordinal, t.root.Count)
}

// Range yields the entries with from ≤ ordinal < to, and reads no page
// beyond. After an error, yielded with a zero Item, nothing follows.
func (t *Tree) Range(ctx context.Context, from, to uint64) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		to = min(to, t.root.Count)
		var last []byte // the last key of the leaf before
		for l, err := range t.leaves(ctx, from, to) {
			if err != nil {
				yield(Item{}, err)
				return
			}
			leaf := l.page.leaf
			if last != nil {
				if _, ok := checkOrder(last, leaf.Entry(0).Key); !ok {
					yield(Item{}, fmt.Errorf("page %s in pack %s is not in order: %w", l.page.ref.ID, l.page.ref.Pack, fault.Corrupt))
					return
				}
			}
			last = leaf.Entry(leaf.Len() - 1).Key
			first := 0
			if from > l.start {
				first = int(from - l.start)
			}
			for i := first; i < leaf.Len() && l.start+uint64(i) < to; i++ {
				it := Item{Ordinal: l.start + uint64(i), Entry: leaf.Entry(i), page: l.page, index: i}
				if !yield(it, nil) {
					return
				}
			}
		}
	}
}
