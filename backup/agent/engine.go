package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/backup/hook"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// Engine is the Runner that backs up: hooks, the repository, the point.
type Engine struct {
	Dir        string                                // what this machine keeps: keys, index, copies of tables
	Passphrase func(context.Context) ([]byte, error) // for a machine that keeps no keys; nil: there is none
	New        func(paths []string, m *exclude.Matcher) backup.Job
	Now        func() time.Time
	Unlocked   *Unlocked // passphrases that somebody has told; nil: none
}

// job is what the policy asks for.
func (e *Engine) job(t *Task, event hook.Event) (*backup.Job, error) {
	p := &t.Policy
	matcher, err := e.matcher(p)
	if err != nil {
		return nil, err
	}
	job := e.New(p.Paths, matcher)
	job.ExcludeCaches, job.OneFileSystem = p.ExcludeCaches, p.OneFileSystem
	job.Tags, job.Until, job.Progress = append([]string{}, p.Tags...), t.Until, t.Progress
	job.Items, job.Trust = items(p, event), t.Trust
	return &job, nil
}

// backup writes the point.
func (e *Engine) backup(ctx context.Context, t *Task, job backup.Job) (_ *backup.Summary, err error) {
	r, local, closing, err := e.open(ctx, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closing()) }()
	if t.Policy.Retention != nil {
		if err := e.retention(ctx, r, local, &t.Policy); err != nil {
			t.Warn("retention", err)
		}
	}
	return backup.Run(ctx, r, local, job)
}

// open opens the policy's repository for writing, within the rates.
func (e *Engine) open(ctx context.Context, t *Task) (*repo.Repository, repo.Local, func() error, error) {
	return e.openWith(ctx, t, (*repo.Repository).CanWrite)
}

// openWith opens the repository with the keys that this machine keeps, and with
// the passphrase if they are not enough.
func (e *Engine) openWith(ctx context.Context, t *Task, enough func(*repo.Repository) bool) (*repo.Repository, repo.Local, func() error, error) {
	s, closing, err := t.place(ctx)
	if err != nil {
		return nil, repo.Local{}, nil, err
	}
	r, err := repo.Open(ctx, s, repo.Options{})
	if err != nil {
		return nil, repo.Local{}, nil, errors.Join(err, closing())
	}
	local := repo.LocalOf(e.Dir, r.ID, t.Policy.Repository)
	if err := e.unlock(ctx, r, local, t.Policy.Repository, enough); err != nil {
		return nil, repo.Local{}, nil, errors.Join(err, closing())
	}
	return r, local, closing, nil
}

func (e *Engine) unlock(ctx context.Context, r *repo.Repository, local repo.Local, address string, enough func(*repo.Repository) bool) error {
	if _, err := r.Grant(ctx, local); err != nil {
		return err
	}
	if !enough(r) {
		passphrase, err := e.passphraseFor(ctx, address, local.Dir)
		if err != nil {
			return err
		}
		if _, err := r.Unlock(ctx, passphrase); err != nil {
			return err
		}
	}
	// As in backup.Run: a damaged ledger does not stop backups.
	if err := r.OpenLedger(ctx, local, repo.LedgerOptions{}); err != nil && fault.KindOf(err) != fault.Corrupt {
		return err
	}
	return nil
}

// retention makes the policy of the configuration that of the vault, unless
// that cuts points: nobody is there to be asked.
func (e *Engine) retention(ctx context.Context, r *repo.Repository, local repo.Local, p *config.Policy) error {
	if r.Book() == nil {
		return fmt.Errorf("the ledger cannot be read, so the vault's policy stays as it is: %w", fault.Corrupt)
	}
	var now *retain.Policy
	r.Book().View(func(s *retain.State) {
		if s.Policy != nil {
			now = s.Policy.Clone()
		}
	})
	next := RetentionOf(p, now)
	if now != nil {
		if string(now.Marshal()) == string(next.Marshal()) {
			return nil
		}
	}
	device, err := local.Device()
	if err != nil {
		return err
	}
	if _, err := r.Adopt(ctx, device, e.Now()); err != nil {
		return err
	}
	clock, err := r.Book().Read(ctx, e.Now())
	if err != nil {
		return err
	}
	_, err = r.Book().Append(ctx, device.Key, clock, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		edit, err := s.Edit(next, v)
		if err != nil {
			return nil, err
		}
		if n := len(edit.Doomed); n > 0 {
			return nil, fmt.Errorf("the configuration keeps less than the vault's policy, and would cut %d points, so the vault's stays; `tidemark policy preview` and `tidemark policy set` show and do it: %w", n, fault.Denied)
		}
		return edit.Records, nil
	})
	return err
}

// RetentionOf returns what the vault's policy is to become by that of the
// configuration: what only vaults say stays as it is now; nil: nothing is said.
func RetentionOf(p *config.Policy, now *retain.Policy) *retain.Policy {
	next := p.Retention.Clone()
	if now != nil {
		next.Immutable = now.Immutable
		if next.Floors == (retain.Floors{}) {
			next.Floors = now.Floors
		}
	}
	return next
}

// matcher compiles the policy's patterns, and those that keep a backup out of
// itself.
func (e *Engine) matcher(p *config.Policy) (*exclude.Matcher, error) {
	var patterns []exclude.Pattern
	for _, path := range p.ExcludeFiles {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read patterns: %w", err)
		}
		list, err := exclude.Read(f, path)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		patterns = append(patterns, list...)
	}
	patterns = append(patterns, exclude.Flags("policy "+p.Name, p.Exclude)...)
	patterns = append(patterns, exclude.Flags("tidemark", exclude.Folders(e.Dir, strings.TrimPrefix(p.Repository, "file://")))...)
	roots := make([]string, len(p.Paths))
	for i, path := range p.Paths {
		roots[i] = filepath.ToSlash(path)
	}
	return exclude.Compile(roots, patterns)
}
