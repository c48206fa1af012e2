package table

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Memory that values take, in bytes on 64-bit machines; a test compares.
const (
	entryMemory  = 208
	extentMemory = 32
	linkMemory   = 24
	xattrMemory  = 40
	refMemory    = 96
)

// Leaf is a decoded page of entries. It never changes, and shares no memory
// with the page that it was decoded from.
type Leaf struct {
	entries []Entry
	memory  int
}

// Len returns the number of entries.
func (l *Leaf) Len() int { return len(l.entries) }

// Entry returns entry i, 0 ≤ i < Len. It is shared: not to be changed.
func (l *Leaf) Entry(i int) *Entry { return &l.entries[i] }

// Memory returns the bytes of memory that the leaf holds.
func (l *Leaf) Memory() int { return l.memory }

// search returns the first entry whose key is not less than key.
func (l *Leaf) search(key []byte) (i int, exact bool) {
	i = sort.Search(len(l.entries), func(i int) bool { return bytes.Compare(l.entries[i].Key, key) >= 0 })
	return i, i < len(l.entries) && bytes.Equal(l.entries[i].Key, key)
}

// leastEntry is how many bytes the record of an entry takes at least: three of
// the key, kind, flags, two of the time; the shortest of kinds (a folder) has
// nothing more.
const leastEntry = 7

// leafReader decodes pages of entries. Parts of variable length gather in
// scratch memory and move to slabs of their exact size at the end, so that a
// Leaf is a few allocations whatever it holds.
type leafReader struct {
	pageReader
	before  before
	nameAt  int // where the name begins in the key read last
	keys    int // bytes of keys so far
	entry   int // index of the current entry
	keyAt   int // where the key read last begins in arena
	keyLen  int
	shared  int    // bytes of it that the key before has, too
	arena   []byte // keys, inline content, extensions
	parts   []part
	extents []Extent
	runs    []run
	links   []Link
	linkOf  []int // entry of each link
	extra   int   // bytes of memory outside the slabs
}

// part is a byte slice of an entry that will lie in the arena.
type part struct {
	field      uint8 // partKey…
	entry      int32
	start, end int32
}

const (
	partKey = iota
	partInline
	partExtension
)

// run is an entry's extents.
type run struct{ entry, start, end int32 }

var leafReaders = sync.Pool{New: func() any { return new(leafReader) }}

// DecodeLeaf decodes a page of entries. Whatever is not exactly what a
// Builder writes is fault.Corrupt.
func DecodeLeaf(page []byte) (*Leaf, error) {
	r := leafReaders.Get().(*leafReader)
	defer leafReaders.Put(r)
	return r.decode(page)
}

// begin reads what comes before the first record.
func (r *leafReader) begin(page []byte) {
	r.open(page, entryPage, leastEntry)
	r.before = before{}
	r.keys, r.keyAt, r.keyLen, r.nameAt, r.extra = 0, 0, 0, 0, 0
	r.arena, r.parts = r.arena[:0], r.parts[:0]
	r.extents, r.runs, r.links, r.linkOf = r.extents[:0], r.runs[:0], r.links[:0], r.linkOf[:0]
	if r.why == "" && r.n == 0 {
		r.fail("no entries")
	}
}

func (r *leafReader) decode(page []byte) (*Leaf, error) {
	r.begin(page)
	var entries []Entry
	if r.why == "" {
		entries = make([]Entry, r.n)
	}
	for i := range entries {
		r.entry = i
		if r.read(&entries[i]); r.why != "" {
			return nil, fmt.Errorf("decode page of entries: record %d: %s: %w", i, r.why, fault.Corrupt)
		}
	}
	r.close()
	if r.why != "" {
		return nil, fmt.Errorf("decode page of entries: %s: %w", r.why, fault.Corrupt)
	}
	return r.settle(entries), nil
}

// settle moves what was gathered in scratch memory to slabs.
func (r *leafReader) settle(entries []Entry) *Leaf {
	arena := bytes.Clone(r.arena)
	extents := slices.Clone(r.extents)
	links := slices.Clone(r.links)
	for _, p := range r.parts {
		b := arena[p.start:p.end:p.end]
		switch e := &entries[p.entry]; p.field {
		case partKey:
			e.Key = b
		case partInline:
			e.Inline = b
		case partExtension:
			e.Extension = b
		}
	}
	for _, x := range r.runs {
		entries[x.entry].Extents = extents[x.start:x.end:x.end]
	}
	for i, e := range r.linkOf {
		entries[e].Link = &links[i]
	}
	return &Leaf{
		entries: entries,
		memory: entryMemory*len(entries) + cap(arena) + extentMemory*cap(extents) +
			linkMemory*cap(links) + r.extra + 64,
	}
}

