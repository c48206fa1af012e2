package history

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// survey learns the names of all pages that the tables have, each once, in the
// order in which they were stored. What cannot be read is not learned, and no
// error: who looks for something there will meet it, and say where.
//
// One goroutine goes through upper pages, ahead of those that read leaves. A leaf
// costs its share of a frame and the decoding of its names; no entry is made.
func (n *Names) survey(ctx context.Context, tables []*table.Tree, workers int) error {
	ctx, stop := context.WithCancel(ctx)
	ahead := make(chan *unknown, 2)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer stop()
	wait.Go(func() {
		defer close(ahead)
		seen := map[chunk.ID]struct{}{}
		for _, t := range tables {
			u := n.unknown(ctx, t, seen)
			if u == nil {
				continue
			}
			select {
			case ahead <- u:
			case <-ctx.Done():
				return
			}
		}
	})
	for u := range ahead {
		n.leaves(ctx, u, workers)
		n.uppers(u)
		if n.isFull() {
			break
		}
	}
	return ctx.Err()
}

func (n *Names) isFull() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.full()
}

// unknown is pages of a table that are not known.
type unknown struct {
	table  *table.Tree
	leaves []*table.Ref
	uppers []table.Upper // those that others name before these
}

// unknown finds the pages of a table that are neither known nor seen; nil if
// there are none.
func (n *Names) unknown(ctx context.Context, t *table.Tree, seen map[chunk.ID]struct{}) *unknown {
	skip := func(ref *table.Ref) bool {
		if _, ok := seen[ref.ID]; ok {
			return true
		}
		seen[ref.ID] = struct{}{}
		return n.knows(ref.ID)
	}
	u := &unknown{table: t}
	for page, err := range t.Uppers(ctx, skip) {
		if err != nil {
			break
		}
		for i := 0; page.Level == 0 && i < len(page.Refs); i++ {
			if ref := &page.Refs[i]; !skip(ref) {
				u.leaves = append(u.leaves, ref)
			}
		}
		if page.Ref != nil {
			u.uppers = append(u.uppers, page)
		}
	}
	if len(u.leaves)+len(u.uppers) == 0 {
		return nil
	}
	return u
}

func (n *Names) knows(id chunk.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.pages[id]
	return ok
}

// leaves learns the leaves, workers of them at a time.
func (n *Names) leaves(ctx context.Context, u *unknown, workers int) {
	var wait sync.WaitGroup
	defer wait.Wait()
	for w := range workers {
		wait.Go(func() {
			var set setWriter
			for _, ref := range u.leaves[w*len(u.leaves)/workers : (w+1)*len(u.leaves)/workers] {
				set = set[:0]
				if u.table.Names(ctx, ref, set.add) == nil {
					n.learn(ref.ID, nameSet{data: set})
				}
			}
		})
	}
}

// uppers learns the upper pages of which all below is known.
func (n *Names) uppers(u *unknown) {
	var b []byte
	for _, page := range u.uppers {
		if b = n.below(b[:0], page.Refs); b != nil {
			n.learn(page.Ref.ID, nameSet{upper: true, data: b})
		}
	}
}

// below appends the numbers of sets of pages to b; nil if one is not known.
func (n *Names) below(b []byte, refs []table.Ref) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range refs {
		set, ok := n.pages[refs[i].ID]
		if !ok {
			return nil
		}
		b = binary.LittleEndian.AppendUint32(b, set)
	}
	return b
}

// setWriter writes the set of a leaf.
type setWriter []byte

func (w *setWriter) add(n table.Name) {
	b := append(*w, byte(n.Kind))
	b = binary.AppendUvarint(b, uint64(n.Shared))
	b = binary.AppendUvarint(b, uint64(len(n.Key)-n.Shared))
	*w = append(b, n.Key[n.Shared:]...)
}
