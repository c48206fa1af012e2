package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Logins checks who somebody is. Deriving a key from a password takes a fifth
// of a second and 64 MiB on purpose, so it is done once for a session (WebDAV
// clients send the password with each of thousands of requests), by a few at a
// time, and ever more rarely for who guesses.
type Logins struct {
	now     func() time.Time
	key     [32]byte      // of remembered passwords, drawn at start
	slots   chan struct{} // one for each derivation under way
	nobody  *hash         // checked for names that have no account, so that they take as long
	account func(name string) *Account

	mu       sync.Mutex
	sessions map[[32]byte]*session
	failures map[string]*failure // by account and by address
}

type session struct {
	user *User
	hash string // that the account had
	last time.Time
}

type failure struct {
	count int
	until time.Time // no try before this
}

const (
	accountKey  = "account "
	forgotten   = 30 * time.Minute // after which old failures count no more
	sessionIdle = 30 * time.Minute
	maxSessions = 4096
	maxFailures = 65536
	freeTries   = 3 // that cost nothing: people mistype
	// The longest waits between two tries. That of an account is short, or
	// anybody could lock somebody out by guessing.
	longestAddress = 15 * time.Minute
	longestAccount = 30 * time.Second
	derivations    = 2 // at a time
)

// NewLogins returns a checker. account returns the account of a name, nil for
// none; it is asked at each request, so that accounts can change.
func NewLogins(account func(name string) *Account, now func() time.Time) *Logins {
	l := &Logins{now: now, slots: make(chan struct{}, derivations), account: account,
		sessions: map[[32]byte]*session{}, failures: map[string]*failure{}}
	_, _ = rand.Read(l.key[:])
	l.nobody, _ = parseHash("$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	return l
}

// Wait is the error of who has to wait before the next try.
type Wait struct{ For time.Duration }

// Error implements error.
func (w *Wait) Error() string {
	return fmt.Sprintf("too many wrong passwords: wait %s", w.For.Round(time.Second))
}

// Unwrap makes it fault.Denied.
func (w *Wait) Unwrap() error { return fault.Denied }

// Check returns who says name and password, from an address (without port).
// Wrong ones are fault.Denied, and a *Wait before the next try is allowed.
func (l *Logins) Check(ctx context.Context, name, password, address string) (*User, error) {
	a := l.account(name)
	mac := hmac.New(sha256.New, l.key[:])
	fmt.Fprintf(mac, "%d %s %s", len(name), name, password)
	id := [32]byte(mac.Sum(nil))
	if u := l.known(id, a); u != nil {
		return u, nil
	}
	keys := []string{accountKey + name, "address " + address}
	if err := l.mayTry(keys); err != nil {
		return nil, err
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// While it waited for its turn another try may have failed.
	if err := l.mayTry(keys); err != nil {
		return nil, err
	}
	h := l.nobody
	if a != nil {
		h, _ = parseHash(a.Password) // it was checked when the file was read
	}
	good := h.matches([]byte(password)) && a != nil
	l.mu.Lock()
	defer l.mu.Unlock()
	if !good {
		l.failed(keys)
		return nil, fmt.Errorf("log in %q: %w", name, fault.Denied)
	}
	for _, k := range keys {
		delete(l.failures, k)
	}
	if len(l.sessions) >= maxSessions {
		clear(l.sessions) // everybody is asked again: a fifth of a second each
	}
	u := a.User()
	l.sessions[id] = &session{user: u, hash: a.Password, last: l.now()}
	return u, nil
}

// known returns the user of a session that goes on.
func (l *Logins) known(id [32]byte, a *Account) *User {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[id]
	if s == nil {
		return nil
	}
	if now := l.now(); a == nil || a.Password != s.hash || now.Sub(s.last) > sessionIdle {
		delete(l.sessions, id)
		return nil
	} else {
		s.last = now
	}
	s.user = a.User() // groups may have changed
	return s.user
}

func (l *Logins) mayTry(keys []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, k := range keys {
		if f := l.failures[k]; f != nil && now.Before(f.until) {
			return &Wait{f.until.Sub(now)}
		}
	}
	return nil
}

// failed makes the next try of an account, and from an address, wait longer.
func (l *Logins) failed(keys []string) {
	now := l.now()
	for _, k := range keys {
		longest := longestAddress
		if strings.HasPrefix(k, accountKey) {
			longest = longestAccount
		}
		f := l.failures[k]
		if f == nil {
			l.forget(now)
			f = &failure{}
			l.failures[k] = f
		}
		if now.Sub(f.until) > forgotten {
			f.count = 0
		}
		f.count++
		f.until = now
		if over := f.count - freeTries; over > 0 {
			f.until = now.Add(min(time.Second<<min(over, 20), longest))
		}
	}
}

// forget makes room for another failure: what is over goes, and if nothing is,
// one of them.
func (l *Logins) forget(now time.Time) {
	if len(l.failures) < maxFailures {
		return
	}
	for k, f := range l.failures {
		if now.Sub(f.until) > forgotten {
			delete(l.failures, k)
		}
	}
	for k := range l.failures {
		if len(l.failures) < maxFailures {
			return
		}
		delete(l.failures, k)
	}
}
