package walk

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

// line is what a walk yields of one entry: the tests compare these.
type line struct {
	path string
	stat Stat
	err  string
}

// simple walks root the obvious way: every folder's entries sorted, then the
// subfolders.
func simple(t *testing.T, root string) []line {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	var all []line
	for _, e := range entries {
		path := join(root, e.Name())
		st, err := statPath(path, false)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, line{path: path, stat: st})
	}
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, simple(t, join(root, e.Name()))...)
		}
	}
	return all
}

// collect runs a walk and returns its entries at or below the prefix, the
// errors, and checks what must hold for every walk.
func collect(t *testing.T, w *walker, prefix string) ([]line, []error) {
	t.Helper()
	var all []line
	var errs []error
	lastKey, more, morePath := "", false, ""
	first := true
	w.run(func(f *Folder, err error) bool {
		if err != nil {
			errs = append(errs, err)
			return true
		}
		if first && f.Path != "/" {
			t.Errorf("the first folder is %s", f.Path)
		}
		first = false
		if more && f.Path != morePath {
			t.Errorf("after a slice of %s with More comes %s", morePath, f.Path)
		}
		more, morePath = f.More, f.Path
		if f.Err != nil {
			errs = append(errs, f.Err)
		} else if !f.Stat.IsFolder() {
			t.Errorf("folder %s has mode %o", f.Path, f.Stat.Mode)
		}
		for i := range f.Entries {
			e := &f.Entries[i]
			key := strings.ReplaceAll(strings.TrimSuffix(f.Path, "/"), "/", "\x00") + "\x00\x00" + e.Name
			if key <= lastKey {
				t.Errorf("%q comes after %q", key, lastKey)
			}
			lastKey = key
			if f.Find(e.Name) != e {
				t.Errorf("Find(%q) in %s misses it", e.Name, f.Path)
			}
			l := line{path: strings.Clone(f.Join(e.Name)), stat: e.Stat}
			if e.Err != nil {
				l.err = e.Err.Error()
			}
			if strings.HasPrefix(l.path, prefix) {
				all = append(all, l)
			}
		}
		return true
	})
	if more {
		t.Errorf("nothing follows the last slice of %s, which has More", morePath)
	}
	checkTable(t, w)
	return all, errs
}

// walkSmall is a walk with small bounds, so that small trees reach them.
func walkSmall(o Options) *walker {
	w := newWalker(context.Background(), o)
	w.sliceLen, w.aheadNames, w.headNames, w.aheadMax = 16, 40*(recSize+8), 150*(recSize+8), 40_000
	return w
}

func diff(t *testing.T, what string, got, want []line) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("%s: %d lines are missing, from %q on", what, len(want)-i, want[i].path)
			return
		case i >= len(want):
			t.Errorf("%s: %d lines too many, from %q on", what, len(got)-i, got[i].path)
			return
		case got[i] != want[i]:
			t.Errorf("%s: line %d is\n%+v, want\n%+v", what, i, got[i], want[i])
			return
		}
	}
}

// plantTree makes a tree with folders of many sizes, names that sort
// differently as text, and each kind of file.
func plantTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "a-b", "a/b", "a.b", "A", "a/b-c", "empty", "big", "wide", "a\nb"} {
		must(os.MkdirAll(filepath.Join(root, name), 0o755))
	}
	for i, name := range []string{"a/f", "a-b/f", "a/b/f", "a.b/\tx", "z", "a/b-c/-", "a/b/" + strings.Repeat("n", 255)} {
		must(os.WriteFile(filepath.Join(root, name), make([]byte, i*1000), 0o600))
	}
	must(os.Symlink("a", filepath.Join(root, "link")))
	must(os.Symlink("/nowhere", filepath.Join(root, "a/dangling")))
	must(os.Link(filepath.Join(root, "z"), filepath.Join(root, "a/z2")))
	for i := range 1000 {
		must(os.WriteFile(filepath.Join(root, "big", fmt.Sprintf("file%03d", i*7919%1000)), nil, 0o600))
	}
	for i := range 300 {
		dir := filepath.Join(root, "wide", fmt.Sprint(i))
		must(os.Mkdir(dir, 0o755))
		for j := range i % 20 {
			must(os.WriteFile(filepath.Join(dir, fmt.Sprint(j)), nil, 0o600))
		}
	}
	must(os.MkdirAll(filepath.Join(root, "big/file500x/y"), 0o755))
	must(os.MkdirAll(filepath.Join(root, "big/fil"), 0o755))
	return root
}

