package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

const daily = `
repository = "/r"
[[policy]]
name = "a"
paths = ["/a"]
schedule = { at = ["02:00"] }
`

// TestYear runs a year (it is the year 2000, and begins at midnight of a
// Saturday in UTC): every slot has its job, at its time, and there is no alert.
func TestYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, 15*time.Minute, `repository = "/r"
[[policy]]
name = "night"
paths = ["/a"]
schedule = { at = ["02:30"], zone = "Europe/Vienna" }
[[policy]]
name = "noon"
paths = ["/b"]
schedule = { at = ["12:00"], days = ["tue", "sat"] }
[[policy]]
name = "weeks"
paths = ["/c"]
schedule = { days = ["mon"], at = ["09:00"], every_weeks = 2 }
`)
		w.pass(366*24*time.Hour + 10*time.Minute)
		counts, odd := map[string]int{}, []string{}
		for _, did := range w.did {
			name, at, _ := strings.Cut(did, " ")
			counts[name]++
			if clock := at[len("01-02 "):]; name == "night" && clock != "00:30" && clock != "01:30" {
				odd = append(odd, at)
			}
		}
		// 2000-03-26: the clock skips 02:30, at 01:00 UTC.
		if counts["night"] != 366 || counts["noon"] != 105 || counts["weeks"] != 26 || !slices.Equal(odd, []string{"03-26 01:00"}) {
			t.Errorf("%v, odd %v", counts, odd)
		}
		w.alerts()
		if list := w.jobs(); len(list) != len(w.did) || list[0].State != journal.Completed || list[0].Took(w.now()) != time.Minute {
			t.Errorf("%d jobs of %d, the last %+v", len(list), len(w.did), list[0])
		}
	})
}

// TestMissedRunsFireOnce: sleep, a clock that is set forward or back, an agent
// that was off.
func TestMissedRunsFireOnce(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name string
		do   func(w *world)
		want []string // in the minute after it, and then until the end of 01-04 UTC of its clock
		then []string
	}{
		{"nothing", func(w *world) {}, nil, []string{"a 01-03 02:00", "a 01-04 02:00"}},
		{"sleeps three days", func(w *world) { w.turn(3 * day) }, []string{"a 01-05 12:01"}, []string{"a 01-06 02:00", "a 01-07 02:00"}},
		{"set forward a year", func(w *world) { w.turn(366 * day) }, []string{"a 01-02 12:01"}, []string{"a 01-03 02:00", "a 01-04 02:00"}},
		{"set back three hours", func(w *world) { w.turn(-3 * time.Hour) }, nil, []string{"a 01-03 02:00", "a 01-04 02:00"}},
		{"set back over its slot", func(w *world) { w.turn(-11 * time.Hour) }, nil, []string{"a 01-03 02:00"}},
		{"set back a month", func(w *world) { w.turn(-31 * day) }, nil, []string{"a 12-03 02:00", "a 12-04 02:00"}},
		{"is off for a week", func(w *world) { w.end(); w.turn(7 * day); w.start() }, []string{"a 01-09 12:00"}, []string{"a 01-10 02:00", "a 01-11 02:00"}},
		{"is off for an hour", func(w *world) { w.end(); w.turn(time.Hour); w.start() }, nil, []string{"a 01-03 02:00", "a 01-04 02:00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, daily)
				w.pass(36 * time.Hour)
				w.ran("a 01-01 02:00", "a 01-02 02:00")
				c.do(w)
				w.pass(time.Minute)
				w.ran(c.want...)
				w.pass(47 * time.Hour)
				w.ran(c.then...)
				w.alerts()
			})
		})
	}
}

// TestRetries: 1, 2, 4 … minutes, an alert once it has failed for long, and its
// end with the next point.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, daily)
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) {
			return work(ctx, 0, fmt.Errorf("the network is gone: %w", fault.Unavailable))
		})
		w.pass(2*time.Hour + 14*time.Minute)
		w.ran("a 01-01 02:00", "a 01-01 02:01", "a 01-01 02:03", "a 01-01 02:07")
		w.alerts()
		w.pass(time.Hour)
		w.ran("a 01-01 02:15", "a 01-01 02:31")
		a := w.alerts("critical backup_failed a 2")
		if !strings.Contains(a[0].Text, "job 6 failed: the network is gone") {
			t.Errorf("it says %q", a[0].Text)
		}
		if list := w.jobs(); list[0].Trigger != journal.Again || list[0].Attempt != 5 || list[5].Attempt != 0 || list[0].State != journal.Failed {
			t.Errorf("%+v", list)
		}
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, 0, nil) })
		w.pass(24 * time.Hour)
		w.ran("a 01-02 02:00")
		w.alerts()
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) {
			return work(ctx, 0, fmt.Errorf("%w", fault.Locked))
		})
		w.pass(24 * time.Hour)
		w.ran("a 01-03 02:00") // nobody types the passphrase by waiting
		w.alerts("critical backup_failed a 1")
	})
}

func TestWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, daily)
		w.does(func(_ context.Context, k *Task) (*backup.Summary, error) {
			k.Warn("hook", errors.New("it fell"))
			return &backup.Summary{Statistics: repo.Statistics{Warnings: 1}, Warned: []repo.Warning{{Path: "/a/x", Reason: "permission denied"}}}, nil
		})
		w.pass(3 * time.Hour)
		a := w.alerts("warning backup_warnings a 1")
		if want := "job 1: 2 warnings; the first: hook: it fell"; a[0].Text != want {
			t.Errorf("%q, want %q", a[0].Text, want)
		}
		s, err := w.agent.Job(1)
		if err != nil || s.State != journal.Warned || s.Job.Warnings != 2 || len(s.Warnings) != 2 || s.Warnings[1].Path != "/a/x" {
			t.Errorf("%+v, %v", s, err)
		}
		w.pass(24 * time.Hour)
		w.alerts("warning backup_warnings a 2")
		w.does(func(context.Context, *Task) (*backup.Summary, error) { return &backup.Summary{}, nil })
		w.pass(24 * time.Hour)
		w.alerts()
	})
}

// TestSilence: no point for three slots, for whatever reason, is an alert, and
// none is raised while a first backup takes long.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, strings.Replace(daily, `at = ["02:00"]`, `every = "10m"`, 1))
		w.does(func(ctx context.Context, k *Task) (*backup.Summary, error) {
			for range 4 * 60 {
				k.Progress.Bytes.Add(1)
				if _, err := work(ctx, time.Minute, nil); err != nil {
					return nil, err
				}
			}
			return &backup.Summary{}, nil
		})
		w.pass(5 * time.Hour)
		w.alerts()
		if err := w.agent.Pause(time.Time{}); err != nil {
			t.Fatal(err)
		}
		w.pass(10 * time.Hour)
		w.alerts("critical silent a 1")
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, 0, nil) })
		if err := w.agent.Resume(); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
		w.alerts()
	})
}

// TestOneJobPerSource: policies with overlapping paths wait for each other, and
// run once afterwards.
func TestOneJobPerSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, `repository = "/r"
[[policy]]
name = "all"
paths = ["/srv"]
schedule = { every = "1h" }
[[policy]]
name = "part"
paths = ["/srv/part", "/x"]
schedule = { every = "1h" }
[[policy]]
name = "other"
paths = ["/srv2"]
schedule = { every = "1h" }
`)
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, 90*time.Minute, nil) })
		w.pass(65 * time.Minute)
		w.ran("all 01-01 01:00", "other 01-01 01:00")
		if _, err := w.agent.Start("part", time.Time{}); !errors.Is(err, fault.Exist) || !strings.Contains(err.Error(), "job 1 of policy \"all\"") {
			t.Errorf("a second one begins: %v", err)
		}
		if _, err := w.agent.Start("nobody", time.Time{}); !errors.Is(err, fault.NotExist) {
			t.Error(err)
		}
		w.pass(90 * time.Minute)
		w.ran("part 01-01 02:30", "other 01-01 02:30") // all, which is younger, waits
		w.pass(90 * time.Minute)
		w.ran("all 01-01 04:00", "other 01-01 04:00")
	})
}

func TestCancelPauseAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, daily)
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, time.Hour, nil) })
		w.pass(2*time.Hour + time.Minute)
		if j, err := w.agent.Cancel(1); err != nil || j.State != journal.Cancelling {
			t.Errorf("%+v, %v", j, err)
		}
		w.pass(time.Minute)
		if j := w.jobs()[0]; j.State != journal.Cancelled || !strings.Contains(j.Error, "somebody cancelled it") {
			t.Errorf("%+v", j)
		}
		if _, err := w.agent.Cancel(1); !errors.Is(err, fault.NotExist) {
			t.Error(err)
		}
		w.pass(time.Hour)
		w.ran("a 01-01 02:00") // and not again by itself
		w.alerts()

		if err := w.agent.Pause(w.now().Add(48 * time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.agent.Start("a", time.Time{}); !errors.Is(err, fault.Unavailable) {
			t.Error(err)
		}
		w.end()
		w.start() // a pause outlasts the agent
		w.pass(47 * time.Hour)
		w.ran()
		w.pass(3 * time.Hour)
		w.ran("a 01-03 03:02")

		until := w.now().Add(1000 * time.Hour).UTC()
		j, err := w.agent.Start("a", until)
		if err != nil || j.Trigger != journal.Asked {
			t.Fatal(j, err)
		}
		w.pass(time.Minute)
		w.end() // in the middle of it
		w.does(func(ctx context.Context, k *Task) (*backup.Summary, error) {
			if !k.Until.Equal(until) {
				t.Errorf("the run that goes on keeps its point until %v, not %v", k.Until, until)
			}
			return work(ctx, 0, nil)
		})
		w.turn(time.Hour)
		w.start()
		w.pass(time.Minute)
		list := w.jobs()
		if list[0].Trigger != journal.Resumed || list[0].State != journal.Completed || list[1].State != journal.Cancelled || !strings.Contains(list[1].Error, "the agent was stopped") {
			t.Errorf("%+v", list[:2])
		}
		w.alerts()
	})
}

