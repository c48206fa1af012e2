package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/health"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/space"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
)

const (
	lookEvery    = 15 * time.Minute // at each repository: somebody who deletes points is told of so soon
	countEvery   = 24 * time.Hour   // what it holds, which takes a listing of all
	lookPause    = time.Minute      // between two looks, also after a point
	lookPatience = 10 * time.Minute
	forecast     = 31 * 24 * time.Hour // samples that say how space goes
)

// looks are what the agent remembers of looks.
type looks struct {
	last      map[string]time.Time // by repository
	now       bool                 // one goes on
	certified time.Time            // when certificates were looked at
}

// Question is what is asked of a repository beside how it is.
type Question struct {
	Deleted []uint64 // are these gone for good?
	Count   bool     // how much does it hold?
}

// Looker finds out how a repository is, with no key.
type Looker func(ctx context.Context, address string, q Question) (*health.Facts, error)

// lookAround looks at the repository whose turn it is, beside all else: one that
// hangs keeps nothing waiting but looks at others.
func (a *Agent) lookAround(now time.Time) {
	if now.Sub(a.looks.certified).Abs() >= lookEvery {
		a.looks.certified = now
		a.certificates(now)
	}
	if a.o.Look == nil || a.looks.now {
		return
	}
	if a.looks.last == nil {
		a.looks.last = map[string]time.Time{}
	}
	for _, p := range a.policies {
		address := p.Repository
		if last, ok := a.looks.last[address]; ok && now.Sub(last).Abs() < lookEvery {
			continue
		}
		a.looks.last[address], a.looks.now = now, true
		a.jobs.Go(func() {
			a.look(address)
			a.mu.Lock()
			a.looks.now = false
			a.mu.Unlock()
			a.nudge()
		})
		return
	}
}

// lookSoon has a repository looked at that has a new point, if it was not lately.
func (a *Agent) lookSoon(address string, now time.Time) {
	if last, ok := a.looks.last[address]; ok && now.Sub(last) >= lookPause {
		delete(a.looks.last, address)
	}
}

// look looks at a repository, and writes what it saw and what follows from it.
func (a *Agent) look(address string) {
	ctx, stop := context.WithTimeout(context.Background(), lookPatience)
	defer stop()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-a.done:
			stop()
		case <-over:
		}
	}()
	var old health.Seen
	err := a.o.Journal.View(func(tx *journal.Tx) error {
		_, err := tx.Place(address, &old)
		return err
	})
	var facts *health.Facts
	if err == nil {
		q := Question{Count: a.o.Now().Sub(old.Counted).Abs() >= countEvery}
		for _, d := range old.Deleted {
			q.Deleted = append(q.Deleted, d.Sequence)
		}
		facts, err = a.o.Look(ctx, address, q)
	}
	select {
	case <-a.done:
		return // the end of the agent says nothing of the repository
	default:
	}
	if err != nil {
		a.o.Log.Warn("a repository cannot be looked at", "repository", address, "error", err)
	}
	if err := a.judge(address, old, facts, err); err != nil {
		a.o.Log.Error("the journal cannot be written", "error", err)
	}
}

// judge writes what a look found, in one step with the alerts that follow.
func (a *Agent) judge(address string, old health.Seen, facts *health.Facts, failed error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Now()
	return a.o.Journal.Update(func(tx *journal.Tx) error {
		var next health.Seen
		var changes []health.Change
		if failed != nil {
			next, changes = health.Failed(old, failed, now)
			if errors.Is(failed, fault.Rollback) {
				changes = append(changes, health.Change{Kind: journal.VaultRolledBack, Text: failed.Error()})
			}
		} else {
			samples, err := Samples(tx, address, now.Add(-forecast))
			if err != nil {
				return err
			}
			next, changes = health.Judge(old, facts, samples, a.checked(address), now)
			if next.Space != nil {
				if err := tx.PutSample(address, now, health.Sample{Time: now, Space: *next.Space, Points: next.Points}); err != nil {
					return err
				}
			}
		}
		if err := tx.PutPlace(address, &next); err != nil {
			return err
		}
		return apply(tx, address, changes, now)
	})
}

