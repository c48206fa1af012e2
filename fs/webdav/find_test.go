package webdav

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/repo/table"
)

const browserAgent = "Mozilla/5.0"

var rowOf = regexp.MustCompile(`<th scope="row"><a href="([^"]*)">`)

// found searches below path and returns the hrefs that are shown.
func (s *share) found(path, asked string, headers ...string) (hrefs []string, page string) {
	s.t.Helper()
	page = read(s.t, s.status(200, "GET", path+"?find="+url.QueryEscape(asked), browserAgent, "", headers...))
	for _, m := range rowOf.FindAllStringSubmatch(page, -1) {
		hrefs = append(hrefs, html.UnescapeString(m[1]))
	}
	slices.Sort(hrefs)
	return hrefs, page
}

func TestFind(t *testing.T) {
	s := newShare(t, text("/d/Letter.odt", "x"), text("/d/sub/letter to bob.txt", "x"), text("/d/sub/caf\u00e9.txt", "x"), folder("/d/letters"),
		text("/e/letter", "x"), link("/d/loop", "."), link("/d/letterlink", "Letter.odt"), text("/d/[x].txt", "x"), text("/d/a*b", "x"))
	for asked, want := range map[string][]string{
		"letter":          {"/d/Letter.odt", "/d/letterlink", "/d/letters/", "/d/sub/letter%20to%20bob.txt"},
		"LETTER*":         {"/d/Letter.odt", "/d/letterlink", "/d/letters/", "/d/sub/letter%20to%20bob.txt"},
		"*.TXT":           {"/d/%5Bx%5D.txt", "/d/sub/caf%C3%A9.txt", "/d/sub/letter%20to%20bob.txt"},
		"cafe\u0301":      {"/d/sub/caf%C3%A9.txt"},
		"[x]":             {"/d/%5Bx%5D.txt"},
		"[?]*":            {"/d/%5Bx%5D.txt"},
		"nothing of that": nil,
		"<script>":        nil,
	} {
		var hrefs []string
		for _, w := range want {
			hrefs = append(hrefs, top+w)
		}
		got, page := s.found(top+"/d/", asked)
		if !slices.Equal(got, hrefs) {
			t.Errorf("%q: %q", asked, got)
		}
		if strings.Contains(page, "<script") || len(want) == 0 && !strings.Contains(page, "Nothing was found") {
			t.Errorf("%q: %s", asked, page)
		}
	}
	s.status(400, "GET", top+"/d/?find=", browserAgent, "")
	s.status(400, "GET", top+"/d/?find="+strings.Repeat("x", 300), browserAgent, "")
	s.status(400, "GET", top+"/e/letter?find=x", browserAgent, "")
	s.status(404, "GET", top+"/none/?find=x", browserAgent, "")
}

func TestFindIsBounded(t *testing.T) {
	var files []fsconform.File
	for i := range maxFound + 10 {
		files = append(files, text(fmt.Sprintf("/d/x%05d", i), ""))
	}
	deep := "/deep" + strings.Repeat("/y", maxLevels+3)
	s := newShare(t, append(files, text(deep+"/x", ""))...)
	hrefs, page := s.found(top+"/", "x")
	if len(hrefs) != maxFound || !strings.Contains(page, "These are the first 2000.") {
		t.Errorf("%d found", len(hrefs))
	}
	if hrefs, page = s.found(top+"/deep/", "x"); len(hrefs) != 0 || !strings.Contains(page, "levels down") {
		t.Errorf("%d found, %s", len(hrefs), page)
	}
}

func TestFindShowsNoMoreThanListings(t *testing.T) {
	private := fsconform.File{Path: "/home/bob", Entry: table.Entry{Kind: table.Folder, Mode: 0o700, UID: 1001}}
	listless := fsconform.File{Path: "/home/drop", Entry: table.Entry{Kind: table.Folder, Mode: 0o711, UID: 1001}}
	s := guarded(t, nil, owned("/home/ann-secret.txt", 0o600, 1000, "ann's"), private, owned("/home/bob/secret", 0o644, 1001, "x"),
		listless, owned("/home/drop/secret", 0o644, 1001, "x"), link("/home/secret-way", "bob/secret"))
	got, _ := s.found(top+"/", "secret", basic("ann"))
	if !slices.Equal(got, []string{top + "/home/ann-secret.txt"}) {
		t.Errorf("ann finds %q", got)
	}
	if got, _ = s.found(top+"/", "secret", basic("boss")); len(got) != 4 {
		t.Errorf("boss finds %q", got)
	}
	for _, path := range []string{"/home/bob/?find=secret", "/home/drop/?find=secret", "/home/bob/secret?versions", "/home/bob/none?versions"} {
		if body := read(t, s.status(403, "GET", top+path, browserAgent, "", basic("ann"))); body != "403 Forbidden\n" {
			t.Errorf("%s: %q", path, body)
		}
	}
	s.status(200, "GET", top+"/home/drop/secret?versions", browserAgent, "", basic("ann")) // who knows the name may have it
	s.status(404, "GET", top+"/home/drop/none?versions", browserAgent, "", basic("ann"))
}

