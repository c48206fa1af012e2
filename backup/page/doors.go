package page

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	tokenLife   = 2 * time.Minute
	sessionLife = 12 * time.Hour // since somebody last did something
	maxTokens   = 32
	maxSessions = 64
	cookieName  = "tidemark"
)

// doors knows who may come in. It keeps hashes of secrets, never these.
type doors struct {
	now func() time.Time

	mu       sync.Mutex
	tokens   map[[32]byte]time.Time // until when
	sessions map[[32]byte]*session
}

// session is somebody who was let in.
type session struct {
	csrf string
	seen time.Time // guarded by doors
}

func (d *doors) init(now func() time.Time) {
	d.now, d.tokens, d.sessions = now, map[[32]byte]time.Time{}, map[[32]byte]*session{}
}

// secret is 256 bits as text.
func secret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// token makes a token that is good once.
func (d *doors) token() string {
	t := secret()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for k, until := range d.tokens {
		if now.After(until) || len(d.tokens) >= maxTokens {
			delete(d.tokens, k)
		}
	}
	d.tokens[sha256.Sum256([]byte(t))] = now.Add(tokenLife)
	return t
}

// enter makes a session of a token, and returns its cookie's value; "" if the
// token is none, was used, or is too old.
func (d *doors) enter(token string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := sha256.Sum256([]byte(token))
	until, ok := d.tokens[key]
	delete(d.tokens, key)
	now := d.now()
	if !ok || now.After(until) {
		return ""
	}
	var oldest [32]byte
	for k, s := range d.sessions {
		if now.Sub(s.seen) > sessionLife {
			delete(d.sessions, k)
		} else if o := d.sessions[oldest]; o == nil || s.seen.Before(o.seen) {
			oldest = k
		}
	}
	if len(d.sessions) >= maxSessions {
		delete(d.sessions, oldest)
	}
	cookie := secret()
	d.sessions[sha256.Sum256([]byte(cookie))] = &session{csrf: secret(), seen: now}
	return cookie
}

// of returns the session of a request, nil if it has none. Who only listens
// does nothing: a page that lies open is no reason to stay logged in.
func (d *doors) of(r *http.Request) *session {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := sha256.Sum256([]byte(c.Value))
	s := d.sessions[key]
	if s == nil {
		return nil
	}
	now := d.now()
	if now.Sub(s.seen) > sessionLife {
		delete(d.sessions, key)
		return nil
	}
	if r.Header.Get(liveHeader) == "" && !strings.HasSuffix(r.URL.Path, "/events") {
		s.seen = now
	}
	return s
}

// leave ends the session of a request.
func (d *doors) leave(r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.sessions, sha256.Sum256([]byte(c.Value)))
	}
}

// sent says whether a form comes from a page of this session.
func (d *doors) sent(s *session, r *http.Request) bool {
	return hmac.Equal([]byte(r.PostFormValue("csrf")), []byte(s.csrf))
}

type sessionKey struct{}

func sessionOf(r *http.Request) *session {
	s, _ := r.Context().Value(sessionKey{}).(*session)
	return s
}

// guard lets through who has a session. Others learn how to get one.
func (p *Page) guard(inner http.Handler) http.Handler {
	same := http.NewCrossOriginProtection()
	same.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "This was not sent by the page itself.", http.StatusForbidden)
	}))
	return same.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := p.doors.of(r)
		if s == nil {
			p.stranger(w, r)
			return
		}
		inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, s)))
	}))
}

// front is before everything: who is asked for, and what no answer goes without.
func (p *Page) front(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", p.policy(r))
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		if !ours(r.Host) {
			http.Error(w, "This page is not known by that name.", http.StatusMisdirectedRequest)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// ours says whether a host is a name of this machine. The port may be another
// one: of a tunnel.
func ours(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// policy lets through what lies below assets/, and pictures of this site. Files
// of points are of this site, too, and must not become a script of a page.
func (p *Page) policy(r *http.Request) string {
	assets := "http://" + r.Host + "/assets/"
	if !ours(r.Host) {
		assets = "'none'"
	}
	return "default-src 'none'; script-src " + assets + "; style-src " + assets +
		"; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// login lets in who has a token. The page that answers goes on by itself: a
// cookie that no other site can send would not be sent with a redirect either,
// if the link was followed from a page of another site.
func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	cookie := p.doors.enter(r.URL.Query().Get("token"))
	if cookie == "" {
		p.stranger(w, r)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: cookie, Path: p.base, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	p.render(w, http.StatusOK, "welcome", &frame{Base: p.base, Title: "Welcome"})
}

// stranger tells who is not let in how to come in.
func (p *Page) stranger(w http.ResponseWriter, _ *http.Request) {
	p.render(w, http.StatusUnauthorized, "stranger", &frame{Title: "Log in"})
}

// logout ends the session.
func (q *request) logout() error {
	q.doors.leave(q.r)
	http.SetCookie(q.w, &http.Cookie{Name: cookieName, Path: q.base, MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	q.render(q.w, http.StatusOK, "stranger", &frame{Title: "Logged out"})
	return nil
}
