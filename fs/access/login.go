package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
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
	asking  chan struct{} // one for each question to a directory
	nobody  *hash         // checked for names that have no account, so that they take as long
	account func(name string) *Account
	other   Directory // nil: none
	nonces  [32]byte  // key of the nonces of Digest

	mu       sync.Mutex
	sessions map[[32]byte]*session
	failures map[string]*failure // by account and by address
}

type session struct {
	user  *User
	hash  string // that the account had; "" for one of a directory
	last  time.Time
	began time.Time
}

type failure struct {
	count int
	until time.Time // no try before this
}

const (
	accountKey  = "account "
	forgotten   = 30 * time.Minute // after which old failures count no more
	sessionIdle = 30 * time.Minute
	// What a directory said holds so long: it tells nobody of changes.
	directoryHolds = 5 * time.Minute
	maxSessions    = 4096
	maxFailures    = 65536
	freeTries      = 3 // that cost nothing: people mistype
	// The longest waits between two tries. That of an account is short, or
	// anybody could lock somebody out by guessing.
	longestAddress = 15 * time.Minute
	longestAccount = 30 * time.Second
	derivations    = 2 // at a time
	questions      = 8
)

// Directory knows who somebody is whom no account names: LDAP, for instance.
type Directory interface {
	// Check returns nil if that is the password of name, fault.Denied if it is
	// not, or if there is nobody of that name.
	Check(ctx context.Context, name, password string) error
}

// NewLogins returns a checker. account returns the account of a name, nil for
// none; it is asked at each request, so that accounts can change.
func NewLogins(account func(name string) *Account, now func() time.Time) *Logins {
	l := &Logins{now: now, slots: make(chan struct{}, derivations), asking: make(chan struct{}, questions), account: account,
		sessions: map[[32]byte]*session{}, failures: map[string]*failure{}}
	_, _ = rand.Read(l.key[:])
	_, _ = rand.Read(l.nonces[:])
	l.nobody, _ = parseHash("$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	return l
}

// Ask makes a directory answer for the names that no account has. Whom it knows
// is the user of that name on the server.
func (l *Logins) Ask(d Directory) { l.other = d }

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
	slots := l.slots
	if a == nil && l.other != nil {
		slots = l.asking
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// While it waited for its turn another try may have failed.
	if err := l.mayTry(keys); err != nil {
		return nil, err
	}
	s := &session{}
	err := l.verify(ctx, a, name, password, s)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if errors.Is(err, fault.Denied) {
			l.failed(keys)
		}
		return nil, fmt.Errorf("log in %q: %w", name, err)
	}
	for _, k := range keys {
		delete(l.failures, k)
	}
	if len(l.sessions) >= maxSessions {
		clear(l.sessions) // everybody is asked again: a fifth of a second each
	}
	s.began = l.now()
	s.last = s.began
	l.sessions[id] = s
	return s.user, nil
}

// verify says whether a password is right, and fills the session. With a
// directory its answer takes as long as it takes: who tries can tell which names
// have an account of their own here.
func (l *Logins) verify(ctx context.Context, a *Account, name, password string, s *session) error {
	if a == nil && l.other != nil {
		s.user = &User{Name: name, Server: name}
		return l.other.Check(ctx, name, password)
	}
	h := l.nobody
	if a != nil {
		h, _ = parseHash(a.Password) // it was checked when the file was read
	}
	if !h.matches([]byte(password)) || a == nil {
		return fault.Denied
	}
	s.user, s.hash = a.User(), a.Password
	return nil
}

// known returns the user of a session that goes on.
func (l *Logins) known(id [32]byte, a *Account) *User {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[id]
	if s == nil {
		return nil
	}
	now := l.now()
	good := now.Sub(s.last) <= sessionIdle
	if s.hash == "" {
		good = good && a == nil && now.Sub(s.began) <= directoryHolds
	} else {
		good = good && a != nil && a.Password == s.hash
	}
	if !good {
		delete(l.sessions, id)
		return nil
	}
	s.last = now
	if a != nil {
		s.user = a.User() // groups may have changed
	}
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
