package compat

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// source builds the tree that is backed up: every kind of entry and of
// content, small once compressed. Times are fixed, content comes from a seed.
type source struct {
	t    *testing.T
	root string
	seed *rand.Rand
	made []string
}

func buildSource(t *testing.T, root string) *source {
	t.Helper()
	s := &source{t: t, root: root, seed: rand.New(rand.NewChaCha8([32]byte{1}))}
	s.must(os.MkdirAll(root, 0o755))
	s.made = append(s.made, "")
	s.smallFiles()
	s.largeFiles()
	s.links()
	s.names()
	if os.Geteuid() == 0 {
		s.special()
	}
	s.settle()
	return s
}

// change makes the tree of the second point from that of the first.
func (s *source) change() {
	s.file("text/new.txt", []byte("new in the second point\n"), 0o600)
	s.file("text/0003.txt", s.text(3100, "changed"), 0o644)
	s.must(os.Remove(s.path("text/0004.txt")))
	f, err := os.OpenFile(s.path("disk.img"), os.O_WRONLY, 0)
	s.must(err)
	_, err = f.WriteAt(bytes.Repeat([]byte("changed block!!\n"), 1024), 5<<16)
	s.must(err)
	s.must(f.Close())
	s.made = append(s.made, "disk.img")
	s.settle()
}

func (s *source) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *source) path(name string) string { return filepath.Join(s.root, name) }

// text is content that shrinks, of n bytes.
func (s *source) text(n int, word string) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s, line %d of this file, number %d\n", word, i, s.seed.IntN(100))
	}
	return b.Bytes()[:n]
}

// noise is content that does not.
func (s *source) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.seed.Uint32())
	}
	return b
}

func (s *source) file(name string, content []byte, mode os.FileMode) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	s.must(os.WriteFile(s.path(name), content, 0o600))
	s.must(os.Chmod(s.path(name), mode))
	s.made = append(s.made, name)
}

func (s *source) smallFiles() {
	for i := range 120 {
		s.file(fmt.Sprintf("text/%04d.txt", i), s.text(100+40*i, "small"), 0o644)
	}
	for i := range 400 { // enough for a table of two levels
		s.file(fmt.Sprintf("many/%d", i), fmt.Appendf(nil, "file %d", i), 0o644)
	}
	s.file("empty", nil, 0o400)
	s.file("inline", []byte("these bytes lie in the page itself"), 0o755)
	s.file("noise", s.noise(6000), 0o644)
	s.file("copy of noise", s.noiseOf("noise"), 0o644)
	s.file("setuid", []byte("#!/bin/true\n"), 0o644)
	s.must(unix.Chmod(s.path("setuid"), 0o6755))
}

func (s *source) noiseOf(name string) []byte {
	b, err := os.ReadFile(s.path(name))
	s.must(err)
	return b
}

func (s *source) largeFiles() {
	s.file("large.log", bytes.Repeat(s.text(200_000, "large"), 12), 0o640)
	// An image with data, holes and a hole at its end. Holes are kept by blocks
	// of 16 KiB: smaller ones become zeros.
	image := make([]byte, 1<<20)
	for i := range 4 {
		copy(image[i*3<<16:], s.text(48<<10, fmt.Sprint("image ", i)))
	}
	s.sparse("disk.img", image, 3<<20, 4096)
	// So many extents that they need a tree of their own.
	s.sparse("fragments", nil, 0, 0)
	f, err := os.OpenFile(s.path("fragments"), os.O_WRONLY, 0)
	s.must(err)
	for i := range 400 {
		_, err := f.WriteAt(bytes.Repeat([]byte{byte('a' + i%26)}, 4096), int64(i)*3*4096)
		s.must(err)
	}
	s.must(f.Truncate(5 << 20))
	s.must(f.Close())
	s.sparse("all hole", nil, 1<<26, 0)
}

