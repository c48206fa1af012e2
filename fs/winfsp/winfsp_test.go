package winfsp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/alias"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

const top = "/points/2026-11-22_10-00-00"

func newTestSystem(t *testing.T, o Options, files ...fsconform.File) (*System, *fsconform.Source) {
	t.Helper()
	source := fsconform.NewSource()
	if _, err := source.Add(t.Context(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), files); err != nil {
		t.Fatal(err)
	}
	tree := fs.New(source, fs.Options{Location: time.UTC})
	t.Cleanup(tree.Close)
	return NewSystem(t.Context(), tree, o), source
}

func text(path, content string) fsconform.File {
	return fsconform.File{Path: path, Entry: table.Entry{Kind: table.File, Mode: 0o640, UID: 1000, GID: 1000}, Data: fsconform.Bytes([]byte(content))}
}

func link(path, target string) fsconform.File {
	return fsconform.File{Path: path, Entry: table.Entry{Kind: table.Symlink, Mode: 0o777, Target: target}}
}

// list returns the names in a folder, as Windows sees them.
func (s *System) list(t *testing.T, path string) []string {
	t.Helper()
	handle, errno := s.Open(path, true, false)
	if errno != 0 {
		t.Fatalf("open %s: %d", path, errno)
	}
	var names []string
	errno = s.ReadDir(path, handle, func(name string, a *fs.Attr) bool {
		if name != "." && name != ".." {
			names = append(names, name)
			want, errno := s.Attr(path+"/"+name, NoHandle)
			if errno != 0 || a != nil && *a != want {
				t.Errorf("%s/%s is listed as %+v, and is %+v, %d", path, name, a, want, errno)
			}
		}
		return true
	})
	if errno != 0 {
		t.Fatalf("list %s: %d", path, errno)
	}
	return names
}

func (s *System) content(path string) string {
	handle, errno := s.Open(path, false, false)
	if errno != 0 {
		return fmt.Sprint(errno)
	}
	buf := make([]byte, 100)
	n := s.Read(path, handle, buf, 0)
	if n < 0 {
		return fmt.Sprint(n)
	}
	return string(buf[:n])
}

func TestNamesThatWindowsCannotHave(t *testing.T) {
	names := []string{"a:b.txt", `c\d`, "what?", "dot.", "space ", "con", "LPT1.txt", "\xff.doc", "Case", "case", "CASE.txt", "case.txt", "normal", "ünï"}
	var files []fsconform.File
	for _, n := range names {
		files = append(files, text("/d/"+n, n))
	}
	s, _ := newTestSystem(t, Options{}, files...)
	shown := s.list(t, top+"/d")
	if len(shown) != len(names) {
		t.Errorf("%d of %d files are shown: %q", len(shown), len(names), shown)
	}
	folded, got := map[string]bool{}, map[string]bool{}
	for _, name := range shown {
		if !alias.Legal(name) || folded[alias.Fold(name)] {
			t.Errorf("Windows is given %q", name)
		}
		folded[alias.Fold(name)] = true
		got[s.content(top+"/d/"+name)] = true
		if upper := s.content(top + "/D/" + strings.ToUpper(name)); name != "ünï" && !strings.HasPrefix(alias.Fold(name), "case") && upper != s.content(top+"/d/"+name) {
			t.Errorf("%q in capitals is %q", name, upper)
		}
	}
	for _, n := range names {
		if !got[n] {
			t.Errorf("%q cannot be read under any name", n)
		}
	}
	if c := s.content(top + "/d/desktop.ini"); c != "-2" {
		t.Errorf("what is not there: %s", c)
	}
}

