package walk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"
)

// rec is one name of a folder: where it stands in the arena, and the inode
// number that the listing gave (0 where it gives none).
type rec struct {
	key uint64 // eight bytes after the common prefix, for sorting
	ino uint64
	off uint32
	len uint16
}

const recSize = int(unsafe.Sizeof(rec{}))

// nameList holds names of one folder in one arena, each followed by a zero
// byte. If a limit is set and the folder has more, it holds the smallest
// names above the last list's: the folder is then listed again for the rest.
type nameList struct {
	buf  []byte
	recs []rec

	after string // only names above this one are wanted, if it is not empty
	below string // and only those below this one, if it is not empty
	limit int    // bytes of arena and records
	cut   bool   // names were left out for lack of room
}

// reset empties the list for the next use, keeping its memory.
func (l *nameList) reset(after string, limit int) {
	l.buf, l.recs = l.buf[:0], l.recs[:0]
	l.after, l.below, l.limit, l.cut = after, "", limit, false
}

func (l *nameList) size() int { return len(l.buf) + recSize*len(l.recs) }

// memory is what the list holds on to.
func (l *nameList) memory() int { return cap(l.buf) + recSize*cap(l.recs) }

func (l *nameList) name(r *rec) []byte { return l.buf[r.off : r.off+uint32(r.len)] }

// add takes a name. It returns false when the limit is reached: the caller
// either stops there or makes room with halve.
func (l *nameList) add(name []byte, ino uint64) bool {
	if l.after != "" && string(name) <= l.after {
		return true
	}
	if l.below != "" && string(name) >= l.below {
		l.cut = true
		return true
	}
	if l.size() >= growStep && (len(l.recs) == cap(l.recs) || len(l.buf)+len(name)+1 > cap(l.buf)) {
		l.grow()
	}
	l.recs = append(l.recs, rec{off: uint32(len(l.buf)), len: uint16(len(name)), ino: ino})
	l.buf = append(append(l.buf, name...), 0)
	return l.size() < l.limit
}

// grow makes room for four times the names, within the limit: few and large
// steps leave less garbage than append does, and end where the limit is.
func (l *nameList) grow() {
	average := len(l.buf)/len(l.recs) + 2
	n := min(4*l.size(), l.limit)/(average+recSize) + 1024
	if n <= len(l.recs) {
		return // the names grow longer, and append does
	}
	recs := make([]rec, len(l.recs), n)
	copy(recs, l.recs)
	buf := make([]byte, len(l.buf), max(n*average, len(l.buf)+1024))
	copy(buf, l.buf)
	l.recs, l.buf = recs, buf
}

// halve drops the upper half of the names, and from then on all that would
// come after those it kept.
func (l *nameList) halve() {
	l.sort()
	keep := (len(l.recs) + 1) / 2
	if keep == len(l.recs) {
		return
	}
	l.below = string(l.name(&l.recs[keep]))
	l.recs = l.recs[:keep]
	l.cut = true
	// The arena is packed in its own order, so that every name only moves
	// forward.
	slices.SortFunc(l.recs, func(a, b rec) int { return cmp.Compare(a.off, b.off) })
	end := 0
	for i := range l.recs {
		r := &l.recs[i]
		n := copy(l.buf[end:], l.buf[r.off:r.off+uint32(r.len)+1])
		r.off = uint32(end)
		end += n
	}
	l.buf = l.buf[:end]
}

// sort orders the names bytewise and drops duplicates, which a listing has
// when entries move while it runs.
func (l *nameList) sort() {
	if len(l.recs) < 2 {
		return
	}
	prefix := len(l.commonPrefix())
	var pad [8]byte
	for i := range l.recs {
		r := &l.recs[i]
		rest := l.name(r)[prefix:]
		if len(rest) >= 8 {
			r.key = binary.BigEndian.Uint64(rest)
			continue
		}
		pad = [8]byte{}
		copy(pad[:], rest)
		r.key = binary.BigEndian.Uint64(pad[:])
	}
	slices.SortFunc(l.recs, func(a, b rec) int {
		if a.key != b.key {
			if a.key < b.key {
				return -1
			}
			return 1
		}
		return bytes.Compare(l.name(&a), l.name(&b))
	})
	l.recs = slices.CompactFunc(l.recs, func(a, b rec) bool {
		return a.key == b.key && bytes.Equal(l.name(&a), l.name(&b))
	})
}

// commonPrefix returns what all names begin with, so that sort keys are taken
// from where they differ.
func (l *nameList) commonPrefix() []byte {
	prefix := l.name(&l.recs[0])
	for i := 1; i < len(l.recs) && len(prefix) > 0; i++ {
		name := l.name(&l.recs[i])
		n := min(len(prefix), len(name))
		k := 0
		for k < n && prefix[k] == name[k] {
			k++
		}
		prefix = prefix[:k]
	}
	return prefix
}

// has says whether the sorted list holds the name.
func (l *nameList) has(name string) bool {
	_, ok := slices.BinarySearchFunc(l.recs, name, func(r rec, name string) int {
		return strings.Compare(string(l.name(&r)), name)
	})
	return ok
}

// last returns the greatest name of a sorted list.
func (l *nameList) last() string {
	if len(l.recs) == 0 {
		return l.after
	}
	return string(l.name(&l.recs[len(l.recs)-1]))
}

// slice copies the sorted names [from, to) into a fresh arena and returns an
// entry for each. Entries own what they point to: the list may be reused.
func (l *nameList) slice(from, to int) []Entry {
	if from == to {
		return nil
	}
	size := 0
	for i := from; i < to; i++ {
		size += int(l.recs[i].len) + 1
	}
	arena := make([]byte, 0, size)
	entries := make([]Entry, to-from)
	for i := from; i < to; i++ {
		at := len(arena)
		r := &l.recs[i]
		arena = append(arena, l.buf[r.off:r.off+uint32(r.len)+1]...)
		if r.len > 0 {
			entries[i-from].Name = unsafe.String(&arena[at], int(r.len))
		}
	}
	return entries
}

// inodeOrder fills order with the indexes of recs [from, to) by ascending
// inode number: on a cold disk the inode table is then read in one sweep.
func (l *nameList) inodeOrder(order []uint32, from, to int) []uint32 {
	order = order[:0]
	for i := range to - from {
		order = append(order, uint32(i))
	}
	if to-from >= inodeOrderMin {
		recs := l.recs[from:to]
		slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(recs[a].ino, recs[b].ino) })
	}
	return order
}
