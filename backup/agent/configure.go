package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/schedule"
)

// load puts a configuration into force. Jobs that run go on as they began.
func (a *Agent) load(conf config.Config) error {
	now := a.o.Now()
	var list []*policy
	table, err := schedule.NewTable(conf.Agent.Throttle, a.o.Zone)
	if err != nil {
		return err
	}
	for _, p := range planned(&conf) {
		c := &p.Policy
		if !c.Schedule.IsZero() {
			if p.rule, err = schedule.New(c.Schedule, a.o.Zone); err != nil {
				return err
			}
		}
		if p.table, err = schedule.NewTable(c.Throttle, a.o.Zone); err != nil {
			return err
		}
		list = append(list, p)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.o.Journal.Update(func(tx *journal.Tx) error {
		for _, p := range list {
			if err := a.takeUp(tx, p, now); err != nil {
				return err
			}
		}
		for _, old := range a.policies {
			if slices.ContainsFunc(list, func(p *policy) bool { return p.Name == old.Name }) {
				continue
			}
			for _, kind := range kindsOf(old.chore).all() {
				if err := tx.Resolve(kind, old.Name, "it is gone from the configuration", now); err != nil {
					return err
				}
			}
		}
		if err := forgetSubjects(tx, &conf, now); err != nil {
			return err
		}
		return tx.Resolve(journal.Configuration, "", "it was read", now)
	})
	if err != nil {
		return err
	}
	a.conf, a.table, a.policies = conf, table, list
	a.post.Configure(conf.Notify)
	a.shows.load(&a.conf)
	a.nudge()
	return nil
}

// takeUp finds out how far a policy is.
func (a *Agent) takeUp(tx *journal.Tx, p *policy, now time.Time) error {
	progress, known, err := tx.Progress(p.Name)
	if err != nil {
		return err
	}
	rule := fmt.Sprint(p.Schedule)
	old := a.policy(p.Name)
	switch {
	case !known:
		progress = journal.Progress{Added: now, Handled: now}
	case progress.Rule != rule:
		// The new times begin now. What was due by the old ones still is.
		if old != nil && !old.due.IsZero() && !old.due.After(now) {
			progress.RetryAt, progress.Attempt = now, 0
		}
		progress.Handled = now
	}
	progress.Rule = rule
	p.Progress = progress
	p.plan(a.o.Journal.Seed())
	return tx.PutProgress(p.Name, progress)
}

// plan works out when the policy has something to do.
func (p *policy) plan(seed string) {
	p.due, p.silent = time.Time{}, time.Time{}
	if p.rule == nil {
		return
	}
	p.due = p.rule.Due(p.rule.Next(p.Handled), seed+p.Name)
	since := p.Added
	if p.LastPoint.After(since) {
		since = p.LastPoint
	}
	if n := p.SilentOrDefault(); n > 0 {
		if p.silent = p.rule.After(since, n); !p.silent.IsZero() {
			p.silent = p.silent.Add(p.rule.Jitter() + time.Minute)
		}
	}
}

// Reload puts another configuration into force; nil with an error says that it
// could not be read: the old one holds on, and that is an alert.
func (a *Agent) Reload(conf config.Config, err error) error {
	if err == nil {
		err = a.load(conf)
	}
	if err == nil {
		a.o.Log.Info("configuration read", "policies", len(conf.Policies))
		return nil
	}
	a.o.Log.Error("the configuration cannot be read; the one before holds on", "error", err)
	return errors.Join(err, a.o.Journal.Update(func(tx *journal.Tx) error {
		return tx.Raise(journal.Alert{Severity: journal.SeverityWarning, Kind: journal.Configuration, Text: err.Error()}, a.o.Now())
	}))
}