// keep copies b to the arena and notes whose it is.
func (r *leafReader) keep(field uint8, b []byte) {
	at := len(r.arena)
	r.arena = append(r.arena, b...)
	r.parts = append(r.parts, part{field, int32(r.entry), int32(at), int32(len(r.arena))})
}

func (r *leafReader) read(e *Entry) {
	r.key()
	head, flags := r.byte(), r.byte()
	if head&15 >= byte(numKinds) || head>>4 > byte(Paged) {
		r.fail("unknown kind or form")
		return
	}
	if flags&^flagsKnown != 0 {
		r.fail("unknown flag")
		return
	}
	e.Kind, e.Incomplete = Kind(head&15), flags&flagIncomplete != 0
	if r.keyLen == 1 && e.Kind != Folder {
		r.fail("the root is no folder")
		return
	}
	e.MTime.Sec = r.before.sec + r.svarint()
	e.MTime.Nsec = uint32(r.limited(nanos-1, "nanoseconds out of bounds"))
	r.owner(e, flags)
	if flags&(flagLink|flagXattrs|flagExtension) != 0 {
		r.rare(e, flags)
	}
	switch e.Kind {
	case File:
		e.Size = r.limited(MaxSize, "size out of bounds")
	case Symlink:
		e.Target = string(r.string(MaxPath, "target too long"))
		r.extra += len(e.Target)
	case CharDevice, BlockDevice:
		e.Major = uint32(r.limited(1<<32-1, "device number out of bounds"))
		e.Minor = uint32(r.limited(1<<32-1, "device number out of bounds"))
	}
	form := Form(head >> 4)
	if (form == None) != (e.Size == 0) {
		r.fail("content that does not go with the size")
		return
	}
	if form != None {
		r.content(e, form)
	}
}

// key reads a key into the arena.
func (r *leafReader) key() {
	shared := r.limited(uint64(r.keyLen), "shares more than the key before has")
	rest := r.take(r.uvarint())
	if r.why != "" {
		return
	}
	prev := r.arena[r.keyAt : r.keyAt+r.keyLen]
	n := int(shared)
	length := n + len(rest)
	// The longest prefix and the order at once: the first byte that differs
	// is there and is greater.
	if len(rest) == 0 || n < len(prev) && rest[0] <= prev[n] {
		r.fail("keys are not in order, or share more than they say")
		return
	}
	if r.keys += length; length > MaxPath || r.keys > maxKeys {
		r.fail("keys too long")
		return
	}
	at := len(r.arena)
	r.arena = append(r.arena, r.arena[r.keyAt:r.keyAt+n]...)
	r.arena = append(r.arena, rest...)
	r.parts = append(r.parts, part{partKey, int32(r.entry), int32(at), int32(at + length)})
	r.keyAt, r.keyLen, r.shared = at, length, n
	key := r.arena[at : at+length]
	if n >= r.nameAt && r.entry > 0 && length > 1 {
		if !validName(key[r.nameAt:]) { // same folder: only the name is new
			r.fail("bad key")
		}
		return
	}
	var ok bool
	if r.nameAt, ok = checkKey(key); !ok {
		r.fail("bad key")
	}
}

// owner reads mode and owner, or takes them from the record before.
func (r *leafReader) owner(e *Entry, flags byte) {
	p := &r.before
	seen := p.seen>>e.Kind&1 != 0
	if flags&flagMode != 0 {
		e.Mode = uint32(r.limited(0o7777, "mode beyond 12 bits"))
		if seen && e.Mode == p.mode[e.Kind] {
			r.fail("repeats the mode")
		}
	} else {
		if e.Mode = p.mode[e.Kind]; !seen {
			r.fail("no mode")
		}
	}
	if flags&flagOwner != 0 {
		e.UID = uint32(r.limited(1<<32-1, "owner out of bounds"))
		e.GID = uint32(r.limited(1<<32-1, "owner out of bounds"))
		if p.any && e.UID == p.uid && e.GID == p.gid {
			r.fail("repeats the owner")
		}
	} else {
		if e.UID, e.GID = p.uid, p.gid; !p.any {
			r.fail("no owner")
		}
	}
	p.any, p.seen = true, p.seen|1<<e.Kind
	p.mode[e.Kind], p.uid, p.gid, p.sec = e.Mode, e.UID, e.GID, e.MTime.Sec
}

