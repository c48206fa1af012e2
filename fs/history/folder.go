package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// MaxNames bounds the names of one answer about a folder.
const MaxNames = 100_000

// errMany is for folders of which more has changed than anybody looks through.
func errMany(path string) error {
	return fmt.Errorf("more than %d names in %s: %w", MaxNames, path, fault.TooLarge)
}

// Content is one content of a path, wherever in time it was.
type Content struct {
	First, Last *repo.Point // the oldest and the newest point that have it
	Ordinal     uint64      // of the entry in Last
	Entry       *table.Entry
}

// Contents returns the distinct contents that a file had in points, which are
// in ascending order, by the oldest point that has each: a file that went and
// came back, or was changed and changed back, has one for both times.
func Contents(ctx context.Context, src Source, points []*repo.Point, path string) ([]*Content, error) {
	key := table.Key(path)
	cache := table.NewCache(cacheBytes)
	var all []*Content
	var last *Content
	for g := range inOrder(ctx, points, func(ctx context.Context, p *repo.Point) (table.Item, error) { return look(ctx, src, p, key, cache) }) {
		p, item := g.point, g.value
		if g.err != nil {
			return nil, fmt.Errorf("look for %s in point %s: %w", path, p.ID.Short(), g.err)
		}
		e := item.Entry
		if e == nil || e.Kind != table.File {
			continue
		}
		if last == nil || !Same(last.Entry, e) {
			last = nil
			for _, c := range all {
				if Same(c.Entry, e) {
					last = c
					break
				}
			}
		}
		if last == nil {
			last = &Content{First: p}
			all = append(all, last)
		}
		if last.Entry == nil || !last.Entry.Equal(e) {
			last.Entry = e.Clone() // the cache may drop its page
		}
		last.Last, last.Ordinal = p, item.Ordinal
	}
	return all, nil
}

// look returns the item of a key in a point; without an Entry if it has none,
// or if the point has gone.
func look(ctx context.Context, src Source, p *repo.Point, key []byte, cache table.Cache) (table.Item, error) {
	t, err := src.Tree(ctx, p, table.Options{Cache: cache})
	if errors.Is(err, fault.Stale) {
		return table.Item{}, nil
	}
	if err != nil {
		return table.Item{}, err
	}
	item, err := t.Lookup(ctx, key)
	if errors.Is(err, fault.NotExist) {
		return table.Item{}, nil
	}
	return item, err
}

// Lost is a name that a folder had.
type Lost struct {
	Name    string
	Point   *repo.Point // the newest that has it
	Ordinal uint64
	Kind    table.Kind
}

// Gone returns the names that a folder has in older points and not in the last
// one of points, which are in ascending order; sorted. It reads what changed in
// the folder, and no other.
func Gone(ctx context.Context, src Source, points []*repo.Point, path string) ([]Lost, error) {
	if len(points) == 0 {
		return nil, nil
	}
	key := table.Key(path)
	g := gone{path: path, prefix: table.ChildrenPrefix(key), end: table.ChildrenEnd(key), seen: map[string]bool{}}
	cache := table.NewCache(cacheBytes)
	var newer *table.Tree
	back := slices.Clone(points)
	slices.Reverse(back)
	for o := range inOrder(ctx, back, func(ctx context.Context, p *repo.Point) (*table.Tree, error) {
		return src.Tree(ctx, p, table.Options{Cache: cache})
	}) {
		p, t, err := o.point, o.value, o.err
		if errors.Is(err, fault.Stale) && newer != nil {
			continue
		}
		if err == nil && newer == nil {
			g.now, newer = t, t
			continue
		}
		if err == nil {
			err = g.step(ctx, newer, t, p)
		}
		if err != nil {
			return nil, fmt.Errorf("look through %s in point %s: %w", path, p.ID.Short(), err)
		}
		newer = t
	}
	slices.SortFunc(g.all, func(a, b Lost) int { return strings.Compare(a.Name, b.Name) })
	return g.all, nil
}

// gone gathers lost names.
type gone struct {
	path        string
	prefix, end []byte // of the folder's own entries
	now         *table.Tree
	seen        map[string]bool
	all         []Lost
}

// step adds what is in the older point p and not in the one after it.
func (g *gone) step(ctx context.Context, newer, t *table.Tree, p *repo.Point) error {
	for c, err := range table.DiffRange(ctx, newer, t, g.prefix, g.end) {
		if err != nil {
			return err
		}
		if c.A != nil || len(c.B.Key) == len(g.prefix) {
			continue // the root has its children's prefix
		}
		name := string(c.B.Key[len(g.prefix):])
		if g.seen[name] {
			continue
		}
		_, there, err := g.now.Seek(ctx, c.B.Key)
		if err != nil {
			return err
		}
		g.seen[name] = true // it came back, or is told now
		if there {
			continue
		}
		if len(g.all) >= MaxNames {
			return errMany(g.path)
		}
		ordinal, _, err := t.Seek(ctx, c.B.Key)
		if err != nil {
			return err
		}
		g.all = append(g.all, Lost{Name: name, Point: p, Ordinal: ordinal, Kind: c.B.Kind})
	}
	return nil
}

