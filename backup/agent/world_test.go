package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/health"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/notify"
	"github.com/tidemark-backup/tidemark/platform/power"
	"github.com/tidemark-backup/tidemark/repo"
)

// world is an agent in a bubble of fake time, whose wall clock can be turned,
// and whose jobs do what the test says.
type world struct {
	t       *testing.T
	path    string
	text    string // configuration
	idle    time.Duration
	set     func(*Options) // more of them
	turned  atomic.Int64
	journal *journal.Journal
	agent   *Agent
	stop    context.CancelFunc
	over    chan error

	mu  sync.Mutex
	did []string // what ran and when
	do  func(context.Context, *Task) (*backup.Summary, error)

	facts health.Facts // what looks at repositories find
	lost  error        // or why they fail
	mails []string     // "target: subject"
	post  error        // why none can be sent
}

func newWorld(t *testing.T, text string) *world { return newWorldOf(t, 0, text) }

func newWorldOf(t *testing.T, idle time.Duration, text string) *world {
	return newWorldBy(t, idle, func(*Options) {}, text)
}

func newWorldWith(t *testing.T, idle time.Duration, on func(context.Context) power.State, text string) *world {
	return newWorldBy(t, idle, func(o *Options) { o.Power = on }, text)
}

func newWorldSet(t *testing.T, set func(*Options), text string) *world {
	return newWorldBy(t, 0, set, text)
}

// newWatched is a world in which repositories are looked at, too.
func newWatched(t *testing.T, idle time.Duration, text string) *world {
	return newWorldBy(t, idle, nil, text)
}

func newWorldBy(t *testing.T, idle time.Duration, set func(*Options), text string) *world {
	w := &world{t: t, idle: idle, set: set, path: filepath.Join(t.TempDir(), "journal.db"), text: text}
	w.facts = health.Facts{Entries: 7, Points: 7, Space: &health.Space{Free: 1 << 40, Total: 2 << 40, Stored: 1 << 30}}
	w.do = func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, time.Minute, nil) }
	w.start()
	t.Cleanup(w.end)
	return w
}

// work takes its time, and then fails or writes a point.
func work(ctx context.Context, d time.Duration, err error) (*backup.Summary, error) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return &backup.Summary{Statistics: repo.Statistics{Files: 3}}, nil
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.turned.Load())) }

func (w *world) config() config.Config {
	c, err := config.Parse([]byte(w.text), "test.toml", "")
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) start() {
	var err error
	if w.journal, err = journal.Open(w.path); err != nil {
		w.t.Fatal(err)
	}
	run := func(ctx context.Context, t *Task) (*backup.Summary, error) {
		w.mu.Lock()
		w.did = append(w.did, t.Policy.Name+" "+w.now().UTC().Format("01-02 15:04"))
		do := w.do
		w.mu.Unlock()
		return do(ctx, t)
	}
	o := Options{Journal: w.journal, Run: run, Now: w.now, Zone: time.UTC, Log: slog.New(slog.DiscardHandler), Idle: w.idle, Host: "h", Look: w.look, Send: w.send}
	if w.set != nil {
		o.Look = nil
		w.set(&o)
	}
	w.agent, err = New(w.config(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.over = stop, make(chan error, 1)
	go func() { w.over <- w.agent.Run(ctx) }()
}

// look answers as the test says.
func (w *world) look(context.Context, string, Question) (*health.Facts, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.facts
	space := *f.Space
	f.Space = &space
	return &f, w.lost
}

// send takes a notification, unless the test says that none arrives.
func (w *world) send(_ context.Context, t *notify.Target, m *notify.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.post == nil {
		w.mails = append(w.mails, t.Name+": "+m.Subject)
	}
	return w.post
}

// told compares what was sent since the last call.
func (w *world) told(want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.mails, want) {
		w.t.Errorf("told %q, want %q", w.mails, want)
	}
	w.mails = nil
}

func (w *world) end() {
	if w.stop == nil {
		return
	}
	w.stop()
	w.stop = nil
	if err := errors.Join(<-w.over, w.journal.Close()); err != nil {
		w.t.Error(err)
	}
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) turn(d time.Duration) { w.turned.Add(int64(d)) }

func (w *world) does(do func(context.Context, *Task) (*backup.Summary, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.do = do
}

// ran compares what ran since the last call.
func (w *world) ran(want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	when := func(did string) string { // jobs of one minute begin in any order
		name, at, _ := strings.Cut(did, " ")
		return at + name
	}
	for _, list := range [][]string{w.did, want} {
		slices.SortStableFunc(list, func(a, b string) int { return strings.Compare(when(a), when(b)) })
	}
	if !slices.Equal(w.did, want) {
		w.t.Errorf("ran %q, want %q", w.did, want)
	}
	w.did = nil
}

func (w *world) jobs() []journal.Job {
	w.t.Helper()
	list, err := w.agent.Jobs(Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// alerts compares the active alerts, the newest first, as "severity kind
// policy count".
func (w *world) alerts(want ...string) []journal.Alert {
	w.t.Helper()
	list, err := Alerts(w.journal, false)
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, a := range list {
		got = append(got, fmt.Sprintf("%s %s %s %d", a.Severity, a.Kind, a.Policy, a.Count))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("alerts %q, want %q", got, want)
	}
	return list
}
