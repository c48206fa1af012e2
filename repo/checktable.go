package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// pageNeeds is what a leaf page, and the extent trees below it, need, and
// whether all of that was found right. Pages are shared between points, so
// that each is walked once, and a point costs its upper pages only.
type pageNeeds struct {
	frames []frameNeed
	hurt   bool // something that it needs is damaged
}

type frameNeed struct {
	pack pack.ID
	g    pack.Geometry
	from uint32 // raw bytes [from, to), all in one frame's reach
	to   uint32
}

// walker checks the table of one point.
type tableChecker struct {
	*checker
	ctx   context.Context
	h     *point.Header
	tree  *table.Tree
	live  *live.Set
	needs *pageNeeds
	told  int   // calls of wrong
	err   error // that ends the check
}

// table checks a point's pages, content and live set.
func (c *checker) table(ctx context.Context, h *point.Header, b *body) error {
	t := &tableChecker{checker: c, ctx: ctx, h: h, live: live.NewSet()}
	name := point.Name(h.Sequence)
	tree, err := c.r.tree(b, table.Options{})
	if err != nil {
		c.fault(name, err)
		return nil
	}
	t.tree = tree
	if root, err := tree.At(ctx, 0); err == nil && (len(root.Key) != 1 || root.Kind != table.Folder) {
		c.fault(name, fmt.Errorf("its table does not begin with the root folder: %w", fault.Corrupt))
	}
	// Leaf pages seen in another point are not walked again; their needs are
	// merged when their references go by.
	skip := func(id chunk.ID) bool { return c.pages[id] != nil }
	for p, err := range tree.Pages(ctx, skip) {
		if err != nil {
			if !damaged(err) {
				return err
			}
			c.fault(name, fmt.Errorf("its table cannot be walked to the end: %w", err))
			return nil
		}
		t.page(&p)
		if t.err != nil {
			return t.err
		}
	}
	t.settle()
	if c.o.walked != nil {
		c.o.walked(h, t.live)
	}
	return t.compareLive(name)
}

// page takes one page of the walk.
func (t *tableChecker) page(p *table.PageInfo) {
	t.report.Pages++
	if !p.Extents {
		t.settle()
	}
	if p.Leaf != nil {
		t.needs = &pageNeeds{}
		if p.Ref != nil {
			t.pages[p.Ref.ID] = t.needs
		}
		t.leaf(p.Leaf)
	}
	for i := range p.Refs {
		ref := &p.Refs[i]
		t.need(ref.Pack, ref.Offset, ref.Length, true, p.Extents)
		if known := t.pages[ref.ID]; known != nil {
			t.merge(known)
			if known.hurt {
				t.rewalk(ref)
			}
		}
	}
	for i := range p.Runs {
		if x := &p.Runs[i]; !x.Hole {
			t.need(x.Pack, x.Offset, uint32(x.Length), false, true)
		}
	}
}

// settle ends a leaf with what is below it.
func (t *tableChecker) settle() {
	if t.needs != nil {
		t.merge(t.needs)
		t.needs = nil
	}
}

func (t *tableChecker) merge(n *pageNeeds) {
	for i := range n.frames {
		f := &n.frames[i]
		if err := t.live.Add(f.pack, f.g, f.from, f.to-f.from); err != nil {
			t.err = err
		}
	}
}

// wrong notes what is wrong with the point itself. A table that breaks a rule
// may do so a million times: the first ones will do.
func (t *tableChecker) wrong(err error) {
	if t.told++; t.told <= maxFaultFiles {
		t.fault(point.Name(t.h.Sequence), err)
	}
}

// leaf checks the content of a page's entries.
func (t *tableChecker) leaf(l *table.Leaf) {
	var inside []byte // the folder that the last entry is in
	for i := range l.Len() {
		e := l.Entry(i)
		if folder, _ := table.Split(e.Key); !bytes.Equal(folder, inside) {
			inside = folder
			t.folder(folder)
		}
		ok := true
		for k := range e.Extents {
			if x := &e.Extents[k]; !x.Hole {
				ok = t.need(x.Pack, x.Offset, uint32(x.Length), false, true) && ok
			}
		}
		if e.Tree != nil {
			r := &e.Tree.Ref
			ok = t.need(r.Pack, r.Offset, r.Length, true, true) && ok
			if len(t.bad) > 0 || t.compacted {
				ok = t.extents(e) && ok
			}
		}
		if !ok {
			t.needs.hurt = true
			t.blame(e)
		}
	}
}

// folder checks that entries stand in a folder that has an entry itself.
func (t *tableChecker) folder(folder []byte) {
	var above, name []byte // of the folder itself; none: the root
	if n := len(folder) - 1; n > 0 {
		i := bytes.LastIndexByte(folder[:n], 0) + 1
		above, name = folder[:i], folder[i:n]
	}
	key := append(append(bytes.Clone(above), 0), name...)
	it, err := t.tree.Lookup(t.ctx, key)
	if err == nil && it.Entry.Kind != table.Folder || errors.Is(err, fault.NotExist) {
		t.wrong(fmt.Errorf("it has entries below %q, which is no folder in it: %w", table.Path(key), fault.Corrupt))
	}
}

// need notes raw bytes as needed, of pages or of content, and says whether they
// are all right. What is below a leaf is noted with it.
func (t *tableChecker) need(id pack.ID, offset, length uint32, page, below bool) bool {
	p := t.heads[id]
	if p == nil {
		p = t.missing(id)
	}
	if p == nil {
		return false
	}
	if uint64(offset)+uint64(length) > uint64(p.Total) || !p.covers(offset, length) {
		t.wrong(fmt.Errorf("it needs bytes %d to %d of pack %s, which are no chunks of it: %w", offset, offset+length, id, fault.Corrupt))
		return false
	}
	if page != (p.Kind == pack.Pages) {
		t.wrong(fmt.Errorf("it has pages and content mixed in pack %s: %w", id, fault.Corrupt))
		return false
	}
	if below && t.needs != nil {
		t.needs.add(id, p.Geometry, offset, length)
	} else if err := t.live.Add(id, p.Geometry, offset, length); err != nil {
		t.err = err
	}
	return !t.broken(id, p.Geometry, offset, length)
}