func TestSameAsSimpleWalk(t *testing.T) {
	root := plantTree(t)
	want := simple(t, root)
	for _, workers := range []int{1, 2, 8} {
		for range 5 {
			o := Options{Roots: []string{root}, Workers: workers}
			got, errs := collect(t, newWalker(context.Background(), o), root+"/")
			if len(errs) > 0 {
				t.Error(errs)
			}
			diff(t, fmt.Sprint(workers, " workers"), got, want)
			got, errs = collect(t, walkSmall(o), root+"/")
			if len(errs) > 0 {
				t.Error(errs)
			}
			diff(t, fmt.Sprint(workers, " workers, small bounds"), got, want)
		}
	}
}

func TestAncestors(t *testing.T) {
	root := plantTree(t)
	got, errs := collect(t, newWalker(context.Background(), Options{Roots: []string{root + "/a/b", root + "/z"}}), "/")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var want []line
	for path := "/"; path != root; {
		rest := strings.TrimPrefix(root[len(path):], "/")
		name, _, _ := strings.Cut(rest, "/")
		path = join(path, name)
		st, err := statPath(path, false)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, line{path: path, stat: st})
	}
	for _, name := range []string{"/a", "/z", "/a/b", "/a/b/f", "/a/b/" + strings.Repeat("n", 255)} {
		st, err := statPath(root+name, false)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, line{path: root + name, stat: st})
	}
	diff(t, "ancestors", got, want)
}

func TestRoots(t *testing.T) {
	root := plantTree(t)
	whole := simple(t, root)
	for _, roots := range [][]string{
		{root, root}, {root + "/a/b", root}, {root, root + "/a/../a/b/", root + "//z"}, {root + "/."},
	} {
		got, errs := collect(t, newWalker(context.Background(), Options{Roots: roots}), root+"/")
		if len(errs) > 0 {
			t.Errorf("%q: %v", roots, errs)
		}
		diff(t, fmt.Sprint(roots), got, whole)
	}

	// A root that is a link is shown as the link.
	got, errs := collect(t, newWalker(context.Background(), Options{Roots: []string{root + "/link"}}), root+"/")
	if len(errs) > 0 || len(got) != 1 || got[0].path != root+"/link" || !got[0].stat.IsLink() {
		t.Errorf("root that is a link: %+v %v", got, errs)
	}

	// A link above a root is followed.
	got, errs = collect(t, newWalker(context.Background(), Options{Roots: []string{root + "/link/b"}}), root+"/link")
	if len(errs) > 0 || len(got) != 4 || !got[0].stat.IsFolder() || got[2].path != root+"/link/b/f" {
		t.Errorf("root behind a link: %+v %v", got, errs)
	}

	// Unless another root shows it as the link.
	got, errs = collect(t, newWalker(context.Background(), Options{Roots: []string{root, root + "/link/b"}}), root+"/")
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), root+"/link/b") {
		t.Errorf("root behind another root's link: %v", errs)
	}
	diff(t, "root behind another root's link", got, whole)

	// Roots that are not there are named, the others walked.
	got, errs = collect(t, newWalker(context.Background(), Options{Roots: []string{"/no/such", "relative", root, root + "/z/below"}}), root+"/")
	if len(errs) != 3 || !errors.Is(errs[0], iofs.ErrNotExist) || !strings.Contains(errs[0].Error(), "/no/such") {
		t.Errorf("missing roots: %v", errs)
	}
	diff(t, "beside missing roots", got, whole)

	for f, err := range Walk(t.Context(), Options{}) {
		if err != nil || f.Path != "/" || len(f.Entries) != 0 {
			t.Errorf("no roots: %+v %v", f, err)
		}
	}
}

