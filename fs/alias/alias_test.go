package alias

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestForWindows(t *testing.T) {
	for name, want := range map[string]string{
		"plain.txt": "plain.txt", "a:b.txt": "a_b~", "CON": "CON~", "con.txt": "con~", "COM¹": "COM¹~", "lpt9.log": "lpt9~",
		"COM0": "COM0", "CONSOLE": "CONSOLE", "end.": "end~", "end ": "end ~", "...": "..~", "a\\b": "a_b~", "\xff.doc": "_~",
		"tab\t": "tab_~", "what?": "what_~", "NUL .txt": "NUL ~", "com1.a.b": "_com1.a~", ".hidden": ".hidden", "ünï": "ünï",
	} {
		got := ForWindows(name)
		if got != want && !(strings.HasSuffix(want, "~") && strings.HasPrefix(got, want) && Is(got)) {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
		if !Legal(got) {
			t.Errorf("%q is shown as %q, which is refused, too", name, got)
		}
	}
}

func TestTwins(t *testing.T) {
	var twins Twins
	seen := map[string]bool{}
	for _, name := range []string{"README", "Readme", "readme", "readme.txt", "Readme.TXT", "a:b", "A_b", "x"} {
		shown := twins.Shown(name)
		if seen[Fold(shown)] || !Legal(shown) {
			t.Errorf("%q is shown as %q, as another one is", name, shown)
		}
		seen[Fold(shown)] = true
	}
	if !seen["readme"] || !seen["x"] || !seen["readme.txt"] {
		t.Errorf("shown: %v", seen)
	}
}

func FuzzForWindows(f *testing.F) {
	for _, s := range []string{"a", "a:b", "CON", "x. . .", "com1.a.b", "\xff\xfe", "~00000000", strings.Repeat("y", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			t.Skip("no name")
		}
		got := ForWindows(name)
		if !Legal(got) || got == "" || !utf8.ValidString(got) {
			t.Errorf("%q is shown as %q", name, got)
		}
		if len(name) <= 255 && len(got) > 264 {
			t.Errorf("%q is shown as %d bytes", name, len(got))
		}
		if got != name && !Is(got) {
			t.Errorf("%q is shown as %q, which is no alias", name, got)
		}
		var twins Twins
		if a, b := twins.Shown(name), twins.Shown(name); a == b || !Legal(b) {
			t.Errorf("twins of %q are %q and %q", name, a, b)
		}
	})
}
