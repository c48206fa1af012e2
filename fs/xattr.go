package fs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// aclPrefix begins the names of the attributes that the kernel enforces.
const aclPrefix = "system.posix_acl_"

// hidden tells whether a view leaves an attribute out. In an open view the
// access control lists are: an entry of theirs could deny somebody.
func (t *Tree) hidden(name string) bool {
	return t.opt.Open && strings.HasPrefix(name, aclPrefix)
}

// Xattr returns the value of an extended attribute: shared memory. A node
// that has no such attribute is fault.NotExist.
func (t *Tree) Xattr(ctx context.Context, n Node, name string) ([]byte, error) {
	all, err := t.xattrs(ctx, n)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(all, name, func(x table.Xattr, name string) int {
		return strings.Compare(x.Name, name)
	})
	if !ok || t.hidden(name) {
		return nil, errNoXattr
	}
	return all[i].Value, nil
}

// errNoXattr is one value, because nearly every question after an attribute
// gets it, and copying small files asks thousands a second.
var errNoXattr = fmt.Errorf("read extended attribute: %w", fault.NotExist)

// Xattrs returns the names of a node's extended attributes, ascending, each
// followed by a zero byte, as listxattr(2) has it.
func (t *Tree) Xattrs(ctx context.Context, n Node) ([]byte, error) {
	all, err := t.xattrs(ctx, n)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	var names []byte
	for i := range all {
		if !t.hidden(all[i].Name) {
			names = append(append(names, all[i].Name...), 0)
		}
	}
	return names, nil
}

func (t *Tree) xattrs(ctx context.Context, n Node) ([]table.Xattr, error) {
	at, err := t.find(n)
	if err != nil || at.virtual != 0 {
		return nil, err
	}
	if at.made != nil {
		return t.madeXattrs(ctx, at.made)
	}
	_, e, err := t.entry(ctx, at)
	if err != nil {
		return nil, err
	}
	return e.Xattrs, nil
}

// xattrScan is what is known of the attributes of a single point.
type xattrScan struct{ none atomic.Bool }

// maxScan bounds how many entries ScanXattrs reads.
const maxScan = 4 << 20

// ScanXattrs looks whether the tree shows a single point without any extended
// attribute, and remembers it for NoXattrs. It reads the whole table, which
// also warms it up: front ends call it beside their work.
func (t *Tree) ScanXattrs(ctx context.Context) error {
	if t.opt.Point == nil || t.opt.Point.Entries > maxScan {
		return nil
	}
	at, err := t.find(Root)
	if err != nil {
		return err
	}
	tree, err := t.table(ctx, at.slot)
	if err != nil {
		return err
	}
	for item, err := range tree.From(ctx, 0) {
		if err != nil {
			return fmt.Errorf("scan for extended attributes: %w", err)
		}
		for i := range item.Entry.Xattrs {
			if !t.hidden(item.Entry.Xattrs[i].Name) {
				return nil
			}
		}
	}
	t.scanned.none.Store(true)
	return nil
}

// NoXattrs tells whether it is known that no node of the tree has an extended
// attribute, so that a front end can tell the kernel never to ask again.
func (t *Tree) NoXattrs() bool { return t.scanned.none.Load() }
