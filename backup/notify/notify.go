// Package notify tells people and programs what happened: by mail, to a URL,
// through a command; and it pings a watch that raises the alarm by itself when
// no ping comes.
//
// Nouns: a [Target] is somebody who is told; [Wishes] are of what; a [Message]
// is one telling, of one event or, in a digest, of several. [Plan] decides, and
// is pure; a [Post] acts.
//
// What is to be told lies in the journal's outbox, written in the step that
// brought it about. It leaves that when everybody knows it: so nothing is lost
// in a crash, and after one somebody may be told twice. A Message carries an ID
// that is the same both times.
//
// No backup waits for anybody here.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Config says who is told.
type Config struct {
	Host     string         `toml:"host"`   // how this machine is called; "": by its name
	Remind   *schedule.Span `toml:"remind"` // how often of critical alerts that last; nil: DefaultRemind; 0: never
	Mails    []Mail         `toml:"mail"`
	Webhooks []Webhook      `toml:"webhook"`
	Commands []Command      `toml:"command"`
	Pings    []Ping         `toml:"ping"`
}

// DefaultRemind is how often critical alerts that last are told again, unless
// a configuration says otherwise.
const DefaultRemind = 24 * time.Hour

// RemindOrDefault returns how often critical alerts that last are told again; 0
// is never.
func (c *Config) RemindOrDefault() time.Duration {
	if c.Remind == nil {
		return DefaultRemind
	}
	return time.Duration(*c.Remind)
}

// Wishes say of what somebody wants to be told, and when.
type Wishes struct {
	Name     string        `toml:"name"`     // unique
	Events   []string      `toml:"events"`   // "critical", "warning", "information", "resolved", "success"; none: critical, warning, resolved
	Policies []string      `toml:"policies"` // only of these, and of what is no policy's; none: of all
	Digest   schedule.Span `toml:"digest"`   // so much is gathered for one message; 0: a message for each event
}

// Words of Wishes.Events that are no severity.
const (
	resolved = string(journal.Resolved)
	success  = string(journal.Success)
)

var (
	events   = [...]string{string(journal.SeverityCritical), string(journal.SeverityWarning), string(journal.SeverityInformation), resolved, success}
	standard = [...]string{string(journal.SeverityCritical), string(journal.SeverityWarning), resolved}
)

const (
	minDigest  = time.Minute
	maxDigest  = 7 * 24 * time.Hour
	maxTargets = 100
)

// Target is somebody who is told.
type Target struct {
	Wishes
	Way    string // "mail", "webhook", "command" or "ping": the name of its table
	Number int    // of those
	send   func(context.Context, *Message) error
}

// Send tells one message, once, and returns whether it has arrived: with whom is
// for the target's other side to say.
func (t *Target) Send(ctx context.Context, m *Message) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := t.send(ctx, m); err != nil {
		return fmt.Errorf("notify %s: %w", t.Name, err)
	}
	return nil
}

// patience is how long one telling may take.
const patience = time.Minute

// Targets returns all who are told.
func (c *Config) Targets() []Target {
	var list []Target
	for i := range c.Mails {
		list = append(list, Target{c.Mails[i].Wishes, "mail", i, c.Mails[i].send})
	}
	for i := range c.Webhooks {
		list = append(list, Target{c.Webhooks[i].Wishes, "webhook", i, c.Webhooks[i].send})
	}
	for i := range c.Commands {
		list = append(list, Target{c.Commands[i].Wishes, "command", i, c.Commands[i].send})
	}
	for i := range c.Pings {
		w := Wishes{Name: c.Pings[i].Name, Policies: c.Pings[i].Policies}
		list = append(list, Target{w, "ping", i, c.Pings[i].send})
	}
	return list
}

// Wrong is an error in a Config, with the table in which it is.
type Wrong struct {
	Table  string // "mail" and so on; "": of the Config itself
	Number int
	Key    string // "": not of one key
	Err    error
}

// Error implements error.
func (w *Wrong) Error() string { return w.Err.Error() }

