package page

import (
	"archive/zip"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/repo"
)

// TestDoors: nobody comes in without a token, which is good once and for a
// while; who logged out, or did nothing for long, is nobody.
func TestDoors(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	nobody := &http.Client{}
	for _, path := range []string{"", "jobs", "alerts", "files/", "events", w.folder() + "letter.txt", "no/such/page"} {
		a := w.do(nobody, w.request(http.MethodGet, path, ""))
		if a.status != http.StatusUnauthorized || strings.Contains(a.body, "documents") || strings.Contains(a.body, "the letter") {
			t.Errorf("%q is shown to nobody: %d %s", path, a.status, a.body)
		}
	}
	for _, method := range []string{"PROPFIND", "PUT", "DELETE", "OPTIONS", "LOCK"} {
		if a := w.do(w.client, w.request(method, w.folder(), "")); a.status < 400 {
			t.Errorf("%s is answered: %d", method, a.status)
		}
	}
	open := func(link string) int {
		r, err := nobody.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		return r.StatusCode
	}
	link := w.page.Link()
	if got := open(link[:len(link)-1] + "x"); got != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", got)
	}
	if got := open(link); got != http.StatusOK {
		t.Errorf("a right token: %d", got)
	}
	if got := open(link); got != http.StatusUnauthorized {
		t.Errorf("a token for the second time: %d", got)
	}
	late := w.page.Link()
	w.turned.Add(int64(3 * time.Minute))
	if got := open(late); got != http.StatusUnauthorized {
		t.Errorf("an old token: %d", got)
	}
	if a := w.get("jobs"); a.status != http.StatusOK {
		t.Errorf("logged in: %d", a.status)
	}
	if a := w.post("logout", nil); a.status != http.StatusOK || w.get("").status != http.StatusUnauthorized {
		t.Errorf("logged out: %d, %d", a.status, w.get("").status)
	}
	w.client = w.login()
	w.turned.Add(int64(13 * time.Hour))
	if a := w.get(""); a.status != http.StatusUnauthorized {
		t.Errorf("half a day later: %d", a.status)
	}
	for range 3 * maxSessions {
		w.page.doors.enter(w.page.doors.token())
	}
	if n := len(w.page.doors.sessions); n > maxSessions {
		t.Errorf("%d sessions", n)
	}
	for range 3 * maxTokens {
		w.page.doors.token()
	}
	if n := len(w.page.doors.tokens); n > maxTokens {
		t.Errorf("%d tokens", n)
	}
}

// TestCookie: the session's cookie is for this page alone.
func TestCookie(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	r, err := http.Get(w.page.Link())
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	c := r.Cookies()
	if len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Path != w.page.base || len(w.page.base) < 20 || len(c[0].Value) < 40 {
		t.Errorf("%+v", c)
	}
	if r, err := http.Get("http://" + w.page.listener.Addr().String() + "/"); err != nil || strings.Contains(read(t, r), w.page.base) {
		t.Error("the path is told to everybody")
	}
}

