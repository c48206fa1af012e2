package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const showing = `repository = "/r"
[[mount]]
dir = "/m"
[[share]]
listen = "127.0.0.1:1"
anonymous = true
`

// stage is where shows run, which die when a test says so.
type stage struct {
	mu      sync.Mutex
	started []string // name and passphrase
	fails   error
	living  map[string]chan error
}

func (s *stage) keep(_ context.Context, show *Show, passphrase []byte) (*Kept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, show.Name()+" "+string(passphrase))
	if s.fails != nil && (passphrase == nil || fault.KindOf(s.fails) != fault.Locked) {
		return nil, s.fails
	}
	done := make(chan error, 1)
	if s.living == nil {
		s.living = map[string]chan error{}
	}
	name := show.Name()
	s.living[name] = done
	return &Kept{Where: "at " + name, PID: 7, Done: done, Stop: func() { s.die(name, nil) }}, nil
}

func (s *stage) die(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.living[name]; c != nil {
		c <- err
		delete(s.living, name)
	}
}

// fail has starts fail from now on.
func (s *stage) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

// ran returns what was started since the last call.
func (s *stage) ran() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.started
	s.started = nil
	slices.Sort(list)
	return list
}

func (s *stage) options(o *Options) {
	o.Keep, o.Unlocked = s.keep, &Unlocked{}
	o.Verify = func(_ context.Context, _ string, passphrase []byte) error {
		if string(passphrase) != "open sesame" {
			return fmt.Errorf("wrong: %w", fault.Locked)
		}
		return nil
	}
}

func (w *world) shows(want ...string) {
	w.t.Helper()
	s, err := w.agent.Status()
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, k := range s.Shows {
		got = append(got, fmt.Sprintf("%s %s %s", k.Kind, k.Name, k.State))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("shows %q, want %q", got, want)
	}
}

// TestShowsAreKept: what dies is started again, less and less often while that
// does not help, which is an alert then; a reload ends and begins what it must.
func TestShowsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{}
		w := newWorldSet(t, s.options, showing)
		w.pass(time.Second)
		w.shows("mount /m up", "share 127.0.0.1:1 up")
		s.ran()
		s.die("/m", errors.New("killed"))
		w.pass(100 * time.Millisecond)
		w.shows("mount /m down", "share 127.0.0.1:1 up")
		w.pass(2 * time.Second)
		w.shows("mount /m up", "share 127.0.0.1:1 up")
		if got := s.ran(); !slices.Equal(got, []string{"/m "}) {
			t.Error(got)
		}
		s.fail(errors.New("no driver"))
		s.die("/m", nil)
		w.pass(time.Hour)
		if n := len(s.ran()); n < 12 || n > 30 {
			t.Errorf("%d starts in an hour", n)
		}
		if list := w.alerts("warning show_down  1"); !strings.Contains(list[0].Text, "no driver") || list[0].Subject != "/m" {
			t.Errorf("%+v", list)
		}
		s.fail(nil)
		w.pass(6 * time.Minute)
		w.shows("mount /m up", "share 127.0.0.1:1 up")
		w.alerts()
		s.ran()

		w.text = strings.Replace(showing, `dir = "/m"`, "dir = \"/m\"\nlist_time = true", 1)
		w.text = w.text[:strings.Index(w.text, "[[share]]")]
		if err := w.agent.Reload(w.config(), nil); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Second)
		w.shows("mount /m up")
		if got := s.ran(); !slices.Equal(got, []string{"/m "}) || len(s.living) != 1 {
			t.Errorf("%v; living %v", got, s.living)
		}
		w.end()
		if len(s.living) != 0 {
			t.Errorf("left: %v", s.living)
		}
	})
}

// TestUnlock: a sealed repository is locked until somebody tells the passphrase,
// which is forgotten with lock, or with the agent.
func TestUnlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{fails: fmt.Errorf("there is no passphrase: %w", fault.Locked)}
		w := newWorldSet(t, s.options, showing)
		w.pass(time.Hour)
		w.shows("mount /m locked", "share 127.0.0.1:1 locked")
		w.alerts("warning show_down  1", "warning show_down  1")
		if _, err := w.agent.Unlock(t.Context(), "", []byte("wrong")); !errors.Is(err, fault.Locked) {
			t.Error(err)
		}
		list, err := w.agent.Unlock(t.Context(), "", []byte("open sesame"))
		if err != nil || !slices.Equal(list, []string{"/r"}) {
			t.Error(list, err)
		}
		w.pass(time.Second)
		w.shows("mount /m up", "share 127.0.0.1:1 up")
		w.alerts()
		w.agent.Lock()
		w.pass(10 * time.Second)
		w.shows("mount /m locked", "share 127.0.0.1:1 locked")
	})
}
