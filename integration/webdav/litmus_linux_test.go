package webdav

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"
)

// base stands before the share for litmus, which begins each suite by making a
// folder anew: that one folder is said to be made, and lies in the point. All
// that follows is the share's own answer.
type base struct {
	share http.Handler
	path  string

	mu       sync.Mutex
	statuses map[string][]int // that each method got
}

func (b *base) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == b.path {
		switch r.Method {
		case "MKCOL":
			w.WriteHeader(http.StatusCreated)
			return
		case "DELETE":
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	s := &status{ResponseWriter: w}
	b.share.ServeHTTP(s, r)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.statuses[r.Method], s.code) {
		b.statuses[r.Method] = append(b.statuses[r.Method], s.code)
		slices.Sort(b.statuses[r.Method])
	}
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) { s.code = code; s.ResponseWriter.WriteHeader(code) }

var (
	summary = regexp.MustCompile("summary for `(\\w+)': of \\d+ tests run: (\\d+) passed")
	failure = regexp.MustCompile(`[a-z_0-9]+\.+ FAIL .*`)
	refusal = regexp.MustCompile(`403 Forbidden|could not create collection|must fail with 415|PROPPATCH on .* 404 Not Found`)
)

// litmus runs the suite that servers for writing have to pass. What a read-only
// share can pass it passes; and whatever it is asked to write it refuses with
// the one right answer, and nothing breaks.
func litmus(t *testing.T, s *share) {
	if err := os.MkdirAll(filepath.Join(s.source, "litmus"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.tidemark("backup", s.source)
	for range 100 { // the list of points is some seconds old
		if s.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", s.here+"/litmus/") == "200" {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	to, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	b := &base{share: httputil.NewSingleHostReverseProxy(to), path: "/latest" + s.source + "/litmus/", statuses: map[string][]int{}}
	front := httptest.NewServer(b)
	defer front.Close()
	c := exec.CommandContext(t.Context(), "litmus", "-k", front.URL+"/latest"+s.source+"/")
	c.Dir, c.Env = t.TempDir(), append(os.Environ(), "TESTS=basic copymove props locks http")
	out, _ := c.CombinedOutput() // whose error is that some failed
	passed := map[string]string{}
	for _, m := range summary.FindAllStringSubmatch(string(out), -1) {
		passed[m[1]] = m[2]
	}
	// What is left out or failed needs something that was written before.
	for suite, want := range map[string]string{"basic": "7", "copymove": "5", "props": "9", "locks": "3", "http": "4"} {
		if passed[suite] != want {
			t.Errorf("%s of the %s suite passed, not %s: %s", passed[suite], suite, want, out)
		}
	}
	for _, m := range failure.FindAllString(string(out), -1) {
		if !refusal.MatchString(m) {
			t.Errorf("not for being read-only: %s", m)
		}
	}
	want := map[string][]int{"DELETE": {403}, "MKCOL": {403}, "OPTIONS": {200}, "PROPFIND": {207, 400, 403}, "PROPPATCH": {404}, "PUT": {403}}
	if !reflect.DeepEqual(b.statuses, want) {
		t.Errorf("answers: %v", b.statuses)
	}
}