// Samples returns how much room a repository had on each day since a moment,
// ascending.
func Samples(tx *journal.Tx, address string, since time.Time) ([]health.Sample, error) {
	var list []health.Sample
	err := tx.Samples(address, since, func(decode func(any) error) error {
		var s health.Sample
		err := decode(&s)
		list = append(list, s)
		return err
	})
	return list, err
}

// checked returns when somebody last looked for damage in a repository.
func (a *Agent) checked(address string) (last time.Time) {
	for _, p := range a.policies {
		if p.chore == nil || p.Repository != address || p.chore.Task != config.Scrub && p.chore.Task != config.Check {
			continue
		}
		if p.LastPoint.After(last) {
			last = p.LastPoint
		}
	}
	return last
}

// apply raises and ends alerts of a subject. What lasts is one alert.
func apply(tx *journal.Tx, subject string, changes []health.Change, now time.Time) error {
	for _, c := range changes {
		if c.Text == "" {
			if err := tx.ResolveOf(c.Kind, subject, c.Note, now); err != nil {
				return err
			}
			continue
		}
		alert := journal.Alert{Kind: c.Kind, Severity: c.Severity, Subject: subject, Text: c.Text}
		if alert.Severity == "" {
			alert.Severity = c.Kind.Severity()
		}
		active, err := tx.ActiveOf(c.Kind, subject)
		if err != nil {
			return err
		}
		if active != nil && !c.Again && !alert.Severity.Worse(active.Severity) {
			continue
		}
		if err := tx.Raise(alert, now); err != nil {
			return err
		}
	}
	return nil
}

// certificates looks at the certificates that the configuration names.
func (a *Agent) certificates(now time.Time) {
	for _, path := range a.conf.Agent.Certificates {
		until, err := health.Certificate(path)
		change := health.JudgeCertificate(until, err, now)
		if err := a.o.Journal.Update(func(tx *journal.Tx) error { return apply(tx, path, []health.Change{change}, now) }); err != nil {
			a.o.Log.Error("the journal cannot be written", "error", err)
		}
	}
}

// Look implements Looker.
func (e *Engine) Look(ctx context.Context, address string, q Question) (_ *health.Facts, err error) {
	place, err := all.Open(ctx, address)
	if err != nil {
		return nil, err
	}
	if c, ok := place.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	r, err := repo.Open(ctx, place, repo.Options{})
	if err != nil {
		return nil, err
	}
	local := repo.LocalOf(e.Dir, r.ID, address)
	if err := r.OpenLedger(ctx, local, repo.LedgerOptions{}); err != nil {
		return nil, err
	}
	if r.Book() == nil {
		return nil, fmt.Errorf("look at %s: it cannot be reached: %w", address, fault.Unavailable)
	}
	clock, err := r.Book().Read(ctx, e.Now())
	if err != nil {
		return nil, err
	}
	f := &health.Facts{}
	r.Book().View(func(s *retain.State) { state(f, s, s.Judge(clock), q.Deleted) })
	if dir := strings.TrimPrefix(address, "file://"); filepath.IsAbs(dir) {
		total, free, err := space.Of(dir)
		if err != nil {
			return nil, err
		}
		f.Space = &health.Space{Free: free, Total: total, Stored: -1}
	}
	if q.Count && f.Space != nil {
		c, err := replicate.Look(ctx, place, local.Memory())
		if err != nil {
			return nil, err
		}
		f.Space.Stored = c.Bytes
	}
	return f, nil
}

// state takes from a ledger's state what is judged.
func state(f *health.Facts, s *retain.State, v retain.Verdict, asked []uint64) {
	f.Entries, f.Points = s.Head.Number, len(s.Shown())
	if s.Policy != nil {
		f.Policy = s.Policy.Clone()
	}
	if v.Suspended {
		f.Suspended = v.Why
	}
	for _, p := range s.Deleted() {
		f.Deleted = append(f.Deleted, health.Deleted{Sequence: p.Sequence, GoneAfter: time.Unix(p.Deleted.GoneAfter, 0).UTC()})
	}
	slices.SortFunc(f.Deleted, func(x, y health.Deleted) int { return x.GoneAfter.Compare(y.GoneAfter) })
	for _, sequence := range asked {
		if _, gone := s.Gone(sequence); gone {
			f.Purged = append(f.Purged, sequence)
		}
	}
}
