package table

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// The first byte of a page.
const (
	entryPage  = 1
	extentPage = 2
	refPage    = 3
)

// Where a page ends however its keys hash, and where it does not (FORMAT 6.5):
// long keys must neither fill memory nor leave upper pages of one reference,
// whose tree would grow beyond MaxLevels.
const (
	leastRefs = 4
	mostKeys  = 3 << 20 // bytes of keys or separators, in full
	maxKeys   = 4 << 20 // what a reader allows of them
)

// pageWriter writes the records of one page at a time. It knows what all
// pages have in common: the table of packs, and addresses.
type pageWriter struct {
	buf   []byte // the records
	free  int    // bytes of buf that do not count for where the page ends
	n     int    // their number
	packs []pack.ID
	ends  []uint32 // by pack: where the address written last ends
	index map[pack.ID]int
	last  int // index of the pack used last
}

// manyPacks is where looking through the packs becomes slower than a map.
const manyPacks = 24

func (w *pageWriter) reset() {
	w.buf, w.packs, w.ends = w.buf[:0], w.packs[:0], w.ends[:0]
	w.n, w.last, w.free = 0, 0, 0
	if len(w.index) > 0 {
		clear(w.index)
	}
}

// counted returns the bytes of records that count for where the page ends: all
// but the first key or separator, which other records of the page share. If
// it counted, a folder with a path of 8 KiB would have a page for each entry,
// and that path in each page.
func (w *pageWriter) counted() int { return len(w.buf) - w.free }

// packIndex returns the index of a pack in the page's table, and adds it if
// it is new.
func (w *pageWriter) packIndex(id pack.ID) int {
	if w.last < len(w.packs) && w.packs[w.last] == id {
		return w.last
	}
	var i int
	var known bool
	if len(w.packs) < manyPacks {
		i = slices.Index(w.packs, id)
		known = i >= 0
	} else {
		if len(w.index) == 0 {
			w.index = make(map[pack.ID]int, 4*manyPacks)
			for j, p := range w.packs {
				w.index[p] = j
			}
		}
		i, known = w.index[id]
	}
	if !known {
		i = len(w.packs)
		w.packs, w.ends = append(w.packs, id), append(w.ends, 0)
		if len(w.index) > 0 {
			w.index[id] = i
		}
	}
	w.last = i
	return i
}

// address writes where length bytes lie, without the length.
func (w *pageWriter) address(id pack.ID, offset, length uint32) {
	i := w.packIndex(id)
	w.uvarint(uint64(i))
	w.svarint(int64(offset) - int64(w.ends[i]))
	w.ends[i] = offset + length
}

func (w *pageWriter) byte(b byte) { w.buf = append(w.buf, b) }

func (w *pageWriter) uvarint(v uint64) {
	if v < 0x80 {
		w.buf = append(w.buf, byte(v))
		return
	}
	w.buf = binary.AppendUvarint(w.buf, v)
}

func (w *pageWriter) svarint(v int64) { w.uvarint(uint64(v)<<1 ^ uint64(v>>63)) }

func (w *pageWriter) bytes(b []byte) {
	w.uvarint(uint64(len(b)))
	w.buf = append(w.buf, b...)
}

func (w *pageWriter) string(s string) {
	w.uvarint(uint64(len(s)))
	w.buf = append(w.buf, s...)
}

