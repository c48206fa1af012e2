package table

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
)

// ownCache is how much a tree without a Cache keeps for itself.
const ownCache = 4 << 20

// lru is a Cache of limited memory.
type lru struct {
	limit int64

	mu    sync.Mutex
	used  int64
	order list.List // of *cached, the one used last in front
	byID  map[chunk.ID]*list.Element
}

type cached struct {
	id    chunk.ID
	value any
	size  int64
}

const cachedMemory = 160 // bytes that a cached page takes besides the page

// NewCache returns a Cache that holds at most limit bytes of decoded pages
// and forgets those that were not used for longest.
func NewCache(limit int64) Cache {
	return &lru{limit: limit, byID: make(map[chunk.ID]*list.Element)}
}

// Get implements Cache.
func (c *lru) Get(id chunk.ID) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.byID[id]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(at)
	return at.Value.(*cached).value, true
}

// Put implements Cache.
func (c *lru) Put(id chunk.ID, value any, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.byID[id]; ok {
		c.drop(at)
	}
	e := &cached{id, value, int64(size) + cachedMemory}
	if e.size > c.limit {
		return
	}
	c.byID[id] = c.order.PushFront(e)
	for c.used += e.size; c.used > c.limit; {
		c.drop(c.order.Back())
	}
}

func (c *lru) drop(at *list.Element) {
	e := c.order.Remove(at).(*cached)
	delete(c.byID, e.id)
	c.used -= e.size
}

// pages gets decoded pages, from the cache where they are there.
type pages struct {
	raw   Pages
	cache Cache
}

func newPages(p Pages, o Options) pages {
	if o.Cache == nil {
		o.Cache = NewCache(ownCache)
	}
	return pages{raw: p, cache: o.Cache}
}

// get returns the decoded page that ref names, checked against its count.
// What decode returns has a total and a size in memory.
func get[T any](ctx context.Context, p pages, ref *Ref, decode func([]byte) (T, error), measure func(T) (uint64, int)) (T, error) {
	var none T
	v, ok := p.cache.Get(ref.ID)
	page, right := v.(T)
	if !ok || !right {
		raw, err := p.fetch(ctx, ref)
		if err != nil {
			return none, err
		}
		if page, err = decode(raw); err != nil {
			return none, fmt.Errorf("page %s in pack %s: %w", ref.ID, ref.Pack, err)
		}
		_, size := measure(page)
		p.cache.Put(ref.ID, page, size)
	}
	if total, _ := measure(page); total != ref.Count {
		return none, fmt.Errorf("page %s in pack %s has %d below it, not %d: %w", ref.ID, ref.Pack, total, ref.Count, fault.Corrupt)
	}
	return page, nil
}

// fetch returns the raw page.
func (p pages) fetch(ctx context.Context, ref *Ref) ([]byte, error) {
	raw, err := p.raw.Page(ctx, ref)
	if err != nil {
		return nil, err
	}
	if len(raw) != int(ref.Length) {
		return nil, fmt.Errorf("page %s in pack %s has %d bytes, not %d: %w", ref.ID, ref.Pack, len(raw), ref.Length, fault.Corrupt)
	}
	return raw, nil
}

func (p pages) leaf(ctx context.Context, ref *Ref) (*Leaf, error) {
	return get(ctx, p, ref, DecodeLeaf, measureLeaf)
}

// peek returns a leaf if it is in the cache.
func (p pages) peek(ref *Ref) *Leaf {
	v, _ := p.cache.Get(ref.ID)
	leaf, _ := v.(*Leaf)
	if leaf != nil && uint64(leaf.Len()) != ref.Count {
		return nil // leaf says what is wrong
	}
	return leaf
}

func (p pages) runs(ctx context.Context, ref *Ref) (*runs, error) {
	return get(ctx, p, ref, decodeRuns, measureRuns)
}

func (p pages) node(ctx context.Context, ref *Ref, extents bool) (*node, error) {
	if extents {
		return get(ctx, p, ref, decodeExtentNode, measureNode)
	}
	return get(ctx, p, ref, decodeEntryNode, measureNode)
}

func decodeExtentNode(page []byte) (*node, error) { return decodeNode(page, true) }
func decodeEntryNode(page []byte) (*node, error)  { return decodeNode(page, false) }

func measureLeaf(l *Leaf) (uint64, int) { return uint64(l.Len()), l.memory }
func measureNode(n *node) (uint64, int) { return n.total(), n.memory }
func measureRuns(x *runs) (uint64, int) { return x.total(), x.memory }
