package table

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// leastRef and leastExtent are how many bytes such records take at least.
const (
	leastRef    = 24
	leastExtent = 2
)

// node is a decoded upper page.
type node struct {
	refs   []Ref
	starts []uint64 // entries, or bytes, before each; one more for the end
	memory int
}

// runs is a decoded page of extents.
type runs struct {
	extents []Extent
	starts  []uint64 // bytes before each; one more for the end
	memory  int
}

// DecodeRefs decodes an upper page of a table, or of an extent tree. Whatever
// is not exactly what a Builder writes is fault.Corrupt.
func DecodeRefs(page []byte, extents bool) ([]Ref, error) {
	n, err := decodeNode(page, extents)
	if err != nil {
		return nil, err
	}
	return n.refs, nil
}

// DecodeExtents decodes a leaf page of an extent tree. Whatever is not
// exactly what an ExtentBuilder writes is fault.Corrupt.
func DecodeExtents(page []byte) ([]Extent, error) {
	x, err := decodeRuns(page)
	if err != nil {
		return nil, err
	}
	return x.extents, nil
}

func decodeNode(page []byte, extents bool) (*node, error) {
	var r pageReader
	r.open(page, refPage, leastRef)
	n := &node{}
	if r.why == "" {
		n.refs, n.starts = make([]Ref, r.n), make([]uint64, 1, r.n+1)
		n.decode(&r, extents)
	}
	if r.close(); r.why == "" && len(n.refs) == 0 {
		r.fail("no references")
	}
	if r.why != "" {
		return nil, fmt.Errorf("decode page of references: %s: %w", r.why, fault.Corrupt)
	}
	return n, nil
}

func (n *node) decode(r *pageReader, extents bool) {
	var arena []byte // every separator, one after the other
	prev, total := 0, uint64(0)
	ends := make([]int, len(n.refs))
	for i := range n.refs {
		last := arena[prev:]
		shared := r.limited(uint64(len(last)), "shares more than the separator before has")
		rest := r.take(r.uvarint())
		plain := i == 0 || extents // has no separator
		if r.why == "" && (plain != (len(rest) == 0) || plain && shared != 0 ||
			!plain && int(shared) < len(last) && rest[0] <= last[shared]) {
			r.fail("separators are not in order, or share more than they say")
		}
		if r.why == "" && (len(arena)+int(shared)+len(rest) > maxKeys || int(shared)+len(rest) > MaxPath) {
			r.fail("separators too long")
		}
		r.ref(&n.refs[i])
		total += n.refs[i].Count
		if total > MaxSize {
			r.fail("count out of bounds")
		}
		if r.why != "" {
			return
		}
		at := len(arena)
		arena = append(append(arena, last[:shared]...), rest...)
		prev, ends[i] = at, len(arena)
		n.starts = append(n.starts, total)
	}
	arena = slices.Clip(bytes.Clone(arena))
	for i, at := 0, 0; i < len(ends); i++ {
		n.refs[i].Separator = arena[at:ends[i]:ends[i]]
		at = ends[i]
	}
	n.memory = refMemory*len(n.refs) + 8*cap(n.starts) + cap(arena) + 64
}

func decodeRuns(page []byte) (*runs, error) {
	var r pageReader
	r.open(page, extentPage, leastExtent)
	x := &runs{}
	if r.why == "" {
		x.extents, x.starts = make([]Extent, r.n), make([]uint64, 1, r.n+1)
	}
	total := uint64(0)
	for i := range x.extents {
		x.extents[i] = r.extent()
		if i > 0 && joins(&x.extents[i-1], &x.extents[i]) {
			r.fail("two extents that are one")
		}
		if total += x.extents[i].Length; total > MaxSize {
			r.fail("extents too long")
		}
		if r.why != "" {
			break
		}
		x.starts = append(x.starts, total)
	}
	if r.close(); r.why == "" && r.n == 0 {
		r.fail("no extents")
	}
	if r.why != "" {
		return nil, fmt.Errorf("decode page of extents: %s: %w", r.why, fault.Corrupt)
	}
	x.memory = extentMemory*len(x.extents) + 8*cap(x.starts) + 64
	return x, nil
}

// find returns the index whose range holds position, which is below the end.
func find(starts []uint64, position uint64) int {
	return sort.Search(len(starts)-1, func(i int) bool { return starts[i+1] > position })
}

// search returns the index of the page in which key is if it is anywhere.
func (n *node) search(key []byte) int {
	return sort.Search(len(n.refs)-1, func(i int) bool {
		return bytes.Compare(n.refs[i+1].Separator, key) > 0
	})
}

// total returns what is below: entries or bytes.
func (n *node) total() uint64 { return n.starts[len(n.starts)-1] }

func (x *runs) total() uint64 { return x.starts[len(x.starts)-1] }

// refWriter writes an upper page.
type refWriter struct {
	pageWriter
	prev []byte // separator before, within the page
	keys int    // bytes of separators so far
}

func (w *refWriter) reset() {
	w.pageWriter.reset()
	w.prev, w.keys = w.prev[:0], 0
}

// add writes a reference; the separator of a page's first one is left out.
func (w *refWriter) add(r *Ref) {
	sep := r.Separator
	if w.n == 0 {
		sep = nil
	}
	if w.keys == 0 {
		w.free = len(sep)
	}
	shared := commonPrefix(w.prev, sep)
	w.uvarint(uint64(shared))
	w.bytes(sep[shared:])
	w.ref(r)
	w.prev = append(w.prev[:0], sep...)
	w.keys += len(sep)
	w.n++
}