func read(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	var b strings.Builder
	if _, err := io.Copy(&b, r.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestHost: names that are not of this machine lead nowhere, or a page of
// somebody else's could be one of this site.
func TestHost(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	for host, want := range map[string]int{
		"evil.example": http.StatusMisdirectedRequest, "evil.example:8377": http.StatusMisdirectedRequest, "127.0.0.1.evil.example": http.StatusMisdirectedRequest,
		"localhost:;x": http.StatusMisdirectedRequest, "10.0.0.1": http.StatusMisdirectedRequest, "0.0.0.0": http.StatusMisdirectedRequest,
		"localhost": http.StatusOK, "LOCALHOST:1": http.StatusOK, "[::1]:9": http.StatusOK, "127.0.0.1:9": http.StatusOK,
	} {
		r := w.request(http.MethodGet, "", "")
		for _, c := range w.client.Jar.Cookies(r.URL) { // as a browser that was led astray
			r.AddCookie(c)
		}
		r.Host = host
		a := w.do(&http.Client{}, r)
		if a.status != want {
			t.Errorf("%s: %d", host, a.status)
		}
		if want != http.StatusOK && strings.Contains(a.header.Get("Content-Security-Policy"), "evil") {
			t.Errorf("%s: policy %s", host, a.header.Get("Content-Security-Policy"))
		}
	}
}

// TestForms: what changes something comes from the page itself.
func TestForms(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	token := w.csrf()
	other := w.login()
	send := func(c *http.Client, form url.Values, site string) int {
		r := w.request(http.MethodPost, "pause", form.Encode())
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		return w.do(c, r).status
	}
	for _, c := range []struct {
		name   string
		client *http.Client
		form   url.Values
		site   string
		want   int
	}{
		{"no token", w.client, nil, "", http.StatusForbidden},
		{"wrong token", w.client, url.Values{"csrf": {token + "x"}}, "", http.StatusForbidden},
		{"token of another session", other, url.Values{"csrf": {token}}, "", http.StatusForbidden},
		{"nobody", &http.Client{}, url.Values{"csrf": {token}}, "", http.StatusUnauthorized},
		{"another site", w.client, url.Values{"csrf": {token}}, "cross-site", http.StatusForbidden},
		{"another port", w.client, url.Values{"csrf": {token}}, "same-site", http.StatusForbidden},
		{"this page", w.client, url.Values{"csrf": {token}}, "same-origin", http.StatusSeeOther},
	} {
		if got := send(c.client, c.form, c.site); got != c.want {
			t.Errorf("%s: %d", c.name, got)
		}
		if s, err := w.agent.Status(); err != nil || s.Pause.On != (c.want == http.StatusSeeOther) {
			t.Errorf("%s: paused %v, %v", c.name, s.Pause.On, err)
		}
	}
	if a := w.get("pause"); a.status != http.StatusMethodNotAllowed && a.status != http.StatusNotFound {
		t.Errorf("a GET that pauses: %d", a.status)
	}
	if a := w.post("resume", nil); a.status != http.StatusSeeOther {
		t.Errorf("resume: %d", a.status)
	}
}

// TestHeaders: no answer goes without what keeps others out of it.
func TestHeaders(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	for _, path := range []string{"", "jobs", "jobs/1", "jobs/99", "alerts", "files/", w.folder(), w.folder() + "letter.txt?show", w.folder() + "page.html", w.folder() + "nothing", "no"} {
		a := w.get(path)
		h := a.header
		policy := h.Get("Content-Security-Policy")
		if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") && !strings.Contains(policy, "sandbox") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Cache-Control"), "no-store") {
			t.Errorf("%s: %v", path, h)
		}
		if strings.Contains(a.body, "<script>") || strings.Contains(a.body, " style=") || strings.Contains(a.body, " onload=") || strings.Contains(a.body, "https://") {
			if path != w.folder()+"page.html" {
				t.Errorf("%s has something inline, or of elsewhere: %s", path, a.body)
			}
		}
	}
	// What was backed up is saved, never run.
	a := w.get(w.folder() + "page.html")
	if !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment") || !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("a page of the backup: %v", a.header)
	}
}

