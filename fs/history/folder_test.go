package history_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// past is points whose files are also known otherwise.
type past struct {
	source *fsconform.Source
	points []*repo.Point
	files  []map[string]string // by point: content by path
}

// newPast makes points of a few files that come, change and go.
func newPast(t *testing.T, seed uint64, points, more int) *past {
	t.Helper()
	p := &past{source: fsconform.NewSource()}
	random := rand.New(rand.NewPCG(seed, 5))
	now := map[string]string{"/a/f1": "1", "/z": "z"}
	for i := range more { // so that there are several pages
		now[fmt.Sprintf("/b/more/%03d-%s", i, strings.Repeat("m", 50))] = "m"
	}
	for i := range points {
		for range random.IntN(4) {
			name := fmt.Sprintf("/%c/%s%d", 'a'+rune(random.IntN(3)), []string{"", "s/", "s/t/", "u/"}[random.IntN(4)], random.IntN(3))
			if _, there := now[name]; there && random.IntN(2) == 0 {
				delete(now, name)
			} else {
				now[name] = fmt.Sprint(random.IntN(3))
			}
		}
		var all []fsconform.File
		for _, name := range slices.Sorted(maps.Keys(now)) {
			all = append(all, file(name, now[name], 0o644, int64(10+now[name][0])))
		}
		point, err := p.source.Add(t.Context(), time.Unix(int64(i), 0), all)
		if err != nil {
			t.Fatal(err)
		}
		p.points, p.files = append(p.points, point), append(p.files, maps.Clone(now))
	}
	return p
}

// names returns what is in a folder of a point.
func (p *past) names(point int, folder string) map[string]bool {
	all := map[string]bool{}
	for name := range p.files[point] {
		if rest, ok := strings.CutPrefix(name, strings.TrimSuffix(folder, "/")+"/"); ok {
			name, _, _ = strings.Cut(rest, "/")
			all[name] = true
		}
	}
	return all
}

func TestGone(t *testing.T) {
	for seed := range uint64(30) {
		p := newPast(t, seed, 12, 0)
		for _, folder := range []string{"/", "/a", "/b/s", "/c/s/t"} {
			for at := range p.points {
				var want, got []string
				now, seen := p.names(at, folder), map[string]bool{}
				for i := at - 1; i >= 0; i-- {
					for name := range p.names(i, folder) {
						if !now[name] && !seen[name] {
							seen[name] = true
							want = append(want, fmt.Sprint(name, " of ", i+1))
						}
					}
				}
				slices.Sort(want)
				list, err := history.Gone(t.Context(), p.source, p.points[:at+1], folder)
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range list {
					got = append(got, fmt.Sprint(l.Name, " of ", l.Point.Sequence))
					p.mustHave(t, l.Point, l.Ordinal, path.Join(folder, l.Name))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, %s in point %d: %q, want %q", seed, folder, at+1, got, want)
				}
			}
		}
	}
}

