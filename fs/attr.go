package fs

import (
	"hash/maphash"

	"github.com/tidemark-backup/tidemark/repo/table"
)

// folderSize is the size that is shown of every folder: a table keeps none,
// because it says nothing about what is in it.
const folderSize = 4096

// fill translates an entry into what users see.
func (t *Tree) fill(a *Attr, at place, e *table.Entry) {
	node := t.nodeOf(at)
	*a = Attr{
		Node: node, Kind: e.Kind, Mode: e.Mode & 0o7777, UID: e.UID, GID: e.GID, Nlink: 1,
		MTime: e.MTime, Major: e.Major, Minor: e.Minor, Fixed: true,
	}
	switch e.Kind {
	case table.File:
		a.Size, a.Blocks = e.Size, blocks(e)
	case table.Symlink:
		a.Size = uint64(len(e.Target))
	case table.Folder:
		a.Size, a.Blocks = folderSize, folderSize/512
	}
	if e.Link != nil && e.Kind != table.Folder {
		a.Nlink = uint32(min(max(e.Link.Count, 1), 1<<32-1))
		a.Inode = t.linkInode(at, e.Link)
	} else {
		a.Inode = t.plainInode(node)
	}
	if at.ordinal == 0 && at.slot != nil && t.opt.Point == nil {
		// The folder of a point says when the point was made, and not when
		// something was last added to the server's root.
		a.MTime = timeOf(at.slot.point.Started)
	}
	if t.opt.Owner != nil {
		a.UID, a.GID = t.opt.Owner.UID, t.opt.Owner.GID
	}
	if t.opt.Open && e.Kind != table.Symlink {
		a.Mode |= 0o444
		if e.Kind == table.Folder {
			a.Mode |= 0o111
		}
	}
}

// blocks returns how many blocks of 512 bytes a file's data takes, as if it
// were not compressed: so that fewer than the size means that it has holes,
// which is how copiers decide whether to look for them.
func blocks(e *table.Entry) uint64 {
	whole := e.Size/512 + (e.Size%512+511)/512
	switch e.Form() {
	case table.List:
		var data uint64
		holes := false
		for i := range e.Extents {
			if e.Extents[i].Hole {
				holes = true
			} else {
				data += e.Extents[i].Length
			}
		}
		if holes {
			return (data + 511) / 512
		}
	case table.Paged:
		// To know, one would have to read its whole list of extents. One
		// block less makes copiers ask, and costs them one question.
		return whole - 1
	}
	return whole
}

// Inode numbers are unique over the tree:
//
//	00 · view (6) · slot (20) · ordinal (36)         most entries: the node's number
//	1 · slot (20) · device slot (3) · inode (40)     hard links
//	01 · 62 bits of a hash of these                  hard links whose numbers do not fit, or of other views
//
// The hash's seed is drawn for each tree, so nobody can choose numbers that
// collide; by chance a million such links do with a probability below 10^-6.
type inodeHash struct{ seed maphash.Seed }

const (
	linkFlag   = 1 << 63
	hashFlag   = 1 << 62
	linkDevice = 3  // bits
	linkNumber = 40 // bits
)

func (h *inodeHash) init() { h.seed = maphash.MakeSeed() }

func (t *Tree) plainInode(n Node) uint64 {
	if n == Root && t.opt.Point != nil {
		n = makeNode(plainView, 1, 0)
	}
	return uint64(n)
}

func (t *Tree) linkInode(at place, l *table.Link) uint64 {
	if at.view == plainView && l.Device < 1<<linkDevice && l.Inode < 1<<linkNumber {
		return linkFlag | uint64(at.slot.number)<<(linkDevice+linkNumber) | uint64(l.Device)<<linkNumber | l.Inode
	}
	type identity struct {
		view         uint8
		slot, device uint32
		inode        uint64
	}
	sum := maphash.Comparable(t.inodes.seed, identity{at.view, at.slot.number, l.Device, l.Inode})
	return hashFlag | sum&(hashFlag-1)
}
