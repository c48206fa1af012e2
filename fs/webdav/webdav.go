// Package webdav shows a tree of recovery points as a read-only WebDAV share,
// and to a browser as pages to read and download from.
//
// It is a handler of its own and not one over golang.org/x/net/webdav: that
// opens each file of a listing to guess its type (three times, 3,003 opens for
// 1,000 files), walks the whole tree for Depth infinity, answers read-only
// verbs with 404 and 500, offers locks that it cannot keep, and knows neither
// creation date, lock discovery nor quota. What clients do with each answer
// was collected from their sources and bug reports; the tests name them (G1 to
// G11 for all, W for Windows, M for macOS, L for Linux).
//
// Nouns:
//
//   - A View is the tree as one user may see it. The handler asks nothing else
//     and decides nothing about rights.
//   - An agent is the client's kind, by its User-Agent: only those that break
//     on a right answer get another one.
//   - A resource is what a path leads to. Links are followed within their
//     point; what is neither file nor folder is not there.
//
// Every verb that writes is 403. No answer has backed-up data in it that a
// browser would run: files are attachments, in a sandbox.
package webdav

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Folders is what listings are made of.
type Folders interface {
	Lookup(ctx context.Context, parent fs.Node, name string) (fs.Attr, error)
	Attr(ctx context.Context, n fs.Node) (fs.Attr, error)
	ReadDir(ctx context.Context, n fs.Node, from uint64) iter.Seq2[*fs.DirEntry, error]
	Readlink(ctx context.Context, n fs.Node) (string, error)
}

// Files is what downloads are made of.
type Files interface {
	Read(ctx context.Context, n fs.Node, offset uint64, dst []byte) (int, error)
	ContentID(ctx context.Context, n fs.Node) (fs.ContentID, error)
	Stat(ctx context.Context) (fs.Stats, error)
	Xattr(ctx context.Context, n fs.Node, name string) ([]byte, error)
	Xattrs(ctx context.Context, n fs.Node) ([]byte, error)
}

// View is the tree as one user may see it.
type View interface {
	Folders
	Files
}

var _ View = (*fs.Tree)(nil)

// Options of a Handler.
type Options struct {
	// Hosts are the names under which the share may be asked for, without
	// port; nil allows every one. A page of somebody else's that a name of his
	// leads here (DNS rebinding) is refused so.
	Hosts []string

	// Prefix is the path of the share's root, "" or as in "/name": what is
	// above it is not this handler's.
	Prefix string

	// Title stands above pages; "" is "Recovery points".
	Title string

	// Frame makes the pages a part of a site; nil: they stand alone.
	Frame *Frame

	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// Log hears of requests that failed here, not at the client. nil: nobody.
	Log *slog.Logger
}

// Handler answers WebDAV requests and browsers. It keeps no state of clients.
type Handler struct {
	view    func(*http.Request) View
	opt     Options
	large   atomic.Int64  // buffers in use, see takeBuffer
	studies chan struct{} // one for each search or list of versions under way
}

// New returns a handler. view returns what the user of a request may see.
func New(view func(*http.Request) View, o Options) *Handler {
	if o.Title == "" {
		o.Title = "Recovery points"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{view: view, opt: o, studies: make(chan struct{}, maxStudies)}
}

// request is one request on its way.
type request struct {
	*Handler
	View
	w     http.ResponseWriter
	r     *http.Request
	agent agent
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	if !h.hostAllowed(r.Host) {
		http.Error(w, "This share is not known by that name.", http.StatusMisdirectedRequest)
		return
	}
	// G1: clients ask what this is before they have credentials.
	head.Set("MS-Author-Via", "DAV")
	q := &request{Handler: h, w: w, r: r, agent: agentOf(r.UserAgent())}
	head.Set("DAV", q.agent.class())
	if r.Method == http.MethodOptions {
		q.options()
		return
	}
	q.View = h.view(r)
	if q.View == nil {
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	}
	if err := q.serve(); err != nil {
		q.fail(err)
	}
}

func (q *request) serve() error {
	switch q.r.Method {
	case http.MethodGet, http.MethodHead:
		return q.get()
	case "PROPFIND":
		return q.propfind()
	case "PROPPATCH":
		return q.proppatch()
	case "LOCK":
		return q.lock()
	case "UNLOCK":
		q.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	// G8: 405 and 404 make clients try again or tell a wrong story.
	http.Error(q.w, "Recovery points are read-only.", http.StatusForbidden)
	return nil
}

// allow lists the verbs that are answered with more than a refusal.
const allow = "OPTIONS, GET, HEAD, PROPFIND, PROPPATCH, LOCK, UNLOCK"

func (q *request) options() {
	q.w.Header().Set("Allow", allow)
	q.w.Header().Set("Content-Length", "0")
	q.w.WriteHeader(http.StatusOK)
}

func (h *Handler) hostAllowed(host string) bool {
	if h.opt.Hosts == nil {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	for _, known := range h.opt.Hosts {
		if strings.EqualFold(known, host) {
			return true
		}
	}
	return false
}

// statuses says what a client is told of each kind of failure. M3: macOS takes
// a 5xx but 507 for "no such file", so one is sent only when nothing else is
// true.
func statuses() [fault.NumKinds]int {
	return [fault.NumKinds]int{
		fault.Internal:    http.StatusInternalServerError,
		fault.NotExist:    http.StatusNotFound,
		fault.Exist:       http.StatusConflict,
		fault.Denied:      http.StatusForbidden,
		fault.Locked:      http.StatusForbidden,
		fault.Corrupt:     http.StatusInternalServerError,
		fault.Invalid:     http.StatusBadRequest,
		fault.ReadOnly:    http.StatusForbidden,
		fault.NoSpace:     http.StatusInsufficientStorage,
		fault.Unavailable: http.StatusServiceUnavailable,
		fault.Unsupported: http.StatusNotImplemented,
		fault.Stale:       http.StatusNotFound,
		fault.TooLarge:    http.StatusRequestEntityTooLarge,
		fault.NotDir:      http.StatusNotFound,
		fault.IsDir:       http.StatusConflict,
		fault.Changed:     http.StatusInternalServerError,
		fault.Rollback:    http.StatusInternalServerError,
		fault.Canceled:    499, // the client has gone: nobody reads it
	}
}

// fail answers with an error. The text tells a client nothing that the status
// does not: names and reasons are for the log.
func (q *request) fail(err error) {
	status := statuses()[fault.KindOf(err)]
	if errors.Is(err, context.Canceled) {
		return
	}
	if status >= 500 {
		q.opt.Log.Error("a request failed", "method", q.r.Method, "path", q.r.URL.Path, "error", err)
	}
	h := q.w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Content-Disposition", "Content-Length", "Accept-Ranges"} {
		h.Del(name)
	}
	http.Error(q.w, fmt.Sprintf("%d %s", status, http.StatusText(status)), status)
}
