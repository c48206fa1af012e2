package fs

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// The folders above the points: the root, points, and the link latest.

func virtualName(n Node) string {
	switch n {
	case pointsNode:
		return "/" + PointsName
	case latestNode:
		return "/" + LatestName
	}
	return "/"
}

func (t *Tree) lookupVirtual(ctx context.Context, parent Node, name string) (Attr, error) {
	if err := t.current(ctx); err != nil {
		return Attr{}, err
	}
	missing := fmt.Errorf("look up %q: %w", name, fault.NotExist)
	switch parent {
	case Root:
		switch name {
		case PointsName:
			return t.virtualAttr(pointsNode), nil
		case LatestName:
			live, _ := t.points.list()
			if len(live) == 0 {
				return Attr{}, missing
			}
			return t.latestAttr(live[len(live)-1]), nil
		}
		if s := t.points.named(tokenView, name); s != nil {
			return t.pointAttr(ctx, place{slot: s, view: tokenView})
		}
		return Attr{}, missing
	case pointsNode:
		if s := t.points.named(plainView, name); s != nil {
			return t.pointAttr(ctx, place{slot: s})
		}
		return Attr{}, missing
	}
	return Attr{}, fmt.Errorf("look up %q in %s: %w", name, virtualName(parent), fault.NotDir)
}

// pointAttr returns what users see of a point's root folder.
func (t *Tree) pointAttr(ctx context.Context, at place) (Attr, error) {
	_, e, err := t.entry(ctx, at)
	if err != nil {
		return Attr{}, err
	}
	var attr Attr
	t.fill(&attr, at, e)
	return attr, nil
}

func (t *Tree) virtualAttr(n Node) Attr {
	_, changed := t.points.list()
	a := Attr{Node: n, Inode: uint64(n), Kind: table.Folder, Mode: 0o555, Nlink: 1,
		Size: folderSize, Blocks: folderSize / 512, MTime: timeOf(changed)}
	if t.opt.Owner != nil {
		a.UID, a.GID = t.opt.Owner.UID, t.opt.Owner.GID
	}
	return a
}

// latestAttr returns what users see of latest while it leads to a point.
func (t *Tree) latestAttr(s *slot) Attr {
	a := t.virtualAttr(latestNode)
	a.Node, a.Fixed = latestOf(s), true
	a.Kind, a.Mode, a.Blocks = table.Symlink, 0o777, 0
	a.Size = uint64(len(latestTarget(s)))
	a.MTime = timeOf(s.point.Started)
	return a
}

func latestTarget(s *slot) string { return PointsName + "/" + s.name }

func timeOf(at time.Time) table.Time {
	if at.IsZero() {
		return table.Time{}
	}
	return table.Time{Sec: at.Unix(), Nsec: uint32(at.Nanosecond())}
}

// readVirtual lists the root or the folder of points. Cookies of points are
// slot numbers, which never change their meaning.
func (t *Tree) readVirtual(ctx context.Context, n Node, from uint64, yield func(*DirEntry, error) bool) {
	if n == latestNode {
		yield(nil, fmt.Errorf("list %s: %w", virtualName(n), fault.NotDir))
		return
	}
	if err := t.current(ctx); err != nil {
		yield(nil, err)
		return
	}
	var d DirEntry
	for i, name := range []string{".", ".."} {
		node := Root
		if i == 0 {
			node = n
		}
		if from <= uint64(i) {
			if d = t.dot(name, uint64(i+1), node); !yield(&d, nil) {
				return
			}
		}
	}
	if n == Root {
		t.readRoot(from, &d, yield)
		return
	}
	t.readPoints(plainView, firstCookie-1, from, &d, yield)
}

// readPoints lists the folders of points in a view. Their cookies begin behind
// base.
func (t *Tree) readPoints(view uint8, base, from uint64, d *DirEntry, yield func(*DirEntry, error) bool) {
	live, _ := t.points.list()
	for _, s := range live {
		next := uint64(s.number) + base
		if next <= from {
			continue
		}
		// Their attributes are in their tables: to fill them in here would
		// open a thousand points for one ls.
		*d = t.dot(s.nameIn(view), next, t.nodeOf(place{slot: s, view: view}))
		if !yield(d, nil) {
			return
		}
	}
}

func (t *Tree) readRoot(from uint64, d *DirEntry, yield func(*DirEntry, error) bool) {
	if live, _ := t.points.list(); len(live) > 0 && from < firstCookie {
		*d = DirEntry{Name: []byte(LatestName), Next: firstCookie, Attr: t.latestAttr(live[len(live)-1])}
		if !yield(d, nil) {
			return
		}
	}
	if from <= firstCookie {
		*d = DirEntry{Name: []byte(PointsName), Next: firstCookie + 1, Attr: t.virtualAttr(pointsNode)}
		if !yield(d, nil) {
			return
		}
	}
	if t.opt.ListTime {
		t.readPoints(tokenView, firstCookie+1, from, d, yield)
	}
}

// Readlink returns where a symbolic link points: the source's bytes, or for
// latest a path relative to the root. fault.Invalid for what is no link.
func (t *Tree) Readlink(ctx context.Context, n Node) (string, error) {
	at, err := t.find(n)
	if err != nil {
		return "", err
	}
	if at.virtual == latestNode {
		return latestTarget(at.slot), nil
	}
	if at.virtual != 0 {
		return "", fmt.Errorf("read link %s: %w", virtualName(at.virtual), fault.Invalid)
	}
	_, e, err := t.entry(ctx, at)
	if err != nil {
		return "", err
	}
	if e.Kind != table.Symlink {
		return "", fmt.Errorf("read link %s: a %v: %w", table.Path(e.Key), e.Kind, fault.Invalid)
	}
	return e.Target, nil
}

// Stats is what df shows.
type Stats struct {
	Bytes uint64 // that the repository's store takes up; without that, content of the newest point
	Files uint64 // entries of all points
}

// Sizer is a Source that knows what its store takes up.
type Sizer interface {
	StoredBytes() (uint64, bool)
}

// Stat returns how much there is.
func (t *Tree) Stat(ctx context.Context) (Stats, error) {
	if err := t.current(ctx); err != nil {
		return Stats{}, err
	}
	var s Stats
	live, _ := t.points.list()
	for _, p := range live {
		s.Files += p.point.Entries
		s.Bytes = p.point.Statistics.Bytes
	}
	if z, ok := t.src.(Sizer); ok {
		if n, known := z.StoredBytes(); known {
			s.Bytes = n
		}
	}
	return s, nil
}
