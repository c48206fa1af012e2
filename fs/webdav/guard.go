package webdav

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/access"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Guard asks who somebody is, before a Handler shows what he may see, and
// writes down what he asked for.
type Guard struct {
	Tree   *fs.Tree // as it was backed up: owners and modes unchanged
	Logins *access.Logins
	Digest bool         // offer Digest authentication, too: every account has what it needs
	Log    *slog.Logger // of each request; nil: none is kept
}

type userKey struct{}

// View is the view function of a Handler behind a Guard.
func (g *Guard) View(r *http.Request) View {
	u, ok := r.Context().Value(userKey{}).(*access.User)
	if !ok {
		return nil
	}
	return access.New(g.Tree, u)
}

// Around puts the guard in front of a handler whose view function is View.
//
// G1: OPTIONS needs no login, since clients ask it before they have one; a 401
// still says that this is WebDAV. With Basic the password comes with each
// request, so the connection must be one that nobody listens to.
func (g *Guard) Around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counter{ResponseWriter: w, status: http.StatusOK}
		name := ""
		if r.Method != http.MethodOptions {
			u, err := g.login(r)
			if err != nil {
				g.refuse(c, r, err)
				g.write(r, "", c)
				return
			}
			name = u.Name
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, u))
		}
		defer func() { g.write(r, name, c) }() // also of what is cut short
		h.ServeHTTP(c, r)
	})
}

var errNoLogin = errors.New("no user and password were given")

func (g *Guard) login(r *http.Request) (*access.User, error) {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	header := r.Header.Get("Authorization")
	if scheme, _, _ := strings.Cut(header, " "); g.Digest && strings.EqualFold(scheme, "Digest") {
		return g.Logins.CheckDigest(header, r.Method, r.RequestURI, address)
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return nil, errNoLogin
	}
	return g.Logins.Check(r.Context(), name, password, address)
}

func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	h.Set("DAV", agentOf(r.UserAgent()).class())
	h.Set("MS-Author-Via", "DAV")
	var wait *access.Wait
	if errors.As(err, &wait) {
		h.Set("Retry-After", strconv.Itoa(int(wait.For.Seconds())+1))
		http.Error(w, "Too many wrong passwords. Try again later.", http.StatusTooManyRequests)
		return
	}
	if k := fault.KindOf(err); k != fault.Denied && !errors.Is(err, errNoLogin) {
		h.Set("Retry-After", "10") // a directory that does not answer: the password may be right
		http.Error(w, "Nobody can be logged in just now.", http.StatusServiceUnavailable)
		return
	}
	if g.Digest { // G11: one challenge a line, the best first
		for _, c := range g.Logins.DigestChallenges(errors.As(err, new(access.Stale))) {
			h.Add("WWW-Authenticate", c)
		}
	}
	h.Add("WWW-Authenticate", `Basic realm="`+access.Realm+`", charset="UTF-8"`)
	http.Error(w, "Log in to see recovery points.", http.StatusUnauthorized)
}

func (g *Guard) write(r *http.Request, user string, c *counter) {
	if g.Log == nil {
		return
	}
	g.Log.Info("request", "user", user, "from", r.RemoteAddr, "method", r.Method, "path", r.URL.Path,
		"status", c.status, "bytes", c.bytes, "agent", r.UserAgent())
}

// counter remembers what was answered.
type counter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap lets http.ResponseController find the connection's own writer.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (c *counter) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}
