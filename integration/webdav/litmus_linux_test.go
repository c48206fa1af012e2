package webdav

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
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

var resultLine = regexp.MustCompile(`(?m)^\s*\d+\. (\S+?)\.+ (pass|FAIL|SKIPPED|WARNING)`)

// litmus runs the suite that servers for writing have to pass. What a read-only
// share can pass it passes; and whatever it is asked to write it refuses with
// the one right answer, and nothing breaks.
func litmus(t *testing.T, s *share) {
	if err := os.MkdirAll(filepath.Join(s.source, "litmus"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.tidemark("backup", s.source)
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
	var passed []string
	for _, m := range resultLine.FindAllStringSubmatch(string(out), -1) {
		if m[2] == "pass" && m[1] != "init" && m[1] != "begin" && m[1] != "finish" {
			passed = append(passed, m[1])
		}
	}
	t.Logf("passed: %q; answers: %v", passed, b.statuses)
	t.Logf("%s", out)
}
