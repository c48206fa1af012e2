package table

import (
	"encoding/binary"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Flags of an entry's record.
const (
	flagMode       = 1
	flagOwner      = 2
	flagLink       = 4
	flagXattrs     = 8
	flagIncomplete = 16
	flagExtension  = 32
	flagsKnown     = 63
)

const nanos = 1e9 // nanoseconds of a second

// before is what a record leaves out because the record before says it.
type before struct {
	mode     [numKinds]uint32
	seen     uint8 // bit of each kind that the page had
	any      bool  // the page had a record
	uid, gid uint32
	sec      int64
}

// entryWriter writes a page of entries.
type entryWriter struct {
	pageWriter
	before before
	keys   int // bytes of the keys so far, written out
}

func (w *entryWriter) reset() {
	w.pageWriter.reset()
	w.before = before{}
	w.keys = 0
}

// add writes the record of a valid entry, which shares shared bytes with the
// key before it in this page.
func (w *entryWriter) add(e *Entry, shared int) {
	w.keys += len(e.Key)
	if w.n == 0 {
		w.free = len(e.Key)
	}
	w.uvarint(uint64(shared))
	w.bytes(e.Key[shared:])
	form := e.Form()
	w.byte(byte(e.Kind) | byte(form)<<4)

	p := &w.before
	var flags byte
	if p.seen>>e.Kind&1 == 0 || p.mode[e.Kind] != e.Mode {
		flags |= flagMode
	}
	if !p.any || p.uid != e.UID || p.gid != e.GID {
		flags |= flagOwner
	}
	if e.Link != nil {
		flags |= flagLink
	}
	if len(e.Xattrs) > 0 {
		flags |= flagXattrs
	}
	if e.Incomplete {
		flags |= flagIncomplete
	}
	if len(e.Extension) > 0 {
		flags |= flagExtension
	}
	w.byte(flags)
	w.svarint(e.MTime.Sec - p.sec) // wraps, and the reader wraps back
	w.uvarint(uint64(e.MTime.Nsec))
	if flags&flagMode != 0 {
		w.uvarint(uint64(e.Mode))
	}
	if flags&flagOwner != 0 {
		w.uvarint(uint64(e.UID))
		w.uvarint(uint64(e.GID))
	}
	if flags&(flagLink|flagXattrs|flagExtension) != 0 {
		w.rare(e)
	}
	p.any, p.seen = true, p.seen|1<<e.Kind
	p.mode[e.Kind], p.uid, p.gid, p.sec = e.Mode, e.UID, e.GID, e.MTime.Sec
	switch e.Kind {
	case File:
		w.uvarint(e.Size)
		w.content(e, form)
	case Symlink:
		w.string(e.Target)
	case CharDevice, BlockDevice:
		w.uvarint(uint64(e.Major))
		w.uvarint(uint64(e.Minor))
	}
	w.n++
}

// rare writes the parts that few entries have.
func (w *entryWriter) rare(e *Entry) {
	if e.Link != nil {
		w.uvarint(uint64(e.Link.Device))
		w.uvarint(e.Link.Inode)
		w.uvarint(e.Link.Count)
	}
	if len(e.Xattrs) > 0 {
		w.uvarint(uint64(len(e.Xattrs)))
		for i := range e.Xattrs {
			w.string(e.Xattrs[i].Name)
			w.bytes(e.Xattrs[i].Value)
		}
	}
	if len(e.Extension) > 0 {
		w.bytes(e.Extension)
	}
}

func (w *entryWriter) content(e *Entry, form Form) {
	switch form {
	case Inline:
		w.buf = append(w.buf, e.Inline...)
	case One:
		x := &e.Extents[0]
		w.address(x.Pack, x.Offset, uint32(x.Length))
	case List:
		w.uvarint(uint64(len(e.Extents)))
		for i := range e.Extents {
			w.extent(&e.Extents[i])
		}
	case Paged:
		w.uvarint(uint64(e.Tree.Level))
		w.uvarint(0)
		w.uvarint(0)
		w.ref(&e.Tree.Ref)
	}
}

// extent writes the record of an extent.
func (w *pageWriter) extent(x *Extent) {
	w.uvarint(x.Length)
	if x.Hole {
		w.byte(0)
		return
	}
	w.byte(1)
	w.address(x.Pack, x.Offset, uint32(x.Length))
}

// ref writes the record of a reference, but for its separator.
func (w *pageWriter) ref(r *Ref) {
	w.uvarint(r.Count)
	w.address(r.Pack, r.Offset, r.Length)
	w.uvarint(uint64(r.Length))
	w.buf = append(w.buf, r.ID[:]...)
	w.uvarint(uint64(r.HintOffset))
	w.uvarint(uint64(r.HintLength))
}

// validate tells whether an entry follows the rules of the format, but for
// its key.
func validate(e *Entry) error {
	why := ""
	switch {
	case e.Kind >= numKinds:
		why = "unknown kind"
	case e.Mode > 0o7777:
		why = "mode beyond 12 bits"
	case e.MTime.Nsec >= nanos:
		why = "nanoseconds of a second or more"
	case e.Kind != Symlink && e.Target != "":
		why = "target, and no symbolic link"
	case len(e.Target) > MaxPath:
		return fmt.Errorf("entry %.200q: target of %d bytes: %w", Path(e.Key), len(e.Target), fault.TooLarge)
	case e.Kind != CharDevice && e.Kind != BlockDevice && e.Major|e.Minor != 0:
		why = "device number, and no device"
	case e.Kind == Folder && e.Link != nil:
		why = "a folder with a link"
	}
	if why == "" {
		why = badContent(e)
	}
	if why == "" && len(e.Extension) > 0 {
		why = badExtension(e.Extension)
	}
	if why != "" {
		return fmt.Errorf("entry %.200q: %s: %w", Path(e.Key), why, fault.Invalid)
	}
	if len(e.Xattrs) > 0 {
		return validXattrs(e)
	}
	return nil
}

func validXattrs(e *Entry) error {
	total := 0
	for i := range e.Xattrs {
		x := &e.Xattrs[i]
		if x.Name == "" || i > 0 && x.Name <= e.Xattrs[i-1].Name {
			return fmt.Errorf("entry %.200q: names of attributes not in order: %w", Path(e.Key), fault.Invalid)
		}
		total += len(x.Name) + len(x.Value) + uvarintLen(len(x.Name)) + uvarintLen(len(x.Value))
	}
	if total > MaxXattrs {
		return fmt.Errorf("entry %.200q: %d bytes of attributes: %w", Path(e.Key), total, fault.TooLarge)
	}
	return nil
}

func uvarintLen(n int) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], uint64(n))
}

