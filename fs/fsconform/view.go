package fsconform

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// View is how somebody looks at one point's tree: through package fs itself,
// or through a mount. Paths are the source's, "/" is the point's root.
type View interface {
	// Stat describes a path, of a link the link itself.
	Stat(path string) (fs.Attr, error)

	// List returns the names in a folder, in the order of the listing and
	// without "." and "..".
	List(path string) ([]string, error)

	// Open opens a file.
	Open(path string) (Opened, error)

	// Readlink returns where a link points.
	Readlink(path string) (string, error)

	// Xattrs returns all extended attributes.
	Xattrs(path string) (map[string]string, error)
}

// Opened is an open file.
type Opened interface {
	io.ReaderAt
	io.Closer

	// Data returns the next run of data at or behind an offset: size, size
	// if there is none.
	Data(offset int64) (start, end int64, err error)
}

// TreeView looks at a point through its tree.
type TreeView struct {
	Tree *fs.Tree
	Root fs.Node // the root folder of the point
}

var _ View = (*TreeView)(nil)

// Node finds a path.
func (v *TreeView) Node(path string) (fs.Node, error) {
	n := v.Root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		a, err := v.Tree.Lookup(context.Background(), n, name)
		if err != nil {
			return 0, err
		}
		n = a.Node
	}
	return n, nil
}

// Stat implements View. What Lookup and Attr say must be the same.
func (v *TreeView) Stat(path string) (fs.Attr, error) {
	n, err := v.Node(path)
	if err != nil {
		return fs.Attr{}, err
	}
	return v.Tree.Attr(context.Background(), n)
}

// List implements View. It also checks that each entry's attributes are those
// that Attr gives, in the same walk.
func (v *TreeView) List(path string) ([]string, error) {
	n, err := v.Node(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for d, err := range v.Tree.ReadDir(context.Background(), n, 0) {
		if err != nil {
			return nil, err
		}
		if string(d.Name) == "." || string(d.Name) == ".." {
			continue
		}
		if a, err := v.Tree.Attr(context.Background(), d.Attr.Node); err != nil || a != d.Attr && !d.Bare {
			return nil, fmt.Errorf("%s/%s is %+v in the listing and %+v (%v) itself: %w", path, d.Name, d.Attr, a, err, fault.Internal)
		}
		names = append(names, string(d.Name))
	}
	return names, nil
}

// Readlink implements View.
func (v *TreeView) Readlink(path string) (string, error) {
	n, err := v.Node(path)
	if err != nil {
		return "", err
	}
	return v.Tree.Readlink(context.Background(), n)
}

// Xattrs implements View.
func (v *TreeView) Xattrs(path string) (map[string]string, error) {
	n, err := v.Node(path)
	if err != nil {
		return nil, err
	}
	names, err := v.Tree.Xattrs(context.Background(), n)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := v.Tree.Xattr(context.Background(), n, name)
		if err != nil {
			return nil, err
		}
		all[name] = string(value)
	}
	return all, nil
}

// Open implements View.
func (v *TreeView) Open(path string) (Opened, error) {
	n, err := v.Node(path)
	if err != nil {
		return nil, err
	}
	a, err := v.Tree.Attr(context.Background(), n)
	if err != nil {
		return nil, err
	}
	if a.Kind != table.File {
		return nil, fmt.Errorf("open %q: a %v: %w", path, a.Kind, fault.Invalid)
	}
	return &treeFile{v.Tree, n}, nil
}

type treeFile struct {
	tree *fs.Tree
	node fs.Node
}

func (f *treeFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.tree.Read(context.Background(), f.node, uint64(off), p)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *treeFile) Data(offset int64) (start, end int64, err error) {
	s, e, err := f.tree.Data(context.Background(), f.node, uint64(offset))
	return int64(s), int64(e), err
}

func (f *treeFile) Close() error { return nil }
