package fs

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// DirEntry is one line of a listing.
type DirEntry struct {
	Name []byte // shared memory: copy it to keep it
	Next uint64 // the cookie with which the listing goes on behind this entry
	Bare bool   // of Attr there are only Node, Inode and Kind: ".", "..", points
	Attr Attr
}

// Cookies: 0 begins a listing, 1 is behind ".", 2 behind "..", and
// ordinal+firstCookie behind the entry with that ordinal.
const firstCookie = 3

// Lookup finds a name in a folder. Errors: fault.NotExist, fault.NotDir,
// fault.Stale.
func (t *Tree) Lookup(ctx context.Context, parent Node, name string) (Attr, error) {
	at, err := t.find(parent)
	if err != nil {
		return Attr{}, err
	}
	if at.virtual != 0 {
		return t.lookupVirtual(ctx, at, name)
	}
	tree, folder, err := t.folder(ctx, at)
	if err != nil {
		return Attr{}, err
	}
	if name == "" || len(name) > table.MaxName || name == "." || name == ".." {
		return Attr{}, fmt.Errorf("look up %q: %w", name, fault.NotExist)
	}
	if at.made != nil {
		return t.lookupMade(ctx, at.made, name)
	}
	var buffer [256]byte
	key := append(appendPrefix(buffer[:0], folder), name...)
	ordinal, exact, err := tree.Seek(ctx, key)
	if err != nil {
		return Attr{}, fmt.Errorf("look up %q in %s: %w", name, table.Path(folder), err)
	}
	if !exact && name[0] == '@' && t.opt.Point == nil {
		if kind, ok := madeKinds()[name]; ok {
			return t.madeAttr(ctx, t.madeIn(at, folder, name, kind))
		}
	}
	if !exact {
		return Attr{}, fmt.Errorf("look up %q: %w", name, fault.NotExist)
	}
	e, err := tree.At(ctx, ordinal)
	if err != nil {
		return Attr{}, fmt.Errorf("look up %q in %s: %w", name, table.Path(folder), err)
	}
	var attr Attr
	t.fill(&attr, at.to(ordinal), e)
	return attr, nil
}

// appendPrefix is table.ChildrenPrefix into a buffer.
func appendPrefix(dst, key []byte) []byte {
	folder, name := table.Split(key)
	dst = append(dst, folder...)
	if len(name) > 0 {
		dst = append(append(dst, name...), 0)
	}
	return append(dst, 0)
}

