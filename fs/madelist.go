package fs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// madeCookie is behind all that a folder of a point holds: the cookies of what
// is made up in it follow.
const madeCookie = 1 << 60

// madeKinds are the folders that are made up in folders of points, by name.
func madeKinds() map[string]madeKind {
	return map[string]madeKind{VersionsName: versionsKind, DeletedName: deletedKind, DiffName: diffsKind}
}

// madeIn returns the made-up folder with a name in a folder of a point.
func (t *Tree) madeIn(at place, folder []byte, name string, kind madeKind) *made {
	at.made = nil
	return t.made.add(&made{parent: t.nodeOf(at), name: name, kind: kind, in: at.slot, path: table.Path(folder), at: at, from: at})
}

// readMadeNames lists the folders that are made up in a folder of a point, but
// for the names that the point has itself.
func (t *Tree) readMadeNames(ctx context.Context, tree *table.Tree, at place, folder []byte, from uint64,
	d *DirEntry, yield func(*DirEntry, error) bool) error {
	for i, name := range []string{DeletedName, DiffName, VersionsName} {
		next := madeCookie + uint64(i) + 1
		if next <= from {
			continue
		}
		_, exact, err := tree.Seek(ctx, append(table.ChildrenPrefix(folder), name...))
		if err != nil {
			return err
		}
		if exact {
			continue
		}
		f := t.madeIn(at, folder, name, madeKinds()[name])
		*d = DirEntry{Name: []byte(name), Next: next, Bare: true, Attr: Attr{Node: f.node, Inode: uint64(f.node), Kind: table.Folder}}
		if !yield(d, nil) {
			return nil
		}
	}
	return nil
}

// madeChild is a name in a made-up folder.
type madeChild struct {
	name string
	from place // the entry that it is, or that lets see that it is there
	made bool  // it is a made-up folder itself, of this kind
	kind madeKind
}

// plainChild returns a name that stands for an entry of a point: a file is itself,
// a folder is shown in another place.
func plainChild(name string, s *slot, ordinal uint64, kind table.Kind) madeChild {
	return madeChild{name: name, from: place{slot: s, ordinal: ordinal}, made: kind == table.Folder, kind: shownKind}
}

// childAttr returns what users see of a name in a made-up folder.
func (t *Tree) childAttr(ctx context.Context, f *made, c *madeChild) (Attr, error) {
	if c.made {
		return t.madeAttr(ctx, t.child(f, c))
	}
	_, e, err := t.entry(ctx, c.from)
	if err != nil {
		return Attr{}, err
	}
	var a Attr
	t.fill(&a, c.from, e)
	return a, nil
}

// child returns the made-up folder of a name in another one.
func (t *Tree) child(f *made, c *madeChild) *made {
	sub := &made{parent: f.node, up: f, name: c.name, kind: c.kind, in: f.in, path: join(f.path, c.name), at: c.from, from: c.from, a: f.a, b: f.b}
	switch {
	case c.kind == contentsKind:
		sub.at = f.at
	case c.kind == removedKind:
		sub.path = f.path
	case f.kind == diffsKind:
		sub.path, sub.at = f.path, f.at
		sub.a, sub.b = t.pair(c.name)
	}
	return t.made.add(sub)
}

// pair returns the points of the name of a difference, nil if there is none.
func (t *Tree) pair(name string) (a, b *slot) {
	first, second, ok := strings.Cut(name, diffMark)
	if !ok {
		return nil, nil
	}
	a, b = t.points.named(plainView, first), t.points.named(plainView, second)
	if a == nil || b == nil {
		return nil, nil
	}
	return a, b
}

// lookupMade finds a name in a made-up folder.
func (t *Tree) lookupMade(ctx context.Context, f *made, name string) (Attr, error) {
	missing := fmt.Errorf("look up %q: %w", name, fault.NotExist)
	if strings.ContainsAny(name, "/\x00") {
		return Attr{}, missing
	}
	if err := t.current(ctx); err != nil {
		return Attr{}, err
	}
	var c *madeChild
	var err error
	switch f.kind {
	case versionsKind:
		c, err = t.fileNamed(ctx, f, name)
	case deletedKind:
		c, err = t.deletedNamed(ctx, f, name)
	case diffsKind:
		if a, b := t.pair(name); a != nil && b != nil {
			c = &madeChild{name: name, from: f.at, made: true, kind: diffKind}
		}
	case shownKind:
		c, err = t.shownNamed(ctx, f, name)
	default:
		var all []madeChild
		if all, err = t.children(ctx, f); err == nil {
			if i := slices.IndexFunc(all, func(c madeChild) bool { return c.name == name }); i >= 0 {
				c = &all[i]
			}
		}
	}
	if err != nil {
		return Attr{}, fmt.Errorf("look up %q in %s: %w", name, f.name, err)
	}
	if c == nil {
		return Attr{}, missing
	}
	return t.childAttr(ctx, f, c)
}

