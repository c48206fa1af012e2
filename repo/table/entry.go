package table

import (
	"bytes"
	"slices"
)

// Kind says what an entry describes.
type Kind uint8

// The kinds, by their numbers in the format.
const (
	File Kind = iota
	Folder
	Symlink
	FIFO
	CharDevice
	BlockDevice
	numKinds
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Folder:
		return "folder"
	case Symlink:
		return "symbolic link"
	case FIFO:
		return "FIFO"
	case CharDevice:
		return "character device"
	case BlockDevice:
		return "block device"
	}
	return "unknown kind"
}

// Form says how an entry holds its content.
type Form uint8

// The forms, by their numbers in the format.
const (
	None   Form = iota // an empty file, or no file
	Inline             // the bytes stand in the entry
	One                // one extent of data
	List               // up to MaxExtents extents
	Paged              // an extent tree
)

// Time is a moment: seconds since 1970 and nanoseconds < 10^9 after them.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Link tells hard links: entries of a point with equal Device and Inode are
// names of one file. Each is a whole entry.
type Link struct {
	Device uint32 // slot in the point's list of devices
	Inode  uint64 // the source's number
	Count  uint64 // the source's link count
}

// Xattr is an extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Entry describes one file, folder, link or device. Entries that a Leaf or a
// Tree gives share memory with it and with each other: they must not be
// changed. To keep one alone, Clone it.
//
// A file's content is at most one of Inline, Extents and Tree; it is Size
// bytes long, and all are empty if Size is 0.
type Entry struct {
	Key        []byte // see Key
	Kind       Kind
	Incomplete bool   // a folder not wholly listed; a file that changed while it was read
	Mode       uint32 // the 12 permission bits
	UID, GID   uint32
	MTime      Time
	Size       uint64  // bytes of a file; 0 for other kinds
	Target     string  // of a symbolic link
	Major      uint32  // of a device
	Minor      uint32  // of a device
	Link       *Link   // nil: not hard-linked
	Xattrs     []Xattr // ascending names
	Extension  []byte  // encoded tags, FORMAT 6.2; empty in version 1

	Inline  []byte
	Extents []Extent // no two neighbours that are one run
	Tree    *Subtree
}

// Form tells how the entry holds its content.
func (e *Entry) Form() Form {
	switch {
	case len(e.Inline) > 0:
		return Inline
	case e.Tree != nil:
		return Paged
	case len(e.Extents) == 1 && !e.Extents[0].Hole:
		return One
	case len(e.Extents) > 0:
		return List
	}
	return None
}

// SetContent takes over the content of from, which must have the same Size.
func (e *Entry) SetContent(from *Entry) {
	e.Inline, e.Extents, e.Tree = from.Inline, from.Extents, from.Tree
}

// Clone returns a copy that shares no memory with e.
func (e *Entry) Clone() *Entry {
	c := *e
	c.Key = bytes.Clone(e.Key)
	c.Extension = bytes.Clone(e.Extension)
	c.Inline = bytes.Clone(e.Inline)
	c.Extents = slices.Clone(e.Extents)
	c.Xattrs = slices.Clone(e.Xattrs)
	for i := range c.Xattrs {
		c.Xattrs[i].Value = bytes.Clone(c.Xattrs[i].Value)
	}
	if e.Link != nil {
		link := *e.Link
		c.Link = &link
	}
	if e.Tree != nil {
		tree := *e.Tree
		tree.Ref.Separator = bytes.Clone(e.Tree.Ref.Separator)
		c.Tree = &tree
	}
	return &c
}

// Equal reports whether two entries are the same in every field, content
// addresses among them.
func (e *Entry) Equal(o *Entry) bool {
	return bytes.Equal(e.Key, o.Key) && e.SameMeta(o) && e.SameContent(o)
}

// SameMeta reports whether two entries agree in all but key and content. The
// size of a file belongs to both.
func (e *Entry) SameMeta(o *Entry) bool {
	if e.Kind != o.Kind || e.Incomplete != o.Incomplete || e.Mode != o.Mode ||
		e.UID != o.UID || e.GID != o.GID || e.MTime != o.MTime || e.Size != o.Size ||
		e.Target != o.Target || e.Major != o.Major || e.Minor != o.Minor ||
		(e.Link == nil) != (o.Link == nil) || !bytes.Equal(e.Extension, o.Extension) {
		return false
	}
	if e.Link != nil && *e.Link != *o.Link {
		return false
	}
	return slices.EqualFunc(e.Xattrs, o.Xattrs, func(a, b Xattr) bool {
		return a.Name == b.Name && bytes.Equal(a.Value, b.Value)
	})
}

// SameContent reports whether two entries have their content in the same
// place, which means that it is equal. The reverse need not hold.
func (e *Entry) SameContent(o *Entry) bool {
	if e.Size != o.Size || (e.Tree == nil) != (o.Tree == nil) ||
		!bytes.Equal(e.Inline, o.Inline) || !slices.Equal(e.Extents, o.Extents) {
		return false
	}
	return e.Tree == nil || e.Tree.Level == o.Tree.Level && e.Tree.Ref.ID == o.Tree.Ref.ID
}