// sparse writes content in steps, leaving out those that are zero.
func (s *source) sparse(name string, content []byte, size int64, step int) {
	s.file(name, nil, 0o644)
	f, err := os.OpenFile(s.path(name), os.O_WRONLY, 0)
	s.must(err)
	for at := 0; at < len(content); at += step {
		if piece := content[at:min(at+step, len(content))]; len(bytes.Trim(piece, "\x00")) > 0 {
			_, err := f.WriteAt(piece, int64(at))
			s.must(err)
		}
	}
	s.must(f.Truncate(size))
	s.must(f.Close())
}

func (s *source) links() {
	s.file("linked", s.text(2000, "linked"), 0o644)
	s.must(os.MkdirAll(s.path("folder/below"), 0o755))
	s.must(os.Chmod(s.path("folder/below"), 0o1777))
	s.must(os.Link(s.path("linked"), s.path("folder/below/same file")))
	s.must(os.Symlink("../no such place", s.path("folder/dangling")))
	s.must(os.Symlink(strings.Repeat("long/", 300), s.path("folder/long")))
	s.must(unix.Mkfifo(s.path("pipe"), 0o620))
	s.made = append(s.made, "folder/below/same file", "folder/dangling", "folder/long", "pipe", "folder/below", "folder", "text", "many")
}

func (s *source) names() {
	for _, name := range []string{"not utf-8 \xff\xfe", "new\nline", "tab\tand \x1b[31m", "ümläut 漢字", strings.Repeat("n", 255),
		"-rf", "a:b?*", ".hidden", "folder.d/x", "folder-d/x", "folder/x"} {
		s.file("names/"+name, []byte(name), 0o644)
	}
	deep := "deep" + strings.Repeat("/down here", 40)
	s.file(deep+"/bottom", []byte("far down"), 0o644)
	s.must(os.MkdirAll(s.path("empty folder"), 0o700))
	s.made = append(s.made, "empty folder", "names", "deep")
}

// special makes what only root can.
func (s *source) special() {
	s.must(unix.Mknod(s.path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	s.must(unix.Mknod(s.path("loop"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 200))))
	s.must(unix.Lchown(s.path("folder/dangling"), 1234, 4321))
	s.must(unix.Lchown(s.path("inline"), 4_000_000_000, 65534))
	s.made = append(s.made, "null", "loop")
	s.must(unix.Lsetxattr(s.path("noise"), "user.comment", []byte("an attribute"), 0))
	s.must(unix.Lsetxattr(s.path("noise"), "user.binary", []byte{0, 1, 0xff}, 0))
	s.must(unix.Lsetxattr(s.path("folder"), "trusted.mark", nil, 0))
	// user::rw-, user:1234:r--, group::r--, mask::r--, other::---
	acl := []byte{2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255,
		2, 0, 4, 0, 0xd2, 4, 0, 0,
		4, 0, 4, 0, 255, 255, 255, 255,
		16, 0, 4, 0, 255, 255, 255, 255,
		32, 0, 0, 0, 255, 255, 255, 255}
	s.must(unix.Lsetxattr(s.path("linked"), "system.posix_acl_access", acl, 0))
	// cap_net_bind_service, as setcap writes it.
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	s.must(unix.Lsetxattr(s.path("empty"), "security.capability", capability, 0))
}

// settle gives what was made a time of its own; some lie before 1970 and beyond
// 2038.
func (s *source) settle() {
	s.t.Helper()
	first := time.Date(2026, 11, 23, 8, 0, 0, 123456789, time.UTC)
	odd := map[string]time.Time{
		"empty": time.Date(1901, 12, 14, 0, 0, 0, 1, time.UTC), "inline": time.Date(2106, 2, 8, 0, 0, 0, 999999999, time.UTC),
		"noise": time.Unix(0, 0), "pipe": time.Unix(-1, 500),
	}
	for i, name := range s.made {
		at, found := odd[name]
		if !found {
			at = first.Add(time.Duration(i) * time.Hour)
		}
		ts := unix.NsecToTimespec(at.UnixNano())
		s.must(unix.UtimesNanoAt(unix.AT_FDCWD, s.path(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	s.made = []string{"text", "folder", "deep", "names", ""} // what a later change touches
}
