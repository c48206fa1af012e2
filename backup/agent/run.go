package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/hook"
	"github.com/tidemark-backup/tidemark/platform/snapshot"
	"github.com/tidemark-backup/tidemark/repo"
)

// Run implements Runner.
func (e *Engine) Run(ctx context.Context, t *Task) (*backup.Summary, error) {
	if t.Chore != nil {
		return nil, e.upkeep(ctx, t)
	}
	j := &backupJob{engine: e, task: t, event: hook.Event{Policy: t.Policy.Name, Job: strconv.FormatUint(t.Job, 10)}}
	var err error
	if j.job, err = e.job(t, j.event); err != nil {
		return nil, err
	}
	s, err := j.backup(ctx)
	j.event.Result = "completed"
	switch {
	case err != nil:
		j.event.Result, j.event.Error = "failed", err.Error()
	case s.Statistics.Warnings > 0:
		j.event.Result = "warnings"
	}
	if s != nil {
		j.event.Point = s.Point.String()
	}
	// What was frozen before must be thawed, also after a cancel.
	after, stop := context.WithTimeout(context.WithoutCancel(ctx), hook.MaxTimeout)
	defer stop()
	return s, errors.Join(err, j.thaw(after), j.hooks(after, hook.After))
}

// backupJob is one backup with what goes before and after it.
type backupJob struct {
	engine *Engine
	task   *Task
	event  hook.Event
	job    *backup.Job

	refused bool // a hook failed that may
	thawed  bool
}

// hooks runs the hooks of one time.
func (j *backupJob) hooks(ctx context.Context, when string) error {
	j.task.Waits.Store(true)
	defer j.task.Waits.Store(false)
	return hook.RunAll(ctx, j.task.Policy.Hooks, when, j.event, func(err error) {
		j.refused = true
		j.task.Warn("hook", err)
	})
}

// thaw runs, once, the hooks that end what was frozen.
func (j *backupJob) thaw(ctx context.Context) error {
	if j.thawed {
		return nil
	}
	j.thawed = true
	return j.hooks(ctx, hook.Thaw)
}

// backup goes from the hooks before it to the point. Snapshots are gone when it
// returns.
func (j *backupJob) backup(ctx context.Context) (_ *backup.Summary, err error) {
	if err := j.hooks(ctx, hook.Before); err != nil {
		return nil, err
	}
	set, err := j.job.Freeze(ctx, j.engine.Dir, j.task.Policy.Snapshot)
	if set == nil && err != nil && j.task.Policy.Snapshot == snapshot.Require {
		return nil, err
	}
	if err != nil {
		j.task.Warn("snapshot", err)
	}
	if set != nil {
		defer func() {
			if err := set.Close(); err != nil {
				j.task.Warn("snapshot", err)
			}
		}()
		if len(set.Live) == 0 && set.Taken() > 0 {
			// Programs need not wait for the run: their files are safe.
			if err := j.thaw(context.WithoutCancel(ctx)); err != nil {
				return nil, err
			}
		}
	}
	j.job.Consistency = j.consistency()
	return j.engine.backup(ctx, j.task, *j.job)
}

// consistency says what hooks before the run make of files: programs that were
// told to be quiet leave them whole, if none of the hooks failed.
func (j *backupJob) consistency() repo.Consistency {
	c := j.job.Consistency
	if c.Type == repo.Untyped {
		c = repo.Consistency{Type: repo.Live, Why: "no snapshot was asked for"}
	}
	n := 0
	for i := range j.task.Policy.Hooks {
		if j.task.Policy.Hooks[i].When == hook.Before {
			n++
		}
	}
	switch {
	case n == 0:
		return c
	case j.refused:
		return repo.Consistency{Type: c.Type, Why: "a command before the run failed; " + c.Why}
	case n == 1:
		return repo.Consistency{Type: repo.Application, Why: "the command before the run succeeded; " + c.Why}
	}
	return repo.Consistency{Type: repo.Application, Why: fmt.Sprintf("all %d commands before the run succeeded; %s", n, c.Why)}
}
