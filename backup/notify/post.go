package notify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
)

// Options are what a Post works with.
type Options struct {
	Journal *journal.Journal
	Now     func() time.Time
	Zone    *time.Location
	Log     *slog.Logger
	Host    string        // of this machine, unless the configuration has another
	Idle    time.Duration // how often to look at the clock; 0: each minute
	// Send tells a message; nil: as the target does.
	Send func(context.Context, *Target, *Message) error
}

const (
	idle      = time.Minute
	firstWait = time.Minute // after a failure; doubled each time
	lastWait  = time.Hour
	lifetime  = 14 * 24 * time.Hour // of what nobody could be told
	silence   = time.Hour           // a target that fails so long is an alert
)

// Post tells everybody what the outbox holds, and tries again, later each time,
// what fails. Its methods may be called at the same time.
type Post struct {
	o    Options
	wake chan struct{}
	jobs sync.WaitGroup

	mu      sync.Mutex
	conf    Config
	targets []Target
	lines   map[string]*line
}

// line is how it goes with a target.
type line struct {
	busy    bool
	fresh   bool      // an alert of an agent before may say that it fails
	attempt int       // failures in a row
	next    time.Time // not before
	since   time.Time // of the first of them
	err     error     // of the last
}

// New returns a Post that tells nobody yet.
func New(o Options) *Post {
	if o.Idle == 0 {
		o.Idle = idle
	}
	if o.Send == nil {
		o.Send = func(ctx context.Context, t *Target, m *Message) error { return t.Send(ctx, m) }
	}
	return &Post{o: o, wake: make(chan struct{}, 1), lines: map[string]*line{}}
}

// Configure says who is told from now on. Those who fail are tried again at
// once: what was wrong may be mended.
func (p *Post) Configure(c Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conf, p.targets = c, c.Targets()
	p.o.Journal.Want(waits(p.targets))
	lines := map[string]*line{}
	for i := range p.targets {
		name := p.targets[i].Name
		if lines[name] = p.lines[name]; lines[name] == nil {
			lines[name] = &line{fresh: true}
		}
		lines[name].next, lines[name].attempt = time.Time{}, 0
	}
	p.lines = lines
	p.nudge()
}