func TestLinksAreFollowedWithinTheirPoint(t *testing.T) {
	s, _ := newTestSystem(t, Options{}, text("/d/f", "hello"), link("/near", "d/f"), link("/abs", "/d"), link("/out", "../../../../d/f"),
		link("/loop", "loop"), link("/gone", "nowhere"), link("/d/up", ".."), fsconform.File{Path: "/pipe", Entry: table.Entry{Kind: table.FIFO, Mode: 0o644}})
	if got := s.list(t, top); !slices.Equal(got, []string{"abs", "d", "near", "out"}) {
		t.Errorf("listed: %q", got)
	}
	for path, want := range map[string]string{
		"/near": "hello", "/abs/f": "hello", "/out": "hello", "/d/up/d/up/near": "hello", "/ABS/F": "hello",
		"/loop": "-2", "/gone": "-2", "/pipe": "-2", "/d/f/x": "-20", "/abs": "-21",
	} {
		if got := s.content(top + path); got != want {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	if got := s.content("/latest/d/f"); got != "hello" {
		t.Errorf("latest: %q", got)
	}
	if got := s.content("/LATEST/D/F"); got != "hello" {
		t.Errorf("LATEST: %q", got)
	}
}

func TestOwnership(t *testing.T) {
	secret := text("/secret", "x")
	secret.Entry.Mode = 0
	for _, keep := range []bool{false, true} {
		s, _ := newTestSystem(t, Options{KeepOwners: keep}, secret)
		a, errno := s.Attr(top+"/secret", NoHandle)
		want := uint32(0o400)
		if keep {
			want = 0
		}
		if errno != 0 || a.Mode != want || a.UID != 1000 {
			t.Errorf("keep %v: mode %o, user %d, %d", keep, a.Mode, a.UID, errno)
		}
	}
}

func TestWritingIsRefused(t *testing.T) {
	s, _ := newTestSystem(t, Options{}, text("/f", "x"))
	if _, errno := s.Open(top+"/f", false, true); errno != -30 {
		t.Errorf("open for writing: %d", errno)
	}
	if errno := s.ReadOnly(); errno != -30 {
		t.Errorf("writing: %d", errno)
	}
}

func TestAttributes(t *testing.T) {
	f := text("/f", "x")
	f.Entry.Xattrs = []table.Xattr{{Name: "user.a", Value: []byte("1")}, {Name: "user.b", Value: nil}}
	s, _ := newTestSystem(t, Options{}, f, text("/plain", ""))
	if v, errno := s.Xattr(top+"/f", "user.a"); string(v) != "1" || errno != 0 {
		t.Errorf("%q, %d", v, errno)
	}
	if _, errno := s.Xattr(top+"/f", "user.c"); errno != -120 {
		t.Errorf("absent: %d", errno)
	}
	for path, want := range map[string][]string{"/f": {"user.a", "user.b"}, "/plain": nil} {
		var got []string
		if errno := s.Xattrs(top+path, func(n string) bool { got = append(got, n); return true }); errno != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %d", path, got, errno)
		}
	}
	if st, errno := s.Stat(); errno != 0 || st.Files == 0 {
		t.Errorf("%+v, %d", st, errno)
	}
}

func TestEveryKindHasItsNumber(t *testing.T) {
	for kind, no := range errnos() {
		if no == 0 {
			t.Errorf("%v has no error number", fault.Kind(kind))
		}
	}
}

func TestFailuresAreIOErrors(t *testing.T) {
	s, source := newTestSystem(t, Options{}, text("/f", strings.Repeat("x", 5000)))
	if got := s.content(top + "/f"); !strings.HasPrefix(got, "xxx") {
		t.Fatal(got)
	}
	source.Broken = func(pack.ID, uint32) error { return fmt.Errorf("away: %w", fault.Unavailable) }
	if got := s.content(top + "/f"); got != "-5" {
		t.Errorf("the content is away: %s", got)
	}
}

func TestFolderNamesAreBounded(t *testing.T) {
	var f folded
	big := map[uint64]string{}
	for i := range uint64(maxFolded) {
		big[i] = ""
	}
	f.keep(1, big)
	f.keep(2, map[uint64]string{1: "a"})
	if len(f.known) != 1 || f.size > maxFolded {
		t.Errorf("%d folders with %d names are remembered", len(f.known), f.size)
	}
}

// FuzzPath: no path makes it fail otherwise than by an error number, or leads
// out of the tree.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/", "", "//", "/..", "/latest/../..", top + "/d/f", top + "/near/..", "/points/../latest", "/\x00", "/a~00000000", "/LATEST/NEAR"} {
		f.Add(p)
	}
	source := fsconform.NewSource()
	if _, err := source.Add(context.Background(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
		[]fsconform.File{text("/d/f", "hello"), link("/near", "d/f"), link("/up", "../../..")}); err != nil {
		f.Fatal(err)
	}
	tree := fs.New(source, fs.Options{Location: time.UTC})
	f.Cleanup(tree.Close)
	f.Fuzz(func(t *testing.T, path string) {
		s := NewSystem(t.Context(), tree, Options{})
		a, errno := s.Attr(path, NoHandle)
		if errno != 0 && errno != -noEntry && errno != -notDirectory && errno != -invalid {
			t.Errorf("%q: %d", path, errno)
		}
		if errno == 0 && a.Kind != table.File && a.Kind != table.Folder {
			t.Errorf("%q leads to a %v", path, a.Kind)
		}
	})
}
