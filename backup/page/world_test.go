package page

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

const passphrase = "correct horse battery staple"

// world is an agent with a page, a repository with one point, and somebody who
// uses it.
type world struct {
	t       testing.TB
	top     string
	source  string
	page    *Page
	agent   *agent.Agent
	journal *journal.Journal
	turned  atomic.Int64 // of the clock
	at      string       // of the page, ends in /
	client  *http.Client // which is logged in
}

// newWorld makes one whose machine may do what use says.
func newWorld(t testing.TB, use repo.Use) *world {
	w := &world{t: t, top: t.TempDir()}
	w.source = filepath.Join(w.top, "source")
	for name, text := range map[string]string{
		"letter.txt": "the letter\n", "<b>bold": "a name", "page.html": "<script>alert(1)</script>", "a/deep/file": "deep", "empty": "",
	} {
		w.write(filepath.Join("source", name), text)
	}
	w.init(use)
	w.start()
	w.backup()
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.top, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.turned.Load())) }

// init makes the repository.
func (w *world) init(use repo.Use) {
	w.t.Helper()
	place := filepath.Join(w.top, "office")
	s, err := local.Create(place)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := repo.Create(w.t.Context(), s, repo.CreateOptions{Passphrase: []byte(passphrase), Cost: seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}, Now: w.now()})
	if err == nil {
		err = r.Keep(repo.LocalOf(w.state(), r.ID, place), use)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) state() string { return filepath.Join(w.top, "state") }

func (w *world) config() config.Config {
	c, err := config.Parse([]byte(`repository = "`+filepath.Join(w.top, "office")+`"
[[policy]]
name = "documents"
paths = ["`+w.source+`"]
schedule = { at = ["09:00"] }
`), "test.toml", "")
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// start starts agent and page, and logs in.
func (w *world) start() {
	t := w.t
	t.Helper()
	var err error
	if w.journal, err = journal.Open(filepath.Join(w.top, "journal.db")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := &agent.Engine{Dir: w.state(), Now: w.now, New: func(paths []string, m *exclude.Matcher) backup.Job {
		return backup.Job{Paths: paths, Exclude: m, Host: "host", User: "user", Now: w.now}
	}}
	w.page = New(l, Options{Dir: w.state(), Now: w.now, Zone: time.UTC, Log: log, Version: "test"})
	w.agent, err = agent.New(w.config(), agent.Options{Journal: w.journal, Run: e.Run, Now: w.now, Zone: time.UTC, Log: log, Link: w.page.Link})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 2)
	go func() { over <- w.agent.Run(ctx) }()
	go func() { over <- w.page.Serve(ctx, w.agent) }()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		stop()
		for range 2 {
			if err := <-over; err != nil {
				t.Error(err)
			}
		}
		if err := w.journal.Close(); err != nil {
			t.Error(err)
		}
	})
	w.client = w.login()
}

// login is somebody new who is let in.
func (w *world) login() *http.Client {
	w.t.Helper()
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	link := w.page.Link()
	w.at = link[:strings.Index(link, "login?")]
	r, err := c.Get(link)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		w.t.Fatalf("log in: %s", r.Status)
	}
	return c
}

// backup writes a point, and waits for it.
func (w *world) backup() {
	w.t.Helper()
	j, err := w.agent.Start("documents", time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		s, err := w.agent.Job(j.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		if s.State.Over() {
			if s.State != journal.Completed {
				w.t.Fatalf("job: %+v", s)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (w *world) do(c *http.Client, r *http.Request) answer {
	w.t.Helper()
	reply, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{reply.StatusCode, reply.Header, string(b)}
}

func (w *world) request(method, path, body string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequest(method, w.at+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (w *world) get(path string) answer {
	w.t.Helper()
	return w.do(w.client, w.request(http.MethodGet, path, ""))
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// csrf is the token of forms.
func (w *world) csrf() string {
	w.t.Helper()
	m := csrfField.FindStringSubmatch(w.get("").body)
	if m == nil {
		w.t.Fatal("no token on the page")
	}
	return m[1]
}

// post sends a form as the page would.
func (w *world) post(path string, form url.Values) answer {
	w.t.Helper()
	form = url.Values(http.Header(form).Clone())
	if form == nil {
		form = url.Values{}
	}
	form.Set("csrf", w.csrf())
	return w.do(w.client, w.request(http.MethodPost, path, form.Encode()))
}

// folder is the path of the source in the newest point.
func (w *world) folder() string { return "files/office/latest" + filepath.ToSlash(w.source) + "/" }

func (w *world) today() string { return w.now().UTC().Format(time.DateOnly) }
