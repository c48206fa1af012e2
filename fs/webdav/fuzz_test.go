package webdav

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/fs/fsconform"
)

// FuzzDepth and its like below: one part of a request each, with what clients
// and mischief send; FuzzRequest has them together.
func FuzzDepth(f *testing.F) {
	for _, d := range []string{"", "0", "1", "1,noroot", "infinity", " 1 ", "2", "1,noroot,noroot", "\t"} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, finite, err := parseDepth(s)
		if d > below || err != nil && (!finite || d != itself) {
			t.Errorf("%q: %d %v %v", s, d, finite, err)
		}
	})
}

func FuzzPropfind(f *testing.F) {
	for _, body := range []string{"", `<propfind xmlns="DAV:"><allprop/><include><x xmlns="y"/></include></propfind>`, `<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>`,
		`<propfind xmlns="DAV:"><prop/></propfind>`, `<!DOCTYPE a [<!ENTITY x "y">]><propfind xmlns="DAV:"><prop>&x;</prop></propfind>`, strings.Repeat("<a>", 100),
		`<propfind xmlns="DAV:"><prop>` + strings.Repeat("<a/>", 200) + `</prop></propfind>`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w, err := parsePropfind(strings.NewReader(body))
		if err == nil && (len(w.props) > maxProps || !w.all && !w.names && w.props == nil) {
			t.Errorf("%q asks for %+v", body, w)
		}
		if n := len(patched([]byte(body))); n > maxProps {
			t.Errorf("%d properties", n)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"/", "", "//a//b/", "/%2e%2e/x", "/a%2fb", "/a%00", "/%ff%fe", "/%", "/a/../b", "/\u202e"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		names, err := splitPath(path)
		if err != nil {
			return
		}
		href := ""
		for _, n := range names {
			if n == "" || n == "." || n == ".." || strings.ContainsAny(n, "/\x00") {
				t.Errorf("%q has the name %q", path, n)
			}
			href += "/" + escapeName(n)
		}
		if again, err := splitPath(href + "/"); err != nil || !slices.Equal(again, names) {
			t.Errorf("%q is %q, and that is %q", path, href, again)
		}
	})
}

// FuzzRange: whatever a client asks for, what it gets is part of the file, and
// where it is from is right.
func FuzzRange(f *testing.F) {
	for _, r := range []string{"bytes=0-", "bytes=-1", "bytes=5-2", "bytes=0-0,2-3,4-", "bytes=" + strings.Repeat("0-1,", 500), "items=0-1", "bytes=9223372036854775807-"} {
		f.Add(r, "")
	}
	f.Add("bytes=1-2", `"x"`)
	content := strings.Repeat("0123456789", 30)
	source := fsconform.NewSource()
	if _, err := source.Add(f.Context(), firstPoint, []fsconform.File{text("/f", content)}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, span, condition string) {
		if strings.ContainsAny(span+condition, "\r\n\x00") {
			return
		}
		s := &share{t: t, h: newFuzzShare(t, source)}
		r := s.do("GET", top+"/f", gvfsAgent, "", "Range: "+span, "If-Range: "+condition)
		body := read(t, r)
		var from, to, all int
		switch r.StatusCode {
		case 200:
			if body != content {
				t.Errorf("%q: %d bytes", span, len(body))
			}
		case 206:
			if n, _ := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &all); n == 3 && body != content[from:to+1] {
				t.Errorf("%q: %q", span, body)
			}
		case 416:
		default:
			t.Errorf("%q: %d", span, r.StatusCode)
		}
	})
}

// FuzzDestination: no verb that has one looks at it.
func FuzzDestination(f *testing.F) {
	f.Add("/points/x", "T")
	f.Add("http://other.example/%2e%2e", "F")
	f.Add("\xff", "")
	source := fsconform.NewSource()
	if _, err := source.Add(f.Context(), firstPoint, archiveSample()); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, destination, overwrite string) {
		s := &share{t: t, h: newFuzzShare(t, source)}
		for _, method := range []string{"MOVE", "COPY"} {
			s.status(403, method, top+"/d/attr", windowsAgent, "", "Destination: "+destination, "Overwrite: "+overwrite)
		}
	})
}
