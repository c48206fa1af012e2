package webdav

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

func archiveSample() []fsconform.File {
	linked := func(path string) fsconform.File {
		f := text(path, "linked content")
		f.Entry.Link = &table.Link{Device: 1, Inode: 77, Count: 2}
		return f
	}
	attr := text("/d/attr", strings.Repeat("attributes ", 1000))
	attr.Entry.UID, attr.Entry.GID, attr.Entry.Mode = 1000, 100, 0o640
	attr.Entry.Xattrs = []table.Xattr{{Name: "user.note", Value: []byte("kept")}}
	return []fsconform.File{
		attr, linked("/d/one"), linked("/d/two"), link("/d/link", "../x"), folder("/d/empty"), text("/d/sub/deep/f.txt", "deep"),
		text("/d/zero", ""), {Path: "/d/pipe", Entry: table.Entry{Kind: table.FIFO, Mode: 0o644}}, text("/d/\xff\n", "odd"),
	}
}

func TestZip(t *testing.T) {
	s := newShare(t, archiveSample()...)
	r := s.status(200, "GET", top+"/d?zip", gvfsAgent, "")
	body := read(t, r)
	if r.Header.Get("Content-Disposition") != "attachment; filename=d.zip" {
		t.Errorf("%q", r.Header.Get("Content-Disposition"))
	}
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range z.File {
		c, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(f.Name, err)
		}
		got[f.Name] = string(b)
	}
	want := map[string]string{"d/": "", "d/attr": strings.Repeat("attributes ", 1000), "d/one": "linked content", "d/two": "linked content",
		"d/link": "../x", "d/empty/": "", "d/sub/": "", "d/sub/deep/": "", "d/sub/deep/f.txt": "deep", "d/zero": "", "d/\xff\n": "odd"}
	if len(got) != len(want) {
		t.Errorf("%d entries: %q", len(got), got)
	}
	for name, content := range want {
		if have, ok := got[name]; !ok || have != content {
			t.Errorf("%q: %v %d bytes", name, ok, len(have))
		}
	}
}

func TestTarHasAllMetadata(t *testing.T) {
	s := newShare(t, archiveSample()...)
	r := tar.NewReader(bytes.NewReader([]byte(read(t, s.status(200, "GET", top+"/d?tar", gvfsAgent, "")))))
	seen := map[string]*tar.Header{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[h.Name] = h
	}
	if len(seen) != 12 {
		t.Errorf("%d entries", len(seen))
	}
	a := seen["d/attr"]
	if a == nil || a.Uid != 1000 || a.Gid != 100 || a.Mode != 0o640 || a.PAXRecords["SCHILY.xattr.user.note"] != "kept" || a.ModTime.Unix() != 1_760_000_000 {
		t.Errorf("attr: %+v", a)
	}
	one, two := seen["d/one"], seen["d/two"]
	if one == nil || two == nil || one.Typeflag == two.Typeflag || one.Linkname+two.Linkname != "d/one" && one.Linkname+two.Linkname != "d/two" {
		t.Errorf("hard links: %+v %+v", one, two)
	}
	if l := seen["d/link"]; l == nil || l.Linkname != "../x" {
		t.Errorf("link: %+v", l)
	}
	if p := seen["d/pipe"]; p == nil || p.Typeflag != tar.TypeFifo {
		t.Errorf("pipe: %+v", p)
	}
}

func TestSelection(t *testing.T) {
	s := newShare(t, archiveSample()...)
	body := read(t, s.status(200, "GET", top+"/d?zip=1&name=one&name=sub", gvfsAgent, ""))
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	if strings.Join(names, " ") != "one sub/ sub/deep/ sub/deep/f.txt" {
		t.Errorf("%q", names)
	}
	s.status(200, "GET", top+"/d?zip=1&escaped=%25FF%250A", gvfsAgent, "")
	s.status(404, "GET", top+"/d?zip=1&escaped=%25FE", gvfsAgent, "")
	for _, bad := range []string{"..", "a/b", "none", "%00"} {
		if r := s.do("GET", top+"/d?zip&name="+url.QueryEscape(bad), gvfsAgent, ""); r.StatusCode < 400 {
			t.Errorf("selected %q: %d", bad, r.StatusCode)
		}
	}
	s.status(400, "GET", top+"/d/one?zip", gvfsAgent, "")
}

