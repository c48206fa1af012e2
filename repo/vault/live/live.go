// Package live keeps live sets: which frames of which packs a point needs, in
// the clear, so that a vault collects garbage without any key.
//
// Nouns:
//
//   - A need is a byte: bit i is set if any byte of the i-th eighth of a
//     frame's span is needed. A Need is those of one pack, as Runs of frames
//     with equal ones.
//   - A Set is the Needs of a point in memory, while it is made.
//   - A page is a stored object, named by its SHA-256: Needs in order of pack
//     IDs (leaf), or names of pages (upper). Where a page ends depends on the
//     pack IDs in it, so points that need the same of most packs share most
//     pages. A Hash names a page, and a live set by its root page.
//
// The bytes are those of FORMAT.md, section 7. The package opens nothing and
// decides nothing: what may be deleted is package keep's business.
package live

import (
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Hash names a page: its SHA-256.
type Hash [32]byte

// String returns the hash as 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Prefix is where live sets are in a store.
const Prefix = "live/"

// Name returns the name of the object that holds a page.
func Name(h Hash) string { return Prefix + hex.EncodeToString(h[:1]) + "/" + h.String() }

// ParseName returns the hash of the page that is stored under name, and
// fault.Invalid if no page is.
func ParseName(name string) (Hash, error) {
	var h Hash
	if len(name) == len(Prefix)+3+2*len(h) {
		if _, err := hex.Decode(h[:], []byte(name[len(Prefix)+3:])); err == nil && Name(h) == name {
			return h, nil
		}
	}
	return Hash{}, fmt.Errorf("parse name of a live page %q: %w", name, fault.Invalid)
}

// Run is neighbouring frames with one need.
type Run struct {
	Need   uint8  // bit i: the i-th eighth of each frame's span
	Length uint32 // frames, ≥ 1
}

// Need is what is needed of one pack.
type Need struct {
	Pack   pack.ID
	Frames uint32 // of the pack
	Runs   []Run  // neighbours differ, lengths add up to Frames, not all needs are 0
}

// Masks returns the need of each frame.
func (n *Need) Masks() []uint8 {
	masks := make([]uint8, 0, n.Frames)
	for _, r := range n.Runs {
		for range r.Length {
			masks = append(masks, r.Need)
		}
	}
	return masks
}

// runsOf returns the runs of equal masks.
func runsOf(masks []uint8) []Run {
	var runs []Run
	for _, m := range masks {
		if k := len(runs); k > 0 && runs[k-1].Need == m {
			runs[k-1].Length++
		} else {
			runs = append(runs, Run{m, 1})
		}
	}
	return runs
}

// NeedOf returns the Need of a pack whose frames have these needs, not all 0.
func NeedOf(id pack.ID, masks []uint8) Need {
	return Need{Pack: id, Frames: uint32(len(masks)), Runs: runsOf(masks)}
}

// Set collects what a point needs. It takes one byte for each frame of each
// pack that is needed, and some 100 bytes for each pack. It is for one
// goroutine at a time.
type Set struct {
	packs map[pack.ID][]uint8 // need of each frame
}

// NewSet returns an empty Set.
func NewSet() *Set { return &Set{packs: make(map[pack.ID][]uint8)} }

// Len returns the number of packs of which something is needed.
func (s *Set) Len() int { return len(s.packs) }

// Add marks length raw bytes from offset of a pack as needed. Bytes beyond
// the pack, none at all, or another number of frames than before are
// fault.Invalid and leave the Set as it was.
func (s *Set) Add(id pack.ID, g pack.Geometry, offset, length uint32) error {
	end := uint64(offset) + uint64(length)
	if length == 0 || end > uint64(g.Total) {
		return fmt.Errorf("need %d bytes at %d of pack %s of %d: %w", length, offset, id, g.Total, fault.Invalid)
	}
	masks, err := s.masks(id, g.Frames())
	if err != nil {
		return err
	}
	for i := g.FrameOf(offset); i < len(masks); i++ {
		first, last := g.Span(i)
		if uint64(first) >= end {
			break
		}
		from, to := max(offset, first), uint32(min(end, uint64(last)))
		masks[i] |= eighths(from-first, to-first, last-first)
	}
	return nil
}

// eighths returns the need of the bytes [from, to) of a frame that spans span
// bytes: byte b is in eighth ⌊8·b/span⌋.
func eighths(from, to, span uint32) uint8 {
	if span < 8 { // some eighths have no byte
		need := uint8(0)
		for b := from; b < to; b++ {
			need |= 1 << (8 * b / span)
		}
		return need
	}
	a := 8 * uint64(from) / uint64(span)
	b := 8 * uint64(to-1) / uint64(span)
	return uint8(1<<(b+1)-1) &^ uint8(1<<a-1)
}

// masks returns the needs of a pack's frames, to be changed in place.
func (s *Set) masks(id pack.ID, frames int) ([]uint8, error) {
	masks, ok := s.packs[id]
	if !ok {
		if frames < 1 || frames > pack.MaxFrames {
			return nil, fmt.Errorf("need of pack %s of %d frames: %w", id, frames, fault.Invalid)
		}
		masks = make([]uint8, frames)
		s.packs[id] = masks
	}
	if len(masks) != frames {
		return nil, fmt.Errorf("need of pack %s of %d frames, %d before: %w", id, frames, len(masks), fault.Invalid)
	}
	return masks, nil
}

// AddNeed marks all that n marks. A Need that breaks its rules, or another
// number of frames than before, is fault.Invalid and leaves the Set as it was.
func (s *Set) AddNeed(n Need) error {
	if why := n.bad(); why != "" {
		return fmt.Errorf("need of pack %s: %s: %w", n.Pack, why, fault.Invalid)
	}
	masks, err := s.masks(n.Pack, int(n.Frames))
	if err != nil {
		return err
	}
	at := 0
	for _, r := range n.Runs {
		for range r.Length {
			masks[at] |= r.Need
			at++
		}
	}
	return nil
}

// Merge marks all that o marks. It fails as AddNeed does, and has then marked
// a part.
func (s *Set) Merge(o *Set) error {
	for id, from := range o.packs {
		masks, err := s.masks(id, len(from))
		if err != nil {
			return err
		}
		for i, m := range from {
			masks[i] |= m
		}
	}
	return nil
}

// Has says whether anything is needed of a frame.
func (s *Set) Has(id pack.ID, frame int) bool {
	masks := s.packs[id]
	return frame < len(masks) && masks[frame] != 0
}

// Get returns what is needed of a pack, and whether anything is.
func (s *Set) Get(id pack.ID) (Need, bool) {
	masks, ok := s.packs[id]
	if !ok {
		return Need{}, false
	}
	return NeedOf(id, masks), true
}

// All yields the Needs in ascending order of packs.
func (s *Set) All() iter.Seq[Need] {
	return func(yield func(Need) bool) {
		ids := slices.SortedFunc(maps.Keys(s.packs), compareIDs)
		for _, id := range ids {
			if n, _ := s.Get(id); !yield(n) {
				return
			}
		}
	}
}
