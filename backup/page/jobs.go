package page

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// jobsPage lists jobs.
type jobsPage struct {
	frame
	Pause    journal.Pause
	Policies []agent.PolicyStatus
	Running  []*agent.JobStatus
	Jobs     []journal.Job
	States   []journal.State
	Policy   string // that is asked for
	State    journal.State
	Days     int
	More     bool // there are more than are shown
}

// PauseText says until when the agent is paused.
func (d *jobsPage) PauseText() string { return pauseText(&d.frame, d.Pause) }

// Periods are the times that can be asked for, in days.
func (d *jobsPage) Periods() []int { return []int{1, 7, 30, 365} }

// shownJobs is how many jobs a page has at most.
const shownJobs = 200

func (q *request) jobs() error {
	s, err := q.agent.Status()
	if err != nil {
		return err
	}
	form := q.r.URL.Query()
	d := &jobsPage{frame: q.frame("jobs", "Jobs"), Pause: s.Pause, Policies: append(s.Policies, s.Chores...), States: journal.States(), Days: 7}
	d.Live = true
	if n, err := strconv.Atoi(form.Get("days")); err == nil && slices.Contains(d.Periods(), n) {
		d.Days = n
	}
	d.Policy, d.State = form.Get("policy"), journal.State(form.Get("state"))
	if !slices.Contains(d.States, d.State) {
		d.State = ""
	}
	for _, p := range d.Policies {
		if p.Running != nil {
			d.Running = append(d.Running, p.Running)
		}
	}
	since := q.o.Now().AddDate(0, 0, -d.Days)
	d.Jobs, err = q.agent.Jobs(agent.Filter{Since: since, Policy: d.Policy, State: d.State, Max: shownJobs + 1})
	if err != nil {
		return err
	}
	if d.More = len(d.Jobs) > shownJobs; d.More {
		d.Jobs = d.Jobs[:shownJobs]
	}
	return q.show("jobs", d)
}

// jobPage is one job.
type jobPage struct {
	frame
	Job *agent.JobStatus
}

// Left is how many warnings are not listed.
func (d *jobPage) Left() uint64 {
	return d.Job.Job.Warnings - min(d.Job.Job.Warnings, uint64(len(d.Job.Warnings)))
}

func (q *request) job() error {
	id, err := q.number()
	if err != nil {
		return err
	}
	j, err := q.agent.Job(id)
	if err != nil {
		return err
	}
	d := &jobPage{frame: q.frame("jobs", fmt.Sprintf("Job %d", id)), Job: j}
	d.Live = !j.State.Over()
	return q.show("job", d)
}

// number is the one in the path.
func (q *request) number() (uint64, error) {
	text := q.r.PathValue("id")
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number: %w", text, fault.Invalid)
	}
	return id, nil
}

func (q *request) cancelJob() error {
	id, err := q.number()
	if err != nil {
		return err
	}
	if _, err := q.agent.Cancel(id); err != nil {
		return err
	}
	return q.back(fmt.Sprintf("jobs/%d", id))
}

func (q *request) startJob() error {
	j, err := q.agent.Start(q.r.PostFormValue("policy"), time.Time{})
	if err != nil {
		return err
	}
	return q.back(fmt.Sprintf("jobs/%d", j.ID))
}

func (q *request) pause() error {
	var until time.Time
	if text := q.r.PostFormValue("for"); text != "" {
		d, err := schedule.ParseSpan(text)
		if err != nil {
			return fmt.Errorf("pause: %w: %w", err, fault.Invalid)
		}
		until = q.o.Now().Add(d)
	}
	if err := q.agent.Pause(until); err != nil {
		return err
	}
	return q.back("jobs")
}

func (q *request) resume() error {
	if err := q.agent.Resume(); err != nil {
		return err
	}
	return q.back("jobs")
}

// alertsPage lists alerts.
type alertsPage struct {
	frame
	Active []alertRow
	Ended  []alertRow
	All    bool
}

// alertRow is an alert on a page.
type alertRow struct {
	journal.Alert
	Do string
}

// About is what the alert is about.
func (a *alertRow) About() string { return cmp.Or(a.Policy, a.Subject) }

// shownAlerts is how many ended alerts a page has at most.
const shownAlerts = 200

func (q *request) alerts() error {
	d := &alertsPage{frame: q.frame("alerts", "Alerts"), All: q.r.URL.Query().Has("all")}
	d.Live = true
	list, err := q.agent.Alerts(true)
	if err != nil {
		return err
	}
	for i := range list {
		row := alertRow{list[i], sentence(list[i].Kind.Advice())}
		switch {
		case row.Active:
			d.Active = append(d.Active, row)
		case len(d.Ended) < shownAlerts:
			d.Ended = append(d.Ended, row)
		}
	}
	return q.show("alerts", d)
}

// maxNote bounds a note, in bytes.
const maxNote = 2000

func (q *request) closeAlert() error {
	id, err := q.number()
	if err != nil {
		return err
	}
	note := q.r.PostFormValue("note")
	if len(note) > maxNote {
		return fmt.Errorf("close alert %d: a note has %d bytes at most: %w", id, maxNote, fault.TooLarge)
	}
	if err := q.agent.CloseAlert(id, note); err != nil {
		return err
	}
	return q.back("alerts?" + url.Values{"closed": {strconv.FormatUint(id, 10)}}.Encode())
}