// lookPath looks a path up in a point; nil if it is not there, or if the point has
// gone.
func (t *Tree) lookPath(ctx context.Context, s *slot, path string) (*table.Item, error) {
	tree, err := t.table(ctx, s)
	var item table.Item
	if err == nil {
		item, err = tree.Lookup(ctx, table.Key(path))
	}
	if errors.Is(err, fault.Stale) || errors.Is(err, fault.NotExist) {
		return nil, nil
	}
	return &item, err
}

// fileNamed returns the folder of a file's contents: of one that is in the
// point, or else in the newest that has it.
func (t *Tree) fileNamed(ctx context.Context, f *made, name string) (*madeChild, error) {
	live, _ := t.points.list()
	for _, s := range slices.Backward(append(slices.Clone(live), f.in)) {
		item, err := t.lookPath(ctx, s, join(f.path, name))
		if err != nil {
			return nil, err
		}
		if item != nil && item.Entry.Kind == table.File {
			return &madeChild{name: name, from: place{slot: s, ordinal: item.Ordinal}, made: true, kind: contentsKind}, nil
		}
	}
	return nil, nil
}

// deletedNamed returns what the newest older point has of a name that the
// point has not.
func (t *Tree) deletedNamed(ctx context.Context, f *made, name string) (*madeChild, error) {
	for _, s := range slices.Backward(t.upTo(f.in)) {
		item, err := t.lookPath(ctx, s, join(f.path, name))
		if err != nil {
			return nil, err
		}
		if item != nil && s == f.in {
			return nil, nil
		}
		if item != nil {
			c := plainChild(name, s, item.Ordinal, item.Entry.Kind)
			return &c, nil
		}
	}
	return nil, nil
}

// upTo returns the points up to one, in ascending order.
func (t *Tree) upTo(s *slot) []*slot {
	live, _ := t.points.list()
	return live[:slices.Index(live, s)+1]
}

func (t *Tree) shownNamed(ctx context.Context, f *made, name string) (*madeChild, error) {
	item, err := t.lookPath(ctx, f.at.slot, join(f.path, name))
	if err != nil || item == nil {
		return nil, err
	}
	c := plainChild(name, f.at.slot, item.Ordinal, item.Entry.Kind)
	return &c, nil
}

