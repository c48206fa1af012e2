package fsconform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Check checks that v shows files, which must be those of Sample.
func Check(t *testing.T, v View, files []File) {
	t.Helper()
	all := withParents(files)
	t.Run("listings", func(t *testing.T) { testListings(t, v, all) })
	t.Run("attributes", func(t *testing.T) { testAttributes(t, v, all) })
	t.Run("inodes", func(t *testing.T) { testInodes(t, v, all) })
	t.Run("content", func(t *testing.T) { testContent(t, v, all) })
	t.Run("holes", func(t *testing.T) { testHoles(t, v, all) })
	t.Run("xattrs", func(t *testing.T) { testXattrs(t, v, all) })
	t.Run("missing", func(t *testing.T) { testMissing(t, v) })
}

// cut parts a path into folder and name.
func cut(path string) (folder, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 1)], path[i+1:]
}

func testListings(t *testing.T, v View, all []File) {
	want := map[string][]string{}
	for i := range all {
		if all[i].Entry.Kind == table.Folder {
			want[all[i].Path] = append([]string(nil), want[all[i].Path]...)
		}
		if all[i].Path != "/" {
			folder, name := cut(all[i].Path)
			want[folder] = append(want[folder], name)
		}
	}
	for folder, names := range want {
		got, err := v.List(folder)
		if err != nil {
			t.Errorf("list %q: %v", folder, err)
			continue
		}
		sort.Strings(names)
		if !slices.Equal(got, names) {
			t.Errorf("list %.60q: %d names, want %d; first difference %s", folder, len(got), len(names), difference(got, names))
		}
	}
}

func difference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at %d: %q, want %q", i, got[i], want[i])
		}
	}
	return "at the end"
}

func testAttributes(t *testing.T, v View, all []File) {
	for i := range all {
		f := &all[i]
		if strings.HasPrefix(f.Path, "/big/") && i%997 != 0 {
			continue
		}
		a, err := v.Stat(f.Path)
		if err != nil {
			t.Errorf("stat %q: %v", f.Path, err)
			continue
		}
		e := &f.Entry
		got := fs.Attr{Kind: a.Kind, Mode: a.Mode, UID: a.UID, GID: a.GID, Nlink: a.Nlink, MTime: a.MTime, Major: a.Major, Minor: a.Minor}
		want := fs.Attr{Kind: e.Kind, Mode: e.Mode, UID: e.UID, GID: e.GID, Nlink: 1, MTime: e.MTime, Major: e.Major, Minor: e.Minor}
		if f.Path == "/" {
			want.MTime = a.MTime // among other points it is when the point was made
		}
		if e.Link != nil {
			want.Nlink = uint32(e.Link.Count)
		}
		if got != want {
			t.Errorf("stat %q:\n got %+v\nwant %+v", f.Path, got, want)
		}
		switch e.Kind {
		case table.File:
			if a.Size != size(f) {
				t.Errorf("stat %q: size %d, want %d", f.Path, a.Size, size(f))
			}
			checkBlocks(t, f, a)
		case table.Symlink:
			target, err := v.Readlink(f.Path)
			if err != nil || target != e.Target || a.Size != uint64(len(target)) {
				t.Errorf("readlink %q: %q, %v, size %d; want %q", f.Path, target, err, a.Size, e.Target)
			}
		}
	}
}

func size(f *File) uint64 {
	var n uint64
	for _, r := range f.Data {
		n += uint64(len(r.Bytes)) + r.Hole
	}
	return n
}

// checkBlocks: copiers look for holes if there are fewer blocks than bytes,
// and only then.
func checkBlocks(t *testing.T, f *File, a fs.Attr) {
	holes := slices.ContainsFunc(f.Data, func(r Piece) bool { return r.Hole >= 1024 })
	if holes != (a.Blocks*512 < a.Size) {
		t.Errorf("stat %q: %d blocks for %d bytes; holes: %v", f.Path, a.Blocks, a.Size, holes)
	}
}

func testInodes(t *testing.T, v View, all []File) {
	seen := map[uint64]string{}
	links := map[table.Link]uint64{}
	for i := range all {
		f := &all[i]
		if strings.HasPrefix(f.Path, "/big/") && i%997 != 0 {
			continue
		}
		a, err := v.Stat(f.Path)
		if err != nil {
			t.Errorf("stat %q: %v", f.Path, err)
			continue
		}
		if l := f.Entry.Link; l != nil {
			if had, ok := links[*l]; ok && had != a.Inode {
				t.Errorf("%q is a hard link with inode %d, another has %d", f.Path, a.Inode, had)
			} else if ok {
				continue
			}
			links[*l] = a.Inode
		}
		if other, dup := seen[a.Inode]; dup || a.Inode == 0 {
			t.Errorf("%q and %q have inode %d", f.Path, other, a.Inode)
		}
		seen[a.Inode] = f.Path
	}
}

