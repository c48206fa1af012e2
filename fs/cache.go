package fs

import (
	"context"
	"fmt"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// maxTables bounds how many points' tables are kept open: all of a usual
// repository, since who looks along time opens each. An open one holds little
// more than its decoded root page.
const maxTables = 1024

// leavesAhead is how many leaf pages a long listing asks for at a time.
const leavesAhead = 4

// tableCache keeps the tables of the points used last.
type tableCache struct {
	mu     sync.Mutex
	tick   uint64
	tables map[*slot]*openTable
}

type openTable struct {
	tree *table.Tree
	used uint64 // tick of the last use
}

func (c *tableCache) get(s *slot) *table.Tree {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.tables[s]
	if o == nil {
		return nil
	}
	c.tick++
	o.used = c.tick
	return o.tree
}

func (c *tableCache) put(s *slot, tree *table.Tree) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tables == nil {
		c.tables = map[*slot]*openTable{}
	}
	if len(c.tables) >= maxTables {
		var oldest *slot
		for k, o := range c.tables {
			if oldest == nil || o.used < c.tables[oldest].used {
				oldest = k
			}
		}
		delete(c.tables, oldest)
	}
	c.tick++
	c.tables[s] = &openTable{tree: tree, used: c.tick}
}

// table returns a point's table.
func (t *Tree) table(ctx context.Context, s *slot) (*table.Tree, error) {
	if tree := t.tables.get(s); tree != nil {
		return tree, nil
	}
	tree, err := t.open(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("open point %s: %w", s.point.ID.Short(), err)
	}
	t.tables.put(s, tree)
	return tree, nil
}

func (t *Tree) open(ctx context.Context, s *slot) (*table.Tree, error) {
	tree, err := t.src.Tree(ctx, s.point, table.Options{Cache: t.pages, ReadAhead: leavesAhead})
	if err != nil {
		if fault.KindOf(err) == fault.NotExist {
			err = fmt.Errorf("%w: %w", fault.Stale, err)
		}
		return nil, err
	}
	if tree.Count() == 0 || tree.Count() > maxOrdinal {
		return nil, fmt.Errorf("table of %d entries: %w", tree.Count(), fault.Corrupt)
	}
	return tree, nil
}
