package fs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// The folders above the points: the root, points, servers and those in it, and
// the links latest.

func virtualName(n Node) string {
	switch n {
	case pointsNode:
		return "/" + PointsName
	case latestNode:
		return "/" + LatestName
	case serversNode, serverNode:
		return "/" + ServersName
	}
	return "/"
}

func (t *Tree) lookupVirtual(ctx context.Context, parent place, name string) (Attr, error) {
	if err := t.current(ctx); err != nil {
		return Attr{}, err
	}
	missing := fmt.Errorf("look up %q: %w", name, fault.NotExist)
	switch parent.virtual {
	case Root:
		switch name {
		case PointsName:
			return t.virtualAttr(pointsNode), nil
		case ServersName:
			return t.virtualAttr(serversNode), nil
		case LatestName, CleanName:
			live, _ := t.points.list()
			if s := newestOf(live, name == CleanName); s != nil {
				return t.latestAttr(s, plainView, name == CleanName), nil
			}
			return Attr{}, missing
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
	case serversNode:
		if v := t.points.serverNamed(name); v != nil {
			return t.virtualAttr(v.node()), nil
		}
		return Attr{}, missing
	case serverNode:
		if name == LatestName || name == CleanName {
			if s := newestOf(t.points.listOf(parent.server), name == CleanName); s != nil {
				return t.latestAttr(s, serverView, name == CleanName), nil
			}
			return Attr{}, missing
		}
		if s := t.points.named(serverView, name); s != nil && s.server == parent.server {
			return t.pointAttr(ctx, place{slot: s, view: serverView})
		}
		return Attr{}, missing
	}
	return Attr{}, fmt.Errorf("look up %q in %s: %w", name, virtualName(parent.virtual), fault.NotDir)
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

// newestOf returns the newest of points, or of those that look as if nobody had
// encrypted their files; nil: there is none.
func newestOf(live []*slot, clean bool) *slot {
	for _, s := range slices.Backward(live) {
		if !clean || len(s.point.Suspect) == 0 {
			return s
		}
	}
	return nil
}

// latestAttr returns what users see of a view's latest, or latest-clean, while it
// leads to a point.
func (t *Tree) latestAttr(s *slot, view uint8, clean bool) Attr {
	a := t.virtualAttr(latestOf(s, view, clean))
	if view == plainView && !clean {
		a.Inode = uint64(latestNode)
	}
	a.Fixed = true
	a.Kind, a.Mode, a.Blocks = table.Symlink, 0o777, 0
	a.Size = uint64(len(latestTarget(s, view)))
	a.MTime = timeOf(s.point.Started)
	return a
}

func latestTarget(s *slot, view uint8) string {
	if view == serverView {
		return s.name
	}
	return PointsName + "/" + s.name
}

func timeOf(at time.Time) table.Time {
	if at.IsZero() {
		return table.Time{}
	}
	return table.Time{Sec: at.Unix(), Nsec: uint32(at.Nanosecond())}
}

// readVirtual lists one of these folders. Cookies of points are slot numbers,
// which never change their meaning, and those of servers their numbers.
func (t *Tree) readVirtual(ctx context.Context, at place, from uint64, yield func(*DirEntry, error) bool) {
	self, up := at.virtual, Root
	switch self {
	case latestNode:
		yield(nil, fmt.Errorf("list %s: %w", virtualName(self), fault.NotDir))
		return
	case serverNode:
		self, up = at.server.node(), serversNode
	}
	if err := t.current(ctx); err != nil {
		yield(nil, err)
		return
	}
	var d DirEntry
	for i, name := range []string{".", ".."} {
		node := up
		if i == 0 {
			node = self
		}
		if from <= uint64(i) {
			if d = t.dot(name, uint64(i+1), node); !yield(&d, nil) {
				return
			}
		}
	}
	live, _ := t.points.list()
	switch at.virtual {
	case Root:
		t.readRoot(live, from, &d, yield)
	case serversNode:
		t.readServers(from, &d, yield)
	case serverNode:
		t.readServer(t.points.listOf(at.server), from, &d, yield)
	default:
		t.readPoints(live, plainView, firstCookie-1, from, &d, yield)
	}
}

func (t *Tree) readServers(from uint64, d *DirEntry, yield func(*DirEntry, error) bool) {
	for _, v := range t.points.serversThere() {
		next := uint64(v.number) + firstCookie - 1
		if next <= from {
			continue
		}
		*d = DirEntry{Name: []byte(v.name), Next: next, Attr: t.virtualAttr(v.node())}
		if !yield(d, nil) {
			return
		}
	}
}

func (t *Tree) readServer(live []*slot, from uint64, d *DirEntry, yield func(*DirEntry, error) bool) {
	if len(live) > 0 && from < firstCookie {
		*d = DirEntry{Name: []byte(LatestName), Next: firstCookie, Attr: t.latestAttr(live[len(live)-1], serverView, false)}
		if !yield(d, nil) {
			return
		}
	}
	if t.readClean(live, serverView, from, d, yield) {
		t.readPoints(live, serverView, firstCookie+1, from, d, yield)
	}
}

// readClean lists latest-clean where it is another point than latest; else it is
// found by name only. It returns false if there is to be no more.
func (t *Tree) readClean(live []*slot, view uint8, from uint64, d *DirEntry, yield func(*DirEntry, error) bool) bool {
	s := newestOf(live, true)
	if s == nil || s == live[len(live)-1] || from > firstCookie {
		return true
	}
	*d = DirEntry{Name: []byte(CleanName), Next: firstCookie + 1, Attr: t.latestAttr(s, view, true)}
	return yield(d, nil)
}

// readPoints lists the folders of points in a view. Their cookies begin behind
// base.
func (t *Tree) readPoints(live []*slot, view uint8, base, from uint64, d *DirEntry, yield func(*DirEntry, error) bool) {
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

// readRoot lists the root. servers is listed where there are several, and else
// there by name, for scripts that know nothing of the vault.
func (t *Tree) readRoot(live []*slot, from uint64, d *DirEntry, yield func(*DirEntry, error) bool) {
	if len(live) > 0 && from < firstCookie {
		*d = DirEntry{Name: []byte(LatestName), Next: firstCookie, Attr: t.latestAttr(live[len(live)-1], plainView, false)}
		if !yield(d, nil) {
			return
		}
	}
	if !t.readClean(live, plainView, from, d, yield) {
		return
	}
	if from <= firstCookie+1 {
		*d = DirEntry{Name: []byte(PointsName), Next: firstCookie + 2, Attr: t.virtualAttr(pointsNode)}
		if !yield(d, nil) {
			return
		}
	}
	if from <= firstCookie+2 && len(t.points.serversThere()) > 1 {
		*d = DirEntry{Name: []byte(ServersName), Next: firstCookie + 3, Attr: t.virtualAttr(serversNode)}
		if !yield(d, nil) {
			return
		}
	}
	if t.opt.ListTime {
		t.readPoints(live, tokenView, firstCookie+3, from, d, yield)
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
		return latestTarget(at.slot, at.view), nil
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
