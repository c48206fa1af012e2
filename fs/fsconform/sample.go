package fsconform

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/tidemark-backup/tidemark/repo/table"
)

// Limits of Sample.
const (
	bigFolder  = 100_000   // entries of /big
	sparseSize = 100 << 30 // bytes of /sizes/sparse
	block      = 4096
)

// stamp is the modification time of sample files: before 1970 on purpose.
func stamp(n int) table.Time {
	return table.Time{Sec: 1_700_000_000 - int64(n)*97_000_001, Nsec: uint32(n * 123_456_789 % 1_000_000_000)}
}

// noise returns n bytes that do not repeat, the same for the same seed.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n:n]
}

// Sample is the tree that the suite runs on.
func Sample() []File {
	files := []File{
		{Path: "/", Entry: table.Entry{Kind: table.Folder, Mode: 0o755}},
		{Path: "/empty", Entry: table.Entry{Kind: table.Folder, Mode: 0o700, UID: 1001, GID: 1002, MTime: stamp(3)}},
		{Path: "/device", Entry: table.Entry{Kind: table.CharDevice, Mode: 0o620, Major: 0x105, Minor: 0x12345}},
		{Path: "/disk", Entry: table.Entry{Kind: table.BlockDevice, Mode: 0o660, Major: 8, Minor: 1}},
		{Path: "/pipe", Entry: table.Entry{Kind: table.FIFO, Mode: 0o644}},
		{Path: "/link", Entry: table.Entry{Kind: table.Symlink, Mode: 0o777, Target: "sizes/../\xff\n odd"}},
		{Path: "/setuid", Entry: table.Entry{Kind: table.File, Mode: 0o6755}, Data: Bytes([]byte("#!"))},
	}
	files = append(files, sampleNames()...)
	files = append(files, sampleContent()...)
	files = append(files, sampleMeta()...)
	for i := range bigFolder {
		files = append(files, File{Path: fmt.Sprintf("/big/%06d", i), Entry: table.Entry{Kind: table.File, Mode: 0o644}})
	}
	return files
}

// sampleNames has names that trip programs.
func sampleNames() []File {
	var files []File
	for i, name := range []string{
		"a", "new\nline", "tab\there", "\xff\xfe", "\x01", "space at end ", " ", "-rf", "~", "*", "?", "a\\b", "é", "e\u0301",
		strings.Repeat("x", 255), strings.Repeat("\xe2\x82\xac", 85), "...", ".hidden", "con", "a:b", "$HOME", "'\"`",
	} {
		files = append(files, File{Path: "/names/" + name,
			Entry: table.Entry{Kind: table.File, Mode: 0o644, MTime: stamp(i)}, Data: Bytes([]byte(name))})
	}
	deep := "/deep"
	for i := range 60 {
		deep += fmt.Sprintf("/%02d-%s", i, strings.Repeat("d", 97))
	}
	return append(files, File{Path: deep + "/end", Entry: table.Entry{Kind: table.File, Mode: 0o600}, Data: Bytes([]byte("deep"))})
}

// sampleContent has content of every form, and sizes around the edges.
func sampleContent() []File {
	file := table.Entry{Kind: table.File, Mode: 0o644, MTime: stamp(1)}
	var files []File
	for i, n := range []int{0, 1, 511, 512, 513, 4095, 4096, 4097, 131071, 131072, 131073, 1<<20 - 1, 1 << 20, 1<<20 + 1, 33<<20 + 7} {
		files = append(files, File{Path: fmt.Sprintf("/sizes/%d", n), Entry: file, Data: Bytes(noise(uint64(i), n))})
	}
	list := []Piece{{Hole: 5000}, {Bytes: noise(50, 10_000)}, {Hole: 1}, {Bytes: noise(51, 1)}, {Hole: 100_000}, {Bytes: noise(52, 70_000)}, {Hole: 9000}}
	var paged []Piece
	for i := range 300 {
		paged = append(paged, Piece{Bytes: noise(uint64(100+i), block*(1+i%3))}, Piece{Hole: uint64(block * (1 + i%5))})
	}
	var sparse []Piece
	for i := range 100 {
		sparse = append(sparse, Piece{Hole: 1<<30 - block}, Piece{Bytes: noise(uint64(1000+i), block)})
	}
	return append(files,
		File{Path: "/sizes/list", Entry: file, Data: list},
		File{Path: "/sizes/paged", Entry: file, Data: paged},
		File{Path: "/sizes/sparse", Entry: file, Data: sparse},
		File{Path: "/sizes/hole", Entry: file, Data: []Piece{{Hole: 1 << 40}}})
}

// sampleMeta has hard links, attributes and access control lists.
func sampleMeta() []File {
	linked := table.Entry{Kind: table.File, Mode: 0o640, UID: 7, GID: 8, Link: &table.Link{Device: 1, Inode: 1 << 33, Count: 3}}
	far := linked
	far.Link = &table.Link{Device: 9, Inode: 1<<60 + 5, Count: 2}
	both := Bytes([]byte("linked"))
	attrs := []table.Xattr{
		{Name: "trusted.t", Value: []byte{0, 1, 2}},
		{Name: "user.big", Value: bytes.Repeat([]byte("v"), 5000)},
		{Name: "user.empty", Value: nil},
		{Name: "user.one", Value: []byte("1")},
	}
	return []File{
		{Path: "/links/one", Entry: linked, Data: both},
		{Path: "/links/two", Entry: linked, Data: both},
		{Path: "/other/three", Entry: linked, Data: both},
		{Path: "/links/far", Entry: far, Data: both},
		{Path: "/other/far", Entry: far, Data: both},
		{Path: "/xattrs/file", Entry: table.Entry{Kind: table.File, Mode: 0o644, Xattrs: attrs}},
		{Path: "/xattrs/folder", Entry: table.Entry{Kind: table.Folder, Mode: 0o755, Xattrs: attrs[1:2]}},
		{Path: "/xattrs/none", Entry: table.Entry{Kind: table.File, Mode: 0o644}},
	}
}
