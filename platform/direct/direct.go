// Package direct reads and writes large files past the system's page cache.
//
// A backup reads each byte once and writes each byte once. Through the cache
// that is a copy and a page of memory for every 4 KiB, a quarter of the
// processor time of a backup of what does not shrink, and it pushes out what
// the server's own programs keep there. Past it, the device reads and writes
// our buffers.
//
// It is tried only where the kernel says of the file how its blocks lie
// (statx with DIOALIGN: Linux 6.1, local file systems), and never for what the
// cache holds already (cachestat: Linux 6.5): memory is faster than any disk.
// Everywhere else the calls are plain reads and writes. What they return is the
// same: the kernel brings what other programs have written to the disk first.
//
// Nothing here is durable: that takes an fsync as ever, see package durable.
package direct

import "unsafe"

// Align is what offsets in files, and addresses and lengths of buffers, are
// multiples of where the cache is passed by.
const Align = 4096

// Buffer returns a buffer of n bytes whose address is a multiple of Align.
func Buffer(n int) []byte {
	b := make([]byte, n+Align)
	skip := int(-address(b) & (Align - 1))
	return b[skip : skip+n : skip+n]
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func aligned(b []byte, at int64) bool {
	return address(b)&(Align-1) == 0 && len(b)&(Align-1) == 0 && at&(Align-1) == 0
}
