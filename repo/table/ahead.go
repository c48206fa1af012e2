package table

import (
	"context"
	"iter"
	"sync"
)

// placed is a leaf and the ordinal of its first entry.
type placed struct {
	page  *leafPage
	start uint64
}

// refCursor goes through the references of leaves in order.
type refCursor struct {
	t     *Tree
	stack []step // from the root down to a node above leaves
}

// step is a node on the way to a leaf.
type step struct {
	n     *node
	next  int
	start uint64 // ordinal of the node's first entry
	last  bool   // no node of this level follows
}

// newRefCursor stands before the leaf that holds ordinal from, which exists.
func newRefCursor(ctx context.Context, t *Tree, from uint64) (*refCursor, error) {
	c := &refCursor{t: t, stack: []step{{n: t.top, last: true}}}
	for {
		top := &c.stack[len(c.stack)-1]
		top.next = find(top.n.starts, from-top.start)
		if len(c.stack) == t.root.Level {
			return c, nil
		}
		if err := c.descend(ctx); err != nil {
			return nil, err
		}
	}
}

// descend opens the next node below the lowest one.
func (c *refCursor) descend(ctx context.Context) error {
	top := &c.stack[len(c.stack)-1]
	i := top.next
	top.next++
	n, err := c.t.pages.node(ctx, &top.n.refs[i], false)
	if err != nil {
		return err
	}
	c.stack = append(c.stack, step{n: n, start: top.start + top.n.starts[i], last: top.last && i == len(top.n.refs)-1})
	return nil
}

// next returns the next leaf's page, not decoded yet; nil at the end.
func (c *refCursor) next(ctx context.Context) (*leafPage, uint64, error) {
	for len(c.stack) > 0 {
		top := &c.stack[len(c.stack)-1]
		if top.next == len(top.n.refs) {
			c.stack = c.stack[:len(c.stack)-1]
			continue
		}
		if len(c.stack) < c.t.root.Level {
			if err := c.descend(ctx); err != nil {
				return nil, 0, err
			}
			continue
		}
		i := top.next
		top.next++
		return &leafPage{ref: &top.n.refs[i], last: top.last && i == len(top.n.refs)-1}, top.start + top.n.starts[i], nil
	}
	return nil, 0, nil
}

// ahead is a leaf that is on its way.
type ahead struct {
	placed
	err  error
	done chan struct{} // nil: it is here
}

// leaves yields the leaves that hold the ordinals from ≤ ordinal < to, which
// exist, and asks for some of them before they are wanted.
func (t *Tree) leaves(ctx context.Context, from, to uint64) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		if from >= to {
			return
		}
		if t.leaf != nil {
			yield(placed{page: &leafPage{leaf: t.leaf, last: true}}, nil)
			return
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		cursor, err := newRefCursor(ctx, t, from)
		if err != nil {
			yield(placed{}, err)
			return
		}
		q := queue{t: t, cursor: cursor, to: to, wg: &wg}
		for {
			a, err := q.next(ctx)
			if err != nil || a == nil {
				if err != nil {
					yield(placed{}, err)
				}
				return
			}
			if !yield(a.placed, nil) {
				return
			}
		}
	}
}

// queue is the leaves that a stream wants next.
type queue struct {
	t      *Tree
	cursor *refCursor
	to     uint64
	wg     *sync.WaitGroup

	waiting []*ahead
	depth   int   // how many to ask for ahead
	ended   bool  // no leaf follows those waiting
	err     error // why ended
}

// next returns the next leaf, nil at the end.
func (q *queue) next(ctx context.Context) (*ahead, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for !q.ended && len(q.waiting) <= q.depth {
		q.ask(ctx)
	}
	if len(q.waiting) == 0 {
		return nil, q.err
	}
	a := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.depth = min(max(2*q.depth, 1), q.t.ahead)
	if a.done != nil {
		<-a.done
	}
	return a, a.err
}

// ask begins to get one leaf more.
func (q *queue) ask(ctx context.Context) {
	page, start, err := q.cursor.next(ctx)
	if err != nil || page == nil || start >= q.to {
		q.ended, q.err = true, err
		return
	}
	a := &ahead{placed: placed{page: page, start: start}}
	q.waiting = append(q.waiting, a)
	if page.leaf = q.t.pages.peek(page.ref); page.leaf != nil {
		return
	}
	if q.depth == 0 {
		page.leaf, a.err = q.t.pages.leaf(ctx, page.ref)
		return
	}
	a.done = make(chan struct{})
	q.wg.Add(1)
	go func() {
		defer q.wg.Done()
		defer close(a.done)
		page.leaf, a.err = q.t.pages.leaf(ctx, page.ref)
	}()
}
