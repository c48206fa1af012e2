package mount_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/access"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/fs/webdav"
)

// judged says in the oracle's words what a View lets its user do.
func judged(ctx context.Context, v *access.View, root fs.Node, path string) string {
	n := root
	var a fs.Attr
	var err error
	for name := range strings.SplitSeq(path, "/") {
		if name == "." {
			a, err = v.Attr(ctx, n)
		} else {
			a, err = v.Lookup(ctx, n, name)
		}
		if err != nil {
			return "hidden"
		}
		n = a.Node
	}
	if _, err := v.Read(ctx, n, 0, make([]byte, 1)); err == nil {
		return "read"
	}
	for _, err = range v.ReadDir(ctx, n, 0) {
		if err == nil {
			return "read"
		}
	}
	return "seen"
}

// expected turns the kernel's answer into these words. A folder that can be
// listed and not entered is not listed by a View.
func expected(answer string, folder bool) string {
	switch {
	case strings.HasPrefix(answer, "stat:"):
		return "hidden"
	case strings.Contains(answer, "read:ok") && (!folder || strings.Contains(answer, ";xtrue")):
		return "read"
	}
	return "seen"
}

// TestAccessAgainstTheKernel asks the kernel, a View and a WebDAV share what
// each of several users may do with each of many paths.
func TestAccessAgainstTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("several users need root")
	}
	real, err := os.MkdirTemp("/tmp", "tidemark-oracle-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(real)
	if err := os.Chmod(real, 0o755); err != nil {
		t.Fatal(err)
	}
	paths := grow(t, rand.New(rand.NewPCG(5, 6)), real, 2000)
	files, err := scan(real)
	if err != nil {
		t.Fatal(err)
	}
	source := fsconform.NewSource()
	p, err := source.Add(t.Context(), firstPoint, files)
	if err != nil {
		t.Fatal(err)
	}
	tree := fs.New(source, fs.Options{Location: time.UTC})
	defer tree.Close()
	root, err := tree.PointRoot(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	self, err := reachable(t)
	if err != nil {
		t.Fatal(err)
	}
	pairs, counts := 0, map[string]int{}
	for _, who := range users() {
		user := &access.User{Name: fmt.Sprint(who.Uid), UID: who.Uid, Groups: groupsOf(who), Admin: who.Uid == 0}
		v := access.New(tree, user)
		h := webdav.New(func(*http.Request) webdav.View { return v }, webdav.Options{})
		answers := ask(t, self, who, []string{real}, paths)
		if !user.Admin {
			searched(t, h, files, paths, answers)
		}
		for i, answer := range answers {
			pairs++
			folder := isFolder(files, paths[i])
			want := expected(answer, folder)
			counts[want]++
			if got := judged(t.Context(), v, root, paths[i]); got != want && !user.Admin {
				t.Errorf("user %d, %s: the kernel says %s (%s), the view %s", who.Uid, paths[i], want, answer, got)
			}
			if got := overHTTP(t, h, paths[i], folder); got != want && !user.Admin {
				t.Errorf("user %d, %s: the kernel says %s (%s), the share %s", who.Uid, paths[i], want, answer, got)
			}
		}
	}
	if pairs < 5000 || counts["read"] < pairs/10 || counts["hidden"] < pairs/20 || counts["seen"] < pairs/20 {
		t.Errorf("%d pairs, %v: that proves little", pairs, counts)
	}
	t.Logf("%d pairs: %v", pairs, counts)
}

// searched compares what a search finds with what the kernel lets its user list:
// names in folders that he can list and enter, and so all folders above.
func searched(t *testing.T, h http.Handler, files []fsconform.File, paths, answers []string) {
	t.Helper()
	open := map[string]bool{}
	for i, path := range paths {
		parent := "."
		if j := strings.LastIndexByte(path, '/'); j >= 0 {
			parent = path[:j]
		}
		open[path] = (path == "." || open[parent]) && expected(answers[i], true) == "read"
	}
	want := map[string]bool{}
	for _, path := range paths {
		if j := strings.LastIndexByte(path, '/'); path != "." && (j < 0 && open["."] || j >= 0 && open[path[:j]]) {
			want[path] = true
		}
	}
	got := map[string]bool{}
	for digit := range 10 {
		r := httptest.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("/points/2026-11-22_10-00-00/?find=*%d", digit), nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK && open["."] {
			t.Fatalf("a search is answered with %d", w.Code)
		}
		for _, m := range rowOf.FindAllStringSubmatch(w.Body.String(), -1) {
			got[strings.Trim(strings.TrimPrefix(m[1], "/points/2026-11-22_10-00-00/"), "/")] = true
		}
	}
	for path := range got {
		if !want[path] {
			t.Errorf("a search finds %s, which the kernel does not list", path)
		}
	}
	for path := range want {
		if !got[path] {
			t.Errorf("a search does not find %s", path)
		}
	}
	t.Logf("%d found of %d", len(got), len(files))
}

var rowOf = regexp.MustCompile(`<th scope="row"><a href="([^"]*)">`)

func groupsOf(c syscall.Credential) []uint32 { return append(slices.Clone(c.Groups), c.Gid) }

func isFolder(files []fsconform.File, path string) bool {
	i := slices.IndexFunc(files, func(f fsconform.File) bool {
		return strings.TrimPrefix(f.Path, "/") == strings.TrimPrefix(path, ".")
	})
	return i >= 0 && len(files[i].Data) == 0
}

// overHTTP says in the same words what a share answers. What is hidden must
// look like what is not there at all.
func overHTTP(t *testing.T, h http.Handler, path string, folder bool) string {
	t.Helper()
	do := func(method, path string) (int, string) {
		r := httptest.NewRequestWithContext(t.Context(), method, "/points/2026-11-22_10-00-00/"+path, nil)
		r.Header.Set("Depth", "0")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	path = strings.TrimPrefix(path, ".")
	status, body := do("PROPFIND", path)
	versions, page := do("GET", path+"?versions")
	if status == http.StatusForbidden {
		parent := path[:strings.LastIndexByte("/"+path, '/')]
		if no, text := do("PROPFIND", parent+"nobody-has-this"); no != status || text != body {
			t.Errorf("%s: hidden is %d %q, and absent %d %q", path, status, body, no, text)
		}
		if no, text := do("GET", parent+"nobody-has-this?versions"); no != versions || text != page {
			t.Errorf("%s: hidden versions are %d %q, and absent %d %q", path, versions, page, no, text)
		}
		return "hidden"
	}
	if status != http.StatusMultiStatus {
		return fmt.Sprint(status)
	}
	get, _ := do("GET", path)
	tagged := strings.Contains(body, "getetag")
	if !folder && tagged != (get == http.StatusOK) {
		t.Errorf("%s: tagged %v, GET %d: an ETag tells of content", path, tagged, get)
	}
	if !folder && (versions == http.StatusOK) != (get == http.StatusOK) {
		t.Errorf("%s: GET %d, its versions %d", path, get, versions)
	}
	if get == http.StatusOK {
		return "read"
	}
	return "seen"
}