func (p *past) mustHave(t *testing.T, point *repo.Point, ordinal uint64, name string) {
	t.Helper()
	tree, err := p.source.Tree(t.Context(), point, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := tree.At(t.Context(), ordinal); err != nil || table.Path(e.Key) != name {
		t.Fatalf("entry %d of point %d is %v, %v; want %s", ordinal, point.Sequence, e, err, name)
	}
}

func TestContents(t *testing.T) {
	for seed := range uint64(30) {
		p := newPast(t, seed, 15, 0)
		for _, name := range []string{"/a/f1", "/a/0", "/b/s/1", "/c/s/t/2"} {
			first, last := map[string]int{}, map[string]int{}
			for i, files := range p.files {
				if content, ok := files[name]; ok {
					if _, had := first[content]; !had {
						first[content] = i + 1
					}
					last[content] = i + 1
				}
			}
			var want, got []string
			for content := range first {
				want = append(want, fmt.Sprintf("%q %d %d", content, first[content], last[content]))
			}
			list, err := history.Contents(t.Context(), p.source, p.points, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				got = append(got, fmt.Sprintf("%q %d %d", c.Entry.Inline, c.First.Sequence, c.Last.Sequence))
				p.mustHave(t, c.Last, c.Ordinal, name)
			}
			if !slices.IsSortedFunc(list, func(a, b *history.Content) int { return cmp.Compare(a.First.Sequence, b.First.Sequence) }) {
				t.Errorf("not in order: %q", got)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %s: %q, want %q", seed, name, got, want)
			}
		}
	}
}

func TestChildren(t *testing.T) {
	for seed := range uint64(20) {
		p := newPast(t, seed, 10, 0)
		for _, folder := range []string{"/", "/a", "/b", "/a/s"} {
			for a := range p.points {
				b := int(seed*7+uint64(a)*3) % len(p.points)
				want := p.differing(a, b, folder)
				ta, err := p.source.Tree(t.Context(), p.points[a], table.Options{})
				if err != nil {
					t.Fatal(err)
				}
				tb, err := p.source.Tree(t.Context(), p.points[b], table.Options{})
				if err != nil {
					t.Fatal(err)
				}
				list, err := history.Children(t.Context(), ta, tb, folder)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, c := range list {
					got = append(got, fmt.Sprint(c.Name, " ", c.How))
					in := p.points[b]
					if c.How == history.Removed {
						in = p.points[a]
					}
					p.mustHave(t, in, c.Ordinal, path.Join(folder, c.Name))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, %s of %d and %d: %q, want %q", seed, folder, a+1, b+1, got, want)
				}
			}
		}
	}
}

// differing judges by all the files of two points.
func (p *past) differing(a, b int, folder string) []string {
	below := func(point int, name string) (files map[string]string, isFile bool) {
		files = map[string]string{}
		top := path.Join(folder, name)
		for f, content := range p.files[point] {
			if f == top {
				return map[string]string{"": content}, true
			}
			if strings.HasPrefix(f, top+"/") {
				files[f] = content
			}
		}
		return files, false
	}
	was, is := p.names(a, folder), p.names(b, folder)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(union(was, is))) {
		before, file := below(a, name)
		after, file2 := below(b, name)
		switch {
		case !was[name]:
			out = append(out, fmt.Sprint(name, " ", history.Added))
		case !is[name]:
			out = append(out, fmt.Sprint(name, " ", history.Removed))
		case maps.Equal(before, after) && file == file2:
		case file || file2:
			out = append(out, fmt.Sprint(name, " ", history.Changed))
		default:
			out = append(out, fmt.Sprint(name, " ", history.Within))
		}
	}
	return out
}

