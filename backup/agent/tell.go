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

// forgetTargets ends the alerts of those who are not told any more.
func forgetTargets(tx *journal.Tx, conf *config.Config, now time.Time) error {
	targets := conf.Notify.Targets()
	list, err := tx.Active()
	if err != nil {
		return err
	}
	for _, alert := range list {
		known := slices.ContainsFunc(targets, func(t notify.Target) bool { return t.Name == alert.Subject })
		if alert.Kind != journal.NotTold || known {
			continue
		}
		if err := tx.ResolveOf(journal.NotTold, alert.Subject, "it is not in the configuration any more", now); err != nil {
			return err
		}
	}
	return nil
}

// Notified returns how it goes with those who are told.
func (a *Agent) Notified() ([]notify.Status, error) { return a.post.Status() }
