package fs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Folders that are made up: what time did to a folder, below the folder.
//
//	F/@versions/FILE/2026-11-22_10-00-00.odt   each content of F/FILE over all points
//	F/@deleted/NAME                            what older points have in F, and this one has not
//	F/@diff/POINT..POINT/…                     what the second has new or otherwise than the first
//	F/@diff/POINT..POINT/@removed/NAME         what only the first has
//
// Files in them are the files of their points: the same nodes. Folders are
// nodes of their own, because a kernel gives a folder one place; each is known
// by the folder that it is in and its name, so that it has the same number
// whenever it is asked for.

// The names of made-up folders.
const (
	VersionsName = "@versions"
	DeletedName  = "@deleted"
	DiffName     = "@diff"
	RemovedName  = "@removed"
	diffMark     = ".." // between the two points of a difference
)

type madeKind uint8

const (
	versionsKind madeKind = iota // F/@versions
	contentsKind                 // F/@versions/FILE
	deletedKind                  // F/@deleted
	diffsKind                    // F/@diff
	diffKind                     // F/@diff/A..B, and folders of both points below it
	removedKind                  // @removed in one
	shownKind                    // a folder of a point, in another place
)

// made is a made-up folder. It never changes, but for used.
type made struct {
	node, parent Node
	up           *made // nil in a folder of a point
	name         string
	kind         madeKind
	in           *slot  // the point that it is made up in
	path         string // of the folder that it tells about, or of the file
	at           place  // the folder whose owner and mode it has
	from         place  // the entry that lets see that it is there
	a, b         *slot  // the points of a difference
	used         uint64 // guarded by madeTable.mu
}

// madeTable knows the made-up folders that were asked for last.
type madeTable struct {
	seed maphash.Seed

	mu    sync.Mutex
	tick  uint64
	nodes map[Node]*made
}

// maxMade bounds the made-up folders that are known. One that has been
// forgotten is stale until its name is looked up again.
const maxMade = 16 << 10

func (m *madeTable) init() {
	m.seed = maphash.MakeSeed()
	m.nodes = map[Node]*made{}
}

// get returns a folder, and remembers that it and those above it are in use.
func (m *madeTable) get(n Node) *made {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.nodes[n]
	m.touch(f)
	return f
}

func (m *madeTable) touch(f *made) {
	m.tick++
	for ; f != nil; f = f.up {
		f.used = m.tick
	}
}

// add gives a folder its node, or returns the one that it has.
func (m *madeTable) add(f *made) *made {
	type identity struct {
		parent Node
		name   string
	}
	sum := maphash.Comparable(m.seed, identity{f.parent, f.name})
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; ; sum++ { // collisions are rarer than failing disks, and still no harm
		f.node = Node(uint64(madeView)<<viewShift | sum&(1<<viewShift-1))
		old := m.nodes[f.node]
		if old == nil {
			break
		}
		if old.parent == f.parent && old.name == f.name {
			if old.same(f) {
				m.touch(old)
				return old
			}
			break // what it stands for has changed: a point has gone
		}
	}
	if len(m.nodes) >= maxMade {
		m.forget()
	}
	m.nodes[f.node] = f
	m.touch(f)
	return f
}

// same says whether two folders of one name stand for the same.
func (f *made) same(o *made) bool {
	return f.kind == o.kind && f.in == o.in && f.at == o.at && f.from == o.from && f.a == o.a && f.b == o.b && f.up == o.up
}

// forget drops the quarter that was used longest ago.
func (m *madeTable) forget() {
	all := make([]*made, 0, len(m.nodes))
	for _, f := range m.nodes {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *made) int { return cmp.Compare(a.used, b.used) })
	for _, f := range all[:len(all)/4] {
		delete(m.nodes, f.node)
	}
}

// MadeUp tells whether a node is a made-up folder inside of a point.
func (t *Tree) MadeUp(n Node) bool { return n.view() == madeView }

