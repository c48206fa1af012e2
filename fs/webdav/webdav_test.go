package webdav

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

const (
	windowsAgent = "Microsoft-WebDAV-MiniRedir/10.0.19045"
	macAgent     = "WebDAVFS/3.0.0 (03008000) Darwin/23.0.0 (arm64)"
	gvfsAgent    = "gvfs/1.50.3"
)

var firstPoint = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// share is a handler over points in memory.
type share struct {
	t      *testing.T
	source *fsconform.Source
	tree   *fs.Tree
	h      http.Handler
	opened atomic.Int64 // reads of packs of content and pages
}

func text(path, content string) fsconform.File {
	return fsconform.File{Path: path, Entry: table.Entry{Kind: table.File, Mode: 0o644, MTime: table.Time{Sec: 1_760_000_000}}, Data: fsconform.Bytes([]byte(content))}
}

func link(path, target string) fsconform.File {
	return fsconform.File{Path: path, Entry: table.Entry{Kind: table.Symlink, Mode: 0o777, Target: target}}
}

func folder(path string) fsconform.File {
	return fsconform.File{Path: path, Entry: table.Entry{Kind: table.Folder, Mode: 0o755, MTime: table.Time{Sec: 1_760_000_000}}}
}

func newShare(t *testing.T, files ...fsconform.File) *share {
	t.Helper()
	s := &share{t: t, source: fsconform.NewSource()}
	s.add(firstPoint, files...)
	s.source.Broken = func(pack.ID, uint32) error { s.opened.Add(1); return nil }
	s.tree = fs.New(s.source, fs.Options{Location: time.UTC})
	t.Cleanup(s.tree.Close)
	s.h = New(func(*http.Request) View { return s.tree }, Options{})
	return s
}

func (s *share) add(at time.Time, files ...fsconform.File) {
	s.t.Helper()
	if _, err := s.source.Add(s.t.Context(), at, files); err != nil {
		s.t.Fatal(err)
	}
}

// do sends a request; headers are "Name: value".
func (s *share) do(method, path, agent, body string, headers ...string) *http.Response {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("User-Agent", agent)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w.Result()
}

func (s *share) status(want int, method, path, agent, body string, headers ...string) *http.Response {
	s.t.Helper()
	r := s.do(method, path, agent, body, headers...)
	if r.StatusCode != want {
		s.t.Errorf("%s %s of %s: status %d, want %d", method, path, agent, r.StatusCode, want)
	}
	return r
}

