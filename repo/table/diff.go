package table

import (
	"bytes"
	"context"
	"iter"
)

// Change is a difference between two tables at one key: A is nil for an
// entry that is only in the second, B for one that is only in the first.
type Change struct{ A, B *Entry }

// Diff yields what differs between two tables, in order of keys. It skips
// what they share, and so reads O(changed pages). Entries whose content lies
// in another place differ, even if the content is equal. After an error,
// yielded with a zero Change, nothing follows.
func Diff(ctx context.Context, a, b *Tree) iter.Seq2[Change, error] {
	return DiffRange(ctx, a, b, nil, nil)
}

// DiffRange is Diff for the keys with from ≤ key < to (nil: to the end). It
// reads the pages that can hold such keys, and no others.
func DiffRange(ctx context.Context, a, b *Tree, from, to []byte) iter.Seq2[Change, error] {
	return DiffSkipping(ctx, a, b, from, to, nil)
}

// DiffSkipping is DiffRange, but does not look into pages of which skip says that
// nothing in them, or below them, is wanted: that counts as if it were in neither
// table. skip may be nil, and a too: a table of nothing.
func DiffSkipping(ctx context.Context, a, b *Tree, from, to []byte, skip func(*Ref) bool) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if a != nil && a.root.Level == b.root.Level && bytes.Equal(a.root.Page, b.root.Page) {
			return
		}
		x, y := newDiffCursor(a, skip), newDiffCursor(b, skip)
		x.clip(from, to)
		y.clip(from, to)
		for !x.done() || !y.done() {
			if err := ctx.Err(); err != nil {
				yield(Change{}, err)
				return
			}
			change, err := diffStep(ctx, x, y)
			if err != nil {
				yield(Change{}, err)
				return
			}
			if change != (Change{}) && !yield(change, nil) {
				return
			}
			x.clip(from, to)
			y.clip(from, to)
		}
	}
}

// diffStep goes on by one entry, one page that both share, or one page that
// must be opened. Pages are opened as late as possible, because a page that
// is closed can still turn out to be shared.
func diffStep(ctx context.Context, x, y *diffCursor) (Change, error) {
	if x.done() {
		return y.only(ctx, true)
	}
	if y.done() {
		return x.only(ctx, false)
	}
	r, s := x.ref(), y.ref()
	if r != nil && s != nil && r.ID == s.ID && r.Count == s.Count && x.level() == y.level() {
		x.skip()
		y.skip()
		return Change{}, nil
	}
	// What is certainly before everything of the other goes first. A page's
	// separator is not greater than its keys.
	order := bytes.Compare(x.key(), y.key())
	switch {
	case r == nil && s == nil:
		return diffEntries(x, y, order), nil
	case r == nil && order < 0:
		return x.only(ctx, false)
	case s == nil && order > 0:
		return y.only(ctx, true)
	case r == nil:
		return Change{}, y.open(ctx)
	case s == nil:
		return Change{}, x.open(ctx)
	}
	if order < 0 || order == 0 && x.level() >= y.level() {
		if err := x.open(ctx); err != nil {
			return Change{}, err
		}
	}
	if order > 0 || order == 0 && y.level() > x.level() {
		return Change{}, y.open(ctx)
	}
	return Change{}, nil
}

// diffEntries compares two entries.
func diffEntries(x, y *diffCursor, order int) Change {
	var c Change
	if order <= 0 {
		c.A = x.entry()
		x.skip()
	}
	if order >= 0 {
		c.B = y.entry()
		y.skip()
	}
	if order == 0 && c.A.Equal(c.B) {
		return Change{}
	}
	return c
}

// diffCursor stands at an entry, or at a page that is not opened.
type diffCursor struct {
	t        *Tree
	unwanted func(*Ref) bool // says that nothing in a page is wanted; may be nil
	stack    []diffStack
}

// diffStack is an open page on the way to where a diffCursor stands.
type diffStack struct {
	level int
	n     *node // of an upper page
	leaf  *Leaf // of a leaf
	at    int
	low   []byte // separator of the page, however far above it is written
}

func newDiffCursor(t *Tree, unwanted func(*Ref) bool) *diffCursor {
	if t == nil {
		return &diffCursor{}
	}
	return &diffCursor{t: t, unwanted: unwanted, stack: []diffStack{{level: t.root.Level, n: t.top, leaf: t.leaf}}}
}

func (c *diffCursor) done() bool { return len(c.stack) == 0 }

func (c *diffCursor) top() *diffStack { return &c.stack[len(c.stack)-1] }

// ref returns the page that c stands at, nil if it is an entry.
func (c *diffCursor) ref() *Ref {
	if f := c.top(); f.n != nil {
		return &f.n.refs[f.at]
	}
	return nil
}

// level returns the level of the page that c stands at.
func (c *diffCursor) level() int { return c.top().level - 1 }

// entry returns the entry that c stands at.
func (c *diffCursor) entry() *Entry { return c.top().leaf.Entry(c.top().at) }

// key returns the entry's key, or what no key of the page is below.
func (c *diffCursor) key() []byte {
	f := c.top()
	switch {
	case f.leaf != nil:
		return f.leaf.Entry(f.at).Key
	case f.at == 0:
		return f.low
	}
	return f.n.refs[f.at].Separator
}

// skip goes on to what follows.
func (c *diffCursor) skip() {
	for len(c.stack) > 0 {
		f := c.top()
		f.at++
		if f.n != nil && f.at < len(f.n.refs) || f.leaf != nil && f.at < f.leaf.Len() {
			return
		}
		c.stack = c.stack[:len(c.stack)-1]
	}
}

// clip skips what lies outside from ≤ key < to. What a page's reference does
// not tell is told when the page is open.
func (c *diffCursor) clip(from, to []byte) {
	for !c.done() {
		if to != nil && bytes.Compare(c.key(), to) >= 0 {
			c.stack = nil
			return
		}
		switch ref := c.ref(); {
		case ref == nil && (from == nil || bytes.Compare(c.key(), from) >= 0):
			return
		case ref != nil && !c.before(from) && (c.unwanted == nil || !c.unwanted(ref)):
			return
		}
		c.skip()
	}
}

// before says whether every key of the page that c stands at is less than from.
func (c *diffCursor) before(from []byte) bool {
	if from == nil {
		return false
	}
	end := c.end()
	return end != nil && bytes.Compare(end, from) <= 0
}

// end returns what is greater than every key of the page that c stands at, nil
// if nothing follows it.
func (c *diffCursor) end() []byte {
	for i := len(c.stack) - 1; i >= 0; i-- {
		if f := &c.stack[i]; f.n != nil && f.at+1 < len(f.n.refs) {
			return f.n.refs[f.at+1].Separator
		}
	}
	return nil
}

// open goes into the page that c stands at.
func (c *diffCursor) open(ctx context.Context) error {
	ref := c.ref()
	next := diffStack{level: c.level(), low: c.key()}
	var err error
	if next.level == 0 {
		next.leaf, err = c.t.pages.leaf(ctx, ref)
	} else {
		next.n, err = c.t.pages.node(ctx, ref, false)
	}
	if err != nil {
		return err
	}
	c.stack = append(c.stack, next)
	return nil
}

// only yields the entry that c stands at as one that the other table lacks,
// or opens the page.
func (c *diffCursor) only(ctx context.Context, second bool) (Change, error) {
	if c.ref() != nil {
		return Change{}, c.open(ctx)
	}
	e := c.entry()
	c.skip()
	if second {
		return Change{B: e}, nil
	}
	return Change{A: e}, nil
}
