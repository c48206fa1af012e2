//go:build linux || darwin || freebsd

package fuse

import (
	"unsafe"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/tidemark-backup/tidemark/fs"
)

// ReadDir gives names and types only.
func (o *operations) ReadDir(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	for d, err := range o.tree.ReadDir(o.ctx, fs.Node(in.NodeId), in.Offset) {
		if err != nil {
			return o.fail("readdir", in.NodeId, err)
		}
		if !out.AddDirEntry(dirEntry(d)) {
			break
		}
	}
	return gofuse.OK
}

// ReadDirPlus gives attributes too, so that the kernel need not look up what
// it lists.
func (o *operations) ReadDirPlus(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	fixed := o.tree.Fixed(fs.Node(in.NodeId))
	for d, err := range o.tree.ReadDir(o.ctx, fs.Node(in.NodeId), in.Offset) {
		if err != nil {
			return o.fail("readdir", in.NodeId, err)
		}
		e := out.AddDirLookupEntry(dirEntry(d))
		if e == nil {
			break
		}
		if !d.Bare { // else node 0: no attributes
			o.setEntry(e, &d.Attr, fixed)
		}
	}
	return gofuse.OK
}

// dirEntry borrows the name's memory: the list copies it at once.
func dirEntry(d *fs.DirEntry) gofuse.DirEntry {
	return gofuse.DirEntry{
		Mode: fileType(d.Attr.Kind), Ino: d.Attr.Inode, Off: d.Next,
		Name: unsafe.String(unsafe.SliceData(d.Name), len(d.Name)),
	}
}
