package agent

import (
	"fmt"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Config returns the configuration that is in force. Its parts are shared, and
// not to be changed.
func (a *Agent) Config() config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conf
}

// Alerts returns the active alerts, or all, the newest first.
func (a *Agent) Alerts(ended bool) ([]journal.Alert, error) { return Alerts(a.o.Journal, ended) }

// Upcoming returns when the next n runs of a policy are due, of one that has a
// schedule.
func (a *Agent) Upcoming(name string, n int) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.policy(name)
	if p == nil || p.rule == nil {
		return nil
	}
	var list []time.Time
	for slot := p.Handled; len(list) < n; {
		if slot = p.rule.Next(slot); slot.IsZero() {
			break
		}
		list = append(list, p.rule.Due(slot, a.o.Journal.Seed()+p.Name))
	}
	return list
}

// link asks for a way into the web page.
func (a *Agent) link() (any, error) {
	if a.o.Link == nil {
		return nil, fmt.Errorf("open the web page: this agent has none; set page = \"127.0.0.1:8377\" below [agent] and start it again: %w", fault.Unavailable)
	}
	return pageLink{a.o.Link()}, nil
}

type pageLink struct {
	URL string `json:"url"`
}