// add joins raw bytes that go on where the last ones end.
func (n *pageNeeds) add(id pack.ID, g pack.Geometry, offset, length uint32) {
	if k := len(n.frames); k > 0 && n.frames[k-1].pack == id && n.frames[k-1].to == offset {
		n.frames[k-1].to = offset + length
		return
	}
	n.frames = append(n.frames, frameNeed{id, g, offset, offset + length})
}

// broken says whether raw bytes lie in a frame that is known to be damaged, or
// that a compaction did not keep: then somebody needs it, which nobody should.
func (t *tableChecker) broken(id pack.ID, g pack.Geometry, offset, length uint32) bool {
	if p := t.heads[id]; p != nil && p.moved != nil {
		for i := g.FrameOf(offset); i <= g.FrameOf(offset+length-1); i++ {
			if _, _, _, err := p.frame(i); err != nil {
				t.breakPack(id, err, i)
			}
		}
	}
	b := t.bad[id]
	if b == nil {
		return false
	}
	for i := g.FrameOf(offset); i <= g.FrameOf(offset+length-1); i++ {
		if b.whole || b.frames[i] {
			return true
		}
	}
	return false
}

// missing notes a pack that is not in the store, once. One that a replica could
// bring back it returns.
func (t *tableChecker) missing(id pack.ID) *checkedPack {
	if t.bad[id] != nil {
		return nil
	}
	err := fmt.Errorf("it is missing: %w", fault.Corrupt)
	if size, healed := t.healed(t.ctx, id, err); healed {
		if p, err := t.openPack(t.ctx, id, size); err == nil {
			t.heads[id], t.objects[id] = p, packObject{size: size}
			return p
		}
	}
	t.bad[id] = &badPack{err: err, whole: true}
	return nil
}

// extents says whether all content of an entry with an extent tree is right.
func (t *tableChecker) extents(e *table.Entry) bool {
	for x, err := range table.OpenExtents(t.r, e, table.Options{}).From(t.ctx, 0) {
		if err != nil {
			return false
		}
		p := t.heads[x.Pack]
		if !x.Hole && (p == nil || t.broken(x.Pack, p.Geometry, x.Offset, uint32(x.Length))) {
			return false
		}
	}
	return true
}

// blame names an entry as hurt by the damaged packs that it needs.
func (t *tableChecker) blame(e *table.Entry) {
	name := t.h.ID.Short() + ":" + table.Path(e.Key)
	for id := range t.packsOf(e) {
		b := t.bad[id]
		if b == nil {
			continue
		}
		b.count++
		if len(b.files) < maxFaultFiles || t.o.allFiles {
			b.files = append(b.files, name)
		}
	}
}

// packsOf returns the packs whose damage hurts an entry.
func (t *tableChecker) packsOf(e *table.Entry) map[pack.ID]bool {
	out := make(map[pack.ID]bool)
	look := func(id pack.ID, offset, length uint32) {
		p := t.heads[id]
		if p == nil || t.broken(id, p.Geometry, offset, length) {
			out[id] = true
		}
	}
	if e.Tree != nil {
		look(e.Tree.Ref.Pack, e.Tree.Ref.Offset, e.Tree.Ref.Length)
	}
	for x, err := range table.OpenExtents(t.r, e, table.Options{}).From(t.ctx, 0) {
		if err != nil {
			break
		}
		if !x.Hole {
			look(x.Pack, x.Offset, uint32(x.Length))
		}
	}
	return out
}

// rewalk names the files of a page that another point has, too, as hurt in
// this point.
func (t *tableChecker) rewalk(ref *table.Ref) {
	page, err := t.r.Page(t.ctx, ref)
	if err != nil {
		return // it was read before; the walk reports it
	}
	l, err := table.DecodeLeaf(page)
	if err != nil {
		return
	}
	for i := range l.Len() {
		if e := l.Entry(i); len(t.packsOf(e)) > 0 {
			t.blame(e)
		}
	}
}

// compareLive compares what the walk needs with the point's live set: a
// collector that trusted a set with a gap would delete what is needed.
func (t *tableChecker) compareLive(name string) error {
	set, bad, err := t.loadLive(live.Hash(t.h.Live))
	if err != nil {
		if !damaged(err) {
			return err
		}
		t.badLive[bad] = true
		t.fault(name, fmt.Errorf("its live set: %w", err))
		return nil
	}
	for need := range t.live.All() {
		has, _ := set.Get(need.Pack)
		masks := has.Masks()
		for i, m := range need.Masks() {
			if i >= len(masks) || m&^masks[i] != 0 {
				t.fault(name, fmt.Errorf("its live set lacks frame %d of pack %s: %w", i, need.Pack, fault.Corrupt))
				return nil
			}
		}
	}
	return nil
}

// loadLive reads a live set, or says which of its pages is damaged.
func (t *tableChecker) loadLive(root live.Hash) (set *live.Set, bad live.Hash, err error) {
	set = live.NewSet()
	for need, err := range live.Walk(t.ctx, livePages{t.r.store, t.r}, root, func(h live.Hash) bool { bad = h; return false }) {
		if err == nil {
			err = set.AddNeed(need)
		}
		if err != nil {
			return nil, bad, err
		}
	}
	return set, bad, nil
}
