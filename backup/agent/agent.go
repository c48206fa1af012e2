// Package agent is the service that runs policies by itself: when their time
// has come, when somebody asks, and again when a run failed.
//
// Nouns: an [Agent] decides; a [Runner] does one job, in earnest an [Engine]; a
// [Client] is how other processes ask, through a socket that only this user
// may open.
//
// What it promises:
//
//   - A slot that was missed (the machine slept, was off, or its clock was
//     turned) gets one job, however many were missed.
//   - Of policies whose paths overlap one runs at a time.
//   - That a job has begun is in the journal before it begins, and what it did
//     is there in one step. After SIGKILL no job is lost: what was in progress
//     is told as failed, and is run again.
//   - A failed run is tried again, later each time. What it had stored is used.
//   - That no point came for a number of slots is an alert, whatever the reason.
//   - Who is to be told of an alert is told, also after a crash, and no backup
//     waits for him.
//
// The wall clock decides, never a timer: timers stand still while a machine
// sleeps. So the loop looks at the clock at least every minute.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/notify"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/power"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
)

// Task is what a Runner is to do.
type Task struct {
	Policy   config.Policy
	Chore    *config.Maintenance // what is to be done instead of a backup; nil: a backup
	Job      uint64
	Until    time.Time // the point is kept at least so long; zero: as the policy says
	Trust    time.Time // what looked encrypted before is fine, somebody said then; zero: nobody did
	Progress *backup.Progress
	All, Own *limit.Rate // of all jobs, and of this one

	// Waits is true while something runs that has a limit of time of its own.
	Waits *atomic.Bool

	// Warn tells what belongs into the job's record and is no file.
	Warn func(what string, err error)
	// Tell says in words what a chore did.
	Tell func(result string)
}

// Runner does one job. It returns once nothing of it goes on any more.
type Runner func(context.Context, *Task) (*backup.Summary, error)

// Options are what an Agent works with.
type Options struct {
	Journal *journal.Journal
	Run     Runner
	Now     func() time.Time
	Zone    *time.Location // of schedules that name none
	Log     *slog.Logger
	Version string
	Host    string        // in notifications, unless the configuration says another
	Idle    time.Duration // how often to look at the clock; 0: each minute
	Link    func() string // a way into the web page, for once; nil: there is none

	// Look looks at repositories now and then; nil: nobody does.
	Look Looker

	// Send tells a notification; nil: as its target does.
	Send func(context.Context, *notify.Target, *notify.Message) error

	// Power says on what the machine runs; nil: nobody knows.
	Power func(context.Context) power.State

	// What shows points, and passphrases that somebody tells; nil: there are none.
	Keep     Keep
	Unlocked *Unlocked
	Verify   func(ctx context.Context, repository string, passphrase []byte) error
}

const (
	idle      = time.Minute   // how often the clock is looked at, unless Options say
	busy      = time.Second   // the same while a job runs: rates follow the table
	stuck     = 2 * time.Hour // a job in which nothing moves for so long has failed
	firstWait = time.Minute   // before the first retry; doubled each time
	lastWait  = time.Hour
	patience  = 15 * time.Minute // a policy that fails so long is an alert, though it is tried again
)

// Why a job was stopped.
var (
	errAsked    = fmt.Errorf("somebody cancelled it: %w", fault.Canceled)
	errStopping = fmt.Errorf("the agent was stopped; it goes on when the agent runs again: %w", fault.Canceled)
	errStuck    = fmt.Errorf("nothing moved for %v: %w", stuck, fault.Unavailable)
)

// Agent runs policies. Its methods may be called at the same time.
type Agent struct {
	o     Options
	began time.Time
	rate  *limit.Rate
	wake  chan struct{}
	jobs  sync.WaitGroup
	shows shows
	done  chan struct{} // closed when jobs are to end
	post  *notify.Post

	mu       sync.Mutex
	closed   bool
	conf     config.Config
	table    *schedule.Table
	policies []*policy
	running  map[uint64]*running
	pause    journal.Pause
	power    power.State
	tidied   time.Time
	reminded time.Time
	looks    looks
	ticked   time.Time
}

