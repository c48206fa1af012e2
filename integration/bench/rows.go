//go:build linux

package main

// unit says what a row's value is and which direction is better.
type unit string

// Units of values. Rates are better when larger, all others when smaller.
const (
	seconds unit = "s"
	bytes   unit = "MiB" // values in bytes, printed in MiB
	entries unit = "entries/s"
	rate    unit = "MB/s"
	iops    unit = "IOPS"
	millis  unit = "ms"
)

func (u unit) larger() bool { return u == entries || u == rate || u == iops }

// better tells whether a value beats another.
func (u unit) better(a, b float64) bool {
	if u.larger() {
		return a > b
	}
	return a < b
}

// compared tells how one value stands to a peer's.
func (u unit) compared(own, peer float64) string {
	switch {
	case u == bytes:
		return number(own/max(peer, 1e-9)) + "x of"
	case u.larger():
		return number(own/max(peer, 1e-9)) + "x as fast as"
	}
	return number(peer/max(own, 1e-9)) + "x as fast as"
}

// row is one line of the table. Factors that are zero demand nothing.
type row struct {
	id, title string
	data      string // the data set it is measured on
	unit      unit
	// ahead: so many times better than the best peer (3 = three times as fast).
	ahead float64
	// packed: compressing or decompressing content is part of the work, so that
	// peers that do not compress are no yardstick: they win time with space.
	packed bool
	// size: at most so many times the best peer's size.
	size float64
	// limit: for times at most so many times the limit's, for rates at least
	// this share of it.
	limit float64
	// most: at most so many seconds with the passphrase, and mostKeyed without
	// key derivation.
	most, mostKeyed float64
	// memory: at most so many MiB.
	memory float64
}

// rows are all rows in the order of the table.
func rows() []row {
	return []row{
		{id: "first-small", title: "first backup, cold: small files", data: "small", unit: seconds, packed: true, ahead: 3, memory: 300},
		{id: "first-large", title: "first backup, cold: large compressible", data: "large", unit: seconds, packed: true, ahead: 1.6, memory: 300},
		{id: "first-image", title: "first backup, cold: disk image", data: "image", unit: seconds, packed: true, ahead: 4, memory: 300},
		{id: "first-random", title: "first backup, cold: incompressible", data: "random", unit: seconds, ahead: 1.6, limit: 1 / 0.6, memory: 300},
		{id: "first-tiny", title: "first backup, cold: tiny files", data: "tiny", unit: seconds, packed: true, memory: 300},
		{id: "size-small", title: "repository size: small files", data: "small", unit: bytes, size: 0.9},
		{id: "size-large", title: "repository size: large compressible", data: "large", unit: bytes, size: 1.08},
		{id: "size-random", title: "repository size: incompressible", data: "random", unit: bytes, size: 1.01},
		{id: "size-image", title: "repository size: disk image", data: "image", unit: bytes, size: 1.05},
		{id: "size-tiny", title: "repository size: tiny files", data: "tiny", unit: bytes},
		{id: "same-small-cold", title: "nothing changed, cold: small files", data: "small", unit: seconds, ahead: 4, memory: 300},
		{id: "same-small-warm", title: "nothing changed, warm: small files", data: "small", unit: seconds, ahead: 4, limit: 1.5, memory: 300},
		{id: "same-tiny-cold", title: "nothing changed, cold: tiny files", data: "tiny", unit: seconds, ahead: 4, memory: 300},
		{id: "same-tiny-warm", title: "nothing changed, warm: tiny files", data: "tiny", unit: seconds, ahead: 4, limit: 1.5, memory: 300},
		{id: "change-small", title: "1 % of the small files changed", data: "small", unit: seconds, packed: true, ahead: 4, memory: 300},
		{id: "growth-small", title: "1 % of the small files changed: growth", data: "small", unit: bytes, size: 0.7},
		{id: "change-large", title: "10 MB inserted, 10 MB overwritten in large files", data: "large", unit: seconds, packed: true, ahead: 2, memory: 300},
		{id: "growth-large", title: "10 MB inserted, 10 MB overwritten: growth", data: "large", unit: bytes, size: 0.6},
		{id: "change-image", title: "1 % of the image's 4 KiB blocks changed", data: "image", unit: seconds, packed: true, ahead: 3, memory: 300},
		{id: "growth-image", title: "1 % of the image's 4 KiB blocks changed: growth", data: "image", unit: bytes, size: 0.12},
		{id: "one-point", title: "one small point", data: "one", unit: seconds, ahead: 2, most: 0.4, mostKeyed: 0.1, memory: 300},
		{id: "points", title: "list of points", data: "small", unit: seconds, ahead: 2, most: 0.4, mostKeyed: 0.1},
		{id: "mount-list", title: "mount to first listing", data: "small", unit: seconds, ahead: 2, most: 0.4, mostKeyed: 0.1, memory: 256},
		{id: "stream-large-cold", title: "mount: stream, cold: large compressible", data: "large", unit: rate, packed: true, ahead: 3.5, memory: 256},
		{id: "stream-large-warm", title: "mount: stream, warm: large compressible", data: "large", unit: rate, packed: true, ahead: 1, memory: 256},
		{id: "stream-random-cold", title: "mount: stream, cold: incompressible", data: "random", unit: rate, limit: 0.6, memory: 256},
		{id: "random-large", title: "mount: random 4 KiB, cold: large compressible", data: "large", unit: iops, packed: true, ahead: 15, memory: 256},
		{id: "p99-large", title: "mount: random 4 KiB, p99: large compressible", data: "large", unit: millis, packed: true, ahead: 5},
		{id: "random-image", title: "mount: random 4 KiB, cold: disk image", data: "image", unit: iops, packed: true, ahead: 5, memory: 256},
		{id: "p99-image", title: "mount: random 4 KiB, p99: disk image", data: "image", unit: millis, packed: true, ahead: 5},
		{id: "copy-one", title: "mount: cp -a of the small files, cold, one point mounted", data: "small", unit: entries, packed: true, ahead: 4, memory: 256},
		{id: "copy-all", title: "mount: cp -a of the small files, cold, all points", data: "small", unit: entries, packed: true, ahead: 2.5, memory: 256},
		{id: "find-small-cold", title: "mount: find, cold: small files", data: "small", unit: entries, ahead: 5, memory: 256},
		{id: "find-small-warm", title: "mount: find, warm: small files", data: "small", unit: entries, ahead: 10, memory: 256},
		{id: "find-tiny-cold", title: "mount: find, cold: tiny files", data: "tiny", unit: entries, ahead: 2, memory: 256},
		{id: "find-tiny-warm", title: "mount: find, warm: tiny files", data: "tiny", unit: entries, ahead: 2, memory: 256},
		{id: "restore-small", title: "restore: small files", data: "small", unit: seconds, packed: true, ahead: 2},
		{id: "restore-tiny", title: "restore: tiny files", data: "tiny", unit: seconds, packed: true, ahead: 1.5},
		{id: "restore-large", title: "restore: large compressible", data: "large", unit: seconds, packed: true, ahead: 2.5},
		{id: "restore-image", title: "restore: disk image", data: "image", unit: seconds, packed: true, ahead: 1.5},
		{id: "restore-random", title: "restore: incompressible", data: "random", unit: seconds},
	}
}

// dataSets are the data sets in the order they are worked on: each is removed
// with all its repositories before the next is made.
func dataSets() []string { return []string{"one", "small", "large", "random", "image", "tiny"} }