// How says in which way a name of a folder differs between two points.
type How uint8

// The ways.
const (
	Added   How = iota // only in the second point
	Changed            // in both, and not the same
	Within             // a folder of both, in which something differs
	Removed            // only in the first point
)

// Child is a name in a folder that differs between two points.
type Child struct {
	Name    string
	How     How
	Ordinal uint64 // in the second table; in the first, if it is removed
	Kind    table.Kind
}

// Differs says whether two tables differ below a folder in more than the
// folders' own metadata.
func Differs(ctx context.Context, a, b *table.Tree, path string) (bool, error) {
	from, to := table.SubtreeBounds(table.Key(path))
	c, err := first(ctx, a, b, from, to)
	return c != nil, err
}

// first returns the key of the first difference that counts in a range.
func first(ctx context.Context, a, b *table.Tree, from, to []byte) ([]byte, error) {
	for c, err := range table.DiffRange(ctx, a, b, from, to) {
		switch {
		case err != nil:
			return nil, err
		case c.A == nil:
			return c.B.Key, nil
		case c.B == nil:
			return c.A.Key, nil
		case !alike(c.A, c.B):
			return c.B.Key, nil
		}
	}
	return nil, nil
}

// alike says whether two entries of a path differ in nothing that users see:
// content may have been stored again. What a folder holds is judged there.
func alike(a, b *table.Entry) bool {
	return a.Kind == b.Kind && (a.Kind == table.Folder || Same(a, b) && a.SameMeta(b))
}

// Children returns how the names in a folder differ between two tables,
// sorted. It reads what differs in the folder, and one page or two of each of
// its folders in which something does.
func Children(ctx context.Context, a, b *table.Tree, path string) ([]Child, error) {
	key := table.Key(path)
	prefix, end := table.ChildrenPrefix(key), table.ChildrenEnd(key)
	var all []Child
	for c, err := range table.DiffRange(ctx, a, b, prefix, end) {
		if err != nil {
			return nil, err
		}
		child, ok, err := direct(ctx, a, b, c, len(prefix))
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if all = append(all, child); len(all) > MaxNames {
			return nil, errMany(path)
		}
	}
	within, err := foldersWithin(ctx, a, b, key)
	if err != nil {
		return nil, err
	}
	all = append(all, within...)
	slices.SortFunc(all, func(a, b Child) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// direct judges a difference between two folders' own entries.
func direct(ctx context.Context, a, b *table.Tree, c table.Change, prefix int) (Child, bool, error) {
	t, e := b, c.B
	if e == nil {
		t, e = a, c.A
	}
	if len(e.Key) == prefix || c.A != nil && c.B != nil && alike(c.A, c.B) {
		return Child{}, false, nil
	}
	out := Child{Name: string(e.Key[prefix:]), Kind: e.Kind, How: Changed}
	switch {
	case c.A == nil:
		out.How = Added
	case c.B == nil:
		out.How = Removed
	}
	var err error
	out.Ordinal, _, err = t.Seek(ctx, e.Key)
	return out, true, err
}

// foldersWithin returns the folders in a folder that both tables have, and in
// which something differs.
func foldersWithin(ctx context.Context, a, b *table.Tree, key []byte) ([]Child, error) {
	prefix := table.ChildrenPrefix(key)
	folder := prefix[:len(prefix)-1]
	_, to := table.SubtreeBounds(key)
	from := append(bytes.Clone(folder), 1) // behind the folder's own entries
	var all []Child
	for {
		found, err := first(ctx, a, b, from, to)
		if err != nil || found == nil {
			return all, err
		}
		rest := found[len(folder):]
		name := rest[:bytes.IndexByte(rest, 0)]
		from = append(append(bytes.Clone(folder), name...), 1)
		own := append(bytes.Clone(prefix), name...)
		before, err := a.Lookup(ctx, own)
		if err == nil {
			var after table.Item
			if after, err = b.Lookup(ctx, own); err == nil && before.Entry.Kind == table.Folder && after.Entry.Kind == table.Folder {
				all = append(all, Child{Name: string(name), How: Within, Ordinal: after.Ordinal, Kind: table.Folder})
			}
		}
		if err != nil && !errors.Is(err, fault.NotExist) {
			return nil, err
		}
		if len(all) > MaxNames {
			return nil, errMany(table.Path(key))
		}
	}
}
