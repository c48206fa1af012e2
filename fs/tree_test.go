package fs_test

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

var started = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func file() table.Entry { return table.Entry{Kind: table.File, Mode: 0o644} }

func files(names ...string) []fsconform.File {
	var all []fsconform.File
	for _, n := range names {
		all = append(all, fsconform.File{Path: n, Entry: file(), Data: fsconform.Bytes([]byte("content of " + n))})
	}
	return all
}

func add(t *testing.T, s *fsconform.Source, at time.Time, all []fsconform.File) *repo.Point {
	t.Helper()
	p, err := s.Add(t.Context(), at, all)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newTree(t *testing.T, s fs.Source, o fs.Options) *fs.Tree {
	t.Helper()
	o.Location = time.UTC
	tree := fs.New(s, o)
	t.Cleanup(tree.Close)
	return tree
}

func list(t *testing.T, tree *fs.Tree, n fs.Node) []string {
	t.Helper()
	var names []string
	for d, err := range tree.ReadDir(t.Context(), n, 2) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, string(d.Name))
	}
	return names
}

func walk(t *testing.T, tree *fs.Tree, path ...string) fs.Attr {
	t.Helper()
	a := fs.Attr{Node: fs.Root}
	for _, name := range path {
		var err error
		if a, err = tree.Lookup(t.Context(), a.Node, name); err != nil {
			t.Fatalf("look up %q of %q: %v", name, path, err)
		}
	}
	return a
}