// badContent tells what is wrong with an entry's content, "" if nothing.
func badContent(e *Entry) string {
	forms := 0
	if len(e.Inline) > 0 {
		forms++
	}
	if len(e.Extents) > 0 {
		forms++
	}
	if e.Tree != nil {
		forms++
	}
	switch {
	case e.Size > MaxSize:
		return "size out of bounds"
	case e.Kind != File && (forms != 0 || e.Size != 0):
		return "content, and no file"
	case (e.Size == 0) != (forms == 0) || forms > 1:
		return "a file has exactly one form of content, and none when it is empty"
	case len(e.Inline) > 0 && (uint64(len(e.Inline)) != e.Size || len(e.Inline) > MaxInline):
		return "inline content of another size or too long"
	case len(e.Extents) > MaxExtents:
		return "too many extents"
	case e.Tree != nil && !validSubtree(e):
		return "bad reference to an extent tree"
	}
	if len(e.Extents) > 0 {
		return badExtents(e)
	}
	return ""
}

func badExtents(e *Entry) string {
	total := uint64(0)
	for i := range e.Extents {
		x := &e.Extents[i]
		if !validExtent(x) {
			return "bad extent"
		}
		if i > 0 && joins(&e.Extents[i-1], x) {
			return "two extents that are one"
		}
		if total += x.Length; total > e.Size {
			break
		}
	}
	if total != e.Size {
		return "extents of another size than the file"
	}
	return ""
}

func validSubtree(e *Entry) bool {
	t := e.Tree
	return t.Level >= 0 && t.Level < MaxLevels && t.Ref.Count == e.Size && len(t.Ref.Separator) == 0 &&
		t.Ref.HintOffset|t.Ref.HintLength == 0 && validRef(&t.Ref)
}

func validRef(r *Ref) bool {
	return r.Count >= 1 && r.Count <= MaxSize && r.Length <= MaxPage && validAddress(r.Offset, uint64(r.Length)) &&
		validHint(uint64(r.HintOffset), uint64(r.HintLength))
}

// validExtent tells whether an extent can be written.
func validExtent(x *Extent) bool {
	if x.Hole {
		return x.Length >= 1 && x.Length <= MaxSize && x.Offset == 0 && x.Pack == (Extent{}).Pack
	}
	return validAddress(x.Offset, x.Length)
}

// joins tells whether b goes on where a ends, so that they are one extent.
func joins(a, b *Extent) bool {
	if a.Hole || b.Hole {
		return a.Hole && b.Hole
	}
	return a.Pack == b.Pack && uint64(a.Offset)+a.Length == uint64(b.Offset)
}

// badExtension tells what is wrong with an extension, "" if nothing: tags
// ascend, and each has a string.
func badExtension(x []byte) string {
	if len(x) > MaxExtension {
		return "extension too long"
	}
	r := pageReader{b: x}
	for last, first := uint64(0), true; len(r.b) > 0; first = false {
		tag := r.uvarint()
		r.string(MaxExtension, "extension too long")
		if r.why != "" || !first && tag <= last {
			return "bad extension"
		}
		last = tag
	}
	if r.why != "" {
		return "bad extension"
	}
	return ""
}

// checkOrder tells how much a key shares with the one before it, and whether
// it is greater.
func checkOrder(prev, key []byte) (shared int, ok bool) {
	shared = commonPrefix(prev, key)
	return shared, shared < len(key) && (shared == len(prev) || key[shared] > prev[shared])
}