// Unwrap returns what is wrong.
func (w *Wrong) Unwrap() error { return w.Err }

// wrong is what is wrong with a key.
func wrong(key, format string, args ...any) *Wrong {
	return &Wrong{Key: key, Err: fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), fault.Invalid)}
}

var (
	targetName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)
	hostName   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]{0,252}$`)
)

// Validate checks what a configuration says; errors are *Wrong and
// fault.Invalid.
func (c *Config) Validate() error {
	if c.Host != "" && !hostName.MatchString(c.Host) {
		return wrong("host", "%q is not a name of a machine", c.Host)
	}
	names := map[string]bool{}
	table := func(name string, n int, wishes *Wishes, check func(int) *Wrong) error {
		for i := range n {
			w := check(i)
			if w == nil && names[wishes.Name] {
				w = wrong("name", "%q is the name of two who are told", wishes.Name)
			}
			if w != nil {
				w.Table, w.Number = name, i
				return w
			}
			names[wishes.Name] = true
		}
		return nil
	}
	var now Wishes
	look := func(w Wishes, more *Wrong) *Wrong {
		now = w
		if bad := w.wrong(); bad != nil {
			return bad
		}
		return more
	}
	err := errors.Join(
		table("mail", len(c.Mails), &now, func(i int) *Wrong { return look(c.Mails[i].Wishes, c.Mails[i].wrong()) }),
		table("webhook", len(c.Webhooks), &now, func(i int) *Wrong { return look(c.Webhooks[i].Wishes, c.Webhooks[i].wrong()) }),
		table("command", len(c.Commands), &now, func(i int) *Wrong { return look(c.Commands[i].Wishes, c.Commands[i].wrong()) }),
		table("ping", len(c.Pings), &now, func(i int) *Wrong {
			return look(Wishes{Name: c.Pings[i].Name, Policies: c.Pings[i].Policies}, c.Pings[i].wrong())
		}))
	if first, ok := errors.AsType[*Wrong](err); ok {
		return first
	}
	if len(names) > maxTargets {
		return wrong("", "%d who are told, but %d are possible", len(names), maxTargets)
	}
	return nil
}

func (w *Wishes) wrong() *Wrong {
	switch {
	case w.Name == "":
		return wrong("", "it has no name")
	case !targetName.MatchString(w.Name):
		return wrong("name", "%q: up to 63 letters, digits, and . _ - are possible", w.Name)
	case w.Digest != 0 && (time.Duration(w.Digest) < minDigest || time.Duration(w.Digest) > maxDigest):
		return wrong("digest", "%v, but 1m to 7d are possible", w.Digest)
	}
	for _, e := range w.Events {
		if !slices.Contains(events[:], e) {
			return wrong("events", "%q is none of %s", e, strings.Join(events[:], ", "))
		}
	}
	return nil
}

// Files returns where paths of files are, for who reads a configuration.
func (c *Config) Files() []*string {
	var list []*string
	for i := range c.Mails {
		list = append(list, &c.Mails[i].PasswordFile, &c.Mails[i].CAFile)
	}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		list = append(list, &w.URLFile, &w.SecretFile, &w.CAFile)
	}
	for i := range c.Pings {
		list = append(list, &c.Pings[i].URLFile, &c.Pings[i].CAFile)
	}
	return list
}

// notAbsolute names the first key whose path is not absolute. Files that a
// configuration names are of no folder.
func notAbsolute(files ...[2]string) *Wrong {
	for _, f := range files {
		if f[1] != "" && !filepath.IsAbs(f[1]) {
			return wrong(f[0], "%q is not an absolute path", f[1])
		}
	}
	return nil
}

// isLocal says whether a host is this machine for sure.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// wrongURL says what is wrong with an address that messages go to. They name
// files, so that they go encrypted, or nowhere beyond this machine.
func wrongURL(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "it is no address that begins with https://"
	case u.Scheme == "http" && !isLocal(u.Hostname()):
		return "http:// is for this machine only; use https://, and ca_file for a certificate of your own"
	}
	return ""
}
