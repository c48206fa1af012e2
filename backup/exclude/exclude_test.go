package exclude

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func compile(t testing.TB, roots []string, texts ...string) *Matcher {
	t.Helper()
	m, err := Compile(roots, Flags("test", texts))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAbsolutePathsAndAnchors(t *testing.T) {
	for _, c := range []struct {
		roots, pattern string // roots apart by spaces
		out, in        string
	}{
		{"/home", "/home/*/.cache", "/home/me/.cache", "/home/home/x/.cache /home/me/x/.cache"},
		{"/home/me", "/home/*/.cache", "/home/me/.cache", "/home/me/home/x/.cache"},
		{"/", "/proc", "/proc", "/x/proc"},
		{"/", "/home/*/.cache", "/home/me/.cache", "/srv/home/me/.cache"},
		{"/home/me/src", "/build", "/home/me/src/build", "/home/me/src/x/build"},
		{"/home/me/src", "/home", "", "/home/me/src/home"}, // a parent of the root, not a folder below it
		{"/home/me/src", "/*", "/home/me/src/x /home/me/src/.x", "/home/me/src/x/y"},
		{"/home /srv", "/srv/tmp", "/srv/tmp", "/home/srv/tmp /srv/srv/tmp /home/tmp"},
		{"/home /srv", "/tmp", "/srv/tmp /home/tmp", "/home/x/tmp"},
		{"/home /srv", "a/b", "/srv/a/b /home/a/b", "/home/x/a/b"},
		{"/home /srv", "/home/**/x", "/home/x /home/a/b/x", "/srv/x"},
		{"/home /home/me", "*", "/home/you /home/me/x", "/home/me /home"},
		{"/a", "**/a/b", "/a/a/b /a/x/a/b", "/a/b"},
		{"/a[x]", "/a\\[x]/b", "/a[x]/b", "/a[x]/c/b"},
		{"/srv/", "x", "/srv/x", "/srv /x /srvx/x"},
		{"C:/Users", "C:/Users/*/AppData", "C:/Users/me/AppData", "C:/Users/me/x/AppData"},
		{"/top", "C:/x", "/top/C:/x", "/top/x"},
		{"/ä", "?", "/ä/ö /ä/\xff", "/ä/öö /ä/ "[:len("/ä/öö")]},
		{"/ä", "[ö-ü]", "/ä/ö", "/ä/a"},
		{"/x", "[[:alpha:]]", "/x/é", "/x/1"},
		{"/x", "a**b/c", "/x/azzb/c", "/x/a/b/c /x/az/b/c"},
		{"/x", "Thumbs.db", "/x/a/Thumbs.db", "/x/thumbs.db"},
	} {
		m := compile(t, strings.Fields(c.roots), c.pattern)
		for path := range strings.FieldsSeq(c.out) {
			if !m.Excluded(path, true) {
				t.Errorf("roots %s, pattern %s: %s is not excluded", c.roots, c.pattern, path)
			}
		}
		for path := range strings.FieldsSeq(c.in) {
			if m.Excluded(path, true) {
				t.Errorf("roots %s, pattern %s: %s is excluded", c.roots, c.pattern, path)
			}
		}
	}
}

func TestLiteral(t *testing.T) {
	for _, path := range []string{"/r/plain", "/r/a*b", `/r/[x]\?`, "/r/!x #", "/r/ä "} {
		m := compile(t, []string{"/r"}, Literal(path))
		if !m.Excluded(path, true) || m.Excluded(path+"x", true) || m.Excluded("/r/x"+path, true) {
			t.Errorf("%s is not matched, or more than that", path)
		}
	}
}

func TestTheLastPatternDecides(t *testing.T) {
	// Each of these is found another way: in a map of names, in a map of
	// paths, by a suffix, by a walk.
	for _, c := range []struct {
		patterns string
		want     bool
	}{
		{"a.o", true},
		{"a.o !a.o", false},
		{"!a.o a.o", true},
		{"*.o !a.o", false},
		{"!a.o *.o", true},
		{"*.o !/r/x/a.o", false},
		{"a.o !x/*", false},
		{"!x/* /r/x/a.o", true},
		{"*.o !a.o/", false}, // it is a folder here
		{"!a.o/ *.o a.o", true},
		{"a.o b.o !c.o", true},
	} {
		m := compile(t, []string{"/r"}, strings.Fields(c.patterns)...)
		if got := m.Excluded("/r/x/a.o", true); got != c.want {
			t.Errorf("%s: excluded %v, want %v", c.patterns, got, c.want)
		}
	}
	if compile(t, []string{"/r"}, "a.o/").Excluded("/r/a.o", false) {
		t.Error("a pattern for folders excludes a file")
	}
}

func TestNothingExcludesNothing(t *testing.T) {
	var none *Matcher
	if none.Excluded("/x", false) || new(Matcher).Excluded("/x", true) {
		t.Error("a Matcher without patterns excludes something")
	}
}

func TestImpossiblePatternsAreErrors(t *testing.T) {
	for _, text := range []string{"", "!", "/", "!/", "//", "[a", "[", "[]", "a[!]", `a\`, "[[:nope:]]", "[a-", "a\x00b", strings.Repeat("x", maxPattern+1)} {
		_, err := Compile([]string{"/r"}, []Pattern{{Text: text, Origin: "list:7"}})
		if k := fault.KindOf(err); err == nil || k != fault.Invalid {
			t.Errorf("pattern %.20q: error %v", text, err)
		} else if !strings.Contains(err.Error(), "list:7") {
			t.Errorf("error %q does not say where the pattern stands", err)
		}
	}
}

func TestRead(t *testing.T) {
	file := "\ufeff# comment\n\n  \n*.o\r\n\\#x\nkeep\\ \ncut  \n #no comment\nlast"
	got, err := Read(strings.NewReader(file), "list")
	if err != nil {
		t.Fatal(err)
	}
	want := `[{*.o list:4} {\#x list:5} {keep\  list:6} {cut list:7} { #no comment list:8} {last list:9}]`
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	broken := errors.New("broken disk")
	if _, err := Read(iotest.ErrReader(broken), "list"); !errors.Is(err, broken) {
		t.Errorf("a failing file gives %v", err)
	}
	if _, err := Read(strings.NewReader(strings.Repeat("x", 1<<20)), "list"); !errors.Is(err, fault.Invalid) {
		t.Errorf("an endless line gives %v", err)
	}
}

func TestIsCacheTag(t *testing.T) {
	for content, want := range map[string]bool{
		cacheSignature:           true,
		cacheSignature + "\n# x": true,
		cacheSignature[:20]:      false,
		"":                       false,
		"x" + cacheSignature:     false,
	} {
		if got, err := IsCacheTag(strings.NewReader(content)); got != want || err != nil {
			t.Errorf("%q: %v, %v", content, got, err)
		}
	}
	if _, err := IsCacheTag(iotest.ErrReader(iotest.ErrTimeout)); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a tag that cannot be read gives %v", err)
	}
}

// FuzzCompile looks for crashes and for work out of all proportion, and
// holds the fast ways of a Matcher against the plain meaning of its rules.
func FuzzCompile(f *testing.F) {
	f.Add("*.o\n!keep.o\n/build/", "/r/x/keep.o", true)
	f.Add("/r/**/x\na/**/b\n[[:alpha:]-z]?\\*", "/r/a/c/b", false)
	f.Add("**/\xff*\n***/a***", "/r/\xff\xfe", false)
	f.Fuzz(func(t *testing.T, file, path string, isDir bool) {
		patterns, err := Read(strings.NewReader(file), "fuzz")
		if err != nil {
			return
		}
		patterns = deleteInvalid(patterns)
		roots := []string{"/r", "/s/t"}
		m, err := Compile(roots, patterns)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := m.Excluded(path, isDir), plainly(m.roots, patterns, path, isDir); got != want {
			t.Fatalf("patterns %q, path %q: excluded %v, want %v", patterns, path, got, want)
		}
	})
}

// plainly asks every rule in turn.
func plainly(roots []string, patterns []Pattern, path string, isDir bool) bool {
	out := false
	for _, p := range patterns {
		r, err := parse(p.Text, roots)
		if err != nil || r.foldersOnly && !isDir {
			continue
		}
		m := Matcher{roots: roots}
		below, ok := m.below(path)
		if !ok {
			return false
		}
		text := map[scope]string{byName: path[strings.LastIndexByte(path, '/')+1:], byRoot: below, byPath: path}[r.scope]
		if r.glob.match(text) {
			out = !r.negate
		}
	}
	return out
}

// usual is the length and mix of lists that people keep.
var usual = []string{
	"*.tmp", "*.o", "*.pyc", ".cache/", "node_modules/", "/proc", "/sys", "/dev", "/run", "/var/cache/apt/archives/*.deb",
	"/home/*/.cache", "/home/*/.local/share/Trash", "**/target/debug/**", "*~", ".#*", "core.[0-9]*", "Thumbs.db",
	"!important.tmp", "/swapfile", "*.sw?",
}

func BenchmarkExcluded(b *testing.B) {
	m := compile(b, []string{"/"}, usual...)
	paths := []string{"/usr/share/doc/libc6/changelog.Debian.gz", "/home/somebody/src/project/internal/thing/file.go", "/usr/lib/x86_64-linux-gnu/libm.so.6"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if m.Excluded(paths[i%len(paths)], false) {
			b.Fatal("excluded")
		}
	}
}

func TestNoAllocation(t *testing.T) {
	m := compile(t, []string{"/"}, usual...)
	if n := testing.AllocsPerRun(100, func() {
		m.Excluded("/home/somebody/src/project/internal/thing/file.go", false)
	}); n != 0 {
		t.Errorf("%v allocations per path", n)
	}
}
