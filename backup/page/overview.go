package page

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/space"
)

func notThere(what, name string) error {
	return fmt.Errorf("find %s %q: %w", what, name, fault.NotExist)
}

// overviewPage tells at a glance whether everything is fine.
type overviewPage struct {
	frame
	Status   *agent.Status
	Worst    journal.Severity // of what is not fine; "": everything is
	Needs    []need
	Policies []policyRow
	Chores   []policyRow // maintenance
	Spaces   []spaceRow
}

// Verdict is the page in one line.
func (o *overviewPage) Verdict() string {
	switch {
	case len(o.Needs) == 0 && len(o.Policies) == 0:
		return "No policy is configured"
	case len(o.Needs) == 0:
		return "Everything is fine"
	case len(o.Needs) == 1:
		return "One thing needs you"
	}
	return plural(len(o.Needs), "thing", "things") + " need you"
}

// need is something that is not fine, and what to do about it.
type need struct {
	Severity journal.Severity
	What     string
	Text     string
	Do       string
	Href     string // below the base
	Link     string // what it says
}

// policyRow is a policy on the overview.
type policyRow struct {
	agent.PolicyStatus
	frame *frame
	Late  bool // its newest point is too old
}

// LastText is its last job in words.
func (p *policyRow) LastText() string {
	if p.LastJob == nil {
		return "none yet"
	}
	return p.LastJob.State.Text()
}

// NextText is when it runs again.
func (p *policyRow) NextText() string {
	switch {
	case !p.RetryAt.IsZero() && (p.Next.IsZero() || p.RetryAt.Before(p.Next)):
		return "again " + p.frame.In(p.RetryAt)
	case p.Next.IsZero():
		return "when asked"
	}
	return p.frame.In(p.Next)
}

// NextAt is that moment, zero if there is none.
func (p *policyRow) NextAt() time.Time {
	if !p.RetryAt.IsZero() && (p.Next.IsZero() || p.RetryAt.Before(p.Next)) {
		return p.RetryAt
	}
	return p.Next
}

// spaceRow is the room where a repository lies.
type spaceRow struct {
	place
	Total, Free uint64
	Text        string
	Tight       bool
}

// Used is the part that is taken, in percent.
func (s *spaceRow) Used() uint64 {
	if s.Total == 0 {
		return 0
	}
	return (s.Total - s.Free) * 100 / s.Total
}

// tight is when little room is left, in percent.
const tight = 10

func (q *request) overview() error {
	s, err := q.agent.Status()
	if err != nil {
		return err
	}
	d := &overviewPage{frame: q.frame("overview", "Overview"), Status: s}
	d.Live = true
	alerts, err := q.agent.Alerts(false)
	if err != nil {
		return err
	}
	silent := map[string]bool{}
	low := false // somebody was told already
	for i := range alerts {
		a := &alerts[i]
		silent[a.Policy] = silent[a.Policy] || a.Kind == journal.Silent
		low = low || a.Kind == journal.SpaceLow
		n := need{Severity: a.Severity, What: a.Kind.Text(), Text: a.Text, Do: sentence(a.Kind.Advice()), Href: "alerts", Link: "to the alert"}
		if subject := cmp.Or(a.Policy, a.Subject); subject != "" {
			n.What += ": " + subject
		}
		if a.Job != 0 {
			n.Href, n.Link = fmt.Sprintf("jobs/%d", a.Job), fmt.Sprintf("to job %d", a.Job)
		}
		d.Needs = append(d.Needs, n)
	}
	if s.Pause.On {
		d.Needs = append(d.Needs, need{Severity: journal.SeverityWarning, What: "The agent is paused", Text: pauseText(&d.frame, s.Pause),
			Do: "Resume it when what it made room for is done.", Href: "jobs", Link: "to the jobs"})
	}
	for i := range s.Policies {
		d.Policies = append(d.Policies, policyRow{s.Policies[i], &d.frame, silent[s.Policies[i].Name]})
	}
	for i := range s.Chores {
		d.Chores = append(d.Chores, policyRow{s.Chores[i], &d.frame, silent[s.Chores[i].Name]})
	}
	d.Spaces = q.spaces()
	for i := range d.Spaces {
		if r := &d.Spaces[i]; r.Tight && !low {
			d.Needs = append(d.Needs, need{Severity: journal.SeverityWarning, What: "Little room is left", Text: r.Text, Href: "charts", Link: "to the charts",
				Do: "Keep fewer points (`tidemark policy set`), run `tidemark prune`, or make room."})
		}
	}
	d.Worst = worst(d.Needs)
	return q.show("overview", d)
}

func worst(list []need) journal.Severity {
	order := map[journal.Severity]int{journal.SeverityInformation: 1, journal.SeverityWarning: 2, journal.SeverityCritical: 3}
	var w journal.Severity
	for _, n := range list {
		if order[n.Severity] > order[w] {
			w = n.Severity
		}
	}
	return w
}

func pauseText(f *frame, p journal.Pause) string {
	if p.Until.IsZero() {
		return "No job begins until somebody resumes it."
	}
	return "No job begins until " + f.When(p.Until) + "."
}

// spaces tells how much room there is where repositories lie in folders.
func (q *request) spaces() []spaceRow {
	var list []spaceRow
	for _, at := range q.places() {
		folder := strings.TrimPrefix(at.Address, "file://")
		total, free, err := space.Of(folder)
		if err != nil || total == 0 {
			continue // somewhere else, or away: reading it says so
		}
		r := spaceRow{place: at, Total: uint64(total), Free: uint64(free)}
		r.Tight = r.Free*100/r.Total < tight
		r.Text = fmt.Sprintf("%s free of %s on the disk of %s", humanize.IBytes(r.Free), humanize.IBytes(r.Total), at.Address)
		list = append(list, r)
	}
	return list
}
