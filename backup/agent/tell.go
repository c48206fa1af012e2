package agent

import (
	"context"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/notify"
)

// remindEvery is how often the agent looks for alerts that are to be told again.
const remindEvery = 10 * time.Minute

// tell begins to notify; what it returns ends that and waits for it.
func (a *Agent) tell() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		a.post.Run(ctx)
	}()
	return func() {
		cancel()
		<-over
	}
}

// remind has critical alerts that last told again.
func (a *Agent) remind(now time.Time) {
	every := a.conf.Notify.RemindOrDefault()
	if every == 0 || now.Sub(a.reminded).Abs() < remindEvery {
		return
	}
	a.reminded = now
	if err := a.o.Journal.Update(func(tx *journal.Tx) error { return tx.Remind(now.Add(-every), now) }); err != nil {
		a.o.Log.Error("the journal cannot be written", "error", err)
	}
}

// subjects are the kinds of alerts that end with what they are of. Those that
// concern security stay, until somebody ends them.
var subjects = [...]journal.Kind{
	journal.NotTold, journal.Unreachable, journal.Unscrubbed, journal.SpaceLow, journal.Certificate, journal.ClockWrong,
}

// forgetSubjects ends the alerts of what is not in the configuration any more.
func forgetSubjects(tx *journal.Tx, conf *config.Config, now time.Time) error {
	known, policies := map[string]bool{"": true}, map[string]bool{}
	for _, t := range conf.Notify.Targets() {
		known[t.Name] = true
	}
	for _, p := range planned(conf) {
		known[p.Repository], policies[p.Name] = true, true
	}
	for _, path := range conf.Agent.Certificates {
		known[path] = true
	}
	list, err := tx.Active()
	if err != nil {
		return err
	}
	for _, alert := range list {
		const note = "it is not in the configuration any more"
		switch {
		case alert.Policy != "" && !policies[alert.Policy] && !alert.Kind.Security():
			err = tx.Resolve(alert.Kind, alert.Policy, note, now)
		case !known[alert.Subject] && slices.Contains(subjects[:], alert.Kind):
			err = tx.ResolveOf(alert.Kind, alert.Subject, note, now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Notified returns how it goes with those who are told.
func (a *Agent) Notified() ([]notify.Status, error) { return a.post.Status() }