func union(a, b map[string]bool) map[string]bool {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func TestFind(t *testing.T) {
	for seed := range uint64(9) {
		p := newPast(t, seed, 15, int(seed%3)*150)
		wanted := func(name string) bool { return strings.HasSuffix(name, "1") }
		var want, got []string
		every := map[string]bool{}
		for _, files := range p.files {
			for name := range files {
				every[name] = every[name] || wanted(name)
			}
		}
		for name := range every {
			for i := 0; wanted(name) && i < len(p.files); i++ {
				content, ok := p.files[i][name]
				first := i
				for ok && i+1 < len(p.files) && p.files[i+1][name] == content {
					i++
				}
				if ok {
					want = append(want, fmt.Sprintf("%s %q %d-%d", name, content, first+1, i+1))
				}
			}
		}
		slices.Sort(want)
		match := func(e *table.Entry) bool { return e.Kind == table.File && wanted(table.Path(e.Key)) }
		path := filepath.Join(t.TempDir(), "names")
		half := len(p.points) / 2
		for _, how := range []string{"without names", "learning some", "learning the rest", "knowing"} {
			var names *history.Names
			points := p.points
			if how != "without names" {
				var err error
				if names, err = history.ReadNames(path, seal.Key{1}); err != nil {
					t.Fatal(err)
				}
			}
			if how == "learning some" {
				points = points[:half]
			}
			got = nil
			for f, err := range history.Find(t.Context(), p.source, points, match, names, 3) {
				if err != nil {
					t.Fatal(err)
				}
				if f.Points != int(f.Last.Sequence-f.First.Sequence)+1 {
					t.Errorf("%d points from %d to %d", f.Points, f.First.Sequence, f.Last.Sequence)
				}
				got = append(got, fmt.Sprintf("%s %q %d-%d", table.Path(f.Entry.Key), f.Entry.Inline, f.First.Sequence, f.Last.Sequence))
			}
			slices.Sort(got)
			if how != "learning some" && !slices.Equal(got, want) {
				t.Fatalf("seed %d, %s: %q\nwant %q", seed, how, got, want)
			}
			if names != nil {
				if err := names.Write(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// Names that are damaged, or of another repository, count as none.
func TestDamagedNames(t *testing.T) {
	p := newPast(t, 3, 10, 300)
	path := filepath.Join(t.TempDir(), "state", "names")
	search := func(key seal.Key) (found, reads int) {
		names, err := history.ReadNames(path, key)
		if err != nil {
			t.Fatal(err)
		}
		p.source.Broken = func(pack.ID, uint32) error { reads++; return nil }
		defer func() { p.source.Broken = nil }()
		match := func(e *table.Entry) bool { return strings.HasSuffix(table.Path(e.Key), "z") }
		for _, err := range history.Find(t.Context(), p.source, p.points, match, names, 1) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		if err := names.Write(); err != nil {
			t.Fatal(err)
		}
		return found, reads
	}
	found, all := search(seal.Key{1})
	for _, key := range []seal.Key{{1}, {2}, {2}} {
		if got, _ := search(key); got != found {
			t.Errorf("%d found, not %d", got, found)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(whole), "more/") {
		t.Fatalf("%v, or names in clear", err)
	}
	for i := 0; i < len(whole); i += 1 + len(whole)/50 {
		b := slices.Clone(whole)
		b[i] ^= 4
		for _, b := range [][]byte{b, whole[:i]} {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, reads := search(seal.Key{2}); got != found || reads != all {
				t.Fatalf("damaged at %d: %d found in %d pages, not %d in %d", i, got, reads, found, all)
			}
		}
	}
}

// reads counts the pages that are read, and the different ones among them.
type reads struct {
	mu    sync.Mutex
	all   int
	pages map[string]bool
}

func (r *reads) note(id pack.ID, offset uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all++
	r.pages[fmt.Sprint(id, offset)] = true
	return nil
}

// What history costs is what changed: a search reads each page that points have
// once, and the versions of one path read the way to it.
func TestHistoryCostsWhatChanged(t *testing.T) {
	const folders, each, points = 100, 20, 30
	s := fsconform.NewSource()
	random := rand.New(rand.NewPCG(1, 2))
	files := make([]fsconform.File, folders*each)
	for i := range files {
		files[i] = file(fmt.Sprintf("/d%03d/file-%05d", i/each, i), "0", 0o644, 1)
	}
	var all []*repo.Point
	for n := range points {
		for range folders / 50 {
			folder := random.IntN(folders) * each
			for range 3 {
				i := folder + random.IntN(each)
				files[i] = file(files[i].Path, fmt.Sprint(n), 0o644, int64(n+2))
			}
		}
		p, err := s.Add(t.Context(), time.Unix(int64(n), 0), files)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	measure := func(f func()) *reads {
		r := &reads{pages: map[string]bool{}}
		s.Broken = r.note
		f()
		return r
	}
	search := measure(func() {
		n := 0
		for _, err := range history.Find(t.Context(), s, all, func(e *table.Entry) bool { n++; return strings.HasSuffix(table.Path(e.Key), "7") }, nil, 1) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if n > 3*(len(files)+folders)+points*30 {
			t.Errorf("%d entries were looked at", n)
		}
	})
	// For their names, and for what matches.
	if search.all > 2*len(search.pages) {
		t.Errorf("a search read %d pages, %d of them different", search.all, len(search.pages))
	}
	path := filepath.Join(t.TempDir(), "names")
	rare := func() {
		names, err := history.ReadNames(path, seal.Key{})
		if err != nil {
			t.Fatal(err)
		}
		match := func(e *table.Entry) bool { return strings.HasSuffix(table.Path(e.Key), "/file-00777") }
		for _, err := range history.Find(t.Context(), s, all, match, names, 1) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := names.Write(); err != nil {
			t.Fatal(err)
		}
	}
	first := measure(rare)
	if first.all > len(first.pages)+2*points {
		t.Errorf("a search for one file read %d pages, %d of them different", first.all, len(first.pages))
	}
	known := measure(rare)
	if known.all > 2*points || known.all*4 > search.all {
		t.Errorf("a search that knows the names read %d pages, one that does not %d", known.all, search.all)
	}
	versions := measure(func() {
		list, err := history.Contents(t.Context(), s, all, files[777].Path)
		if err != nil || len(list) == 0 {
			t.Fatal(list, err)
		}
	})
	if versions.all > 2*points || versions.all > len(versions.pages)+3*8 { // 8 points at a time may want one page
		t.Errorf("the versions of a file in %d points read %d pages, %d of them different", points, versions.all, len(versions.pages))
	}
	lost := measure(func() {
		if _, err := history.Gone(t.Context(), s, all, "/d050"); err != nil {
			t.Fatal(err)
		}
	})
	if lost.all > 3*points || lost.all > len(lost.pages) {
		t.Errorf("what a folder lost in %d points read %d pages, %d of them different", points, lost.all, len(lost.pages))
	}
	t.Logf("pages read: search %d, with names %d, versions %d, lost %d", search.all, known.all, versions.all, lost.all)
}