// policy is one of the configuration, and how far it is.
type policy struct {
	config.Policy
	chore *config.Maintenance // nil: it backs up
	rule  *schedule.Schedule  // nil: it has none
	table *schedule.Table
	journal.Progress

	due    time.Time // when its next slot is due; zero: never
	silent time.Time // when it is an alert that there is no point; zero: never
}

// running is a job in progress.
type running struct {
	journal.Job
	policy   *policy
	progress *backup.Progress
	waits    atomic.Bool
	own      *limit.Rate
	cancel   context.CancelCauseFunc
	anyway   bool   // it does not wait for a better time
	held     string // why it holds still; "": it does not
	over     bool   // its record is final, though it may not have returned

	mu       sync.Mutex
	warnings []journal.Warning
	result   string

	moved [3]int64
	still time.Duration // for which nothing has moved, while the machine was awake
}

// New returns an agent for a configuration. What a dead agent left in progress
// is settled.
func New(conf config.Config, o Options) (*Agent, error) {
	if o.Idle == 0 {
		o.Idle = idle
	}
	a := &Agent{o: o, began: o.Now(), rate: limit.NewRate(0, o.Now), wake: make(chan struct{}, 1), done: make(chan struct{}), running: map[uint64]*running{}}
	a.post = notify.New(notify.Options{Journal: o.Journal, Now: o.Now, Zone: o.Zone, Log: o.Log, Host: o.Host, Idle: o.Idle, Send: o.Send})
	a.shows.agent = a
	if err := a.settle(); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	if err := a.load(conf); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	if a.pause.On {
		a.rate.Pause()
	}
	return a, nil
}

// settle ends the jobs that a dead agent left in progress, and remembers that
// they are to be run again.
func (a *Agent) settle() error {
	now := a.o.Now()
	return a.o.Journal.Update(func(tx *journal.Tx) error {
		var err error
		if a.pause, err = tx.Pause(); err != nil {
			return err
		}
		var open []*journal.Job
		for j, err := range tx.Jobs() {
			if err != nil {
				return err
			}
			if !j.State.Over() {
				open = append(open, j)
			}
		}
		for _, j := range open {
			j.Ended = now
			if j.State == journal.Cancelling {
				j.State, j.Error = journal.Cancelled, errAsked.Error()
			} else {
				j.State, j.Error = journal.Failed, "the agent ended while it ran"
				p, _, err := tx.Progress(j.Policy)
				if err != nil {
					return err
				}
				p.RetryAt, p.Attempt, p.Resume = now.Add(resumeWait(p.Attempt)), p.Attempt+1, true
				if err := tx.PutProgress(j.Policy, p); err != nil {
					return err
				}
			}
			if err := tx.PutJob(j); err != nil {
				return err
			}
		}
		return nil
	})
}

// resumeWait is how long to wait before a job that was cut short is run again:
// not at all, but for one that takes the agent with it each time.
func resumeWait(attempt int) time.Duration {
	if attempt == 0 {
		return 0
	}
	return wait(attempt)
}

// wait is how long to wait before the nth retry.
func wait(n int) time.Duration {
	return min(lastWait, firstWait<<min(n-1, 16))
}

// policy returns the policy of a name, nil if there is none.
func (a *Agent) policy(name string) *policy {
	if i := slices.IndexFunc(a.policies, func(p *policy) bool { return p.Name == name }); i >= 0 {
		return a.policies[i]
	}
	return nil
}

