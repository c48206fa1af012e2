package webdav

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// The versions of a file are looked for in each point as its user may see that:
// a point in which he might not read it is one that does not have it.

// maxPoints bounds the points that are looked at, the newest of them.
const maxPoints = 10_000

// version is one content of a file on a page.
type version struct {
	Modified, Size string
	First, Last    string // the points that have it, and all between them
	Points         int
	Href           string // in the last of these points
	Show           string // where it is shown; "": nowhere
	This           bool   // it is the one in the point that the page was asked of

	attr    fs.Attr
	content fs.ContentID
}

// onePoint is a point as it stands in the folder of points.
type onePoint struct {
	name string
	node fs.Node
}

// versionsPage sends the versions of the file that a path leads to, be it in
// this point or only in others.
func (q *request) versionsPage() error {
	names, err := q.names()
	if err != nil {
		return err
	}
	this, rest := pointOf(names)
	if len(rest) == 0 {
		return fmt.Errorf("versions of what is no file: %w", fault.NotExist)
	}
	end, err := q.study()
	if err != nil {
		return err
	}
	defer end()
	points, more, err := q.newestPoints()
	if err != nil {
		return err
	}
	if this == fs.LatestName && len(points) > 0 {
		this = points[0].name
	}
	all, err := q.versions(points, rest, this)
	if err != nil {
		return err
	}
	href := q.opt.Prefix
	for _, name := range names {
		href += "/" + escapeName(name)
	}
	d := q.newPage(href, false)
	d.Heading, d.Versions = "Versions of "+d.Heading, all
	if more {
		d.end = func() string { return fmt.Sprintf("of the newest %d recovery points", maxPoints) }
	}
	q.show("versions", d)
	return nil
}

// pointOf takes a path apart: which point it is in, and what follows.
func pointOf(names []string) (point string, rest []string) {
	switch {
	case len(names) > 1 && names[0] == fs.LatestName:
		return fs.LatestName, names[1:]
	case len(names) > 2 && names[0] == fs.PointsName:
		return names[1], names[2:]
	}
	return "", nil
}

// newestPoints returns the points, the newest first, and whether there are more.
// A share of one point has no folder of points: fault.NotExist.
func (q *request) newestPoints() (points []onePoint, more bool, err error) {
	ctx := q.r.Context()
	root, err := q.Attr(ctx, fs.Root)
	if err != nil {
		return nil, false, err
	}
	if root.Fixed {
		return nil, false, fmt.Errorf("versions in a share of one point: %w", fault.NotExist)
	}
	folder, err := q.Lookup(ctx, fs.Root, fs.PointsName)
	if err != nil {
		return nil, false, err
	}
	for d, err := range q.ReadDir(ctx, folder.Node, 2) {
		if err != nil {
			return nil, false, err
		}
		points = append(points, onePoint{string(d.Name), d.Attr.Node})
	}
	slices.Reverse(points)
	if len(points) > maxPoints {
		return points[:maxPoints], true, nil
	}
	return points, false, nil
}

// versions returns the versions of a path in points. If there is none, the error
// is the same for what is hidden and for what is not there.
func (q *request) versions(points []onePoint, names []string, this string) ([]version, error) {
	var all []version
	denied := false
	open := false // whether the last version goes on
	for _, p := range points {
		q.extend()
		v, err := q.versionIn(p, names)
		if gone(err) {
			denied = denied || fault.KindOf(err) == fault.Denied
			open = false
			continue
		}
		if err != nil {
			return nil, err
		}
		if !open || !same(&all[len(all)-1], v) {
			all = append(all, *v)
		} else {
			last := &all[len(all)-1]
			last.First = v.First
			last.Points++
		}
		open = true
		all[len(all)-1].This = all[len(all)-1].This || p.name == this
	}
	if len(all) > 0 {
		return all, nil
	}
	kind := fault.NotExist
	if denied {
		kind = fault.Denied
	}
	return nil, fmt.Errorf("no versions in %d points: %w", len(points), kind)
}

// versionIn returns what a path leads to in a point. What is no file, or cannot
// be read, is not there.
func (q *request) versionIn(p onePoint, names []string) (*version, error) {
	ctx := q.r.Context()
	a, err := q.Attr(ctx, p.node)
	if err != nil {
		return nil, err
	}
	s := &resource{way: []fs.Attr{{}, a}, top: 1, href: q.opt.Prefix + "/" + fs.PointsName + "/" + escapeName(p.name)}
	for _, name := range names {
		s.href += "/" + escapeName(name)
		if err := q.enter(s, name); err != nil {
			return nil, err
		}
	}
	if s.attr().Kind != table.File {
		return nil, fmt.Errorf("a folder: %w", fault.NotExist)
	}
	id, err := q.ContentID(ctx, s.attr().Node)
	if err != nil {
		return nil, err
	}
	at := pointTime(p.name)
	v := &version{Modified: whenExactly(s.attr()), Size: size(s.attr()), First: at, Last: at, Points: 1, Href: s.href + "?dated", attr: *s.attr(), content: id}
	if q.opt.Frame != nil {
		v.Show = s.href + "?show"
	}
	return v, nil
}

// same says whether two points have the same version, as package history does:
// content may have been stored again in another place.
func same(a, b *version) bool {
	return a.content == b.content || a.attr.Size == b.attr.Size && a.attr.MTime == b.attr.MTime
}

func whenExactly(a *fs.Attr) string {
	return modified(a).In(time.Local).Format("2006-01-02 15:04:05")
}

// pointTime makes a time to read of a point's name.
func pointTime(name string) string {
	day, clock, ok := strings.Cut(name, "_")
	if !ok {
		return name
	}
	return day + " " + strings.Replace(strings.Replace(clock, "-", ":", 1), "-", ":", 1)
}

// dated puts the time of a file into its name, so that several versions can lie
// side by side.
func dated(name string, a *fs.Attr) string {
	ending := ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		name, ending = name[:i], name[i:]
	}
	return name + " (" + strings.ReplaceAll(whenExactly(a), ":", ".") + ")" + ending
}