// folder opens a place that must be a folder and returns its key.
func (t *Tree) folder(ctx context.Context, at place) (*table.Tree, []byte, error) {
	tree, e, err := t.entry(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	if e.Kind != table.Folder {
		return nil, nil, fmt.Errorf("list %s: %w", table.Path(e.Key), fault.NotDir)
	}
	return tree, e.Key, nil
}

// entry reads the entry at a place that is in a point.
func (t *Tree) entry(ctx context.Context, at place) (*table.Tree, *table.Entry, error) {
	if at.virtual != 0 {
		return nil, nil, fmt.Errorf("%s: %w", virtualName(at.virtual), fault.IsDir)
	}
	tree, err := t.table(ctx, at.slot)
	if err != nil {
		return nil, nil, err
	}
	if at.ordinal >= tree.Count() {
		return nil, nil, fmt.Errorf("entry %d of point %s: %w", at.ordinal, at.slot.point.ID.Short(), fault.Stale)
	}
	e, err := tree.At(ctx, at.ordinal)
	if err != nil {
		return nil, nil, fmt.Errorf("read entry %d of point %s: %w", at.ordinal, at.slot.point.ID.Short(), err)
	}
	return tree, e, nil
}

// Attr returns what users see of a node.
func (t *Tree) Attr(ctx context.Context, n Node) (Attr, error) {
	at, err := t.find(n)
	if err != nil {
		return Attr{}, err
	}
	if at.virtual == latestNode {
		return t.latestAttr(at.slot, at.view, at.clean), nil
	}
	if at.made != nil {
		return t.madeAttr(ctx, at.made)
	}
	if at.virtual != 0 {
		if err := t.current(ctx); err != nil {
			return Attr{}, err
		}
		if at.virtual == serverNode {
			return t.virtualAttr(n), nil
		}
		return t.virtualAttr(at.virtual), nil
	}
	_, e, err := t.entry(ctx, at)
	if err != nil {
		return Attr{}, err
	}
	var attr Attr
	t.fill(&attr, at, e)
	return attr, nil
}

// Entry returns the table's entry of a node and its point, for those who need
// more than users see. It is shared memory and must not be changed.
// fault.IsDir for the folders that are in no point.
func (t *Tree) Entry(ctx context.Context, n Node) (*table.Entry, *repo.Point, error) {
	at, err := t.find(n)
	if err != nil {
		return nil, nil, err
	}
	_, e, err := t.entry(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	return e, at.slot.point, nil
}

// ReadDir lists a folder from a cookie on: 0, or the Next of an entry. "." and
// ".." come first. The DirEntry is reused from one turn to the next.
func (t *Tree) ReadDir(ctx context.Context, n Node, from uint64) iter.Seq2[*DirEntry, error] {
	return func(yield func(*DirEntry, error) bool) {
		at, err := t.find(n)
		if err != nil {
			yield(nil, err)
			return
		}
		if at.virtual != 0 {
			t.readVirtual(ctx, at, from, yield)
			return
		}
		tree, folder, err := t.folder(ctx, at)
		if err != nil {
			yield(nil, err)
			return
		}
		var d DirEntry
		if !t.readDots(ctx, tree, at, folder, from, &d, yield) {
			return
		}
		if at.made != nil {
			err = t.readMade(ctx, at.made, from, &d, yield)
		} else {
			err = t.readFolder(ctx, tree, at, folder, from, &d, yield)
		}
		if err != nil {
			yield(nil, fmt.Errorf("list %s: %w", table.Path(folder), err))
		}
	}
}

// readDots gives "." and "..", and tells whether to go on.
func (t *Tree) readDots(ctx context.Context, tree *table.Tree, at place, folder []byte, from uint64,
	d *DirEntry, yield func(*DirEntry, error) bool) bool {
	if from < 1 {
		*d = t.dot(".", 1, t.nodeOf(at))
		if !yield(d, nil) {
			return false
		}
	}
	if from < 2 {
		up, err := t.parent(ctx, tree, at, folder)
		if err != nil {
			yield(nil, err)
			return false
		}
		*d = t.dot("..", 2, up)
		return yield(d, nil)
	}
	return true
}

func (t *Tree) dot(name string, next uint64, n Node) DirEntry {
	return DirEntry{Name: []byte(name), Next: next, Bare: true, Attr: Attr{Node: n, Inode: t.plainInode(n), Kind: table.Folder}}
}

// parent returns the folder that holds a folder; that of the root is the root.
func (t *Tree) parent(ctx context.Context, tree *table.Tree, at place, key []byte) (Node, error) {
	if at.made != nil {
		return at.made.parent, nil
	}
	if at.ordinal == 0 {
		switch {
		case t.opt.Point != nil || at.view == tokenView:
			return Root, nil
		case at.view == serverView:
			return at.slot.server.node(), nil
		}
		return pointsNode, nil
	}
	folder, _ := table.Split(key)
	if len(folder) == 0 {
		return t.nodeOf(at.to(0)), nil
	}
	// folder is a 00 b 00; the key of that folder's entry is a 00 00 b.
	folder = folder[:len(folder)-1]
	cut := bytes.LastIndexByte(folder, 0) + 1
	up := make([]byte, 0, len(folder)+1)
	up = append(append(append(up, folder[:cut]...), 0), folder[cut:]...)
	ordinal, exact, err := tree.Seek(ctx, up)
	if err != nil {
		return 0, err
	}
	if !exact {
		return 0, fmt.Errorf("folder of %s has no entry: %w", table.Path(key), fault.Corrupt)
	}
	return t.nodeOf(at.to(ordinal)), nil
}

// readFolder lists a folder of a point, and behind what it holds the made-up
// folders in it, if they are to be listed.
func (t *Tree) readFolder(ctx context.Context, tree *table.Tree, at place, folder []byte, from uint64,
	d *DirEntry, yield func(*DirEntry, error) bool) error {
	if from < madeCookie {
		more, err := t.readChildren(ctx, tree, at, folder, from, func(item table.Item, name []byte) bool {
			d.Name, d.Next, d.Bare = name, item.Ordinal+firstCookie, false
			t.fill(&d.Attr, at.to(item.Ordinal), item.Entry)
			return yield(d, nil)
		})
		if err != nil || !more {
			return err
		}
	}
	if !t.opt.ListTime || t.opt.Point != nil {
		return nil
	}
	return t.readMadeNames(ctx, tree, at, folder, from, d, yield)
}

// readChildren gives the entries of a folder in a point from a cookie on, and
// tells whether more is wanted.
func (t *Tree) readChildren(ctx context.Context, tree *table.Tree, at place, folder []byte, from uint64,
	each func(item table.Item, name []byte) bool) (bool, error) {
	var buffer [256]byte
	prefix := appendPrefix(buffer[:0], folder)
	var start uint64
	switch {
	case from >= firstCookie:
		start = from - firstCookie + 1
	case len(prefix) == 1:
		start = 1 // the root, whose own entry has that prefix as its key
	default:
		var err error
		if start, _, err = tree.Seek(ctx, prefix); err != nil {
			return false, err
		}
	}
	if start >= tree.Count() {
		return true, nil
	}
	last := start
	defer func() { t.listing.listed(tree, at.slot.number, start, last) }()
	for item, err := range tree.From(ctx, start) {
		if err != nil {
			return false, err
		}
		last = item.Ordinal
		if !bytes.HasPrefix(item.Entry.Key, prefix) {
			return true, nil
		}
		if !each(item, item.Entry.Key[len(prefix):]) {
			return false, nil
		}
	}
	return true, nil
}
