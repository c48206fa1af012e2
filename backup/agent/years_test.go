package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/health"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// A season has one of each trouble, and ends well; the long test runs twelve of
// them, which is two years.
const (
	seasonDays  = 60
	seasons     = 1
	seasonsLong = 12
)

// trouble is what happens on a day of a season, at 00:00 and until it ends, and
// what is told of it.
type trouble struct {
	name       string
	day        int
	hours      int
	begin, end func(*season)
	told       []string // "HH:MM of the day after the begin, subject", without machine
}

// season is a world that goes well but for its troubles.
type season struct {
	*world
	fail  error // of each run
	warns bool
	files uint64

	points int // that were written
}

// run is a backup of a tree that grows by three files a day.
func (s *season) run(ctx context.Context, _ *Task) (*backup.Summary, error) {
	s.mu.Lock()
	fail, warns := s.fail, s.warns
	s.files += 3
	n := repo.Statistics{Files: s.files, Bytes: s.files << 20, BytesStored: 3 << 20}
	s.mu.Unlock()
	if _, err := work(ctx, 5*time.Minute, fail); err != nil {
		return nil, err
	}
	s.set(func() { s.points++ })
	summary := &backup.Summary{Statistics: n}
	if warns {
		summary.Statistics.Warnings, summary.Warned = 1, []repo.Warning{{Path: "/a/x", Reason: "permission denied"}}
	}
	s.place(func(f *health.Facts) { f.Entries++; f.Points++; f.Space.Free -= 3 << 20; f.Space.Stored += 3 << 20 })
	return summary, nil
}

func (s *season) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// troubles are all of a season.
func troubles() []trouble {
	failing := func(err error) func(*season) { return func(s *season) { s.set(func() { s.fail = err }) } }
	facts := func(do func(*health.Facts)) func(*season) { return func(s *season) { s.place(do) } }
	return []trouble{
		{"the network is away for ten minutes", 4, 2, func(s *season) { // its first run fails, the second does not
			s.does(func(ctx context.Context, k *Task) (*backup.Summary, error) {
				s.does(s.run)
				return work(ctx, 2*time.Minute, fault.Unavailable)
			})
		}, func(*season) {}, nil},
		{"the network is away for a morning", 7, 8, failing(fmt.Errorf("the network: %w", fault.Unavailable)), failing(nil),
			[]string{"CRITICAL: Backup failed (a", "resolved: Backup failed (a"}},
		{"a file cannot be read", 10, 24, func(s *season) { s.set(func() { s.warns = true }) }, func(s *season) { s.set(func() { s.warns = false }) },
			[]string{"WARNING: Backup with warnings (a", "resolved: Backup with warnings (a"}},
		{"the machine sleeps for three days", 13, 24, func(s *season) { s.turn(72 * time.Hour) }, func(*season) {}, nil},
		{"somebody pauses it and forgets that", 16, 24 * 6, func(s *season) { s.check(s.agent.Pause(time.Time{})) }, func(s *season) { s.check(s.agent.Resume()) },
			[]string{"CRITICAL: No recovery point for too long (a", "CRITICAL, still: No recovery point for too long (a",
				"CRITICAL, still: No recovery point for too long (a", "CRITICAL, still: No recovery point for too long (a", "resolved: No recovery point for too long (a"}},
		{"somebody cancels a job", 24, 24, func(s *season) {
			j, err := s.agent.Start("a", time.Time{})
			s.check(err)
			s.pass(time.Minute)
			_, err = s.agent.Cancel(j.ID)
			s.check(err)
		}, func(*season) {}, nil},
		{"somebody deletes points", 26, 12, facts(func(f *health.Facts) {
			f.Deleted = []health.Deleted{{Sequence: 3, GoneAfter: time.Now().Add(5 * 365 * 24 * time.Hour)}}
		}), facts(func(f *health.Facts) { f.Deleted = nil }),
			[]string{"CRITICAL: Recovery points were deleted (/r", "resolved: Recovery points were deleted (/r"}},
		{"a clock is wrong", 29, 12, facts(func(f *health.Facts) { f.Suspended = "the clocks differ" }), facts(func(f *health.Facts) { f.Suspended = "" }),
			[]string{"WARNING: A clock is wrong (/r", "resolved: A clock is wrong (/r"}},
		{"the disk fills", 32, 12, facts(func(f *health.Facts) { f.Space.Free = 10 << 30 }), facts(func(f *health.Facts) { f.Space.Free = 1 << 40 }),
			[]string{"WARNING: The repository runs out of space (/r", "resolved: The repository runs out of space (/r"}},
		{"the repository is away for a few hours", 36, 6, func(s *season) { s.set(func() { s.lost = fault.Unavailable }) }, func(s *season) { s.set(func() { s.lost = nil }) }, nil},
		{"the repository is away for two days", 40, 48, func(s *season) { s.set(func() { s.lost = fault.Unavailable }) }, func(s *season) { s.set(func() { s.lost = nil }) },
			[]string{"WARNING: The repository cannot be looked at (/r", "resolved: The repository cannot be looked at (/r"}},
		{"the mail server is away, and a backup fails", 45, 8, func(s *season) { s.set(func() { s.post, s.fail = errors.New("away"), fault.Unavailable }) },
			func(s *season) { s.set(func() { s.post, s.fail = nil, nil }) },
			[]string{"CRITICAL: Backup failed (a", "WARNING: A notification cannot be delivered (admins", "resolved: A notification cannot be delivered (admins", "resolved: Backup failed (a"}},
		{"the agent is off for a day", 50, 24, func(s *season) { s.end(); s.turn(24 * time.Hour); s.start() }, func(*season) {}, nil},
	}
}

