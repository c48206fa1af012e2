package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
)

// planned returns what a configuration has the agent do: policies, then chores.
func planned(conf *config.Config) []*policy {
	var list []*policy
	for _, c := range conf.Policies {
		list = append(list, &policy{Policy: c})
	}
	for i := range conf.Maintenance {
		m := conf.Maintenance[i]
		list = append(list, &policy{Policy: m.AsPolicy(), chore: &m})
	}
	return list
}

// sameChore says whether two chores are one on one repository, whatever their
// names.
func sameChore(a, b *config.Maintenance) bool {
	return a != nil && b != nil && a.Task == b.Task && a.Repository == b.Repository
}

// tidying says whether a chore runs: they go one after the other, beside
// backups.
func (a *Agent) tidying() bool {
	for _, r := range a.running {
		if r.policy.chore != nil {
			return true
		}
	}
	return false
}

// backups returns how many of the jobs that run back up.
func (a *Agent) backups() (n int) {
	for _, r := range a.running {
		if r.policy.chore == nil {
			n++
		}
	}
	return n
}

// upkeep does a chore. Damage that it finds is fault.Corrupt, each damaged
// object a warning.
func (e *Engine) upkeep(ctx context.Context, t *Task) error {
	switch t.Chore.Task {
	case config.Prune:
		return e.prune(ctx, t)
	case config.Scrub:
		return e.scrub(ctx, t)
	case config.Check:
		return e.check(ctx, t)
	case config.Replicate:
		return e.replicate(ctx, t)
	case config.Proof:
		return e.proof(ctx, t)
	}
	return fmt.Errorf("do %q: there is no such chore: %w", t.Chore.Task, fault.Unsupported)
}

// moved has the agent see that a chore goes on.
func (t *Task) moved(objects, bytes int64) {
	t.Progress.Files.Store(objects)
	t.Progress.Bytes.Store(bytes)
}

// place opens the repository's place, with no key, within the rates.
func (t *Task) place(ctx context.Context) (store.Store, func() error, error) {
	place, closing, err := openPlace(ctx, t.Policy.Repository)
	if err != nil {
		return nil, nil, err
	}
	return limit.New(limit.New(place, t.All), t.Own), closing, nil
}

func openPlace(ctx context.Context, address string) (store.Store, func() error, error) {
	place, err := all.Open(ctx, address)
	if err != nil {
		return nil, nil, err
	}
	if c, ok := place.(io.Closer); ok {
		return place, c.Close, nil
	}
	return place, func() error { return nil }, nil
}

