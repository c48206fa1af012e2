package walk

import "encoding/binary"

// phase is what a folder waits for. Those with a verb in the infinitive are
// work that somebody may take.
type phase uint8

const (
	toList   phase = iota // its names are to be read
	inList                // somebody reads them
	toStat                // slices of a big folder are to be stat'ed
	inStat                // all slices are taken, not all done
	toEnter               // it has subfolders that nobody has begun
	finished              // all subfolders are begun; not in the list any more
)

// node is a folder between being found and being left by the consumer.
//
// The folder's handle is part of it, and keeps it alive as long as somebody
// retains the folder or one below: what takes much memory is not kept here.
type node struct {
	h     handle
	roots *rootNode // roots further down, or nil
	full  bool      // every entry is wanted, not only those that lead to roots
	below bool      // at or below a root: no link is followed
	dev   uint64    // the file system it must be on, with OneFileSystem; 0: any
	upDev uint64    // that of the folder above; 0: at or above a root
	above any       // Note of the folder above

	// Written by who lists it, before phase says so.
	opened bool
	stat   Stat
	note   any

	// The rest is guarded by walker.mu.
	phase      phase
	next, prev *node // in the list of folders with work to do, in table order
	charge     int   // bytes of walker.ahead that the consumer gives back on arrival
	nameCharge int   // and that are given back when the names are done with
	headOnly   bool  // too big to be listed ahead of the consumer

	// Slices. A giant folder's are made in several passes over the folder,
	// each for a range of names; parts only grows.
	parts []*part
	taken int
	done  int
	names *nameList
	last  string // the greatest name so far
	more  bool   // another pass is needed

	// Subfolders: names in kids, one list for each part, since slices may
	// be done in any order; those begun and not yet reached by the consumer
	// in first..tail.
	kids        [][]byte
	kidCount    int
	first, tail *node
	sibling     *node

	// The memory of parts and kids in a folder of one slice.
	onePart [1]*part
	oneKids [1][]byte
}

// part is one slice of a folder's listing, a small folder's only one.
type part struct {
	Folder
	index    int // in node.parts
	from, to int // names
	kids     []byte
	kidCount int
	done     bool
	charge   int
}

// A folder to enter is one record in kids: flag, length, name.
const (
	kidSame    = 0 // on the folder's file system, or it does not matter
	kidCrosses = 1 // on another one: entered only for the roots in it
)

func appendKid(b []byte, flag byte, name string) []byte {
	b = append(b, flag)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

// takeKid returns the node of the next subfolder to be entered, with work
// begun by the caller, and puts it before its parent in the list. The caller
// holds walker.mu; n.phase is toEnter.
func (w *walker) takeKid(n *node) *node {
	for len(n.kids[0]) == 0 {
		n.kids = n.kids[1:]
	}
	b := n.kids[0]
	flag, size := b[0], int(binary.LittleEndian.Uint16(b[1:]))
	name := b[3 : 3+size]
	n.kids[0] = b[3+size:]
	n.kidCount--

	k := &node{roots: n.roots.childOf(name), above: n.note, phase: inList, charge: nodeCharge}
	k.full = n.full
	switch {
	case !n.full || flag == kidCrosses:
		k.full = k.roots != nil && k.roots.root
	case w.o.OneFileSystem:
		k.dev = n.stat.Dev
	}
	if n.full && (k.roots == nil || !k.roots.root) {
		k.upDev = n.stat.Dev
	}
	k.below = n.below || k.full
	k.h.init(w.table, &n.h, joinTerminated(n.h.path, name), !k.below)
	w.ahead += k.charge

	if n.tail != nil {
		n.tail.sibling = k
	} else {
		n.first = k
	}
	n.tail = k
	w.insertBefore(k, n)
	if n.kidCount == 0 {
		w.finish(n)
	}
	return k
}

// addParts makes room for parts. The caller holds walker.mu.
func (n *node) addParts(parts ...*part) {
	if n.parts == nil && len(parts) == 1 {
		n.parts, n.kids = n.onePart[:0], n.oneKids[:0]
	}
	for _, p := range parts {
		p.index = len(n.parts)
		n.parts = append(n.parts, p)
		n.kids = append(n.kids, nil)
	}
}

// insertBefore puts k into the list before n.
func (w *walker) insertBefore(k, n *node) {
	k.next, k.prev = n, n.prev
	if n.prev != nil {
		n.prev.next = k
	} else {
		w.todo = k
	}
	n.prev = k
}

// finish takes n, which has no more work, out of the list.
func (w *walker) finish(n *node) {
	n.phase = finished
	n.kids, n.oneKids[0] = nil, nil
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		w.todo = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.next, n.prev = nil, nil
}