// expect returns what a read must give.
func expect(f *File, offset uint64, n int) []byte {
	total := size(f)
	if offset >= total {
		return nil
	}
	out := make([]byte, min(uint64(n), total-offset))
	var at uint64
	for _, r := range f.Data {
		length := uint64(len(r.Bytes)) + r.Hole
		if r.Bytes != nil && at < offset+uint64(len(out)) && at+length > offset {
			if at >= offset {
				copy(out[at-offset:], r.Bytes)
			} else {
				copy(out, r.Bytes[offset-at:])
			}
		}
		at += length
	}
	return out
}

func testContent(t *testing.T, v View, all []File) {
	for i := range all {
		f := &all[i]
		if f.Entry.Kind != table.File || strings.HasPrefix(f.Path, "/big/") && i%997 != 0 {
			continue
		}
		o, err := v.Open(f.Path)
		if err != nil {
			t.Errorf("open %q: %v", f.Path, err)
			continue
		}
		checkReads(t, f, o)
		if err := o.Close(); err != nil {
			t.Errorf("close %q: %v", f.Path, err)
		}
	}
}

// checkReads reads around every edge of a file's runs, at random, and, if it
// is not too long, the whole.
func checkReads(t *testing.T, f *File, o Opened) {
	total := size(f)
	offsets := []uint64{0, total, total + 1, total + 1<<20}
	var at uint64
	for i, r := range f.Data {
		if i < 40 || i > len(f.Data)-10 {
			offsets = append(offsets, at, at+1, max(at, 1)-1)
		}
		at += uint64(len(r.Bytes)) + r.Hole
	}
	random := rand.New(rand.NewPCG(total, 3))
	for range 20 {
		offsets = append(offsets, random.Uint64N(total+1))
	}
	buf := make([]byte, 300_000)
	for _, off := range offsets {
		for _, n := range []int{1, 4096, len(buf)} {
			clearly(buf[:n])
			got, err := o.ReadAt(buf[:n], int64(off))
			want := expect(f, off, n)
			if got != len(want) || !bytes.Equal(buf[:got], want) || err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("read %q at %d: %d of %d bytes, %v, equal up to there: %v", f.Path, off, got, len(want), err,
					bytes.HasPrefix(want, buf[:got]))
				return
			}
		}
	}
	if total > 64<<20 {
		return
	}
	whole, err := io.ReadAll(io.NewSectionReader(o, 0, int64(total)+10))
	if err != nil || !bytes.Equal(whole, expect(f, 0, int(total))) {
		t.Errorf("read %q: %d bytes, %v; want %d", f.Path, len(whole), err, total)
	}
}

// clearly fills a buffer with what no read should leave there: by copying, as
// the race detector looks at each byte that is set by itself.
func clearly(b []byte) {
	b[0] = 0xa5
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

func testHoles(t *testing.T, v View, all []File) {
	for i := range all {
		f := &all[i]
		if f.Entry.Kind != table.File || strings.HasPrefix(f.Path, "/big/") || size(f) == 0 {
			continue
		}
		o, err := v.Open(f.Path)
		if err != nil {
			t.Errorf("open %q: %v", f.Path, err)
			continue
		}
		var at uint64
		for j, r := range f.Data {
			n := uint64(len(r.Bytes)) + r.Hole
			wantStart, wantEnd := at, at+n
			if r.Bytes == nil {
				wantStart, wantEnd = at+n, at+n
				if j+1 < len(f.Data) {
					wantEnd += uint64(len(f.Data[j+1].Bytes))
				}
			}
			start, end, err := o.Data(int64(at))
			if err != nil || uint64(start) != wantStart || uint64(end) != wantEnd {
				t.Errorf("data of %q behind %d: [%d, %d), %v; want [%d, %d)", f.Path, at, start, end, err, wantStart, wantEnd)
				break
			}
			at += n
		}
		o.Close()
	}
}

func testXattrs(t *testing.T, v View, all []File) {
	for i := range all {
		f := &all[i]
		if strings.HasPrefix(f.Path, "/big/") && i%997 != 0 {
			continue
		}
		want := map[string]string{}
		for _, x := range f.Entry.Xattrs {
			want[x.Name] = string(x.Value)
		}
		got, err := v.Xattrs(f.Path)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("attributes of %q: %.200v, %v; want %.200v", f.Path, got, err, want)
		}
	}
}

func testMissing(t *testing.T, v View) {
	for _, path := range []string{"/nothing", "/names/A", "/names/aa", "/big/1", "/empty/a", "/names/" + strings.Repeat("y", 255)} {
		if _, err := v.Stat(path); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("stat %q: %v, want not exist", path, err)
		}
	}
	if _, err := v.Stat("/names/a/b"); err == nil {
		t.Error("a file has a child")
	}
	if _, err := v.Readlink("/names/a"); err == nil {
		t.Error("a file is a link")
	}
	if _, err := v.List("/names/a"); err == nil {
		t.Error("a file can be listed")
	}
}