func TestStandardLibrary(t *testing.T) {
	s := fsconform.NewSource()
	all := files("/home/a", "/home/b", "/home/c/d", "/top")
	all = append(all, fsconform.File{Path: "/link", Entry: table.Entry{Kind: table.Symlink, Mode: 0o777, Target: "top"}})
	p := add(t, s, started, all)
	tree := newTree(t, s, fs.Options{})
	root, err := tree.PointRoot(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(tree.IOFS(t.Context(), root), "home/a", "home/b", "home/c/d", "top", "link"); err != nil {
		t.Error(err)
	}
	if err := fstest.TestFS(tree.IOFS(t.Context(), fs.Root), "latest", "points/2026-11-22_10-00-00/home/c/d"); err != nil {
		t.Error(err)
	}
	b, err := iofs.ReadFile(tree.IOFS(t.Context(), root), "home/c/d")
	if err != nil || string(b) != "content of /home/c/d" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestPointsOfOneSecond(t *testing.T) {
	s := fsconform.NewSource()
	add(t, s, started, files("/a"))
	second := add(t, s, started.Add(300*time.Millisecond), files("/a", "/b"))
	third := add(t, s, started.Add(time.Second), files("/c"))
	c := &clock{at: started.Add(time.Hour)}
	tree := newTree(t, s, fs.Options{Now: c.now})
	want := []string{"2026-11-22_10-00-00", "2026-11-22_10-00-00-2", "2026-11-22_10-00-01"}
	if got := list(t, tree, walk(t, tree, "points").Node); !slices.Equal(got, want) {
		t.Errorf("points: %q", got)
	}
	if got := list(t, tree, walk(t, tree, "points", want[1]).Node); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the second point holds %q", got)
	}
	if path, err := tree.Path(t.Context(), second.ID); err != nil || path != "points/"+want[1] {
		t.Errorf("path %q, %v", path, err)
	}
	latest := walk(t, tree, "latest")
	target, err := tree.Readlink(t.Context(), latest.Node)
	if err != nil || target != "points/"+want[2] || !latest.Fixed || tree.Fixed(fs.Root) {
		t.Errorf("latest: %q, %v, %+v", target, err, latest)
	}

	// A point that goes is stale for ever; its name and slot are not used again.
	inside := walk(t, tree, "points", want[1], "b").Node
	s.Remove(second)
	s.Remove(third)
	add(t, s, started, files("/a", "/x"))
	c.pass(6 * time.Second)
	if got := list(t, tree, walk(t, tree, "points").Node); !slices.Equal(got, []string{want[0], "2026-11-22_10-00-00-3"}) {
		t.Errorf("points: %q", got)
	}
	if _, err := tree.Attr(t.Context(), inside); !errors.Is(err, fault.Stale) {
		t.Errorf("a node of a removed point: %v", err)
	}
	// Where a link leads never changes: it goes, and another one has its name.
	if _, err := tree.Readlink(t.Context(), latest.Node); !errors.Is(err, fault.Stale) {
		t.Errorf("a link to a removed point: %v", err)
	}
	if target, err := tree.Readlink(t.Context(), walk(t, tree, "latest").Node); err != nil || target != "points/2026-11-22_10-00-00-3" {
		t.Errorf("latest: %q, %v", target, err)
	}
	if n, err := tree.Read(t.Context(), inside, 0, make([]byte, 9)); !errors.Is(err, fault.Stale) || n != 0 {
		t.Errorf("reading it: %d, %v", n, err)
	}
}

// lazy counts how often the list of points is read.
type lazy struct {
	*fsconform.Source
	asked int
	err   error
}

func (l *lazy) Points(ctx context.Context) ([]*repo.Point, error) {
	l.asked++
	if l.err != nil {
		return nil, l.err
	}
	return l.Source.Points(ctx)
}

func TestListIsReadWhenSomebodyLooks(t *testing.T) {
	l := &lazy{Source: fsconform.NewSource()}
	add(t, l.Source, started, files("/a"))
	c := &clock{at: started}
	tree := newTree(t, l, fs.Options{Now: c.now})
	if l.asked != 0 {
		t.Error("New reads")
	}
	for range 50 {
		list(t, tree, walk(t, tree, "points").Node)
		walk(t, tree, "points", "2026-11-22_10-00-00", "a")
	}
	if l.asked != 1 {
		t.Errorf("the list was read %d times in one moment", l.asked)
	}
	c.pass(time.Minute)
	l.err = fault.Unavailable
	for range 50 {
		if got := list(t, tree, walk(t, tree, "points").Node); len(got) != 1 {
			t.Errorf("without its vault the tree shows %q", got)
		}
	}
	if l.asked != 2 {
		t.Errorf("a vault that is away was asked %d times in one moment", l.asked-1)
	}
}

func TestForeignNodesAreStale(t *testing.T) {
	s := fsconform.NewSource()
	p := add(t, s, started, files("/a"))
	for _, o := range []fs.Options{{}, {Point: p}} {
		tree := newTree(t, s, o)
		walk(t, tree)
		nodes := []fs.Node{0, 3, 5, 1 << 20, 1<<20 | 99, 2 << 20, 2<<20 | 99, 3<<20 | 99, 4<<20 | 1, 1 << 35, 1<<36 | 99, 2 << 36, 1<<56 - 1, 1 << 56, 1<<56 | 99<<36, 2 << 56, 1<<64 - 1}
		for _, n := range nodes {
			if _, err := tree.Attr(t.Context(), n); !errors.Is(err, fault.Stale) {
				t.Errorf("attributes of node %v: %v", n, err)
			}
			if _, err := tree.Lookup(t.Context(), n, "a"); !errors.Is(err, fault.Stale) {
				t.Errorf("look up in node %v: %v", n, err)
			}
		}
	}
}

func TestNoXattrs(t *testing.T) {
	s := fsconform.NewSource()
	without := add(t, s, started, files("/a", "/b"))
	marked := files("/a", "/b")
	marked[1].Entry.Xattrs = []table.Xattr{{Name: "system.posix_acl_access", Value: []byte("x")}}
	with := add(t, s, started, marked)
	for _, c := range []struct {
		o    fs.Options
		want bool
	}{
		{fs.Options{}, false},
		{fs.Options{Point: without}, true},
		{fs.Options{Point: with}, false},
		{fs.Options{Point: with, Open: true}, true},
	} {
		tree := newTree(t, s, c.o)
		if tree.NoXattrs() {
			t.Error("known before it was looked at")
		}
		if err := tree.ScanXattrs(t.Context()); err != nil || tree.NoXattrs() != c.want {
			t.Errorf("%+v: %v, %v", c.o, tree.NoXattrs(), err)
		}
	}
}

func TestReadAhead(t *testing.T) {
	s := fsconform.NewSource()
	big := make([]byte, 64<<20)
	all := []fsconform.File{{Path: "/big", Entry: table.Entry{Kind: table.File}, Data: fsconform.Bytes(big)}}
	for i := range 200 {
		all = append(all, fsconform.File{Path: fmt.Sprintf("/small/%03d", i), Entry: table.Entry{Kind: table.File}, Data: fsconform.Bytes(make([]byte, 20_000))})
	}
	p := add(t, s, started, all)
	tree := newTree(t, s, fs.Options{Point: p})
	n := walk(t, tree, "big").Node
	buf := make([]byte, 128<<10)
	read := func(offset uint64) {
		t.Helper()
		if _, err := tree.Read(t.Context(), n, offset, buf); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(20) {
		read(i * 2_999_999 % (50 << 20))
	}
	if got := s.Prefetched(); got > 20*128<<10 {
		t.Errorf("random reads: %d bytes were asked for ahead", got)
	}
	before := s.Prefetched()
	for offset := uint64(0); offset < 64<<20; offset += uint64(len(buf)) {
		read(offset)
		if ahead := s.Prefetched() - before; offset == 20<<20 && (ahead < 28<<20 || ahead > 40<<20) {
			t.Errorf("after 20 MiB of a stream %d bytes were asked for", ahead)
		}
	}
	if got := s.Prefetched() - before; got > 64<<20 {
		t.Errorf("a stream of 64 MiB asked for %d bytes", got)
	}
	before = s.Prefetched()
	folder := walk(t, tree, "small").Node
	for i := range 200 {
		a, err := tree.Lookup(t.Context(), folder, fmt.Sprintf("%03d", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Read(t.Context(), a.Node, 0, buf); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Prefetched() - before; got < 3<<20 || got > 10<<20 {
		t.Errorf("copying 4 MB of small files asked for %d bytes", got)
	}
}

func TestDamageIsSaid(t *testing.T) {
	s := fsconform.NewSource()
	p := add(t, s, started, []fsconform.File{{Path: "/a", Entry: table.Entry{Kind: table.File}, Data: fsconform.Bytes(make([]byte, 10_000))}})
	tree := newTree(t, s, fs.Options{Point: p})
	n := walk(t, tree, "a").Node
	s.Broken = func(pack.ID, uint32) error { return fault.Corrupt }
	if _, err := tree.Read(t.Context(), n, 0, make([]byte, 10)); !errors.Is(err, fault.Corrupt) {
		t.Errorf("reading a damaged pack: %v", err)
	}
}

func TestManyReaders(t *testing.T) {
	s := fsconform.NewSource()
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("/%02d/%04d", i%60, i))
	}
	add(t, s, started, files(names...))
	tree := newTree(t, s, fs.Options{CacheBytes: 1 << 20})
	top := walk(t, tree, "points", "2026-11-22_10-00-00").Node
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 60 {
				a, err := tree.Lookup(t.Context(), top, fmt.Sprintf("%02d", (i*7+j)%60))
				if err != nil {
					t.Error(err)
					return
				}
				for d, err := range tree.ReadDir(t.Context(), a.Node, 2) {
					if err != nil {
						t.Error(err)
						return
					}
					buf := make([]byte, 100)
					want := fmt.Sprintf("content of /%02d/%s", (i*7+j)%60, d.Name)
					if n, err := tree.Read(t.Context(), d.Attr.Node, 0, buf); err != nil || string(buf[:n]) != want {
						t.Errorf("%s: %q, %v", d.Name, buf[:n], err)
						return
					}
				}
			}
		})
	}
	wait.Wait()
}

