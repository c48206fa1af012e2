package webdav

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/alias"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// What Windows and macOS do, by the numbers of the list of quirks.

func TestW2TheEmptyBodyMeansAll(t *testing.T) {
	s := newShare(t, text("/f.txt", "hello"))
	r := s.status(207, "PROPFIND", top+"/f.txt", windowsAgent, "", "Depth: 0")
	body := read(t, r)
	for _, want := range []string{`xmlns:D="DAV:"`, "<D:response>", "<D:getcontentlength>5<", "<D:getlastmodified>Thu, 09 Oct 2025", "<D:creationdate>", "<Z:Win32FileAttributes>00000021<", "<D:resourcetype/>"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

func TestW3ALongFolderComesInPieces(t *testing.T) {
	var files []fsconform.File
	for i := range 6000 {
		files = append(files, text(fmt.Sprintf("/d/a file with a usual name %05d.docx", i), "x"))
	}
	s := newShare(t, files...)
	seen, path, pieces := 0, top+"/d/", 0
	for path != "" {
		r := s.status(207, "PROPFIND", path, windowsAgent, "", "Depth: 1")
		body := read(t, r)
		if len(body) > 1_000_000 {
			t.Errorf("%s has %d bytes", path, len(body))
		}
		var a answer
		if err := xml.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		here := path
		path = ""
		for _, one := range a.Responses[1:] {
			if name := one.Href[strings.LastIndexByte(strings.TrimSuffix(one.Href, "/"), '/')+1:]; strings.HasPrefix(name, morePrefix) {
				path = one.Href
				continue
			}
			seen++
			if seen%2500 == 1 {
				s.status(200, "GET", one.Href, windowsAgent, "")
			}
		}
		if pieces++; pieces > 10 {
			t.Fatalf("no end at %s", here)
		}
	}
	if seen != 6000 || pieces < 2 {
		t.Errorf("%d entries in %d pieces", seen, pieces)
	}
	if hrefs, _ := s.list(top+"/d", "1,noroot", gvfsAgent, ""); len(hrefs) != 6000 {
		t.Errorf("others see %d", len(hrefs))
	}
}

func TestW5NamesThatWindowsRefuses(t *testing.T) {
	names := []string{"a:b.txt", `c\d`, "what?", "pipe|", "dot.", "space ", "con", "LPT1.txt", "\xff.doc", "Case", "case", "CASE.txt", "case.txt", "normal"}
	var files []fsconform.File
	for _, n := range names {
		files = append(files, text("/d/"+n, n))
	}
	s := newShare(t, files...)
	hrefs, _ := s.list(top+"/d", "1,noroot", windowsAgent, "")
	got, folded := map[string]bool{}, map[string]bool{}
	for _, h := range hrefs {
		raw, err := url.PathUnescape(h[strings.LastIndexByte(h, '/')+1:])
		if err != nil || !alias.Legal(raw) {
			t.Errorf("Windows is given %q", raw)
		}
		if folded[strings.ToLower(raw)] {
			t.Errorf("Windows is given %q twice", raw)
		}
		folded[strings.ToLower(raw)] = true
		got[read(t, s.status(200, "GET", h, windowsAgent, ""))] = true
	}
	for _, n := range names {
		if !got[n] {
			t.Errorf("%q cannot be had", n)
		}
	}
	if got := read(t, s.status(200, "GET", top+"/D/NORMAL", windowsAgent, "")); got != "normal" {
		t.Errorf("in other case: %q", got)
	}
	s.status(404, "GET", top+"/D/NORMAL", gvfsAgent, "")
}

func TestW6Locks(t *testing.T) {
	s := newShare(t, text("/f.docx", "x"))
	body := `<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner><D:href>A&amp;B</D:href></D:owner></D:lockinfo>`
	r := s.status(200, "LOCK", top+"/f.docx", windowsAgent, body, "Timeout: Second-3600")
	token := r.Header.Get("Lock-Token")
	if answer := read(t, r); !strings.HasPrefix(token, "<opaquelocktoken:") || !strings.Contains(answer, strings.Trim(token, "<>")) || !strings.Contains(answer, "A&amp;B") {
		t.Errorf("LOCK: %q %s", token, answer)
	}
	s.status(200, "LOCK", top+"/f.docx", windowsAgent, "", "If: ("+token+")")
	s.status(204, "UNLOCK", top+"/f.docx", windowsAgent, "", "Lock-Token: "+token)
	s.status(204, "UNLOCK", top+"/f.docx", windowsAgent, "", "Lock-Token: "+strings.Trim(token, "<>"))
	s.status(404, "LOCK", top+"/new.docx", windowsAgent, body)
}

func TestW8M6ProbesCostNothing(t *testing.T) {
	s := newShare(t, text("/d/f.txt", strings.Repeat("x", 2000)))
	s.list(top+"/d", "1", windowsAgent, "")
	s.opened.Store(0)
	for _, name := range []string{"desktop.ini", "folder.jpg", "Thumbs.db", "._f.txt", ".DS_Store", ".localized", ".hidden"} {
		s.status(404, "PROPFIND", top+"/d/"+name, windowsAgent, "", "Depth: 0")
		s.status(404, "PROPFIND", top+"/d/"+name, macAgent, "", "Depth: 0")
	}
	// M6: connecting asks the same things again and again.
	for range 60 {
		s.list("/", "0", macAgent, "")
		s.list("/", "1", macAgent, "")
	}
	if n := s.opened.Load(); n > 3 {
		t.Errorf("probes read %d times", n)
	}
}

func TestW9M5ANewPointIsSeen(t *testing.T) {
	now := time.Now()
	s := newShare(t, text("/f", "x"))
	s.tree = fs.New(s.source, fs.Options{Location: time.UTC, Now: func() time.Time { return now }})
	t.Cleanup(s.tree.Close)
	s.list("/points", "1", macAgent, "")
	s.add(firstPoint.Add(time.Hour), text("/f", "y"))
	now = now.Add(10 * time.Second)
	if hrefs, _ := s.list("/points", "1,noroot", macAgent, ""); len(hrefs) != 2 {
		t.Errorf("after 10 s: %q", hrefs)
	}
	if got := read(t, s.status(200, "GET", "/latest/f", macAgent, "")); got != "y" {
		t.Errorf("latest is %q", got)
	}
}

func TestM1M2WhatMacOSAsks(t *testing.T) {
	s := newShare(t, text("/f", "hello"))
	if got := s.do("OPTIONS", "/", macAgent, "").Header.Get("DAV"); got != "1" {
		t.Errorf("macOS is told class %q and would mount for writing", got)
	}
	if got := s.do("OPTIONS", "/", windowsAgent, "").Header.Get("DAV"); got != "1, 2" {
		t.Errorf("Windows is told class %q", got)
	}
	_, props := s.list(top+"/f", "0", macAgent, `<D:propfind xmlns:D="DAV:"><D:prop><D:getlastmodified/><D:getcontentlength/><D:creationdate/><D:resourcetype/></D:prop></D:propfind>`)
	p := props[top+"/f"]
	if _, ok := p["resourcetype"]; p["getcontentlength"] != "5" || p["getlastmodified"] == "" || p["creationdate"] == "" || !ok {
		t.Errorf("%v", p)
	}
	_, props = s.list("/", "0", macAgent, `<D:propfind xmlns:D="DAV:"><D:prop><D:quota-available-bytes/><D:quota-used-bytes/></D:prop></D:propfind>`)
	if p := props["/"]; p["quota-available-bytes"] != "0" || p["quota-used-bytes"] == "" {
		t.Errorf("quota: %v", p)
	}
}

func TestM3FailuresAreNotMissingFiles(t *testing.T) {
	s := newShare(t, text("/d/f", strings.Repeat("x", 2000)))
	s.status(200, "HEAD", top+"/d/f", macAgent, "")
	s.source.Broken = func(pack.ID, uint32) error { return fault.Unavailable }
	srv := httptest.NewServer(s.h)
	defer srv.Close()
	// The headers are out before the content is read: a broken connection, and
	// never a short file that looks whole.
	r, err := http.Get(srv.URL + top + "/d/f")
	if err == nil {
		_, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	if err == nil {
		t.Error("a file that could not be read came as if it were whole")
	}
}