// appendPage appends the page of all records so far to dst.
func (w *pageWriter) appendPage(dst []byte, kind byte) []byte {
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, uint64(len(w.packs)))
	for i := range w.packs {
		dst = append(dst, w.packs[i][:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(w.n))
	return append(dst, w.buf...)
}

// pageReader reads a page. Its methods return zeros once something was
// wrong: a record is read as if all were well and then asks why.
type pageReader struct {
	b    []byte // what is left
	why  string // what is wrong, "" so far
	n    int    // records
	used int    // packs of the table that were named so far

	packs []pack.ID
	ends  []uint32
}

func (r *pageReader) fail(why string) {
	if r.why == "" {
		r.why = why
	}
	r.b = nil
}

// open reads what comes before the records. Each record takes at least least
// bytes.
func (r *pageReader) open(page []byte, kind byte, least int) {
	r.b, r.why, r.used = page, "", 0
	r.packs, r.ends = r.packs[:0], r.ends[:0]
	if len(page) > MaxPage {
		r.fail("page too long")
	}
	if r.byte() != kind {
		r.fail("another kind of page")
	}
	packs := r.uvarint()
	if packs > uint64(len(r.b)/len(pack.ID{})) {
		r.fail("table of packs too long")
		return
	}
	for range packs {
		r.packs = append(r.packs, pack.ID(r.b))
		r.b = r.b[len(pack.ID{}):]
	}
	r.ends = append(r.ends, make([]uint32, packs)...)
	if !distinct(r.packs) {
		r.fail("pack twice in the table of packs")
	}
	n := r.uvarint()
	if n > uint64(len(r.b)/least) {
		r.fail("too many records")
		return
	}
	r.n = int(n)
}

// close says what is wrong with the page as a whole.
func (r *pageReader) close() {
	if r.why == "" && len(r.b) > 0 {
		r.fail("bytes after the last record")
	}
	if r.used != len(r.packs) {
		r.fail("unused pack in the table of packs")
	}
}

// distinct tells whether no two packs are the same.
func distinct(packs []pack.ID) bool {
	if len(packs) <= manyPacks {
		for i := range packs {
			if slices.Contains(packs[:i], packs[i]) {
				return false
			}
		}
		return true
	}
	seen := make(map[pack.ID]struct{}, len(packs))
	for _, p := range packs {
		seen[p] = struct{}{}
	}
	return len(seen) == len(packs)
}

func (r *pageReader) byte() byte {
	if len(r.b) == 0 {
		r.fail("page ends early")
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *pageReader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	return r.longUvarint()
}

// longUvarint takes numbers of two to eight bytes in one piece: times, sizes and
// addresses are as long, and a loop over their bytes was a fifth of the time that
// it takes to decode a page.
func (r *pageReader) longUvarint() uint64 {
	if len(r.b) >= 8 {
		x := binary.LittleEndian.Uint64(r.b)
		if last := ^x & 0x8080808080808080; last != 0 { // the top bit of the last byte
			n := bits.TrailingZeros64(last)/8 + 1
			if r.b[n-1] == 0 { // n > 1: one byte is not long
				r.fail("bad number")
				return 0
			}
			r.b = r.b[n:]
			x &= (last ^ (last - 1)) & 0x7f7f7f7f7f7f7f7f
			x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
			x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
			return x&0x000000000fffffff | x&0x0fffffff00000000>>4
		}
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail("bad number")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// limited reads a number that is at most limit.
func (r *pageReader) limited(limit uint64, why string) uint64 {
	v := r.uvarint()
	if v > limit {
		r.fail(why)
		return 0
	}
	return v
}

func (r *pageReader) svarint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// take reads n bytes, which stay part of the page.
func (r *pageReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("page ends early")
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// string reads a string of at most limit bytes.
func (r *pageReader) string(limit uint64, why string) []byte {
	return r.take(r.limited(limit, why))
}

// address reads where length bytes lie.
func (r *pageReader) address(length uint64) (pack.ID, uint32) {
	i, delta := r.uvarint(), r.svarint()
	return r.locate(i, delta, length)
}

// locate turns the parts of an address into what they stand for.
func (r *pageReader) locate(i uint64, delta int64, length uint64) (pack.ID, uint32) {
	if r.why != "" {
		return pack.ID{}, 0
	}
	if i >= uint64(len(r.packs)) || i > uint64(r.used) {
		r.fail("packs are not in order of first use")
		return pack.ID{}, 0
	}
	if i == uint64(r.used) {
		r.used++
	}
	if delta < -pack.MaxRaw || delta > pack.MaxRaw || length == 0 || length > pack.MaxRaw {
		r.fail("address out of bounds")
		return pack.ID{}, 0
	}
	offset := int64(r.ends[i]) + delta
	if offset < 0 || offset+int64(length) > pack.MaxRaw {
		r.fail("address out of bounds")
		return pack.ID{}, 0
	}
	r.ends[i] = uint32(offset + int64(length))
	return r.packs[i], uint32(offset)
}

// validAddress tells whether an address can be written.
func validAddress(offset uint32, length uint64) bool {
	return length >= 1 && length <= pack.MaxRaw && uint64(offset)+length <= pack.MaxRaw
}

// validHint tells whether a hint can be one: 0, 0 or a range of a pack object.
func validHint(offset, length uint64) bool {
	if length == 0 {
		return offset == 0
	}
	return offset <= pack.MaxObject && length <= pack.MaxObject && offset+length <= pack.MaxObject
}

// cutter decides where pages end.
type cutter struct {
	hash     *chunk.Hasher // under the table key
	min, avg int
	unit     uint64 // ⌊2^64 / avg⌋
}

func newCutter(p *Params) (*cutter, error) {
	if p.Min < 256 || p.Average < p.Min || p.Average > 32<<10 {
		return nil, fault.Invalid
	}
	unit, _ := bits.Div64(1, 0, uint64(p.Average))
	return &cutter{hash: chunk.NewHasher(&p.Table), min: p.Min, avg: p.Average, unit: unit}, nil
}

// ends tells whether a page ends after a record (FORMAT 6.5): s counted bytes
// of records so far, keys bytes of keys in full, e counted bytes of this record
// and x to hash for it.
func (c *cutter) ends(s, keys, e int, x []byte) bool {
	switch {
	case s >= 4*c.avg, keys > mostKeys:
		return true
	case s < c.min:
		return false
	}
	if s >= c.avg {
		e *= 4
	}
	over, threshold := bits.Mul64(uint64(e), c.unit)
	if over != 0 {
		threshold = 1<<64 - 1
	}
	id := c.hash.Sum(x)
	return binary.LittleEndian.Uint64(id[:8]) < threshold
}

// commonPrefix returns how many bytes a and b share in front.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