func (s *season) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

// TestTwoYears runs an agent for two months, in the long test two years, on a
// tree that changes, with one trouble of each kind each two months: everything
// that somebody must know is told once, in its order, and nothing else is.
func TestTwoYears(t *testing.T) {
	n := seasons
	if os.Getenv("TIDEMARK_LONG") != "" {
		n = seasonsLong
	}
	synctest.Test(t, func(t *testing.T) {
		s := &season{world: newWatched(t, 15*time.Minute, daily+`
[[policy]]
name = "b"
paths = ["/b"]
schedule = { every = "6h" }
[[maintenance]]
task = "scrub"
schedule = { cron = "0 12 1 * *" }
[[notify.mail]]
name = "admins"
server = "127.0.0.1:1"
tls = "none"
from = "a@b.example"
to = ["a@b.example"]
policies = ["a"]
`)}
		s.does(s.run)
		for range n {
			day := 0
			for _, x := range troubles() {
				s.pass(time.Duration(x.day-day) * 24 * time.Hour)
				s.silence("before " + x.name)
				x.begin(s)
				s.pass(time.Duration(x.hours) * time.Hour)
				x.end(s)
				rest := (x.hours+23)/24*24 - x.hours + 24 // until midnight, and a day
				s.pass(time.Duration(rest) * time.Hour)
				s.hears(x)
				day = x.day + (x.hours+rest)/24
			}
			s.pass(time.Duration(seasonDays-day) * 24 * time.Hour)
			s.silence("at the end")
			s.alerts()
		}
		// Five a day, but for those that were slept over, paused or made up for.
		if least := n * (seasonDays*5 - 45); s.points < least {
			t.Errorf("%d points, want %d or more", s.points, least)
		}
	})
}

// silence fails if something was told.
func (s *season) silence(when string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mails) > 0 {
		s.t.Errorf("%s: told %q", when, s.mails)
	}
	s.mails = nil
}

// hears compares what was told of a trouble.
func (s *season) hears(x trouble) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, m := range s.mails {
		got = append(got, strings.TrimSuffix(strings.TrimPrefix(m, "admins: "), " on h)"))
	}
	if !slices.Equal(got, x.told) {
		s.t.Errorf("%s: told %q, want %q", x.name, got, x.told)
	}
	s.mails = nil
}
