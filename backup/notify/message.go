package notify

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemark-backup/tidemark/backup/journal"
)

// Message is one telling.
type Message struct {
	ID      string          `json:"id"` // the same when it is told again
	Host    string          `json:"host"`
	Time    time.Time       `json:"time"` // of its newest event
	What    string          `json:"what"` // as the event's, or "digest" or "test"
	Subject string          `json:"subject"`
	Text    string          `json:"text"`
	Events  []journal.Event `json:"events"`

	seed string
	test bool
}

// Sender is the machine that tells.
type Sender struct {
	Host string
	Seed string // a text that no other machine has
	Zone *time.Location
}

// What messages are about that are not of one event.
const (
	digest = "digest"
	test   = "test"
)

// maxListed is how many events a digest describes; the others are counted.
const maxListed = 200

// Message puts events into words.
func (s *Sender) Message(list []*journal.Event) *Message {
	m := &Message{Host: s.Host, seed: s.Seed, Events: []journal.Event{}}
	for _, e := range list {
		c := *e
		c.Told = nil
		m.Events = append(m.Events, c)
		if e.Time.After(m.Time) {
			m.Time = e.Time
		}
	}
	first, last := list[0], list[len(list)-1]
	m.ID = fmt.Sprintf("%s-%d", s.name(), first.ID)
	if len(list) == 1 {
		m.What = string(first.Happening)
		m.Subject, m.Text = s.subject(first), s.text(first)
		return m
	}
	m.ID += fmt.Sprintf("-%d", last.ID)
	m.What, m.Subject, m.Text = digest, s.digestSubject(list), s.digestText(list)
	return m
}

// Test returns a message that says that messages arrive.
func (s *Sender) Test(now time.Time, version string) *Message {
	return &Message{
		ID: fmt.Sprintf("%s-test-%d", s.name(), now.UnixNano()), Host: s.Host, Time: now, What: test, Events: []journal.Event{}, seed: s.Seed, test: true,
		Subject: fmt.Sprintf("test from %s", s.Host),
		Text:    fmt.Sprintf("This is a test of Tidemark %s on %s, sent at %s.\nWhoever reads this will be told when a backup fails.\n", version, s.Host, s.when(now)),
	}
}

// name is short and of this machine only.
func (s *Sender) name() string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.Seed)) // a hash takes all
	return fmt.Sprintf("%016x", h.Sum64())
}

// run names a job of this machine as a UUID, the same for its start and its end.
func (m *Message) run(job uint64) string {
	h := fnv.New128a()
	_, _ = fmt.Fprintf(h, "%s %d", m.seed, job) // a hash takes all
	b := h.Sum(nil)
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80 // version 8: of our own making
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Sender) when(at time.Time) string {
	return at.In(s.Zone).Format("2006-01-02 15:04:05 MST")
}

// about says what an event is of: the policy, or what else has a name, and this
// machine.
func (s *Sender) about(e *journal.Event) string {
	switch {
	case e.Job != nil:
		return e.Job.Policy + " on " + s.Host
	case e.Alert.Policy != "":
		return e.Alert.Policy + " on " + s.Host
	case e.Alert.Subject != "":
		return e.Alert.Subject + " on " + s.Host
	}
	return s.Host
}

func (s *Sender) subject(e *journal.Event) string {
	return headline(e) + " (" + s.about(e) + ")"
}

// headline says in a few words what happened.
func headline(e *journal.Event) string {
	switch e.Happening {
	case journal.Began:
		return "backup began"
	case journal.Success:
		return "backup done"
	case journal.Failure:
		return "backup failed"
	case journal.Resolved:
		return "resolved: " + e.Alert.Kind.Text()
	case journal.Renewed:
		return strings.ToUpper(string(e.Alert.Severity)) + ", still: " + e.Alert.Kind.Text()
	}
	return strings.ToUpper(string(e.Alert.Severity)) + ": " + e.Alert.Kind.Text()
}