func read(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// answer is a parsed multistatus.
type answer struct {
	Responses []struct {
		Href     string `xml:"DAV: href"`
		Propstat []struct {
			Status string `xml:"DAV: status"`
			Prop   struct {
				Inner []struct {
					XMLName xml.Name
					Inner   string `xml:",innerxml"`
				} `xml:",any"`
			} `xml:"DAV: prop"`
		} `xml:"DAV: propstat"`
	} `xml:"DAV: response"`
}

// props returns the properties of each href that are there.
func (s *share) list(path, depth, agent, body string) (hrefs []string, props map[string]map[string]string) {
	s.t.Helper()
	r := s.status(http.StatusMultiStatus, "PROPFIND", path, agent, body, "Depth: "+depth)
	var a answer
	if err := xml.Unmarshal([]byte(read(s.t, r)), &a); err != nil {
		s.t.Fatalf("PROPFIND %s: %v", path, err)
	}
	props = map[string]map[string]string{}
	for _, one := range a.Responses {
		hrefs = append(hrefs, one.Href)
		props[one.Href] = map[string]string{}
		for _, ps := range one.Propstat {
			if !strings.Contains(ps.Status, "200") {
				continue
			}
			for _, p := range ps.Prop.Inner {
				props[one.Href][p.XMLName.Local] = p.Inner
			}
		}
	}
	return hrefs, props
}

const top = "/points/2026-11-22_10-00-00"

func TestG1OptionsNeedNoCredentials(t *testing.T) {
	s := newShare(t, text("/a", "x"))
	s.h = New(func(*http.Request) View { return nil }, Options{}) // nobody may see anything
	for _, agent := range []string{windowsAgent, macAgent, gvfsAgent} {
		r := s.status(200, "OPTIONS", "/", agent, "")
		if r.Header.Get("DAV") == "" || r.Header.Get("MS-Author-Via") != "DAV" || r.Header.Get("Content-Length") != "0" {
			t.Errorf("OPTIONS of %s: %v", agent, r.Header)
		}
	}
	s.status(403, "PROPFIND", "/", gvfsAgent, "", "Depth: 0")
}

func TestG2G3EveryAncestorIsACollection(t *testing.T) {
	s := newShare(t, text("/srv/data/report.txt", "x"))
	for _, path := range []string{"/", "/points", "/points/", "/latest", top, top + "/srv", top + "/srv/data/"} {
		hrefs, props := s.list(path, "0", gvfsAgent, "")
		if len(hrefs) != 1 || !strings.HasSuffix(hrefs[0], "/") || !strings.Contains(props[hrefs[0]]["resourcetype"], "collection") {
			t.Errorf("PROPFIND %s: %v %v", path, hrefs, props)
		}
	}
	s.status(404, "PROPFIND", top+"/srv/none", gvfsAgent, "", "Depth: 0")
	s.status(404, "PROPFIND", top+"/srv/data/report.txt/below", gvfsAgent, "", "Depth: 0")
}

func TestG4HrefsAreEscaped(t *testing.T) {
	names := []string{"a&b", "a<b", "100%", "a#b", "a?b", "a+b", "a;b", "with space", "emoji 🐟", "tab\there", "new\nline", "\xff\xfe", `q"uote'`, "é"}
	var files []fsconform.File
	for _, n := range names {
		files = append(files, text("/d/"+n, n))
	}
	s := newShare(t, files...)
	hrefs, _ := s.list(top+"/d", "1,noroot", gvfsAgent, "")
	if len(hrefs) != len(names) {
		t.Fatalf("%d hrefs of %d names: %q", len(hrefs), len(names), hrefs)
	}
	got := map[string]bool{}
	for _, h := range hrefs {
		if strings.ContainsAny(h, "&<>#?\"' \n\t") || h != strings.ToValidUTF8(h, "") {
			t.Errorf("href %q is not escaped", h)
		}
		got[read(t, s.status(200, "GET", h, gvfsAgent, ""))] = true
	}
	for _, n := range names {
		if !got[n] {
			t.Errorf("%q cannot be had by its href", n)
		}
	}
	// What macOS drops it gets under another name, and finds by it.
	hrefs, _ = s.list(top+"/d", "1,noroot", macAgent, "")
	for _, h := range hrefs {
		if raw, err := url.PathUnescape(h); err != nil || raw != strings.ToValidUTF8(raw, "") {
			t.Errorf("macOS is given %q", h)
		}
		s.status(200, "GET", h, macAgent, "")
	}
}

func TestG4PathsAreTakenApartBeforeTheyAreUnescaped(t *testing.T) {
	s := newShare(t, text("/etc/passwd", "x"), text("/d/a", "a"))
	for _, path := range []string{top + "/d/%2e%2e/etc/passwd", top + "/d%2fa", top + "/d/a%00", top + "/d/..%2fetc", "/..%2f..", top + "/%2e"} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "http://x/", nil)
		u, err := url.Parse("http://x" + path)
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r)
		if w.Code != 404 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

func TestG5NormalForms(t *testing.T) {
	s := newShare(t, text("/d/caf\u00e9", "composed"), text("/d/nai\u0308ve", "decomposed"))
	for path, want := range map[string]string{"cafe\u0301": "composed", "caf\u00e9": "composed", "na\u00efve": "decomposed"} {
		if got := read(t, s.status(200, "GET", top+"/d/"+url.PathEscape(path), macAgent, "")); got != want {
			t.Errorf("%q is %q", path, got)
		}
	}
}