// nudge has the loop look again.
func (a *Agent) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx is done; then it stops the jobs that run and waits for
// them.
func (a *Agent) Run(ctx context.Context) error {
	a.o.Log.Info("agent runs", "version", a.o.Version)
	told := a.tell()
	defer told()
	asked := a.ask(ctx)
	defer asked()
	for {
		pause := a.tick(a.o.Now())
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			a.end()
			return nil
		case <-a.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// end stops the jobs that run, and waits for them.
func (a *Agent) end() {
	a.mu.Lock()
	a.closed = true
	close(a.done)
	for _, r := range a.running {
		r.cancel(errStopping)
	}
	a.mu.Unlock()
	a.shows.close()
	a.jobs.Wait()
	a.o.Log.Info("agent ends")
}

// tick does what is due, and returns how long nothing else will be.
func (a *Agent) tick(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return idle
	}
	passed := min(max(now.Sub(a.ticked), 0), 2*busy)
	a.ticked = now
	a.turned(now)
	if a.pause.On && !a.pause.Until.IsZero() && !now.Before(a.pause.Until) {
		_ = a.setPause(journal.Pause{}) // has said why not; the next tick tries again
	}
	a.rate.Set(a.table.Rate(now))
	for _, r := range a.running {
		r.own.Set(r.policy.table.Rate(now))
		a.hold(r)
		a.watch(r, passed, now)
	}
	if !a.pause.On {
		a.startDue(now)
	}
	a.listen(now)
	a.tidy(now)
	a.remind(now)
	a.lookAround(now)
	return a.untilNext(now)
}

// turned mends what a clock that was turned back would do: slots that count as
// handled though they are to come. A turn by less than a slot changes nothing,
// as the slot would have its job twice.
func (a *Agent) turned(now time.Time) {
	for _, p := range a.policies {
		if latest := now.Add(lastWait); p.RetryAt.After(latest) {
			p.RetryAt = latest
			a.keep(p)
		}
		if p.rule == nil || !p.Handled.After(now) {
			continue
		}
		if next := p.rule.Next(now); !next.IsZero() && !next.After(p.Handled) && !p.rule.Next(next).After(p.Handled) {
			a.o.Log.Warn("the clock was turned back", "policy", p.Name, "from", p.Handled, "to", now)
			p.Handled = now
			for _, at := range []*time.Time{&p.LastPoint, &p.Added} {
				if at.After(now) {
					*at = now
				}
			}
			a.keep(p)
		}
	}
}

// keep writes how far a policy is.
func (a *Agent) keep(p *policy) {
	p.plan(a.o.Journal.Seed())
	if err := a.o.Journal.Update(func(tx *journal.Tx) error { return tx.PutProgress(p.Name, p.Progress) }); err != nil {
		a.o.Log.Error("the journal cannot be written", "error", err)
	}
}

// candidate is a policy of which a job is due.
type candidate struct {
	*policy
	trigger journal.Trigger
	since   time.Time
}

// startDue begins the jobs whose time has come, those that wait for the longest
// first. One that waits for another keeps younger ones off its files, or it
// could wait for ever.
func (a *Agent) startDue(now time.Time) {
	limit := a.conf.Agent.Jobs
	if limit == 0 {
		limit = config.DefaultJobs
	}
	var due []candidate
	for _, p := range a.policies {
		if trigger, since, ok := p.ready(now); ok && a.held(p) == "" {
			due = append(due, candidate{p, trigger, since})
		}
	}
	slices.SortStableFunc(due, func(x, y candidate) int { return x.since.Compare(y.since) })
	for i, c := range due {
		if c.chore == nil && a.backups() >= limit {
			continue
		}
		if c.chore != nil && a.tidying() {
			continue
		}
		waits := func(other candidate) bool { return a.running[other.LastJob] == nil && overlap(other.Paths, c.Paths) }
		if a.busy(c.policy) != nil || slices.ContainsFunc(due[:i], waits) {
			continue
		}
		if _, err := a.begin(c.policy, c.trigger, c.since, c.Until, now); err != nil {
			a.o.Log.Error("a job cannot begin; trying again", "policy", c.Name, "error", err)
			c.due, c.RetryAt = now.Add(idle), time.Time{} // in memory only: the journal has what is due
		}
	}
}

// ready says whether a job is due, and why.
func (p *policy) ready(now time.Time) (journal.Trigger, time.Time, bool) {
	switch {
	case !p.due.IsZero() && !p.due.After(now):
		return journal.Scheduled, p.due, true
	case p.RetryAt.IsZero() || p.RetryAt.After(now):
		return "", time.Time{}, false
	case p.Resume:
		return journal.Resumed, p.RetryAt, true
	case p.Attempt == 0:
		return journal.Scheduled, p.RetryAt, true
	}
	return journal.Again, p.RetryAt, true
}

// busy returns a job that keeps the policy from running now.
func (a *Agent) busy(p *policy) *running {
	for _, r := range a.running {
		if r.policy.Name == p.Name || overlap(r.policy.Paths, p.Paths) || sameChore(p.chore, r.policy.chore) {
			return r
		}
	}
	return nil
}

// overlap says whether a path of one list is, or leads into, one of the other.
func overlap(a, b []string) bool {
	in := func(x, y string) bool {
		x, y = filepath.Clean(x), filepath.Clean(y)
		return x == y || strings.HasPrefix(x, strings.TrimSuffix(y, string(filepath.Separator))+string(filepath.Separator))
	}
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool { return in(x, y) || in(y, x) })
	})
}