// readMade lists a made-up folder. Cookies are those of the folder that it
// shows, or places in its list.
func (t *Tree) readMade(ctx context.Context, f *made, from uint64, d *DirEntry, yield func(*DirEntry, error) bool) error {
	if err := t.current(ctx); err != nil {
		return err
	}
	give := func(c *madeChild, next uint64) (bool, error) {
		a, err := t.childAttr(ctx, f, c)
		if errors.Is(err, fault.Stale) {
			return true, nil // its point has just gone
		}
		if err != nil {
			return false, err
		}
		*d = DirEntry{Name: []byte(c.name), Next: next, Attr: a}
		return yield(d, nil), nil
	}
	base := uint64(firstCookie)
	if f.kind == shownKind || f.kind == versionsKind {
		if from < madeCookie {
			more, err := t.readShown(ctx, f, from, give)
			if err != nil || !more {
				return err
			}
		}
		base = madeCookie
	}
	if f.kind == shownKind {
		return nil
	}
	all, err := t.children(ctx, f)
	if err != nil {
		return err
	}
	for i := range all {
		if next := base + uint64(i) + 1; next > from {
			if more, err := give(&all[i], next); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// readShown gives what a folder of a point holds; for versions its files.
func (t *Tree) readShown(ctx context.Context, f *made, from uint64, give func(*madeChild, uint64) (bool, error)) (bool, error) {
	tree, folder, err := t.folder(ctx, f.at)
	if err != nil {
		return false, err
	}
	var fail error
	more, err := t.readChildren(ctx, tree, f.at, folder, from, func(item table.Item, name []byte) bool {
		c := plainChild(string(name), f.at.slot, item.Ordinal, item.Entry.Kind)
		if f.kind == versionsKind {
			if item.Entry.Kind != table.File {
				return true
			}
			c.made, c.kind = true, contentsKind
		}
		var more bool
		more, fail = give(&c, item.Ordinal+firstCookie)
		return more
	})
	return more, errors.Join(err, fail)
}

// opener gives tables as history wants them.
type opener struct{ t *Tree }

// Tree implements history.Source.
func (o opener) Tree(ctx context.Context, p *repo.Point, _ table.Options) (*table.Tree, error) {
	s := o.t.points.of(p.ID)
	if s == nil {
		return nil, fmt.Errorf("open point %s: %w", p.ID.Short(), fault.Stale)
	}
	return o.t.table(ctx, s)
}

func pointsOf(slots []*slot) []*repo.Point {
	points := make([]*repo.Point, len(slots))
	for i, s := range slots {
		points[i] = s.point
	}
	return points
}

// children returns the names in a made-up folder that are not those of one
// folder of a point; for versions those that the point has not.
func (t *Tree) children(ctx context.Context, f *made) ([]madeChild, error) {
	if f.kind == diffsKind {
		return t.pairsOf(f), nil
	}
	m := t.memos.get(f.node, t.points.turns())
	if m.listed {
		return m.children, nil
	}
	var err error
	switch f.kind {
	case contentsKind:
		m.children, err = t.contentsOf(ctx, f)
	case versionsKind, deletedKind:
		m.children, err = t.goneFrom(ctx, f)
	case diffKind:
		m.children, err = t.differing(ctx, f, false)
	case removedKind:
		m.children, err = t.differing(ctx, f, true)
	}
	if err != nil {
		return nil, err
	}
	m.listed = true
	t.memos.put(f.node, m)
	return m.children, nil
}

// pairsOf lists the differences of each older point to the one that the folder
// is in. Others are there for whoever names them.
func (t *Tree) pairsOf(f *made) []madeChild {
	var all []madeChild
	for _, s := range t.upTo(f.in) {
		if s != f.in {
			all = append(all, madeChild{name: s.name + diffMark + f.in.name, from: f.at, made: true, kind: diffKind})
		}
	}
	return all
}

// contentsOf lists the contents of a file by the oldest point that has each,
// read through the newest.
func (t *Tree) contentsOf(ctx context.Context, f *made) ([]madeChild, error) {
	live, _ := t.points.list()
	list, err := history.Contents(ctx, opener{t}, pointsOf(live), f.path)
	if err != nil {
		return nil, err
	}
	all := make([]madeChild, 0, len(list))
	for _, c := range list {
		name := t.points.of(c.First.ID).name + extension(f.name)
		all = append(all, plainChild(name, t.points.of(c.Last.ID), c.Ordinal, table.File))
	}
	return all, nil
}

// extension returns what tells programs what a file is: ".odt", or nothing.
func extension(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || len(name)-i > 16 {
		return ""
	}
	return name[i:]
}

// goneFrom lists what older points have in the folder, and this one has not.
func (t *Tree) goneFrom(ctx context.Context, f *made) ([]madeChild, error) {
	list, err := history.Gone(ctx, opener{t}, pointsOf(t.upTo(f.in)), f.path)
	if err != nil {
		return nil, err
	}
	var all []madeChild
	for _, l := range list {
		c := plainChild(l.Name, t.points.of(l.Point.ID), l.Ordinal, l.Kind)
		if f.kind == versionsKind {
			if l.Kind != table.File {
				continue
			}
			c.made, c.kind = true, contentsKind
		}
		all = append(all, c)
	}
	return all, nil
}

// differing lists what is new or otherwise in the second point of a
// difference, or what is only in the first.
func (t *Tree) differing(ctx context.Context, f *made, removed bool) ([]madeChild, error) {
	a, err := t.table(ctx, f.a)
	if err != nil {
		return nil, err
	}
	b, err := t.table(ctx, f.b)
	if err != nil {
		return nil, err
	}
	list, err := history.Children(ctx, a, b, f.path)
	if err != nil {
		return nil, err
	}
	var all []madeChild
	gone, named := false, false
	for _, l := range list {
		if gone = gone || l.How == history.Removed; removed != (l.How == history.Removed) {
			continue
		}
		c := plainChild(l.Name, f.b, l.Ordinal, l.Kind)
		switch l.How {
		case history.Removed:
			c.from.slot = f.a
		case history.Within:
			c.kind = diffKind
		}
		named = named || l.Name == RemovedName
		all = append(all, c)
	}
	if removed || !gone || named {
		return all, nil
	}
	item, err := t.lookPath(ctx, f.a, f.path)
	if err != nil || item == nil {
		return all, err
	}
	return append(all, madeChild{name: RemovedName, from: place{slot: f.a, ordinal: item.Ordinal}, made: true, kind: removedKind}), nil
}