// fewer is a Source of which only some points can be had for a while, as from a
// replica that stands in for it.
type fewer struct {
	*fsconform.Source
	without *repo.Point
}

func (f *fewer) Points(ctx context.Context) ([]*repo.Point, error) {
	points, err := f.Source.Points(ctx)
	return slices.DeleteFunc(slices.Clone(points), func(p *repo.Point) bool { return p == f.without }), err
}

// TestPointComesBack: one that could not be had for a while is the same again,
// with its name and its nodes.
func TestPointComesBack(t *testing.T) {
	s := &fewer{Source: fsconform.NewSource()}
	add(t, s.Source, started, files("/a"))
	second := add(t, s.Source, started.Add(time.Second), files("/a", "/b"))
	c := &clock{at: started.Add(time.Hour)}
	tree := newTree(t, s, fs.Options{Now: c.now})
	name := "2026-11-22_10-00-01"
	inside := walk(t, tree, "points", name, "b").Node
	s.without = second
	c.pass(6 * time.Second)
	if got := list(t, tree, walk(t, tree, "points").Node); !slices.Equal(got, []string{"2026-11-22_10-00-00"}) {
		t.Errorf("without it: %q", got)
	}
	if _, err := tree.Attr(t.Context(), inside); !errors.Is(err, fault.Stale) {
		t.Errorf("a node of it: %v", err)
	}
	if _, err := tree.Path(t.Context(), second.ID); fault.KindOf(err) != fault.NotExist {
		t.Errorf("its path: %v", err)
	}
	s.without = nil
	c.pass(6 * time.Second)
	if got := list(t, tree, walk(t, tree, "points").Node); !slices.Equal(got, []string{"2026-11-22_10-00-00", name}) {
		t.Errorf("with it again: %q", got)
	}
	if a, err := tree.Attr(t.Context(), inside); err != nil || a.Node != inside {
		t.Errorf("the node of before: %v", err)
	}
}
