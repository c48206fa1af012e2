package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
)

// office is a Post in a bubble of fake time; what is sent is noted, or fails as
// the test says.
type office struct {
	t       *testing.T
	journal *journal.Journal
	post    *Post
	stop    context.CancelFunc
	over    chan struct{}

	mu   sync.Mutex
	sent []string // "target minute IDs"
	fail func(*Target, *Message) error
}

func newOffice(t *testing.T, c Config) *office {
	o := &office{t: t, fail: func(*Target, *Message) error { return nil }}
	var err error
	if o.journal, err = journal.Open(filepath.Join(t.TempDir(), "journal.db")); err != nil {
		t.Fatal(err)
	}
	o.start(c)
	t.Cleanup(func() {
		o.end()
		if err := o.journal.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func (o *office) start(c Config) {
	began := time.Now()
	o.post = New(Options{Journal: o.journal, Now: time.Now, Zone: time.UTC, Log: slog.New(slog.DiscardHandler), Host: "h",
		Send: func(ctx context.Context, t *Target, m *Message) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := o.fail(t, m); err != nil {
				return err
			}
			var ids []string
			for _, e := range m.Events {
				ids = append(ids, fmt.Sprint(e.ID))
			}
			o.sent = append(o.sent, fmt.Sprintf("%s %d %s", t.Name, int(time.Since(began).Minutes()), strings.Join(ids, "+")))
			return nil
		}})
	o.post.Configure(c)
	ctx, stop := context.WithCancel(context.Background())
	o.stop, o.over = stop, make(chan struct{})
	go func() {
		defer close(o.over)
		o.post.Run(ctx)
	}()
}

func (o *office) end() {
	o.stop()
	<-o.over
}

func (o *office) fails(fail func(*Target, *Message) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = fail
}

func (o *office) update(do func(*journal.Tx) error) {
	o.t.Helper()
	if err := o.journal.Update(do); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) raise(kind journal.Kind, policy string) {
	o.t.Helper()
	o.update(func(tx *journal.Tx) error {
		return tx.Raise(journal.Alert{Kind: kind, Policy: policy, Text: "x"}, time.Now())
	})
}

func (o *office) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (o *office) told(want ...string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.Sort(o.sent)
	if !slices.Equal(o.sent, want) {
		o.t.Errorf("told %q, want %q", o.sent, want)
	}
	o.sent = nil
}

// left returns how much is in the outbox.
func (o *office) left() (n int) {
	err := o.journal.View(func(tx *journal.Tx) error {
		for _, err := range tx.Events() {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		o.t.Error(err)
	}
	return n
}

func two() Config {
	return Config{Mails: []Mail{{Wishes: Wishes{Name: "a"}}}, Webhooks: []Webhook{{Wishes: Wishes{Name: "b", Events: []string{"critical"}}}}}
}

// TestPost: what is announced is told at once, and then forgotten; one who fails
// keeps nobody else waiting, and is tried again later each time.
func TestPost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, two())
		o.raise(journal.BackupFailed, "p")
		o.pass(time.Second)
		o.told("a 0 1", "b 0 1")
		o.raise(journal.BackupWarnings, "p")
		o.pass(time.Minute)
		o.told("a 0 2")
		if n := o.left(); n != 0 {
			t.Errorf("%d events are left", n)
		}
		o.fails(func(t *Target, _ *Message) error {
			if t.Name == "a" {
				return errors.New("the server is away")
			}
			return nil
		})
		o.raise(journal.Silent, "p")
		o.pass(10 * time.Minute)
		o.told("b 1 3")
		list, err := o.post.Status()
		if err != nil || list[0].Waiting != 1 || list[0].Failed != 4 || !strings.Contains(list[0].Error, "is away") || list[1].Error != "" { // after 0, 1, 3, 7 minutes
			t.Errorf("%+v, %v", list, err)
		}
		o.pass(2 * time.Hour)
		o.told() // a target that fails is a warning, which b did not want
		active := func() bool {
			var is *journal.Alert
			err := o.journal.View(func(tx *journal.Tx) (err error) {
				is, err = tx.ActiveOf(journal.NotTold, "a")
				return err
			})
			if err != nil {
				t.Error(err)
			}
			return is != nil
		}
		if !active() {
			t.Error("that nobody is told is no alert")
		}
		o.fails(func(*Target, *Message) error { return nil })
		o.pass(time.Hour)
		o.mu.Lock()
		if len(o.sent) != 3 || !strings.HasSuffix(o.sent[0], " 3") { // the silence, that nobody could be told, and that this is over
			t.Errorf("%q", o.sent)
		}
		o.mu.Unlock()
		if n := o.left(); n != 0 || active() {
			t.Errorf("%d events are left, active: %v", n, active())
		}
	})
}