func TestAnArchiveThatFailsIsNotTakenForWhole(t *testing.T) {
	s := newShare(t, text("/d/a", strings.Repeat("a", 300_000)), text("/d/b", strings.Repeat("b", 300_000)))
	s.status(200, "HEAD", top+"/d/a", gvfsAgent, "")
	var reads atomic.Int64
	s.source.Broken = func(pack.ID, uint32) error {
		if reads.Add(1) > 2 {
			return fault.Corrupt
		}
		return nil
	}
	srv := httptest.NewServer(s.h)
	defer srv.Close()
	for _, kind := range []string{"zip", "tar"} {
		reads.Store(0)
		r, err := http.Get(srv.URL + top + "/d?" + kind)
		if err == nil {
			_, err = io.ReadAll(r.Body)
			_ = r.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: cut short without an error", kind)
		}
	}
}

func TestPageIsInert(t *testing.T) {
	names := []string{`<script>alert(1)</script>`, `"onmouseover="x`, `javascript:alert(1)`, "a\u202egnp.exe", "\x1b[31m", "\xff", "</style><script>", "{{.}}", "&lt;", "index.html"}
	var files []fsconform.File
	for _, n := range names {
		files = append(files, text("/d/"+strings.ReplaceAll(n, "/", "|"), "<script>alert(2)</script>"))
	}
	s := newShare(t, files...)
	r := s.status(200, "GET", top+"/d/", "Mozilla/5.0", "")
	body := read(t, r)
	if strings.Contains(body, "<script") || strings.Contains(body, "\x1b") || strings.Contains(body, "\u202e") || strings.Contains(body, `"onmouseover`) {
		t.Errorf("the page is not inert: %s", body)
	}
	if p := r.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
		t.Errorf("policy %q", p)
	}
	f := s.status(200, "GET", top+"/d/index.html", "Mozilla/5.0", "")
	if !strings.HasPrefix(f.Header.Get("Content-Disposition"), "attachment") || f.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(f.Header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("a page of a backup is sent as %v", f.Header)
	}
}

func TestPageOfAManyFilesGoesOn(t *testing.T) {
	var files []fsconform.File
	for i := range pageRows + 10 {
		files = append(files, text("/d/"+strings.Repeat("x", i%200)+string(rune('a'+i%26))+url.QueryEscape(string(rune(0x4e00+i))), ""))
	}
	s := newShare(t, files...)
	body := read(t, s.status(200, "GET", top+"/d/", "Mozilla/5.0", ""))
	if n := strings.Count(body, "<tr>"); n != pageRows+1 {
		t.Errorf("%d rows", n)
	}
	_, next, ok := strings.Cut(body, `<a rel="next" href="`)
	if next, _, _ = strings.Cut(next, `"`); !ok {
		t.Fatal("no next page")
	}
	body = read(t, s.status(200, "GET", next, "Mozilla/5.0", ""))
	if n := strings.Count(body, "<tr>"); n != 11 {
		t.Errorf("%d rows on the second page", n)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("PROPFIND", "/points/x%20y", "1", `<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>`, "bytes=0-")
	f.Add("GET", top+"/d/%ff", "infinity", "", "bytes=-1,2-3")
	f.Add("LOCK", top, "0", `<lockinfo><owner>x`, "")
	f.Add("PROPPATCH", "/%2e%2e/@more-9/", "1,noroot", `<!DOCTYPE x [<!ENTITY a "b">]><a>&a;</a>`, "")
	source := fsconform.NewSource()
	if _, err := source.Add(f.Context(), firstPoint, archiveSample()); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, depth, body, span string) {
		u, err := url.Parse("http://x" + path)
		if err != nil || strings.ContainsAny(depth+span+method, "\r\n\x00") {
			return
		}
		s := newFuzzShare(t, source)
		r, err := http.NewRequestWithContext(t.Context(), method, u.String(), strings.NewReader(body))
		if err != nil {
			return
		}
		for _, agent := range []string{windowsAgent, macAgent, gvfsAgent} {
			r.Header = http.Header{"Depth": {depth}, "Range": {span}, "User-Agent": {agent}, "Destination": {path}}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code == 500 || w.Code == 0 {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	})
}