func TestG6Depth(t *testing.T) {
	s := newShare(t, text("/d/a", "x"))
	for _, depth := range []string{"", "infinity", "Infinity"} {
		var headers []string
		if depth != "" {
			headers = append(headers, "Depth: "+depth)
		}
		r := s.status(403, "PROPFIND", top+"/d", gvfsAgent, "", headers...)
		if !strings.Contains(read(t, r), "propfind-finite-depth") {
			t.Errorf("depth %q: no reason", depth)
		}
	}
	s.status(400, "PROPFIND", top+"/d", gvfsAgent, "", "Depth: 2")
	for depth, want := range map[string]int{"0": 1, "1": 2, "1,noroot": 1, "1, noroot": 1} {
		if hrefs, _ := s.list(top+"/d", depth, gvfsAgent, ""); len(hrefs) != want {
			t.Errorf("depth %q: %q", depth, hrefs)
		}
	}
}

func TestG7ConditionsAndRanges(t *testing.T) {
	content := strings.Repeat("0123456789", 100_000)
	s := newShare(t, text("/f.bin", content), text("/same.bin", content), text("/other.bin", "other"+content))
	f := top + "/f.bin"
	r := s.status(200, "HEAD", f, gvfsAgent, "")
	tag, date := r.Header.Get("ETag"), r.Header.Get("Last-Modified")
	if r.Header.Get("Content-Length") != "1000000" || !strings.HasPrefix(tag, `"`) || date == "" || r.Header.Get("Accept-Ranges") != "bytes" {
		t.Fatalf("HEAD: %v", r.Header)
	}
	for _, c := range []struct {
		status int
		body   string
		with   []string
	}{
		{206, content[5:105], []string{"Range: bytes=5-104"}},
		{206, content[999_990:], []string{"Range: bytes=-10"}},
		{206, content[999_990:], []string{"Range: bytes=999990-"}},
		{416, "", []string{"Range: bytes=1000000-"}},
		{206, content[1:2], []string{"Range: bytes=1-1", "If-Range: " + tag}},
		{200, content, []string{"Range: bytes=1-1", `If-Range: "other"`}},
		{206, content[1:2], []string{"Range: bytes=1-1", "If-Range: " + date}},
		{200, content, []string{"Range: bytes=1-1", "If-Range: Mon, 02 Jan 2006 15:04:05 GMT"}},
		{304, "", []string{"If-None-Match: " + tag}},
		{304, "", []string{"If-Modified-Since: " + date}}, // M4
		{200, content, []string{"If-Modified-Since: Mon, 02 Jan 2006 15:04:05 GMT"}},
		{412, "", []string{`If-Match: "other"`}},
		{206, content[1:2], []string{"Range: bytes=1-1", "Accept-Encoding: gzip"}},
		{200, content, []string{"Translate: f"}}, // W12
	} {
		r := s.do("GET", f, gvfsAgent, "", c.with...)
		if body := read(t, r); r.StatusCode != c.status || c.status < 300 && body != c.body || r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%v: status %d, %d bytes", c.with, r.StatusCode, len(body))
		}
	}
	if got := s.do("HEAD", top+"/other.bin", gvfsAgent, "").Header.Get("ETag"); got == tag {
		t.Error("other content has the same ETag")
	}
	if !strings.Contains(s.do("HEAD", f, gvfsAgent, "").Header.Get("Content-Disposition"), "attachment") {
		t.Error("a browser would show a file of a backup")
	}
}

func TestG7TheSamePointTwiceHasOneTag(t *testing.T) {
	s := newShare(t, text("/f", strings.Repeat("x", 2000)))
	before := s.do("HEAD", "/latest/f", gvfsAgent, "").Header.Get("ETag")
	if again := s.do("HEAD", top+"/f", gvfsAgent, "").Header.Get("ETag"); again != before || again == "" {
		t.Errorf("ETags %q and %q", before, again)
	}
}

func TestG8NothingWrites(t *testing.T) {
	s := newShare(t, text("/f", "x"))
	for _, method := range []string{"PUT", "MKCOL", "DELETE", "MOVE", "COPY", "POST", "PATCH", "ACL", "MKCALENDAR"} {
		for _, path := range []string{top + "/f", top + "/new", "/new"} {
			s.status(403, method, path, windowsAgent, "x", "Destination: /b")
		}
	}
	r := s.status(207, "PROPPATCH", top+"/f", windowsAgent,
		`<D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop><Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>`)
	if body := read(t, r); !strings.Contains(body, "403 Forbidden") || !strings.Contains(body, "Win32FileAttributes") {
		t.Errorf("PROPPATCH: %s", body)
	}
	s.status(404, "PROPPATCH", top+"/none", windowsAgent, "")
}