// TestStuck: a job in which nothing moves fails, and nothing else of its policy
// begins before it has returned.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, daily)
		hang := make(chan struct{})
		w.does(func(context.Context, *Task) (*backup.Summary, error) { <-hang; return nil, errors.New("too late") })
		w.pass(3*time.Hour + 58*time.Minute)
		w.alerts()
		w.pass(10 * time.Minute)
		list := w.jobs()
		if len(list) != 1 || list[0].State != journal.Failed || !strings.Contains(list[0].Error, "nothing moved for 2h0m0s") {
			t.Errorf("%+v", list)
		}
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, 0, nil) })
		w.pass(time.Hour)
		w.ran("a 01-01 02:00")
		close(hang)
		w.pass(time.Minute)
		if list = w.jobs(); len(list) != 2 || list[0].State != journal.Completed || list[1].State != journal.Failed {
			t.Errorf("%+v", list)
		}
		w.alerts()
	})
}

// TestDeadAgent: what was in progress when the agent died is failed, and runs
// again at once; one that kills the agent each time is run later and later.
func TestDeadAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, daily)
		die := func() { // leave the journal as a killed agent does
			err := w.journal.Update(func(tx *journal.Tx) error {
				list := w.jobs()
				list[0].State = journal.InProgress
				list[0].Ended = time.Time{}
				p, _, err := tx.Progress("a")
				p.Attempt, p.RetryAt, p.Resume = list[0].Attempt, time.Time{}, false
				return errors.Join(err, tx.PutJob(&list[0]), tx.PutProgress("a", p))
			})
			w.end()
			if err != nil {
				t.Fatal(err)
			}
		}
		w.pass(2*time.Hour + 10*time.Minute)
		w.ran("a 01-01 02:00")
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, 0, fault.Locked) })
		die()
		w.start()
		w.pass(time.Second)
		w.ran("a 01-01 02:10")
		if list := w.jobs(); list[1].State != journal.Failed || list[1].Error != "the agent ended while it ran" || list[0].Trigger != journal.Resumed {
			t.Errorf("%+v", list)
		}
		die()
		w.start()
		w.pass(30 * time.Second)
		w.ran()
		w.pass(time.Minute)
		w.ran("a 01-01 02:11")
	})
}

// TestReload: jobs that run go on, new policies come, those that are gone take
// their alerts along, and a file that cannot be read changes nothing.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, daily)
		w.does(func(ctx context.Context, _ *Task) (*backup.Summary, error) { return work(ctx, 90*time.Minute, nil) })
		w.pass(2*time.Hour + time.Minute)
		if err := w.agent.Reload(config.Config{}, fault.Invalid); !errors.Is(err, fault.Invalid) {
			t.Error(err)
		}
		w.alerts("warning configuration  1")
		w.text = strings.Replace(daily, "02:00", "03:00", 1) + "[[policy]]\nname = \"b\"\npaths = [\"/b\"]\nschedule = { every = \"1h\" }\n"
		if err := w.agent.Reload(w.config(), nil); err != nil {
			t.Fatal(err)
		}
		w.alerts()
		w.pass(3 * time.Hour)
		w.ran("a 01-01 02:00", "b 01-01 03:00", "a 01-01 03:30", "b 01-01 04:30")
		if list := w.jobs(); list[len(list)-1].State != journal.Completed {
			t.Errorf("the job that ran: %+v", list[len(list)-1])
		}
		s, err := w.agent.Status()
		if err != nil || len(s.Policies) != 2 || s.Policies[1].Running == nil || s.Policies[0].LastJob == nil {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// TestPanic: a bug in a job is the end of that job only.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, daily)
		w.does(func(context.Context, *Task) (*backup.Summary, error) { panic("oh") })
		w.pass(2*time.Hour + 30*time.Second)
		if list := w.jobs(); len(list) != 1 || list[0].State != journal.Failed || !strings.Contains(list[0].Error, "panic: oh") {
			t.Errorf("%+v", list)
		}
	})
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b []string
		want bool
	}{
		{[]string{"/a"}, []string{"/a"}, true}, {[]string{"/a"}, []string{"/a/b"}, true}, {[]string{"/a/b/"}, []string{"/x", "/a"}, true},
		{[]string{"/"}, []string{"/z"}, true}, {[]string{"/a"}, []string{"/ab"}, false}, {[]string{"/a", "/b"}, []string{"/c"}, false},
	} {
		if got := overlap(c.a, c.b); got != c.want {
			t.Errorf("%v and %v: %v", c.a, c.b, got)
		}
	}
}