func (p *Post) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run tells until ctx is done.
func (p *Post) Run(ctx context.Context) {
	defer p.jobs.Wait()
	for {
		timer := time.NewTimer(p.pass(ctx, p.o.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.o.Journal.News():
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pass begins all tellings that are due, and returns how long nothing else is.
func (p *Post) pass(ctx context.Context, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := p.o.Idle
	list, err := p.outbox(now)
	if err != nil {
		p.o.Log.Error("the journal cannot be used for notifications", "error", err)
		return pause
	}
	for i := range p.targets {
		t, l := &p.targets[i], p.lines[p.targets[i].Name]
		pending := undelivered(t, list)
		switch {
		case l.busy || len(pending) == 0:
			continue
		case now.Before(l.next) && l.next.Sub(now) <= lastWait: // unless the clock was set back
			pause = min(pause, l.next.Sub(now))
			continue
		}
		plan := Plan(t, pending, now)
		if !plan.Next.IsZero() {
			pause = min(pause, plan.Next.Sub(now))
		}
		if len(plan.Letters)+len(plan.Skip) > 0 {
			l.busy = true
			sender := p.sender()
			p.jobs.Go(func() { p.deliver(ctx, *t, l, &sender, plan) })
		}
	}
	return max(pause, time.Second)
}

// Sender returns the machine that tells, for a configuration.
func (c *Config) Sender(host, seed string, zone *time.Location) Sender {
	if c.Host != "" {
		host = c.Host
	}
	if !hostName.MatchString(host) {
		host = "unnamed"
	}
	return Sender{Host: host, Seed: seed, Zone: zone}
}

func (p *Post) sender() Sender { return p.conf.Sender(p.o.Host, p.o.Journal.Seed(), p.o.Zone) }

// waits tells of an event whether one of the targets is still to be told of it.
func waits(targets []Target) func(*journal.Event) bool {
	return func(e *journal.Event) bool {
		return slices.ContainsFunc(targets, func(t Target) bool { return t.waits(e) })
	}
}

func (t *Target) waits(e *journal.Event) bool { return !slices.Contains(e.Told, t.Name) && t.Wants(e) }

func undelivered(t *Target, list []*journal.Event) []*journal.Event {
	var pending []*journal.Event
	for _, e := range list {
		if t.waits(e) {
			pending = append(pending, e)
		}
	}
	return pending
}

// outbox returns what somebody is still to be told of, and removes the rest.
func (p *Post) outbox(now time.Time) ([]*journal.Event, error) {
	var list []*journal.Event
	var over []uint64
	err := p.o.Journal.View(func(tx *journal.Tx) error {
		for e, err := range tx.Events() {
			if err != nil {
				return err
			}
			waited := waits(p.targets)(e)
			if waited && now.Sub(e.Time) <= lifetime {
				list = append(list, e)
				continue
			}
			over = append(over, e.ID)
			if waited {
				p.o.Log.Error("nobody could be told, and nobody will be", "event", e.ID, "what", headline(e), "since", e.Time)
			}
		}
		return nil
	})
	if err != nil || len(over) == 0 {
		return list, err
	}
	return list, p.o.Journal.Update(func(tx *journal.Tx) error {
		for _, id := range over {
			if err := tx.Settle(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// refusals is how many messages may fail in a row before the target counts as
// away: one that is refused for what is in it keeps no other back.
const refusals = 3

// deliver sends what is planned for one target, in order.
func (p *Post) deliver(ctx context.Context, t Target, l *line, s *Sender, plan Outline) {
	defer p.nudge()
	first := p.told(&t, plan.Skip...)
	failed := 0
	for _, letter := range plan.Letters {
		if failed == refusals || ctx.Err() != nil {
			break
		}
		err := p.o.Send(ctx, &t, s.Message(letter))
		if err == nil {
			failed = 0
			err = p.told(&t, ids(letter)...)
		} else {
			failed++
		}
		if first == nil {
			first = err
		}
	}
	if ctx.Err() != nil {
		first = nil // the agent ends, and that is why
	}
	p.mu.Lock()
	l.busy = false
	note := p.note(&t, l, first, p.o.Now())
	p.mu.Unlock()
	if note != nil {
		if err := p.o.Journal.Update(note); err != nil {
			p.o.Log.Error("the journal cannot be written", "error", err)
		}
	}
}

func ids(letter []*journal.Event) []uint64 {
	list := make([]uint64, len(letter))
	for i, e := range letter {
		list[i] = e.ID
	}
	return list
}

// note remembers how it went. What it returns is for the journal.
func (p *Post) note(t *Target, l *line, err error, now time.Time) func(*journal.Tx) error {
	if err == nil {
		was := l.err != nil
		l.attempt, l.next, l.since, l.err = 0, time.Time{}, time.Time{}, nil
		if !was && !l.fresh {
			return nil
		}
		l.fresh = false
		if was {
			p.o.Log.Info("notified again", "target", t.Name)
		}
		return func(tx *journal.Tx) error { return tx.ResolveOf(journal.NotTold, t.Name, "it was notified", now) }
	}
	if l.attempt++; l.attempt == 1 {
		l.since = now
	}
	l.err = err
	l.next = now.Add(min(lastWait, firstWait<<min(l.attempt-1, 16)))
	p.o.Log.Warn("cannot notify; trying again", "target", t.Name, "attempt", l.attempt, "at", l.next, "error", err)
	if now.Sub(l.since) < silence {
		return nil
	}
	text := fmt.Sprintf("%s was not notified since %s: %v", t.Name, l.since.In(p.o.Zone).Format(time.DateTime), err)
	return func(tx *journal.Tx) error {
		if active, err := tx.ActiveOf(journal.NotTold, t.Name); err != nil || active != nil {
			return err
		}
		return tx.Raise(journal.Alert{Kind: journal.NotTold, Subject: t.Name, Text: text}, now)
	}
}

func (p *Post) told(t *Target, ids ...uint64) error {
	if len(ids) == 0 {
		return nil
	}
	p.mu.Lock()
	others := waits(p.targets)
	p.mu.Unlock()
	return p.o.Journal.Update(func(tx *journal.Tx) error {
		for _, id := range ids {
			if err := tx.Told(id, t.Name, others); err != nil {
				return err
			}
		}
		return nil
	})
}

// Status is how it goes with a target.
type Status struct {
	Name    string    `json:"name"`
	Way     string    `json:"way"`
	Waiting int       `json:"waiting"` // events that it is still to be told of
	Failed  int       `json:"failed_attempts,omitempty"`
	Since   time.Time `json:"failing_since,omitzero"`
	Next    time.Time `json:"next_attempt,omitzero"`
	Error   string    `json:"error,omitempty"`
}

// Status returns how it goes with each target.
func (p *Post) Status() ([]Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := map[string]int{}
	err := p.o.Journal.View(func(tx *journal.Tx) error {
		for e, err := range tx.Events() {
			if err != nil {
				return err
			}
			for i := range p.targets {
				if t := &p.targets[i]; t.waits(e) {
					waiting[t.Name]++
				}
			}
		}
		return nil
	})
	list := []Status{}
	for i := range p.targets {
		t, l := &p.targets[i], p.lines[p.targets[i].Name]
		s := Status{Name: t.Name, Way: t.Way, Waiting: waiting[t.Name], Failed: l.attempt, Since: l.since, Next: l.next}
		if l.err != nil {
			s.Error = l.err.Error()
		}
		list = append(list, s)
	}
	return list, err
}
