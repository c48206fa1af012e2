package agent

import (
	"context"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/power"
)

// A policy may wait while the machine runs on its battery, or while its network
// costs by the byte. Jobs that run hold still then, and go on. Chores wait as
// policies do that say nothing.

// powerEvery is how often the machine is asked.
const powerEvery = 15 * time.Second

// ask begins to ask the machine, until what it returns is called.
func (a *Agent) ask(ctx context.Context) (stop func()) {
	if a.o.Power == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var asker sync.WaitGroup
	asker.Go(func() { a.askPower(ctx) })
	return func() { cancel(); asker.Wait() }
}

// askPower looks on what the machine runs, until ctx is done.
func (a *Agent) askPower(ctx context.Context) {
	for {
		now := a.o.Power(ctx)
		a.mu.Lock()
		changed := now != a.power
		a.power = now
		a.mu.Unlock()
		if changed {
			a.o.Log.Info("the machine runs on something else", "battery", now.Battery, "metered", now.Metered)
			a.nudge()
		}
		select {
		case <-time.After(powerEvery):
		case <-ctx.Done():
			return
		}
	}
}

// held says why a policy is to wait; "": it is not.
func (a *Agent) held(p *policy) string {
	battery, metered := a.conf.WaitsFor(&p.Policy)
	switch {
	case p.Anyway:
		return ""
	case battery && a.power.Battery == power.Yes:
		return "on battery"
	case metered && a.power.Metered == power.Yes:
		return "on a metered network"
	}
	return ""
}

// hold has a job hold still, or go on.
func (a *Agent) hold(r *running) {
	why := ""
	if !r.anyway {
		why = a.held(r.policy)
	}
	if why == r.held {
		return
	}
	r.held = why
	if why != "" {
		r.own.Pause()
		a.o.Log.Info("job waits", "job", r.ID, "policy", r.Policy, "why", why)
		return
	}
	r.own.Resume()
	a.o.Log.Info("job goes on", "job", r.ID, "policy", r.Policy)
}

// override has a policy run whatever the machine runs on, until it has a point.
func (a *Agent) override(p *policy) error {
	next := p.Progress
	next.Anyway = true
	if err := a.o.Journal.Update(func(tx *journal.Tx) error { return tx.PutProgress(p.Name, next) }); err != nil {
		return err
	}
	p.Progress = next
	if r := a.running[p.LastJob]; r != nil {
		r.anyway = true
		a.hold(r)
	}
	return nil
}
