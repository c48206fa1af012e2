package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
)

// begin starts a job of a policy that is not busy.
func (a *Agent) begin(p *policy, trigger journal.Trigger, due, until, now time.Time) (*running, error) {
	r := &running{policy: p, progress: &backup.Progress{}, own: limit.NewRate(p.table.Rate(now), a.o.Now)}
	r.Job = journal.Job{Policy: p.Name, Trigger: trigger, State: journal.InProgress, Due: due, Started: now}
	if p.chore != nil {
		r.Task = string(p.chore.Task)
	}
	next := p.Progress
	if trigger == journal.Asked {
		next.Anyway = true // also if it takes another run
	}
	r.anyway = next.Anyway
	if trigger == journal.Scheduled {
		next.Handled, next.Attempt = now, 0
	}
	if !until.IsZero() {
		next.Until = until // also if it takes another run
	}
	if trigger != journal.Asked {
		r.Attempt = next.Attempt
		next.RetryAt, next.Resume = time.Time{}, false
	}
	var trust time.Time
	err := a.o.Journal.Update(func(tx *journal.Tx) error {
		if err := tx.NewJob(&r.Job); err != nil {
			return err
		}
		next.LastJob = r.ID
		var err error
		if trust, err = tx.Closed(journal.Ransomware, p.Name); err != nil {
			return err
		}
		if err := tx.PutProgress(p.Name, next); err != nil || p.chore != nil {
			return err
		}
		began := r.Job
		return tx.Announce(journal.Event{Happening: journal.Began, Time: now, Job: &began})
	})
	if err != nil {
		return nil, err
	}
	p.Progress = next
	p.plan(a.o.Journal.Seed())
	ctx, cancel := context.WithCancelCause(context.Background())
	r.cancel = cancel
	a.running[r.ID] = r
	a.o.Log.Info("job begins", "job", r.ID, "policy", p.Name, "trigger", trigger)
	task := &Task{Policy: p.Policy, Chore: p.chore, Job: r.ID, Until: until, Trust: trust, Progress: r.progress, All: a.rate, Own: r.own, Waits: &r.waits, Warn: r.warn, Tell: r.tell}
	a.jobs.Go(func() {
		summary, err := a.attempt(ctx, task)
		a.finish(ctx, r, summary, err)
		cancel(nil)
	})
	return r, nil
}

// attempt runs the task. A bug in it is the end of the job, not of the agent.
func (a *Agent) attempt(ctx context.Context, t *Task) (s *backup.Summary, err error) {
	defer func() {
		if v := recover(); v != nil {
			s, err = nil, fmt.Errorf("panic: %v: %w", v, fault.Internal)
		}
	}()
	return a.o.Run(ctx, t)
}

func (r *running) warn(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = append(r.warnings, journal.Warning{Path: what, Reason: err.Error()})
}

func (r *running) tell(result string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result = result
}

// watch stops a job in which nothing moves.
func (a *Agent) watch(r *running, passed time.Duration, now time.Time) {
	moved := [3]int64{r.progress.Files.Load(), r.progress.Bytes.Load(), r.own.Paid()}
	if moved != r.moved || a.pause.On || r.held != "" || r.waits.Load() {
		r.moved, r.still = moved, 0
		return
	}
	if r.still += passed; r.still >= stuck && !r.over {
		a.o.Log.Error("a job is stuck", "job", r.ID, "policy", r.Policy)
		r.cancel(errStuck)
		// It may hang in a call of the system that nobody can end. Its record
		// says so now; nothing else of the policy begins until it returns.
		if err := a.record(r, nil, errStuck, now); err != nil {
			a.o.Log.Error("the journal cannot be written", "error", err)
		}
	}
}

// finish writes what became of a job. While the journal cannot be written, the
// job is not over.
func (a *Agent) finish(ctx context.Context, r *running, s *backup.Summary, err error) {
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	for {
		a.mu.Lock()
		writing := a.record(r, s, err, a.o.Now())
		if writing == nil || a.closed {
			delete(a.running, r.ID)
			a.mu.Unlock()
			a.nudge()
			return
		}
		a.mu.Unlock()
		a.o.Log.Error("the journal cannot be written; trying again", "job", r.ID, "error", writing)
		select {
		case <-time.After(idle):
		case <-a.done:
		}
	}
}

// record writes what became of a job and what follows from it, in one step.
func (a *Agent) record(r *running, s *backup.Summary, err error, now time.Time) error {
	if r.over {
		return nil
	}
	j := r.Job
	j.Ended = now
	warnings := r.take(&j, s)
	progress := r.policy.Progress
	switch {
	case err == nil && j.Warnings == 0:
		j.State = journal.Completed
	case err == nil:
		j.State = journal.Warned
	case errors.Is(err, errAsked):
		j.State, j.Error = journal.Cancelled, err.Error()
	case errors.Is(err, errStopping):
		j.State, j.Error = journal.Cancelled, err.Error()
		progress.RetryAt, progress.Resume = now, true
	default:
		j.State, j.Error, j.Kind = journal.Failed, err.Error(), fault.KindOf(err).Error()
		if progress.Failing.IsZero() {
			progress.Failing = now
		}
		if n := progress.Attempt + 1; n <= r.policy.RetriesOrDefault() && worthwhile(err) {
			progress.Attempt, progress.RetryAt = n, now.Add(wait(n))
		}
	}
	if err == nil {
		progress.LastPoint, progress.RetryAt, progress.Attempt = now, time.Time{}, 0
		progress.Failing, progress.Until, progress.Anyway = time.Time{}, time.Time{}, false
	}
	writing := a.o.Journal.Update(func(tx *journal.Tx) error {
		if err := tx.PutJob(&j); err != nil {
			return err
		}
		if err := tx.PutWarnings(j.ID, warnings); err != nil {
			return err
		}
		if err := tx.PutProgress(j.Policy, progress); err != nil {
			return err
		}
		if err := kindsOf(r.policy.chore).alerts(tx, &j, warnings, &progress, now); err != nil {
			return err
		}
		return alarm(tx, &j, s, now)
	})
	if writing != nil {
		return writing
	}
	r.Job, r.over = j, true
	if err == nil {
		a.lookSoon(r.policy.Repository, now)
	}
	a.follow(r.policy, progress)
	a.o.Log.Info("job ends", "job", j.ID, "policy", j.Policy, "state", j.State, "point", j.Point, "warnings", j.Warnings, "error", j.Error)
	return nil
}