// listen raises an alert for policies that have no point for too long. One
// that runs is not silent: watch looks after it.
func (a *Agent) listen(now time.Time) {
	for _, p := range a.policies {
		if p.silent.IsZero() || now.Before(p.silent) {
			continue
		}
		if r := a.busy(p); r != nil && !r.over {
			continue
		}
		since := "since the agent knows it, " + p.Added.In(a.o.Zone).Format(time.DateTime)
		if !p.LastPoint.IsZero() {
			since = "since " + p.LastPoint.In(a.o.Zone).Format(time.DateTime)
		}
		what := "no recovery point"
		if p.chore != nil {
			what = "no " + string(p.chore.Task) + " was done"
		}
		text := fmt.Sprintf("%s %s: %d were due", what, since, p.SilentOrDefault())
		p.silent = time.Time{} // until the next point, or start
		err := a.o.Journal.Update(func(tx *journal.Tx) error {
			if tx.IsActive(journal.Silent, p.Name) {
				return nil
			}
			return tx.Raise(journal.Alert{Severity: journal.SeverityCritical, Kind: journal.Silent, Policy: p.Name, Text: text}, now)
		})
		if err != nil {
			a.o.Log.Error("the journal cannot be written", "error", err)
			continue
		}
		a.o.Log.Error("alert", "policy", p.Name, "text", text)
	}
}

// tidy forgets what is old, once a day.
func (a *Agent) tidy(now time.Time) {
	if now.Sub(a.tidied).Abs() < 24*time.Hour {
		return
	}
	a.tidied = now
	keep := time.Duration(a.conf.Agent.KeepJobs)
	if keep == 0 {
		keep = config.DefaultKeepJobs
	}
	if err := a.o.Journal.Update(func(tx *journal.Tx) error { return tx.Forget(now.Add(-keep)) }); err != nil {
		a.o.Log.Error("the journal cannot be written", "error", err)
	}
}

// untilNext returns how long nothing is due.
func (a *Agent) untilNext(now time.Time) time.Duration {
	pause := a.o.Idle
	if len(a.running) > 0 {
		pause = busy
	}
	for _, p := range a.policies {
		held := a.held(p) != "" // what has become due wakes it up when that ends
		for _, at := range []time.Time{p.due, p.RetryAt, p.silent} {
			if !at.IsZero() && !(held && !at.After(now)) {
				pause = min(pause, at.Sub(now))
			}
		}
	}
	return max(pause, busy)
}