// TestPages: each shows what it is about.
func TestPages(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	now := w.now()
	err := w.journal.Update(func(tx *journal.Tx) error {
		return tx.Raise(journal.Alert{Severity: journal.SeverityCritical, Kind: journal.Silent, Policy: "documents", Text: "<i>nothing</i> came"}, now)
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, wants := range map[string][]string{
		"":                             {"One thing needs you", "documents", "&lt;i&gt;nothing&lt;/i&gt; came", "completed"},
		"jobs":                         {"completed", "Run now", "documents"},
		"jobs?state=failed&days=1":     {"There are no such jobs"},
		"jobs/1":                       {"Job 1 of documents", "somebody asked"},
		"alerts":                       {"No recovery point for too long: documents", "&lt;i&gt;nothing&lt;/i&gt; came"},
		"policies":                     {"documents", "at 09:00", w.source, "No retention is set"},
		"charts":                       {"Growth", "chart?", "The figures"},
		"points":                       {"Recovery points", "1 recovery point in all", "1<span class=\"wide\"> point"},
		"points?day=" + w.today():      {"live", "Open", "documents"},
		"points?month=2020-02":         {"February 2020"},
		"search?find=LETTER":           {"1 was found in 1 recovery point", "letter.txt?show"},
		"search?find=%2A.html":         {"page.html?show"},
		"restores":                     {"Nothing was restored"},
		"files/":                       {"office", "1 recovery point"},
		w.folder():                     {"&lt;b&gt;bold", "letter.txt", "Overview", "page.css"},
		w.folder() + "letter.txt?show": {"the letter", "Download", "Versions"},
		w.folder() + "page.html?show":  {"&lt;script&gt;alert(1)&lt;/script&gt;"},
		w.folder() + "empty?show":      {"The file is empty"},
		w.folder() + "?find=file":      {"One was found", "deep"},
	} {
		a := w.get(path)
		for _, want := range wants {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s (%d): no %q in %s", path, a.status, want, a.body)
			}
		}
		if strings.Contains(a.body, "<b>bold") || strings.Contains(a.body, "<i>nothing") || strings.Contains(a.body, "ZgotmplZ") {
			t.Errorf("%s is not escaped: %s", path, a.body)
		}
	}
	if a := w.post("alerts/1/close", url.Values{"note": {"it was <off>"}}); a.status != http.StatusSeeOther {
		t.Errorf("close: %d %s", a.status, a.body)
	}
	if a := w.get("alerts"); !strings.Contains(a.body, "No alert is active") || !strings.Contains(a.body, "it was &lt;off&gt;") {
		t.Errorf("closed: %s", a.body)
	}
	if a := w.get(""); !strings.Contains(a.body, "Everything is fine") {
		t.Errorf("overview: %s", a.body)
	}
}

// TestPaths: no path leads out of the points.
func TestPaths(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	for _, path := range []string{
		"files/office/../../../etc/passwd", "files/office/latest/%2e%2e/%2e%2e/etc/passwd", "files/office/..%2f..%2fetc/passwd", "files/office/latest/%00",
		"files/none/", "files/..%2foffice/", "assets/../page.go", "jobs/x", "jobs/18446744073709551616",
	} {
		a := w.get(path)
		if a.status == http.StatusOK || strings.Contains(a.body, "root:") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// TestDownload gets a file, a part of one, and a folder.
func TestDownload(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	if a := w.get(w.folder() + "letter.txt"); a.body != "the letter\n" {
		t.Errorf("%q", a.body)
	}
	r := w.request(http.MethodGet, w.folder()+"letter.txt", "")
	r.Header.Set("Range", "bytes=4-9")
	if a := w.do(w.client, r); a.status != http.StatusPartialContent || a.body != "letter" {
		t.Errorf("%d %q", a.status, a.body)
	}
	a := w.get(w.folder() + "?zip=1&escaped=a&escaped=letter.txt")
	z, err := zip.NewReader(strings.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "a/ a/deep/ a/deep/file letter.txt" {
		t.Errorf("the zip holds %s", got)
	}
}

// TestLocked: what no passphrase is for is shown, and the rest when it is given;
// then it is forgotten.
func TestLocked(t *testing.T) {
	w := newWorld(t, repo.Sealed)
	if a := w.get("files/"); !strings.Contains(a.body, "locked") || !strings.Contains(a.body, "1 recovery point") {
		t.Errorf("%s", a.body)
	}
	a := w.get(w.folder())
	if !strings.Contains(a.body, "office is locked") || strings.Contains(a.body, "letter") {
		t.Errorf("%s", a.body)
	}
	if a := w.post("files/office/unlock", url.Values{"passphrase": {"a wrong one"}}); a.status != http.StatusForbidden || !strings.Contains(a.body, "not the passphrase") {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, next := range []string{"//evil.example/", "/etc", `\\evil.example`, "https://evil.example/"} {
		if a := w.post("files/office/unlock", url.Values{"passphrase": {passphrase}, "next": {next}}); a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), w.page.base) {
			t.Errorf("%s: %d %v", next, a.status, a.header)
		}
	}
	a = w.post("files/office/unlock", url.Values{"passphrase": {passphrase}, "next": {w.folder()}})
	if a.status != http.StatusSeeOther || a.header.Get("Location") != w.page.base+w.folder() {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := w.get(w.folder() + "letter.txt"); a.body != "the letter\n" {
		t.Errorf("%q", a.body)
	}
	if a := w.post("files/office/lock", nil); a.status != http.StatusSeeOther {
		t.Errorf("%d", a.status)
	}
	if a := w.get(w.folder() + "letter.txt"); !strings.Contains(a.body, "office is locked") {
		t.Errorf("after it was locked: %q", a.body)
	}
}

// TestCharts: each is a picture that no browser runs, in both colours.
func TestCharts(t *testing.T) {
	w := newWorld(t, repo.Unattended)
	for _, path := range []string{"chart?name=size", "chart?name=growth&dark", "chart?name=duration&days=365&policy=documents"} {
		a := w.get(path)
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "image/svg+xml" || !strings.HasPrefix(a.body, "<svg") || !strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: %d %v %.100s", path, a.status, a.header, a.body)
		}
		if strings.Contains(a.body, "<script") || strings.Contains(a.body, "href") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	if a := w.get("chart?name=other"); a.status != http.StatusNotFound {
		t.Errorf("%d", a.status)
	}
	for _, c := range []struct {
		v       float64
		seconds bool
		want    string
	}{{0, false, "B"}, {2047, false, "B"}, {2048, false, "KiB"}, {5 << 40, false, "TiB"}, {119, true, "s"}, {120, true, "min"}, {1e6, true, "h"}} {
		if u := unitOf(c.v, c.seconds); u.name != c.want {
			t.Errorf("%v: %s", c.v, u.name)
		}
	}
}
