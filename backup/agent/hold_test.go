package agent

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/power"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

const sparing = `
repository = "/r"
[agent]
metered = "wait"
[[policy]]
name = "a"
paths = ["/a"]
schedule = { at = ["02:00"] }
on_battery = "wait"
[[policy]]
name = "b"
paths = ["/b"]
schedule = { at = ["02:00"] }
metered = "run"
`

// machine is on what the world's machine runs.
type machine struct{ atomic.Pointer[power.State] }

func (m *machine) is(battery, metered power.Answer) {
	m.Store(&power.State{Battery: battery, Metered: metered})
}

func (m *machine) read(context.Context) power.State { return *m.Load() }

// sent is a job that sends bytes, slowed down as an Engine's is.
func sent(ctx context.Context, t *Task) (*backup.Summary, error) {
	s := limit.New(mem.New(), t.Own)
	for i := range 60 {
		time.Sleep(time.Second)
		if err := s.Put(ctx, "x"+strings.Repeat("x", i), []byte("0123456789")); err != nil {
			return nil, err
		}
	}
	return &backup.Summary{Statistics: repo.Statistics{Files: 3}}, nil
}

// TestHeld: policies wait on battery and on a metered network, if they are told
// to, and run once when that ends; a job holds still in the middle.
func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		m.is(power.Yes, power.Unknown)
		w := newWorldWith(t, 0, m.read, sparing)
		w.does(sent)
		w.pass(3 * time.Hour)
		w.ran("b 01-01 02:00")
		if s, err := w.agent.Status(); err != nil || s.Policies[0].Waits != "on battery" || s.Policies[1].Waits != "" || s.Power.Battery != power.Yes {
			t.Errorf("%+v, %v", s, err)
		}
		m.is(power.No, power.Yes)
		w.pass(time.Minute)
		w.ran()
		m.is(power.No, power.No)
		w.pass(30 * time.Second)
		w.ran("a 01-01 03:01")
		m.is(power.Yes, power.No)
		w.pass(5 * time.Hour) // longer than a job may be stuck
		s, err := w.agent.Status()
		if err != nil || s.Policies[0].Running == nil || s.Policies[0].Waits != "on battery" {
			t.Fatalf("%+v, %v", s, err)
		}
		m.is(power.No, power.No)
		w.pass(2 * time.Minute)
		if jobs := w.jobs(); jobs[0].State != "completed" || jobs[0].Took(w.now()) < 5*time.Hour {
			t.Errorf("%+v", jobs[0])
		}
		w.alerts()
	})
}

// TestHeldAnyway: what somebody asks for does not wait, also if it takes another
// run, or an agent; the one after it does.
func TestHeldAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		m.is(power.Yes, power.No)
		w := newWorldWith(t, 0, m.read, sparing)
		w.does(sent)
		w.pass(time.Minute)
		if _, err := w.agent.Start("a", time.Time{}); err != nil {
			t.Fatal(err)
		}
		w.pass(30 * time.Second)
		w.end() // in the middle
		w.start()
		w.pass(90 * time.Second)
		w.ran("a 01-01 00:01", "a 01-01 00:01")
		if jobs := w.jobs(); jobs[0].State != "completed" {
			t.Errorf("%+v", jobs[0])
		}
		w.pass(3 * time.Hour)
		w.ran("b 01-01 02:00")
		// A job that waits is let go by who asks for it.
		m.is(power.No, power.No)
		w.pass(20 * time.Second)
		m.is(power.Yes, power.No)
		w.pass(time.Hour)
		waiting := w.jobs()[0]
		j, err := w.agent.Start("a", time.Time{})
		if err != nil || j.ID != waiting.ID {
			t.Errorf("%+v, %v; waiting was %+v", j, err, waiting)
		}
		w.pass(2 * time.Minute)
		if jobs := w.jobs(); jobs[0].ID != waiting.ID || jobs[0].State != "completed" {
			t.Errorf("%+v", jobs[0])
		}
	})
}
