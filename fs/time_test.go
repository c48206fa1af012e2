package fs_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Points by the names that Samba asks for: found by name, listed when wanted,
// and folders other than those below points.
func TestTokens(t *testing.T) {
	s := fsconform.NewSource()
	linked := file()
	linked.Link = &table.Link{Device: 1, Inode: 5, Count: 2}
	first := append(files("/d/a"), fsconform.File{Path: "/d/b", Entry: linked}, fsconform.File{Path: "/d/c", Entry: linked})
	add(t, s, started, first)
	second := add(t, s, started.Add(time.Millisecond), files("/d/x"))
	add(t, s, started.Add(time.Second), files("/d/y"))
	tokens := []string{"@GMT-2026.11.22-10.00.00", "@GMT-2026.11.22-10.00.01", "@GMT-2026.11.22-10.00.02"}
	for _, listed := range []bool{false, true} {
		c := &clock{at: started.Add(time.Hour)}
		tree := newTree(t, s, fs.Options{ListTime: listed, Now: c.now})
		want := []string{"latest", "points"}
		if listed {
			want = append(want, tokens...)
		}
		if got := list(t, tree, fs.Root); !slices.Equal(got, want) {
			t.Errorf("the root holds %q", got)
		}
		for i, names := range [][]string{{"a", "b", "c"}, {"x"}, {"y"}} {
			if listed {
				names = append(names, "@deleted", "@diff", "@versions")
			}
			if got := list(t, tree, walk(t, tree, tokens[i], "d").Node); !slices.Equal(got, names) {
				t.Errorf("%s holds %q, want %q", tokens[i], got, names)
			}
		}
		seen := map[uint64]string{}
		for _, path := range [][]string{
			{tokens[0]}, {tokens[0], "d"}, {tokens[0], "d", "a"}, {tokens[0], "d", "b"},
			{"points", "2026-11-22_10-00-00"}, {"points", "2026-11-22_10-00-00", "d"}, {"points", "2026-11-22_10-00-00", "d", "a"}, {"points", "2026-11-22_10-00-00", "d", "b"},
		} {
			a := walk(t, tree, path...)
			if again := walk(t, tree, path...); again != a || seen[a.Inode] != "" {
				t.Errorf("%q is %+v, then %+v; %q has that number, too", path, a, again, seen[a.Inode])
			}
			seen[a.Inode] = path[0]
		}
		if b, c := walk(t, tree, tokens[0], "d", "b"), walk(t, tree, tokens[0], "d", "c"); b.Inode != c.Inode || b.Nlink != 2 {
			t.Errorf("hard links have the numbers %d and %d, and %d names", b.Inode, c.Inode, b.Nlink)
		}
		for _, none := range []string{"@GMT-2026.11.22-09.59.59", "2026-11-22_10-00-00", "@GMT-", "@GMT-2026.11.22-10.00.03"} {
			if _, err := tree.Lookup(t.Context(), fs.Root, none); !errors.Is(err, fault.NotExist) {
				t.Errorf("%s: %v", none, err)
			}
		}
		if _, err := tree.Lookup(t.Context(), walk(t, tree, "points").Node, tokens[0]); !errors.Is(err, fault.NotExist) {
			t.Errorf("a token in the folder of points: %v", err)
		}
	}
	tree := newTree(t, s, fs.Options{Point: second, ListTime: true})
	if got := list(t, tree, fs.Root); !slices.Equal(got, []string{"d"}) {
		t.Errorf("a single point holds %q", got)
	}
	if _, err := tree.Lookup(t.Context(), fs.Root, tokens[1]); !errors.Is(err, fault.NotExist) {
		t.Errorf("a token in a single point: %v", err)
	}
}

// The points of each server, in a folder of its name; listed where there are
// several.
func TestServers(t *testing.T) {
	s := fsconform.NewSource()
	one := add(t, s, started, files("/d/a"))
	one.Host = "alpha"
	c := &clock{at: started.Add(time.Hour)}
	tree := newTree(t, s, fs.Options{Now: c.now})
	if got := list(t, tree, fs.Root); !slices.Equal(got, []string{"latest", "points"}) {
		t.Errorf("with one server the root holds %q", got)
	}
	if got := list(t, tree, walk(t, tree, "servers").Node); !slices.Equal(got, []string{"alpha"}) {
		t.Errorf("servers holds %q", got)
	}
	for i, host := range []string{"b/../c", "alpha", "", ".."} {
		add(t, s, started.Add(time.Duration(i+1)*time.Hour), files("/d/"+string(rune('b'+i)))).Host = host
	}
	c.at = c.at.Add(time.Hour)
	if got := list(t, tree, fs.Root); !slices.Equal(got, []string{"latest", "points", "servers"}) {
		t.Errorf("the root holds %q", got)
	}
	if got := list(t, tree, walk(t, tree, "servers").Node); !slices.Equal(got, []string{"alpha", "b_.._c", "unknown"}) {
		t.Errorf("servers holds %q", got)
	}
	alpha := walk(t, tree, "servers", "alpha")
	if got := list(t, tree, alpha.Node); !slices.Equal(got, []string{"latest", "2026-11-22_10-00-00", "2026-11-22_12-00-00"}) {
		t.Errorf("alpha holds %q", got)
	}
	latest := walk(t, tree, "servers", "alpha", "latest")
	if target, err := tree.Readlink(t.Context(), latest.Node); err != nil || target != "2026-11-22_12-00-00" {
		t.Errorf("its latest leads to %q: %v", target, err)
	}
	if target, err := tree.Readlink(t.Context(), walk(t, tree, "latest").Node); err != nil || target != "points/2026-11-22_14-00-00" {
		t.Errorf("latest leads to %q: %v", target, err)
	}
	here, there := walk(t, tree, "servers", "alpha", "2026-11-22_12-00-00", "d", "c"), walk(t, tree, "points", "2026-11-22_12-00-00", "d", "c")
	if here.Inode == there.Inode || here.Size != there.Size {
		t.Errorf("one file by two names is %+v and %+v", here, there)
	}
	for entry, err := range tree.ReadDir(t.Context(), walk(t, tree, "servers", "alpha", "2026-11-22_12-00-00").Node, 1) {
		if err != nil || string(entry.Name) == ".." && entry.Attr.Node != alpha.Node {
			t.Errorf("%s is %v: %v", entry.Name, entry.Attr.Node, err)
		}
	}
	for _, none := range [][]string{{"gamma"}, {"alpha", "2026-11-22_11-00-00"}, {"b_.._c", "2026-11-22_10-00-00"}} {
		n := walk(t, tree, append([]string{"servers"}, none[:len(none)-1]...)...).Node
		if _, err := tree.Lookup(t.Context(), n, none[len(none)-1]); !errors.Is(err, fault.NotExist) {
			t.Errorf("%q: %v", none, err)
		}
	}
	s.Remove(one)
	c.at = c.at.Add(time.Hour)
	if got := list(t, tree, alpha.Node); !slices.Equal(got, []string{"latest", "2026-11-22_12-00-00"}) {
		t.Errorf("with a point removed alpha holds %q", got)
	}
	if _, err := newTree(t, s, fs.Options{Point: one}).Lookup(t.Context(), fs.Root, "servers"); !errors.Is(err, fault.NotExist) {
		t.Errorf("servers in a single point: %v", err)
	}
}
