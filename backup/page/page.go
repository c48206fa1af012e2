// Package page is the agent's local web page: how everything is, what each
// policy did and will do, every file of every recovery point to look at,
// download and restore, the jobs as they run, and the alerts.
//
// Nouns: a [Page] is the server; a session is somebody who came with a token
// that the agent's socket gave out; a vault is a repository that the page has
// opened, or that waits for its passphrase.
//
// Who may use the agent's socket may use the page, and nobody else:
//
//   - It listens on this machine alone, and answers to names of this machine
//     only, so that a name of somebody else's that leads here (DNS rebinding)
//     gets nothing.
//   - A token is good once, and for two minutes. What it buys is a cookie that
//     no script can read and no other site can send. Cookies know no ports, so
//     that this one holds below a path that is drawn at each start: a server of
//     another user on another port of 127.0.0.1 does not get it.
//   - Whatever changes something is a POST with a token of the session in it,
//     from the page itself.
//   - Pages load nothing from elsewhere and run one script, which lies below
//     assets/. What was backed up is never run: it is shown as text, as a
//     picture of few formats, or saved, in a sandbox.
//
// Everything works without the script: that only keeps pages up to date, and
// moves about in the calendar with arrow keys.
//
// A passphrase that is typed in stays in memory, until nobody looked at the
// repository for a quarter of an hour.
package page

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/fs/webdav"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Options are what a Page works with.
type Options struct {
	Dir        string                                // what this machine keeps of repositories
	Passphrase func(context.Context) ([]byte, error) // for a machine that keeps no keys; nil: people are asked
	Told       func(address string) []byte           // a passphrase that somebody has told the agent; nil: nobody can
	Now        func() time.Time
	Zone       *time.Location
	Log        *slog.Logger
	Version    string

	// Restored hears how a restore ended that nobody cancelled. nil: nobody does.
	Restored func(what string, failure error)
}

// Page is the server of the page.
type Page struct {
	o        Options
	listener net.Listener
	base     string // the path that everything is below, /…/
	doors    doors
	vaults   vaults
	restores restores
	assets   map[string]asset
	look     *template.Template
	streams  chan struct{} // one for each stream of events
	searches chan struct{} // one for each search under way

	agent *agent.Agent
}

// Listen opens the page's port. An address that others than this machine could
// reach is refused.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	if err := config.CheckPage(address); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the web page: %w", err)
	}
	return l, nil
}

// New returns a page on a listener, which Serve closes.
func New(l net.Listener, o Options) *Page {
	secret := make([]byte, 12)
	_, _ = rand.Read(secret) // never fails
	p := &Page{o: o, listener: l, base: "/" + hex.EncodeToString(secret) + "/", look: looks(), streams: make(chan struct{}, maxStreams), searches: make(chan struct{}, searching)}
	p.assets = loadAssets()
	p.doors.init(o.Now)
	p.vaults.init(p)
	p.restores.init(o)
	return p
}

// Link returns an address that lets in who opens it, once and soon.
func (p *Page) Link() string {
	return "http://" + p.listener.Addr().String() + p.base + "login?token=" + p.doors.token()
}

// Serve answers until ctx is done, for an agent.
func (p *Page) Serve(ctx context.Context, a *agent.Agent) error {
	p.agent = a
	var work sync.WaitGroup
	defer work.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	work.Go(func() { p.vaults.watch(ctx) })
	p.restores.open(ctx)
	defer p.restores.close()
	p.o.Log.Info("web page", "address", p.listener.Addr().String())
	return webdav.Serve(ctx, p.listener, p.handler(), nil, p.o.Log)
}

// handler is everything, behind the guard.
func (p *Page) handler() http.Handler {
	inner := http.NewServeMux()
	get := func(pattern string, do func(*request) error) {
		inner.Handle("GET "+p.base+pattern, p.handle(do))
	}
	post := func(pattern string, do func(*request) error) {
		inner.Handle("POST "+p.base+pattern, p.handle(do))
	}
	get("{$}", (*request).overview)
	get("events", (*request).events)
	get("files/{$}", (*request).repositories)
	get("files/{vault}/{path...}", (*request).files)
	post("files/{vault}/unlock", (*request).unlock)
	post("files/{vault}/lock", (*request).lock)
	get("jobs", (*request).jobs)
	get("jobs/{id}", (*request).job)
	post("jobs", (*request).startJob)
	post("jobs/{id}/cancel", (*request).cancelJob)
	post("pause", (*request).pause)
	post("resume", (*request).resume)
	get("alerts", (*request).alerts)
	post("alerts/{id}/close", (*request).closeAlert)
	get("policies", (*request).policies)
	get("charts", (*request).charts)
	get("chart", (*request).chart)
	get("points", (*request).points)
	get("search", (*request).search)
	get("restore", (*request).restoreForm)
	post("restore", (*request).restore)
	get("restores", (*request).allRestores)
	get("restores/{id}", (*request).oneRestore)
	post("restores/{id}/cancel", (*request).cancelRestore)
	post("logout", (*request).logout)

	outer := http.NewServeMux()
	outer.HandleFunc("GET "+p.base+"login", p.login)
	outer.HandleFunc("GET /assets/{name}", p.asset)
	outer.Handle(p.base, p.guard(inner))
	outer.HandleFunc("/", p.stranger)
	return p.front(outer)
}

// maxBody bounds what a form sends, in bytes.
const maxBody = 1 << 20

// request is one request of somebody who is let in.
type request struct {
	*Page
	w       http.ResponseWriter
	r       *http.Request
	session *session
}

// handle makes a handler of what answers a request.
func (p *Page) handle(do func(*request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{Page: p, w: w, r: r, session: sessionOf(r)}
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			if !p.doors.sent(q.session, r) {
				q.fail(fmt.Errorf("the form is too old, or was not sent by this page: open the page anew and try again: %w", fault.Denied))
				return
			}
		}
		if err := do(q); err != nil {
			q.fail(err)
		}
	})
}

// back sends the browser on to a page below the base.
func (q *request) back(to string) error {
	http.Redirect(q.w, q.r, q.base+strings.TrimPrefix(to, "/"), http.StatusSeeOther)
	return nil
}
