package mount

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

func oneFile(t *testing.T) *fs.Tree {
	t.Helper()
	source := fsconform.NewSource()
	file := fsconform.File{Path: "/file", Entry: table.Entry{Kind: table.File, Mode: 0o600}, Data: fsconform.Bytes([]byte("hello"))}
	if _, err := source.Add(t.Context(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), []fsconform.File{file}); err != nil {
		t.Fatal(err)
	}
	tree := fs.New(source, fs.Options{Location: time.UTC})
	t.Cleanup(tree.Close)
	return tree
}

// ran notes the programs that a mount would have run.
type ran struct {
	calls []string
	fail  bool
}

func (r *ran) run(_ context.Context, args []string) error {
	r.calls = append(r.calls, strings.Join(args, " "))
	if r.fail {
		return errors.New("no")
	}
	return nil
}

func ask(t *testing.T, method, url string) (int, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Depth", "1")
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestWithoutADriverThePointsAreShared(t *testing.T) {
	host := Host{System: "windows"}
	var r ran
	m, err := Mount(t.Context(), "x:", oneFile(t), Options{host: &host, run: r.run})
	if err != nil {
		t.Fatal(err)
	}
	if m.Door() != WebDAV || m.Dir() != "X:" || !strings.HasPrefix(m.URL(), "http://127.0.0.1:") {
		t.Fatalf("door %s, dir %q, url %q", m.Door(), m.Dir(), m.URL())
	}
	if status, body := ask(t, "GET", m.URL()+"latest/file"); status != 200 || body != "hello" {
		t.Errorf("%d, %q", status, body)
	}
	if status, body := ask(t, "PROPFIND", m.URL()); status != 207 || !strings.Contains(body, strings.TrimPrefix(m.URL(), "http://"+strings.Split(m.URL(), "/")[2])+"points/") {
		t.Errorf("%d, %s", status, body)
	}
	if status, body := ask(t, "GET", m.URL()); status != 200 || !strings.Contains(body, `tidemark/points/"`) {
		t.Errorf("%d, %s", status, body)
	}
	if err := m.Show(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
	if want := []string{"net use X: " + m.URL() + " /persistent:no", "explorer X:", "net use X: /delete /y"}; !slices.Equal(r.calls, want) {
		t.Errorf("ran %q", r.calls)
	}
}

func TestAShareIsForThoseWhoKnowIt(t *testing.T) {
	host := Host{System: "linux", Programs: map[string]bool{"gio": true}}
	m, err := Mount(t.Context(), "", oneFile(t), Options{host: &host, run: new(ran).run})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Unmount(t.Context())
	top := m.URL()[:strings.Index(m.URL()[7:], "/")+8]
	for _, path := range []string{"", "latest/file", "tidemark/", "points/", strings.Repeat("0", 32) + "/tidemark/latest/file", "%2e%2e/"} {
		if status, body := ask(t, "GET", top+path); status != 404 || strings.Contains(body, "hello") {
			t.Errorf("GET %s: %d, %q", path, status, body)
		}
	}
	if status, body := ask(t, "PROPFIND", top); status != 207 || strings.Contains(body, "points") || strings.Count(body, "<D:href>") != 1 {
		t.Errorf("PROPFIND of the top: %d, %q", status, body)
	}
	if status, body := ask(t, "PROPFIND", strings.TrimSuffix(m.URL(), "tidemark/")); status != 207 || strings.Contains(body, "points") {
		t.Errorf("PROPFIND of the folder above: %d, %q", status, body)
	}
	if status, _ := ask(t, "PROPFIND", top+strings.Repeat("0", 32)+"/"); status != 404 {
		t.Errorf("PROPFIND of another folder: %d", status)
	}
	if status, _ := ask(t, "OPTIONS", top); status != 200 {
		t.Errorf("OPTIONS of the top: %d", status)
	}
	if m.Dir() != "" || !strings.HasPrefix(m.Hint(), "gio mount dav://127.0.0.1:") {
		t.Errorf("dir %q, hint %q", m.Dir(), m.Hint())
	}
	other, err := Mount(t.Context(), "", oneFile(t), Options{host: &host, run: new(ran).run})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Unmount(t.Context())
	if other.URL() == m.URL() {
		t.Error("two shares have one URL")
	}
}

func TestAShareThatCannotBeMappedIsThere(t *testing.T) {
	host := Host{System: "windows"}
	r := ran{fail: true}
	m, err := Mount(t.Context(), "X:", oneFile(t), Options{host: &host, run: r.run})
	if err != nil {
		t.Fatal(err)
	}
	if m.Dir() != "" || m.Hint() != "net use X: "+m.URL() {
		t.Errorf("dir %q, hint %q", m.Dir(), m.Hint())
	}
	if status, _ := ask(t, "GET", m.URL()+"latest/file"); status != 200 {
		t.Errorf("%d", status)
	}
	if err := m.Unmount(t.Context()); err != nil || len(r.calls) != 1 {
		t.Errorf("%v, ran %q", err, r.calls)
	}
}

func TestADoorThatIsAskedForIsNoOther(t *testing.T) {
	host := Host{System: "linux"}
	if _, err := Mount(t.Context(), t.TempDir(), oneFile(t), Options{host: &host, Door: FUSE}); fault.KindOf(err) != fault.Unsupported {
		t.Error(err)
	}
}

func TestAShareEndsWithItsContext(t *testing.T) {
	host := Host{System: "linux"}
	m, err := Mount(t.Context(), "", oneFile(t), Options{host: &host, run: new(ran).run})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Serve(ctx, time.Second) }()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