// rare reads the parts that few entries have.
func (r *leafReader) rare(e *Entry, flags byte) {
	if flags&flagLink != 0 {
		if e.Kind == Folder {
			r.fail("a folder with a link")
		}
		link := Link{Device: uint32(r.limited(1<<32-1, "device slot out of bounds"))}
		link.Inode, link.Count = r.uvarint(), r.uvarint()
		r.links, r.linkOf = append(r.links, link), append(r.linkOf, r.entry)
	}
	if flags&flagXattrs != 0 {
		r.xattrs(e)
	}
	if flags&flagExtension != 0 {
		x := r.string(MaxExtension, "extension too long")
		if len(x) == 0 || badExtension(x) != "" {
			r.fail("bad extension")
		}
		r.keep(partExtension, x)
	}
}

func (r *leafReader) xattrs(e *Entry) {
	// Each takes at least three bytes: two lengths and a name.
	n := r.limited(uint64(len(r.b)/3), "too many attributes")
	if n == 0 {
		r.fail("no attributes, and the flag")
		return
	}
	start := len(r.b)
	e.Xattrs = make([]Xattr, n)
	for i := range e.Xattrs {
		name := string(r.string(MaxXattrs, "attributes too long"))
		value := bytes.Clone(r.string(MaxXattrs, "attributes too long"))
		if r.why != "" {
			return
		}
		if name == "" || i > 0 && name <= e.Xattrs[i-1].Name {
			r.fail("attributes are not in order")
			return
		}
		e.Xattrs[i] = Xattr{Name: name, Value: value}
		r.extra += xattrMemory + len(name) + len(value)
	}
	if start-len(r.b) > MaxXattrs {
		r.fail("attributes too long")
	}
}

// content reads the content of a file that is not empty.
func (r *leafReader) content(e *Entry, form Form) {
	switch form {
	case Inline:
		if e.Size > MaxInline {
			r.fail("inline content too long")
			return
		}
		r.keep(partInline, r.take(e.Size))
	case One:
		p, offset := r.address(e.Size)
		r.addRun(Extent{Pack: p, Offset: offset, Length: e.Size})
	case List:
		r.list(e)
	case Paged:
		r.subtree(e)
	}
}

func (r *leafReader) addRun(x Extent) {
	at := int32(len(r.extents))
	r.extents = append(r.extents, x)
	r.runs = append(r.runs, run{int32(r.entry), at, at + 1})
}

func (r *leafReader) list(e *Entry) {
	n := r.limited(MaxExtents, "too many extents")
	start, total := len(r.extents), uint64(0)
	for range n {
		x := r.extent()
		if len(r.extents) > start && joins(&r.extents[len(r.extents)-1], &x) {
			r.fail("two extents that are one")
		}
		if total += x.Length; total > MaxSize || r.why != "" {
			break
		}
		r.extents = append(r.extents, x)
	}
	if total != e.Size {
		r.fail("extents of another size than the file")
	}
	if n == 1 && r.why == "" && !r.extents[start].Hole {
		r.fail("one extent written as a list")
	}
	r.runs = append(r.runs, run{int32(r.entry), int32(start), int32(len(r.extents))})
}

// extent reads the record of an extent.
func (r *pageReader) extent() Extent {
	x := Extent{Length: r.limited(MaxSize, "extent too long")}
	switch kind := r.byte(); {
	case x.Length == 0 || kind > 1:
		r.fail("bad extent")
	case kind == 0:
		x.Hole = true
	default:
		x.Pack, x.Offset = r.address(x.Length)
	}
	return x
}

func (r *leafReader) subtree(e *Entry) {
	t := &Subtree{Level: int(r.limited(MaxLevels-1, "too many levels"))}
	if shared, rest := r.uvarint(), r.uvarint(); shared|rest != 0 {
		r.fail("separator of an extent tree")
	}
	r.ref(&t.Ref)
	if t.Ref.Count != e.Size || t.Ref.HintOffset|t.Ref.HintLength != 0 {
		r.fail("extent tree of another size than the file, or with a hint")
	}
	e.Tree = t
	r.extra += refMemory + 8
}

// ref reads the record of a reference, but for its separator.
func (r *pageReader) ref(ref *Ref) {
	ref.Count = r.limited(MaxSize, "count out of bounds")
	// The address comes before its length, on which its end depends.
	i, delta := r.uvarint(), r.svarint()
	ref.Length = uint32(r.limited(MaxPage, "page too long"))
	id := r.take(uint64(len(ref.ID)))
	offset, length := r.uvarint(), r.uvarint()
	if r.why != "" {
		return
	}
	if ref.Count == 0 || !validHint(offset, length) {
		r.fail("bad reference")
		return
	}
	copy(ref.ID[:], id)
	ref.HintOffset, ref.HintLength = uint32(offset), uint32(length)
	ref.Pack, ref.Offset = r.locate(i, delta, uint64(ref.Length))
}