// Way returns the entries of the folders above what a node stands for in its
// point, and that point, the top first: who may enter them all may know that it
// is there. For what is in no point both are nil.
func (t *Tree) Way(ctx context.Context, n Node) ([]*table.Entry, *repo.Point, error) {
	at, err := t.find(n)
	if err != nil || at.virtual != 0 {
		return nil, nil, err
	}
	lists := false
	if at.made != nil {
		lists, at = at.made.kind == removedKind, at.made.from
	}
	tree, e, err := t.entry(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	path := table.Path(e.Key)
	if !lists { // else the names are in that folder
		if path == "/" {
			return nil, at.slot.point, nil
		}
		path = parentPath(path)
	}
	way, err := folders(ctx, tree, path)
	return way, at.slot.point, err
}

// folders returns the entries of a folder and of those above it, the top first.
func folders(ctx context.Context, tree *table.Tree, path string) ([]*table.Entry, error) {
	var all []*table.Entry
	for end := 0; ; {
		item, err := tree.Lookup(ctx, table.Key(cmp.Or(path[:end], "/")))
		if err != nil {
			return nil, err
		}
		all = append(all, item.Entry)
		if end == len(path) || path == "/" {
			return all, nil
		}
		next := strings.IndexByte(path[end+1:], '/')
		if next < 0 {
			end = len(path)
		} else {
			end += 1 + next
		}
	}
}

func parentPath(path string) string { return cmp.Or(path[:strings.LastIndexByte(path, '/')], "/") }

func join(folder, name string) string {
	if folder == "/" {
		return "/" + name
	}
	return folder + "/" + name
}

// madeAttr returns what users see of a made-up folder: the owner and mode of
// the folder that it tells about, and the time of its point.
func (t *Tree) madeAttr(ctx context.Context, f *made) (Attr, error) {
	if f.in.gone.Load() {
		return Attr{}, fmt.Errorf("find node %s: its point: %w", f.node, fault.Stale)
	}
	_, e, err := t.entry(ctx, f.at)
	if err != nil {
		return Attr{}, err
	}
	var a Attr
	t.fill(&a, f.at, e)
	a.Node, a.Inode, a.Fixed = f.node, uint64(f.node), false
	if f.kind == shownKind {
		return a, nil
	}
	live, _ := t.points.list()
	if f.kind != versionsKind && f.kind != contentsKind || len(live) == 0 {
		live = []*slot{f.in}
	}
	a.Mode &= 0o555
	a.MTime = timeOf(live[len(live)-1].point.Started)
	// A kernel keeps a listing until the folder's time is another one.
	a.MTime.Nsec = t.points.turns()
	guarded, err := t.guarded(ctx, f)
	if guarded {
		a.Mode, a.UID, a.GID = 0o500, t.opt.Keeper.UID, t.opt.Keeper.GID
	}
	return a, err
}

// madeXattrs are the access control list of the folder that it tells about; of
// a folder shown in another place all that it has.
func (t *Tree) madeXattrs(ctx context.Context, f *made) ([]table.Xattr, error) {
	_, e, err := t.entry(ctx, f.at)
	if err != nil {
		return nil, err
	}
	if f.kind == shownKind {
		return e.Xattrs, nil
	}
	if guarded, err := t.guarded(ctx, f); err != nil || guarded {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(e.Xattrs), func(x table.Xattr) bool { return x.Name != aclPrefix+"access" }), nil
}

// guarded tells whether a made-up folder shows names of points that let in
// other users than the way to it does. Where a kernel judges by owner and mode
// of what it meets on the way (Options.Keeper), such a folder is the keeper's.
func (t *Tree) guarded(ctx context.Context, f *made) (bool, error) {
	if t.opt.Keeper == nil || t.opt.Open {
		return false, nil
	}
	var among []*slot
	switch f.kind {
	case versionsKind, deletedKind:
		among, _ = t.points.list()
	case diffKind:
		among = []*slot{f.a, f.b}
	default:
		return false, nil
	}
	m := t.memos.get(f.node, t.points.turns())
	if m.judged {
		return m.guarded, nil
	}
	own := f.in
	if f.kind == diffKind && f.up != nil && f.up.kind == diffKind {
		own = f.b
	}
	want, _, err := t.protection(ctx, own, f.path)
	if err != nil {
		return false, err
	}
	for _, s := range among {
		have, there, err := t.protection(ctx, s, f.path)
		if err != nil {
			return false, err
		}
		if there && !bytes.Equal(have, want) {
			m.guarded = true
			break
		}
	}
	m.judged = true
	t.memos.put(f.node, m)
	return m.guarded, nil
}

// protection returns all that decides who may enter a folder of a point; false
// if the point has no such folder.
func (t *Tree) protection(ctx context.Context, s *slot, path string) ([]byte, bool, error) {
	tree, err := t.table(ctx, s)
	if errors.Is(err, fault.Stale) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	all, err := folders(ctx, tree, path)
	if errors.Is(err, fault.NotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var b []byte
	for _, e := range all {
		if e.Kind != table.Folder {
			return nil, false, nil
		}
		b = fmt.Appendf(b, "%o %d %d ", e.Mode&0o777, e.UID, e.GID)
		for _, x := range e.Xattrs {
			if x.Name == aclPrefix+"access" {
				b = fmt.Appendf(b, "%x", x.Value)
			}
		}
		b = append(b, '\n')
	}
	return b, true, nil
}

// memo is what has been found out about a made-up folder.
type memo struct {
	turns    uint32 // of the list of points when it was
	judged   bool
	guarded  bool
	listed   bool
	children []madeChild
	used     uint64
}

// memoTable keeps the memos used last.
type memoTable struct {
	mu    sync.Mutex
	tick  uint64
	names int
	all   map[Node]memo
}

const (
	maxMemos     = 1024
	maxMemoNames = 100_000
)

func (m *memoTable) get(n Node, turns uint32) memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.all[n]
	if o.turns != turns {
		return memo{turns: turns}
	}
	m.tick++
	o.used = m.tick
	m.all[n] = o
	return o
}

// put keeps a memo; what was known of the node already stays known.
func (m *memoTable) put(n Node, o memo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[Node]memo{}
	}
	if old, ok := m.all[n]; ok {
		m.names -= len(old.children)
		if old.turns == o.turns && old.listed && !o.listed {
			o.listed, o.children = true, old.children
		}
		if old.turns == o.turns && old.judged && !o.judged {
			o.judged, o.guarded = true, old.guarded
		}
	}
	m.tick++
	o.used = m.tick
	m.all[n] = o
	m.names += len(o.children)
	for len(m.all) > maxMemos || m.names > maxMemoNames && len(m.all) > 1 {
		oldest, tick := n, m.tick
		for k := range m.all {
			if m.all[k].used < tick {
				oldest, tick = k, m.all[k].used
			}
		}
		m.names -= len(m.all[oldest].children)
		delete(m.all, oldest)
	}
}
