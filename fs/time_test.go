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
