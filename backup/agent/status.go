package agent

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/power"
)

// Status is how an agent stands.
type Status struct {
	Version  string         `json:"version"`
	PID      int            `json:"pid"`
	Started  time.Time      `json:"started"`
	Pause    journal.Pause  `json:"pause"`
	Rate     int64          `json:"rate"` // bytes a second for all jobs now; 0: no bound
	Power    power.State    `json:"power"`
	Policies []PolicyStatus `json:"policies"`
	Chores   []PolicyStatus `json:"maintenance"`
	Shows    []ShowStatus   `json:"shows"`  // mounts and shares
	Alerts   AlertCount     `json:"alerts"` // active ones
}

// AlertCount is how many alerts there are.
type AlertCount struct {
	Critical    int `json:"critical"`
	Warning     int `json:"warning"`
	Information int `json:"information"`
}

// PolicyStatus is how a policy stands.
type PolicyStatus struct {
	Name       string       `json:"name"`
	Task       string       `json:"task,omitempty"` // of a chore, for which LastPoint is when it was last done
	Repository string       `json:"repository"`
	Paths      []string     `json:"paths"`
	Next       time.Time    `json:"next,omitzero"`     // when it is due, by its schedule
	RetryAt    time.Time    `json:"retry_at,omitzero"` // when a failed run is tried again
	LastPoint  time.Time    `json:"last_point,omitzero"`
	LastJob    *journal.Job `json:"last_job,omitempty"`
	Running    *JobStatus   `json:"running,omitempty"`
	Waits      string       `json:"waits,omitempty"` // why jobs wait: on battery, on a metered network
}

// JobStatus is a job with how far it is.
type JobStatus struct {
	journal.Job
	Current  string            `json:"current,omitempty"` // the path that it is at
	Rate     int64             `json:"rate,omitempty"`    // bytes a second that it may send now; 0: no bound
	Warnings []journal.Warning `json:"warning_list,omitempty"`
}

// Status returns how the agent stands.
func (a *Agent) Status() (*Status, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Now()
	s := &Status{Version: a.o.Version, PID: os.Getpid(), Started: a.began, Pause: a.pause, Rate: a.table.Rate(now), Power: a.power, Policies: []PolicyStatus{}, Chores: []PolicyStatus{}, Shows: a.shows.statuses()}
	err := a.o.Journal.View(func(tx *journal.Tx) error {
		for _, p := range a.policies {
			ps := PolicyStatus{Name: p.Name, Repository: p.Repository, Paths: p.Paths, Next: p.due, RetryAt: p.RetryAt, LastPoint: p.LastPoint, Waits: a.held(p)}
			if p.LastJob != 0 {
				if j, err := tx.Job(p.LastJob); err == nil {
					ps.LastJob = j
				}
				if r := a.running[p.LastJob]; r != nil && !r.over {
					ps.Running = r.status(now)
				}
			}
			s.add(ps, p.chore)
		}
		return countAlerts(tx, s)
	})
	return s, err
}

// add puts a policy, or a chore, into its list.
func (s *Status) add(ps PolicyStatus, chore *config.Maintenance) {
	if chore == nil {
		s.Policies = append(s.Policies, ps)
		return
	}
	ps.Task = string(chore.Task)
	s.Chores = append(s.Chores, ps)
}

func (c *AlertCount) add(a *journal.Alert) {
	if !a.Active {
		return
	}
	switch a.Severity {
	case journal.SeverityCritical:
		c.Critical++
	case journal.SeverityWarning:
		c.Warning++
	default:
		c.Information++
	}
}

// status returns the job as it is now.
func (r *running) status(now time.Time) *JobStatus {
	j := r.Job
	j.Files, j.Bytes = uint64(r.progress.Files.Load()), uint64(r.progress.Bytes.Load())
	return &JobStatus{Job: j, Current: r.progress.Current(), Rate: r.policy.table.Rate(now)}
}

// Filter says which jobs are wanted.
type Filter struct {
	Since  time.Time     // those that began then or later
	Policy string        // "": of all
	State  journal.State // "": all
	Max    int           // the newest so many; 0: MaxJobs
}

// MaxJobs bounds a list of jobs.
const MaxJobs = 100_000

