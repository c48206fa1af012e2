package fs

import (
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Node is a number for a file or folder of a Tree, valid as long as the Tree:
//
//	63      56 55              36 35                                    0
//	┌─────────┬──────────────────┬──────────────────────────────────────┐
//	│ view    │ slot of the point│ ordinal of the entry                 │
//	└─────────┴──────────────────┴──────────────────────────────────────┘
//
// View 0 is the tree below points, views 1 and 3 are the same points by their
// names for Samba at the root, and below servers: other folders, since a kernel
// gives a folder one place.
// Slot 0 is no point's; it holds the root and what is between it and the
// points: there are as many links latest as points they have led to, so that
// where one leads never changes, and a kernel may remember it. Without that a
// walk below latest asked where it leads three times for each file.
type Node uint64

// The nodes that are in no point. Root is the root of every Tree, also of one
// that shows a single point.
const (
	Root        Node = 1
	pointsNode  Node = 2
	latestNode  Node = 3 // of a place; see latestOf
	serversNode Node = 4
	serverNode  Node = 5             // of a place; see nodeOf a server
	firstLatest Node = 1 << slotBits // and the slot of the point that it leads to
	firstServer Node = 2 << slotBits // and the server's number
	firstNewest Node = 3 << slotBits // and the slot of the point that a server's latest leads to
	firstClean  Node = 4 << slotBits // and the slot of the point that latest-clean leads to
	firstSafe   Node = 5 << slotBits // and the slot of the point that a server's latest-clean leads to
	lastVirtual Node = 6 << slotBits
	slotBits         = 20
	ordinalBits      = 36
	maxSlot          = 1<<slotBits - 1
	maxOrdinal       = 1<<ordinalBits - 1
	viewShift        = slotBits + ordinalBits
)

// The views.
const (
	plainView  uint8 = iota
	tokenView        // below the names that Samba knows points by
	madeView         // made-up folders in points; slot and ordinal are a hash, see madeTable
	serverView       // below the names of servers
	numViews
)

// The names of the folders that are in no point.
const (
	LatestName  = "latest"
	CleanName   = "latest-clean"
	PointsName  = "points"
	ServersName = "servers"
)

func makeNode(view uint8, slot uint32, ordinal uint64) Node {
	return Node(uint64(view)<<viewShift | uint64(slot)<<ordinalBits | ordinal)
}

func (n Node) view() uint8     { return uint8(n >> viewShift) }
func (n Node) slot() uint32    { return uint32(uint64(n)>>ordinalBits) & maxSlot }
func (n Node) ordinal() uint64 { return uint64(n) & maxOrdinal }

// String returns view, slot and ordinal.
func (n Node) String() string { return fmt.Sprintf("%d:%d:%d", n.view(), n.slot(), n.ordinal()) }

// latestOf returns the node of the link latest, or latest-clean, in a view while
// it leads to a point.
func latestOf(s *slot, view uint8, clean bool) Node {
	switch {
	case clean && view == serverView:
		return firstSafe | Node(s.number)
	case clean:
		return firstClean | Node(s.number)
	case view == serverView:
		return firstNewest | Node(s.number)
	}
	return firstLatest | Node(s.number)
}

// place is where a node leads: to an entry, or to one of the folders above.
type place struct {
	virtual Node    // Root, pointsNode, latestNode, serversNode or serverNode; 0 for an entry
	slot    *slot   // of an entry, and what a link latest leads to
	server  *server // of serverNode
	ordinal uint64
	view    uint8
	clean   bool  // of a link: it is latest-clean
	made    *made // slot and ordinal are of the folder that has its mode
}

// find resolves a node. Nodes that this tree never gave are fault.Stale.
func (t *Tree) find(n Node) (place, error) {
	if t.opt.Point != nil && n == Root {
		n = makeNode(plainView, 1, 0)
	}
	number := n.slot()
	if n.view() >= numViews || n.view() != plainView && t.opt.Point != nil {
		return place{}, fmt.Errorf("find node %s: %w", n, fault.Stale)
	}
	if n.view() == madeView {
		f := t.made.get(n)
		if f == nil || f.in.gone.Load() || f.at.slot.gone.Load() {
			return place{}, fmt.Errorf("find node %s: %w", n, fault.Stale)
		}
		at := f.at
		at.made = f
		return at, nil
	}
	if number == 0 {
		if at, ok := t.findVirtual(n); ok && n.view() == plainView && t.opt.Point == nil {
			return at, nil
		}
		return place{}, fmt.Errorf("find node %s: %w", n, fault.Stale)
	}
	s := t.points.slot(number)
	if s == nil || s.gone.Load() {
		return place{}, fmt.Errorf("find node %s: its point: %w", n, fault.Stale)
	}
	return place{slot: s, ordinal: n.ordinal(), view: n.view()}, nil
}

// findVirtual resolves a node that is in no point.
func (t *Tree) findVirtual(n Node) (at place, ok bool) {
	low := n & (firstLatest - 1)
	switch n &^ (firstLatest - 1) {
	case 0:
		return place{virtual: n}, n == Root || n == pointsNode || n == serversNode
	case firstServer:
		v := t.points.server(uint32(low))
		return place{virtual: serverNode, server: v}, v != nil
	case firstLatest, firstNewest, firstClean, firstSafe:
		at = place{virtual: latestNode, slot: t.points.slot(uint32(low)), clean: n >= firstClean}
		if n >= firstSafe || n >= firstNewest && n < firstClean {
			at.view = serverView
		}
		return at, n < lastVirtual && at.slot != nil && !at.slot.gone.Load()
	}
	return place{}, false
}

// nodeOf is the inverse of find for entries.
func (t *Tree) nodeOf(at place) Node {
	if at.made != nil {
		return at.made.node
	}
	if t.opt.Point != nil && at.ordinal == 0 {
		return Root
	}
	return makeNode(at.view, at.slot.number, at.ordinal)
}

// to returns the place of another entry of the same point.
func (at place) to(ordinal uint64) place {
	at.ordinal, at.made = ordinal, nil
	return at
}

// Fixed tells whether what a folder holds never changes: whether it is part of
// a point.
func (t *Tree) Fixed(n Node) bool {
	return n.view() != madeView && (n.slot() != 0 || t.opt.Point != nil)
}