func TestG10AListingOpensNothing(t *testing.T) {
	files := []fsconform.File{{Path: "/d/pipe", Entry: table.Entry{Kind: table.FIFO, Mode: 0o644}}}
	for i := range 1000 {
		files = append(files, text(fmt.Sprintf("/d/%04d.unknown", i), strings.Repeat("x", 2000)))
	}
	s := newShare(t, files...)
	s.list(top+"/d", "0", gvfsAgent, "") // the point is opened
	s.opened.Store(0)
	hrefs, _ := s.list(top+"/d", "1", gvfsAgent, "")
	if len(hrefs) != 1001 {
		t.Errorf("%d entries", len(hrefs))
	}
	if n := s.opened.Load(); n > 40 { // pages of the table
		t.Errorf("a listing read %d times", n)
	}
}

func TestL3LockProperties(t *testing.T) {
	s := newShare(t, text("/f", "hello"))
	_, props := s.list(top+"/f", "0", gvfsAgent, `<propfind xmlns="DAV:"><prop><lockdiscovery/><supportedlock/><displayname/><x:unknown xmlns:x="urn:x"/></prop></propfind>`)
	p := props[top+"/f"]
	_, lock := p["lockdiscovery"]
	_, supported := p["supportedlock"]
	if _, unknown := p["unknown"]; !lock || !supported || unknown || p["displayname"] != "f" {
		t.Errorf("%v", p)
	}
}

func TestLinksStayInTheirPoint(t *testing.T) {
	s := newShare(t,
		text("/srv/real.txt", "real"), folder("/srv/dir"), text("/srv/dir/inner", "inner"),
		link("/srv/rel", "real.txt"), link("/srv/abs", "/srv/real.txt"), link("/srv/up", "../../../../../../../../etc/shadow"),
		link("/srv/loop", "loop"), link("/srv/todir", "dir"), link("/srv/chain", "todir/../rel"), link("/srv/dangling", "none"),
		text("/etc/shadow", "of the point"), link("/srv/self", "."))
	for name, want := range map[string]string{"rel": "real", "abs": "real", "up": "of the point", "chain": "real", "todir/inner": "inner", "self/self/real.txt": "real"} {
		if got := read(t, s.status(200, "GET", top+"/srv/"+name, gvfsAgent, "")); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	s.status(404, "GET", top+"/srv/loop", gvfsAgent, "")
	s.status(404, "GET", top+"/srv/dangling", gvfsAgent, "")
	hrefs, props := s.list(top+"/srv", "1,noroot", gvfsAgent, "")
	if len(hrefs) != 6 { // real.txt, dir, rel, abs, up, chain: nothing to go in circles by
		t.Errorf("listed: %q", hrefs)
	}
	if p := props[top+"/srv/rel"]; p["getcontentlength"] != "4" {
		t.Errorf("a link to a file is listed as %v", p)
	}
}

func TestHost(t *testing.T) {
	s := newShare(t, text("/f", "x"))
	s.h = New(func(*http.Request) View { return s.tree }, Options{Hosts: []string{"localhost", "127.0.0.1", "::1"}})
	for host, want := range map[string]int{"localhost:8080": 200, "127.0.0.1": 200, "[::1]:80": 200, "LOCALHOST": 200, "evil.example": 421, "localhost.evil.example": 421} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("host %s: %d", host, w.Code)
		}
	}
}

func TestEveryKindHasItsStatus(t *testing.T) {
	for kind, status := range statuses() {
		if status == 0 {
			t.Errorf("%q has no status", fault.Kind(kind))
		}
	}
}

func newFuzzShare(t *testing.T, source *fsconform.Source) http.Handler {
	tree := fs.New(source, fs.Options{Location: time.UTC})
	t.Cleanup(tree.Close)
	return New(func(*http.Request) View { return tree }, Options{})
}