func (f *Filter) query() url.Values {
	q := url.Values{}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339Nano))
	}
	if f.Policy != "" {
		q.Set("policy", f.Policy)
	}
	if f.State != "" {
		q.Set("state", string(f.State))
	}
	if f.Max != 0 {
		q.Set("max", strconv.Itoa(f.Max))
	}
	return q
}

func parseFilter(q url.Values) (f Filter, err error) {
	f.Policy, f.State = q.Get("policy"), journal.State(q.Get("state"))
	if s := q.Get("since"); s != "" {
		if f.Since, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return f, fmt.Errorf("since: %w: %w", err, fault.Invalid)
		}
	}
	if s := q.Get("max"); s != "" {
		if f.Max, err = strconv.Atoi(s); err != nil || f.Max < 0 {
			return f, fmt.Errorf("max %q: %w", s, fault.Invalid)
		}
	}
	if f.State != "" && !slices.Contains(journal.States(), f.State) {
		return f, fmt.Errorf("there is no state %q: %w", f.State, fault.Invalid)
	}
	return f, nil
}

// Jobs returns jobs of a journal, the newest first.
func Jobs(j *journal.Journal, f Filter) ([]journal.Job, error) {
	limit := MaxJobs
	if f.Max > 0 {
		limit = min(f.Max, MaxJobs)
	}
	list := []journal.Job{}
	err := j.View(func(tx *journal.Tx) error {
		for job, err := range tx.Jobs() {
			switch {
			case err != nil:
				return err
			case len(list) >= limit:
				return nil
			case job.Started.Before(f.Since), f.Policy != "" && job.Policy != f.Policy, f.State != "" && job.State != f.State:
				continue // a clock may have been turned: those before need not be older
			}
			list = append(list, *job)
		}
		return nil
	})
	return list, err
}

// Jobs returns jobs, the newest first, those in progress as far as they are.
func (a *Agent) Jobs(f Filter) ([]journal.Job, error) {
	list, err := Jobs(a.o.Journal, f)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range list {
		if r := a.running[list[i].ID]; r != nil && !r.over {
			list[i] = r.status(a.o.Now()).Job
		}
	}
	return list, nil
}

// Job returns one job with its warnings.
func Job(j *journal.Journal, id uint64) (*JobStatus, error) {
	s := &JobStatus{}
	err := j.View(func(tx *journal.Tx) error {
		job, err := tx.Job(id)
		if err != nil {
			return err
		}
		s.Job = *job
		s.Warnings, err = tx.Warnings(id)
		return err
	})
	return s, err
}

// Job returns one job with its warnings, or how far it is.
func (a *Agent) Job(id uint64) (*JobStatus, error) {
	s, err := Job(a.o.Journal, id)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.running[id]; r != nil && !r.over {
		return r.status(a.o.Now()), nil
	}
	return s, nil
}

// Alerts returns the active alerts of a journal, or all, the newest first.
func Alerts(j *journal.Journal, ended bool) ([]journal.Alert, error) {
	list := []journal.Alert{}
	err := j.View(func(tx *journal.Tx) error {
		for a, err := range tx.Alerts() {
			if err != nil {
				return err
			}
			if a.Active || ended {
				list = append(list, *a)
			}
		}
		return nil
	})
	return list, err
}

// Past returns how an agent that does not run stood, for the policies of a
// configuration.
func Past(j *journal.Journal, conf *config.Config) (*Status, error) {
	s := &Status{Policies: []PolicyStatus{}, Chores: []PolicyStatus{}, Shows: []ShowStatus{}}
	err := j.View(func(tx *journal.Tx) error {
		var err error
		if s.Pause, err = tx.Pause(); err != nil {
			return err
		}
		for _, p := range planned(conf) {
			progress, _, err := tx.Progress(p.Name)
			if err != nil {
				return err
			}
			ps := PolicyStatus{Name: p.Name, Repository: p.Repository, Paths: p.Paths, LastPoint: progress.LastPoint}
			if job, err := tx.Job(progress.LastJob); err == nil {
				ps.LastJob = job
			}
			s.add(ps, p.chore)
		}
		return countAlerts(tx, s)
	})
	return s, err
}

func countAlerts(tx *journal.Tx, s *Status) error {
	for alert, err := range tx.Alerts() {
		if err != nil {
			return err
		}
		s.Alerts.add(alert)
	}
	return nil
}