func (s *Sender) text(e *journal.Event) string {
	var b strings.Builder
	if e.Alert == nil {
		s.writeJob(&b, e)
		return b.String()
	}
	a := e.Alert
	fmt.Fprintf(&b, "%s\n\n", a.Text)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", name, value)
		}
	}
	row("what", a.Kind.Text()+" ("+string(a.Severity)+")")
	row("policy", a.Policy)
	row("of", a.Subject)
	row("machine", s.Host)
	row("since", s.when(a.First))
	if a.Count > 1 {
		row("times", fmt.Sprint(a.Count))
	}
	if e.Happening == journal.Resolved {
		row("ended", s.when(a.Ended))
		row("because", a.Note)
		return b.String()
	}
	if advice := a.Kind.Advice(); advice != "" {
		fmt.Fprintf(&b, "\nWhat to do: %s.\n", advice)
	}
	fmt.Fprintf(&b, "\nThis is alert %d of %s; `tidemark alerts` lists all, `tidemark alerts close %d` ends it.\n", a.ID, s.Host, a.ID)
	return b.String()
}

func (s *Sender) writeJob(b *strings.Builder, e *journal.Event) {
	j := e.Job
	fmt.Fprintf(b, "Job %d of policy %s on %s: %s", j.ID, j.Policy, s.Host, j.State.Text())
	if e.Happening == journal.Began {
		fmt.Fprintf(b, " since %s.\n", s.when(j.Started))
		return
	}
	fmt.Fprintf(b, " at %s, after %s.\n", s.when(j.Ended), j.Ended.Sub(j.Started).Round(100*time.Millisecond))
	if j.Error != "" {
		fmt.Fprintf(b, "\n%s\n", j.Error)
		return
	}
	fmt.Fprintf(b, "\n  files    %s, %s\n  changed  %s new, %s changed, %s removed\n  stored   %s\n  warnings %s\n  point    %s\n",
		humanize.Comma(int64(j.Files)), humanize.IBytes(j.Bytes), humanize.Comma(int64(j.New)), humanize.Comma(int64(j.Changed)),
		humanize.Comma(int64(j.Removed)), humanize.IBytes(j.BytesStored), humanize.Comma(int64(j.Warnings)), j.Point)
}

// digestSubject counts what is in a digest, the worst first.
func (s *Sender) digestSubject(list []*journal.Event) string {
	counts := map[string]int{}
	for _, e := range list {
		what := string(e.Happening)
		if e.Alert != nil && e.Happening != journal.Resolved {
			what = string(e.Alert.Severity)
		}
		counts[what]++
	}
	var parts []string
	for _, what := range append(slices.Clone(events[:]), string(journal.Failure), string(journal.Began)) {
		if n := counts[what]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	return strings.Join(parts, ", ") + " on " + s.Host
}

func (s *Sender) digestText(list []*journal.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From %s to %s on %s:\n", s.when(list[0].Time), s.when(list[len(list)-1].Time), s.Host)
	for i, e := range list {
		if i == maxListed {
			fmt.Fprintf(&b, "\n… and %d more: `tidemark alerts --all` and `tidemark jobs` list them.\n", len(list)-i)
			break
		}
		fmt.Fprintf(&b, "\n%s  %s\n", e.Time.In(s.Zone).Format(time.DateTime), s.subject(e))
		line := ""
		switch {
		case e.Alert != nil && e.Happening == journal.Resolved:
			line = e.Alert.Note
		case e.Alert != nil:
			line = e.Alert.Text
		case e.Job.Error != "":
			line = e.Job.Error
		default:
			line = fmt.Sprintf("%s files, %s stored, %d warnings", humanize.Comma(int64(e.Job.Files)), humanize.IBytes(e.Job.BytesStored), e.Job.Warnings)
		}
		if line != "" {
			fmt.Fprintf(&b, "    %s\n", strings.ReplaceAll(line, "\n", "\n    "))
		}
	}
	return b.String()
}
