package webdav

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for _, c := range []struct {
		name, in string
		cut      bool
		want     string
		is       bool
	}{
		{"plain", "a\tb\r\nc\n", false, "a\tb\nc\n", true},
		{"mark", "\ufeffa", false, "a", true},
		{"UTF-16", "\xff\xfea\x00\xe4\x00", false, "aä", true},
		{"UTF-16, other order", "\xfe\xff\x00a\x00\xe4", false, "aä", true},
		{"not UTF-8", "a\xffb", false, "", false},
		{"cut in a character", "aaaa\xc3", true, "aaaa", true},
		{"cut in a longer one", "aaaa\xf0\x9f\x98", true, "aaaa", true},
		{"not cut, and yet", "aaaa\xc3", false, "", false},
		{"zero", "a\x00b", false, "", false},
		{"turned", strings.Repeat("a", 100) + "\u202etxt.exe", false, strings.Repeat("a", 100) + `\u202etxt.exe`, true},
		{"mostly odd", "\x01\x02\x03\x04abc", false, `\u0001\u0002\u0003\u0004abc`, false},
	} {
		got, is := plainText([]byte(c.in), c.cut)
		if is != c.is || is && got != c.want {
			t.Errorf("%s: %q, %v", c.name, got, is)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("\xff\xfea"), true)
	f.Add([]byte("aaa\xf0\x9f"), true)
	f.Fuzz(func(t *testing.T, b []byte, cut bool) {
		s, is := plainText(b, cut)
		if is && (!utf8.ValidString(s) || strings.ContainsAny(s, "\x00\x1b\u202e")) {
			t.Errorf("%q", s)
		}
		picture(b)
	})
}

func TestPicture(t *testing.T) {
	for in, want := range map[string]string{
		"\x89PNG\r\n\x1a\n....": "image/png", "\xff\xd8\xff\xe0": "image/jpeg", "GIF89a..": "image/gif", "RIFF....WEBPVP": "image/webp",
		"<svg xmlns='http://www.w3.org/2000/svg'>": "", "<html>": "", "%PDF-1.7": "", "": "", "\x00\x00\x01\x00": "",
	} {
		if got := picture([]byte(in)); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