func TestSelect(t *testing.T) {
	root := plantTree(t)
	o := Options{Roots: []string{root}}
	o.Enter = func(f *Folder, above any) any {
		if f.Has("no such name") {
			t.Errorf("%s has what it has not", f.Path)
		}
		if f.Path == root+"/big" && (!f.Has("file000") || !f.Has("file999")) {
			t.Error("Has misses names of a big folder")
		}
		depth, _ := above.(int)
		return depth + 1
	}
	o.Select = func(f *Folder, e *Entry) Verdict {
		if inside, ok := strings.CutPrefix(f.Path, root); ok {
			if want := strings.Count(inside, "/") + 1; f.Note != want {
				t.Errorf("%s has note %v, want %d", f.Path, f.Note, want)
			}
			if !f.Has(e.Name) {
				t.Errorf("%s does not have %s", f.Path, e.Name)
			}
		}
		switch {
		case e.Name == "a", strings.HasPrefix(e.Name, "file5") && !e.Stat.IsFolder():
			return Skip
		case e.Name == "wide":
			return Shallow
		}
		return Keep
	}
	var want []line
	for _, l := range simple(t, root) {
		rest := l.path[len(root):]
		if rest == "/a" || strings.HasPrefix(rest, "/a/") || strings.HasPrefix(rest, "/wide/") ||
			strings.HasPrefix(rest, "/big/file5") && !l.stat.IsFolder() && rest != "/big/file500x/y" {
			continue
		}
		want = append(want, l)
	}
	for _, w := range []*walker{newWalker(t.Context(), o), walkSmall(o)} {
		got, errs := collect(t, w, root+"/")
		if len(errs) > 0 {
			t.Error(errs)
		}
		diff(t, "selected", got, want)
	}
	o.Select = func(*Folder, *Entry) Verdict { return Skip }
	if got, _ := collect(t, newWalker(t.Context(), o), root); len(got) != 0 {
		t.Errorf("a root that Select skips: %v", got)
	}
}

func TestLeavingEarly(t *testing.T) {
	root := plantTree(t)
	var kept *Folder
	n := 0
	for f, err := range Walk(t.Context(), Options{Roots: []string{root}, Workers: 4}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Path == root+"/a/b" {
			f.Retain()
			kept = f
		}
		if n++; n > 100 {
			break
		}
	}
	if kept == nil {
		t.Fatal("no folder a/b")
	}
	for range 3 {
		f, err := kept.Open("f")
		if err != nil {
			t.Fatalf("open in a retained folder: %v", err)
		}
		if fi, err := f.Stat(); err != nil || fi.Size() != 2000 {
			t.Errorf("%v %v", fi, err)
		}
		f.Close()
	}
	kept.Release()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	folders := 0
	for _, err := range Walk(ctx, Options{Roots: []string{root}}) {
		last = err
		if folders++; folders == 10 {
			cancel()
		}
	}
	if folders != 11 || !errors.Is(last, context.Canceled) {
		t.Errorf("canceled walk: %d folders, last error %v", folders, last)
	}
}

func TestFolderCalls(t *testing.T) {
	root := plantTree(t)
	for f, err := range Walk(t.Context(), Options{Roots: []string{root}}) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Path != root {
			continue
		}
		if target, err := f.Readlink("link"); err != nil || target != "a" {
			t.Errorf("Readlink = %q, %v", target, err)
		}
		if file, err := f.Open("link"); err == nil {
			file.Close()
			t.Error("Open followed a link")
		}
		for _, name := range []string{"", ".", "..", "a/f", "a\x00"} {
			if _, err := f.Open(name); err == nil {
				t.Errorf("Open(%q) succeeded", name)
			}
			if _, err := f.Readlink(name); err == nil {
				t.Errorf("Readlink(%q) succeeded", name)
			}
			if _, err := f.Lstat(name); err == nil {
				t.Errorf("Lstat(%q) succeeded", name)
			}
		}
		if st, err := f.Lstat("z"); err != nil || st != f.Find("z").Stat {
			t.Errorf("Lstat = %+v, %v", st, err)
		}
		if f.HostPath("z") != filepath.Join(root, "z") || f.HostPath("") != root {
			t.Errorf("HostPath = %s, %s", f.HostPath("z"), f.HostPath(""))
		}
		if !f.Has("z") || f.Has("y") {
			t.Error("Has is wrong")
		}
	}
}

func TestNameList(t *testing.T) {
	names := []string{"b", "a", "ab", "common-prefix-2", "common-prefix-10", "common-prefix-1", "common-prefix-1\x01", "a"}
	var l nameList
	l.reset("", 1<<20)
	for i, n := range names {
		l.add([]byte(n), uint64(i))
	}
	l.sort()
	want := slices.Clone(names)
	slices.Sort(want)
	want = slices.Compact(want)
	entries := l.slice(0, len(l.recs))
	for i, e := range entries {
		if e.Name != want[i] {
			t.Errorf("name %d is %q, want %q", i, e.Name, want[i])
		}
		if !l.has(e.Name) {
			t.Errorf("has(%q) is false", e.Name)
		}
	}
	if len(entries) != len(want) || l.has("c") || l.last() != want[len(want)-1] {
		t.Errorf("%d names, last %q", len(entries), l.last())
	}
}