func TestVersions(t *testing.T) {
	s := newShare(t, text("/d/f.txt", "one"), text("/d/gone.txt", "was here"))
	later := func(f fsconform.File, sec int64) fsconform.File { f.Entry.MTime.Sec += sec; return f }
	s.add(firstPoint.Add(time.Hour), text("/d/f.txt", "one"))
	s.add(firstPoint.Add(2*time.Hour), later(text("/d/f.txt", "two"), 3600))
	s.add(firstPoint.Add(3*time.Hour), folder("/d"))
	s.add(firstPoint.Add(4*time.Hour), text("/d/f.txt", "one"))
	body := read(t, s.status(200, "GET", top+"/d/f.txt?versions", browserAgent, ""))
	var contents []string
	for _, m := range regexp.MustCompile(`class="act"><a href="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		r := s.status(200, "GET", html.UnescapeString(m[1]), browserAgent, "")
		contents = append(contents, read(t, r))
		if d := r.Header.Get("Content-Disposition"); !strings.Contains(d, "f (2025-") || !strings.Contains(d, ").txt") {
			t.Errorf("downloads as %s", d)
		}
	}
	if !slices.Equal(contents, []string{"one", "two", "one"}) {
		t.Errorf("versions %q: %s", contents, body)
	}
	for _, want := range []string{"2026-11-22 10:00:00 to 2026-11-22 11:00:00 (2)", "in this point", "Versions of f.txt"} {
		if strings.Count(body, want) != 1 && !strings.HasPrefix(want, "Versions") {
			t.Errorf("%q stands there %d times", want, strings.Count(body, want))
		}
	}
	body = read(t, s.status(200, "GET", "/latest/d/gone.txt?versions", browserAgent, ""))
	if strings.Count(body, `<th scope="row">`) != 1 || strings.Contains(body, "in this point") {
		t.Errorf("a deleted file: %s", body)
	}
	for _, path := range []string{"/d/none?versions", "/d?versions", "?versions"} {
		s.status(404, "GET", top+path, browserAgent, "")
	}
}

// A version is shown to who may read it in its point, whatever later points say.
func TestVersionsAreJudgedInTheirPoint(t *testing.T) {
	s := guarded(t, nil, owned("/f", 0o600, 1001, "bob's then"))
	s.add(firstPoint.Add(time.Hour), owned("/f", 0o644, 1001, "open now!"))
	body := read(t, s.status(200, "GET", "/latest/f?versions", browserAgent, "", basic("ann")))
	if strings.Count(body, `<th scope="row">`) != 1 || strings.Contains(body, "2026-11-22 10:00:00") {
		t.Errorf("ann sees %s", body)
	}
	body = read(t, s.status(200, "GET", "/latest/f?versions", browserAgent, "", basic("boss")))
	if strings.Count(body, `<th scope="row">`) != 2 {
		t.Errorf("boss sees %s", body)
	}
}

// What a page says of names that were made to harm.
func TestPagesOfHostileNames(t *testing.T) {
	names := []string{`"><script>alert(1)</script>`, "a\u202egnp.exe", "x\x1b[31m", "\xff\xfe", "'); alert(1);//", "javascript:x"}
	var files []fsconform.File
	for _, n := range names {
		files = append(files, text("/d/"+strings.ReplaceAll(n, "/", "|"), "x"))
	}
	s := newShare(t, files...)
	hrefs, page := s.found(top+"/d/", "*")
	if len(hrefs) != len(names) {
		t.Errorf("%d found", len(hrefs))
	}
	for _, h := range hrefs {
		page += read(t, s.status(200, "GET", h+"?versions", browserAgent, ""))
		s.status(200, "GET", h+"?dated", browserAgent, "")
	}
	for _, bad := range []string{"<script", "\x1b", "\u202e", "\xff", `href="javascript`} {
		if strings.Contains(page, bad) {
			t.Errorf("%q is on a page", bad)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("*.txt", "letter.txt")
	f.Add("[a-", "\xff")
	f.Add(strings.Repeat("*a", 20), strings.Repeat("a", 40))
	f.Fuzz(func(t *testing.T, asked, name string) {
		if len(asked) > maxAsked || len(name) > 255 || asked == "" {
			return
		}
		if got := NameMatcher(asked)(name); !strings.ContainsAny(folded(asked), "*?") && got != strings.Contains(folded(name), folded(asked)) {
			t.Errorf("%q in %q: %v", asked, name, got)
		}
	})
}

// A share below a path of its own: links of all pages lead into it.
func TestPagesBelowAPrefix(t *testing.T) {
	s := newShare(t, text("/d/f.txt", "one"))
	s.h = New(func(*http.Request) View { return s.tree }, Options{Prefix: "/share"})
	for _, path := range []string{"/share/latest/d/", "/share/latest/d/?find=f", "/share/latest/d/f.txt?versions"} {
		page := read(t, s.status(200, "GET", path, browserAgent, ""))
		links := regexp.MustCompile(`(?:href|action)="([^"#]*)"`).FindAllStringSubmatch(page, -1)
		if len(links) < 4 {
			t.Errorf("%s: %d links", path, len(links))
		}
		for _, m := range links {
			s.status(200, "GET", html.UnescapeString(m[1]), browserAgent, "")
			if !strings.HasPrefix(m[1], "/share/") {
				t.Errorf("%s links to %s", path, m[1])
			}
		}
	}
}