func (e *Engine) prune(ctx context.Context, t *Task) (err error) {
	s, closing, err := t.place(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	r, err := repo.Open(ctx, s, repo.Options{})
	if err != nil {
		return err
	}
	local := repo.LocalOf(e.Dir, r.ID, t.Policy.Repository)
	if err := r.OpenLedger(ctx, local, repo.LedgerOptions{}); err != nil {
		return err
	}
	if r.Book() == nil {
		return fmt.Errorf("prune: the repository cannot be reached: %w", fault.Unavailable)
	}
	device, err := local.Device()
	if err != nil {
		return err
	}
	// A copy of a pack would keep it from being seen as gone.
	if _, err := scrub.Finish(ctx, r.Store()); err != nil {
		t.Warn("prune", err)
	}
	plan, err := keep.Prune(ctx, r.Store(), r.Book(), keep.Options{
		Repository: r.ID, Key: device.Key, Counts: filepath.Join(local.Dir, "counts"), Machine: e.Now, Full: t.Chore.Full,
		Progress: func(_ string, done, _ int) { t.moved(int64(done), t.Progress.Bytes.Load()) },
	})
	if plan == nil || err != nil {
		return err
	}
	for _, w := range plan.Warnings {
		t.Warn("prune", errors.New(w))
	}
	if plan.Suspended != "" {
		t.Tell("nothing is removed: " + plan.Suspended)
		return nil
	}
	t.Tell(fmt.Sprintf("%d points removed, %s freed", len(plan.Expired), size(plan.Bytes())))
	return nil
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

func (e *Engine) scrub(ctx context.Context, t *Task) (err error) {
	s, closing, err := t.place(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	id, err := scrub.Identify(ctx, s)
	if err != nil {
		return err
	}
	o := scrub.Options{
		Repository: id, Now: e.Now, MaxAge: time.Duration(t.Chore.MaxAge), MaxTime: time.Duration(t.Chore.MaxTime),
		Found:    func(f scrub.Finding) { t.Warn(f.Object, fmt.Errorf("%s: %w", f.Kind, f.Err)) },
		Progress: func(p scrub.Progress) { t.moved(p.Objects, p.Bytes) },
	}
	if o.State, err = scrub.OpenState(repo.LocalOf(e.Dir, id, t.Policy.Repository).Scrub(), id); err != nil {
		return err
	}
	report, err := scrub.Run(ctx, s, o)
	if report == nil {
		return err
	}
	t.Tell(fmt.Sprintf("%d objects, %s read, %d left for the next time", report.Objects, size(report.Bytes), report.Left))
	for _, name := range report.Healing {
		t.Warn(name, fmt.Errorf("healing was cut short; `tidemark repair` ends it: %w", fault.Corrupt))
	}
	if err == nil && len(report.Findings) > 0 {
		err = fmt.Errorf("scrub: %d damages were found: %w", len(report.Findings), fault.Corrupt)
	}
	return err
}

func (e *Engine) check(ctx context.Context, t *Task) (err error) {
	r, local, closing, err := e.openWith(ctx, t, (*repo.Repository).CanRead)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	report, err := repo.Check(ctx, r, repo.CheckOptions{
		ReadData: t.Chore.Data / 100, Local: &local, Progress: func(done, _ int) { t.moved(int64(done), t.Progress.Bytes.Load()) },
	})
	if report == nil {
		return err
	}
	t.Tell(fmt.Sprintf("%d points, %d packs, %s read", report.Points, report.Packs, size(report.Bytes)))
	for _, f := range report.Faults {
		hurt := ""
		if f.Count > 0 {
			hurt = fmt.Sprintf("; hurts %d files, the first %s", f.Count, f.Files[0])
		}
		t.Warn(f.Object, fmt.Errorf("%w%s", f.Err, hurt))
	}
	if err == nil && len(report.Faults) > 0 {
		err = fmt.Errorf("check: %d objects are damaged: %w", len(report.Faults), fault.Corrupt)
	}
	return err
}

func (e *Engine) replicate(ctx context.Context, t *Task) (err error) {
	from, closing, err := t.place(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	id, _, err := replicate.Identify(ctx, from)
	if err != nil {
		return err
	}
	var failed error
	points, bytes := 0, int64(0)
	for _, to := range t.Chore.To {
		report, err := e.replicateTo(ctx, t, from, id, to)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", to, err))
		}
		if report != nil {
			points, bytes = points+len(report.Copied), bytes+report.Bytes
		}
	}
	t.Tell(fmt.Sprintf("%d points, %s copied", points, size(bytes)))
	return failed
}

func (e *Engine) replicateTo(ctx context.Context, t *Task, from store.Store, id [16]byte, to string) (_ *replicate.Report, err error) {
	local := repo.LocalOf(e.Dir, id, t.Policy.Repository)
	device, err := local.Device()
	if err != nil {
		return nil, err
	}
	s, err := all.Create(ctx, to)
	if err != nil {
		return nil, err
	}
	if c, ok := s.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	report, err := replicate.Run(ctx, from, s, replicate.Options{
		Key: device.Key, Now: e.Now, SourceMemory: local.Memory(), Memory: repo.LocalOf(e.Dir, id, to).Memory(),
		Progress: func(p replicate.Progress) { t.moved(int64(p.Points), p.Bytes) },
	})
	if report == nil {
		return nil, err
	}
	hurt := 0
	for _, p := range report.Problems {
		t.Warn(p.Object, p.Err)
		hurt += len(p.Points)
	}
	if err == nil && hurt > 0 {
		err = fmt.Errorf("replicate: %d points could not be copied: %w", hurt, fault.Corrupt)
	}
	return report, err
}