// follow gives the policy its progress; a reload may have made a new one of it
// meanwhile.
func (a *Agent) follow(old *policy, progress journal.Progress) {
	p := a.policy(old.Name)
	if p == nil {
		return
	}
	if p != old { // what the reload said of its slots holds
		progress.Rule, progress.Handled = p.Rule, p.Handled
	}
	p.Progress = progress
	if p != old {
		a.keep(p)
		return
	}
	p.plan(a.o.Journal.Seed())
}

// take puts what a run did into its job, and returns what it warned of.
func (r *running) take(j *journal.Job, s *backup.Summary) []journal.Warning {
	r.mu.Lock()
	list := append([]journal.Warning{}, r.warnings...)
	j.Result = r.result
	r.mu.Unlock()
	j.Warnings = uint64(len(list))
	if s == nil {
		j.Files, j.Bytes = uint64(r.progress.Files.Load()), uint64(r.progress.Bytes.Load())
		return list
	}
	n := s.Statistics
	j.Point, j.Sequence = s.Point.String(), s.Sequence
	j.Suspect = s.Suspect
	j.Type, j.TypeWhy = s.Consistency.Type.String(), s.Consistency.Why
	j.Files, j.Bytes, j.New, j.Changed, j.Removed = n.Files, n.Bytes, n.New, n.Changed, n.Removed
	j.BytesRead, j.BytesStored = n.BytesRead, n.BytesStored
	j.Warnings += n.Warnings
	for _, w := range s.Warned {
		list = append(list, journal.Warning{Path: w.Path, Reason: w.Reason})
	}
	return list
}

// worthwhile says whether the same run may do better later. What needs
// somebody to do something first is not tried again before the next slot.
func worthwhile(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Locked, fault.Denied, fault.Corrupt, fault.Rollback, fault.Unsupported, fault.Canceled:
		return false
	}
	return true
}

// Start begins a job of a policy now, whatever its schedule says.
func (a *Agent) Start(name string, until time.Time) (journal.Job, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.policy(name)
	switch {
	case p == nil:
		return journal.Job{}, fmt.Errorf("start a job of policy %q: the agent's configuration has no such policy, nor a [[maintenance]] of that name: %w", name, fault.NotExist)
	case a.closed:
		return journal.Job{}, fmt.Errorf("start a job of policy %q: the agent ends: %w", name, fault.Unavailable)
	case a.pause.On:
		return journal.Job{}, fmt.Errorf("start a job of policy %q: the agent is paused: %w", name, fault.Unavailable)
	}
	if r := a.running[p.LastJob]; r != nil && !r.over && r.held != "" && until.IsZero() {
		return r.Job, a.override(p) // it is there, and only waits
	}
	if other := a.busy(p); other != nil {
		return journal.Job{}, fmt.Errorf("start a job of policy %q: job %d of policy %q runs on the same files: %w", name, other.ID, other.Policy, fault.Exist)
	}
	r, err := a.begin(p, journal.Asked, time.Time{}, until, a.o.Now())
	if err != nil {
		return journal.Job{}, err
	}
	return r.Job, nil
}

// Cancel stops a job. What it has stored is used by the next one.
func (a *Agent) Cancel(id uint64) (journal.Job, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.running[id]
	if r == nil || r.over {
		return journal.Job{}, fmt.Errorf("cancel job %d: it does not run: %w", id, fault.NotExist)
	}
	j := r.Job
	j.State = journal.Cancelling
	if err := a.o.Journal.Update(func(tx *journal.Tx) error { return tx.PutJob(&j) }); err != nil {
		return journal.Job{}, err
	}
	r.Job = j
	r.cancel(errAsked)
	return j, nil
}

// Pause lets no job begin, and those that run hold still, until a moment, or
// until Resume if that is zero.
func (a *Agent) Pause(until time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.setPause(journal.Pause{On: true, Until: until})
}

// Resume ends a pause.
func (a *Agent) Resume() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.nudge()
	return a.setPause(journal.Pause{})
}

func (a *Agent) setPause(p journal.Pause) error {
	if err := a.o.Journal.Update(func(tx *journal.Tx) error { return tx.PutPause(p) }); err != nil {
		a.o.Log.Error("the journal cannot be written", "error", err)
		return err
	}
	a.pause = p
	if p.On {
		a.rate.Pause()
	} else {
		a.rate.Resume()
	}
	return nil
}

// CloseAlert ends an alert, with a note of who did.
func (a *Agent) CloseAlert(id uint64, note string) error {
	return a.o.Journal.Update(func(tx *journal.Tx) error { return tx.Close(id, note, a.o.Now()) })
}