// TestRestart: what was not told before the end is told after it, and nothing
// twice that was.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, two())
		o.fails(func(t *Target, _ *Message) error {
			if t.Name == "a" {
				return errors.New("away")
			}
			return nil
		})
		o.raise(journal.Silent, "p")
		o.pass(time.Minute)
		o.told("b 0 1")
		o.end()
		o.raise(journal.BackupFailed, "p")
		o.fails(func(*Target, *Message) error { return nil })
		o.start(two())
		o.pass(time.Second)
		o.told("a 0 1", "a 0 2", "b 0 2")
	})
}

// TestPoison: a message that a server refuses keeps no other back, and is given
// up in the end.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{Mails: []Mail{{Wishes: Wishes{Name: "a"}}}})
		o.fails(func(_ *Target, m *Message) error {
			if m.Events[0].ID == 1 {
				return errors.New("552 what a message")
			}
			return nil
		})
		o.raise(journal.Silent, "p")
		o.pass(10 * time.Second)
		o.raise(journal.Silent, "q")
		o.pass(3 * time.Minute)
		o.told("a 1 2")
		o.pass(15 * 24 * time.Hour)
		if n := o.left(); n != 0 {
			t.Errorf("%d events are left", n)
		}
	})
}

// TestDigest: one message an hour, none for what came and went.
func TestDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := two()
		c.Mails[0].Digest = 3600e9
		o := newOffice(t, Config{Mails: c.Mails})
		o.raise(journal.Silent, "p")
		o.raise(journal.BackupFailed, "p")
		o.pass(30 * time.Minute)
		o.update(func(tx *journal.Tx) error { return tx.Resolve(journal.Silent, "p", "done", time.Now()) })
		o.raise(journal.PointsDeleted, "")
		o.pass(time.Second)
		o.told("a 30 4")
		o.pass(40 * time.Minute)
		o.told("a 60 2")
		if n := o.left(); n != 0 {
			t.Errorf("%d events are left", n)
		}
	})
}

// TestNobody: with nobody to be told the outbox does not grow, and a flood of
// jobs drives no alert out of it.
func TestNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{})
		o.raise(journal.Silent, "p")
		if n := o.left(); n != 0 {
			t.Errorf("%d events are left", n)
		}
		o.end()
		o.post.Configure(Config{Mails: []Mail{{Wishes: Wishes{Name: "a", Events: []string{"critical", "success"}}}}})
		o.raise(journal.Silent, "q")
		for range 103 {
			o.update(func(tx *journal.Tx) error {
				for range 100 {
					if err := tx.Announce(journal.Event{Happening: journal.Success, Time: time.Now(), Job: &journal.Job{Policy: "p"}}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		first := uint64(0)
		if err := o.journal.View(func(tx *journal.Tx) error {
			for e, err := range tx.Events() {
				if first == 0 && err == nil {
					first = e.ID
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if n := o.left(); n < 10_000 || n > 10_100 || first != 1 {
			t.Errorf("%d events are left, the first %d", n, first)
		}
		o.start(Config{})
	})
}
