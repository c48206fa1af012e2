package agent

import (
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/health"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/report"
)

// Gather returns what a journal knows of the time since a moment, for a report.
func Gather(j *journal.Journal, conf *config.Config, since, now time.Time) (*report.Input, error) {
	in := &report.Input{Since: since, Now: now, Jobs: []journal.Job{}}
	err := j.View(func(tx *journal.Tx) error {
		last, err := gatherJobs(tx, in)
		if err != nil {
			return err
		}
		for i := range conf.Policies {
			p := &conf.Policies[i]
			progress, _, err := tx.Progress(p.Name)
			if err != nil {
				return err
			}
			in.Items = append(in.Items, report.Item{Policy: *p, Name: p.Name, Progress: progress, Last: last[p.Name]})
		}
		done := map[string]bool{}
		for _, p := range planned(conf) {
			if done[p.Repository] {
				continue
			}
			done[p.Repository] = true
			v, err := gatherVault(tx, conf, p.Repository, since, now)
			if err != nil {
				return err
			}
			in.Vault = append(in.Vault, v)
		}
		return nil
	})
	return in, err
}

// gatherJobs takes the jobs of the time, and the last one of each policy that
// wrote a point.
func gatherJobs(tx *journal.Tx, in *report.Input) (map[string]*journal.Job, error) {
	last := map[string]*journal.Job{}
	for j, err := range tx.Jobs() {
		if err != nil {
			return nil, err
		}
		if !j.Started.Before(in.Since) && len(in.Jobs) < MaxJobs {
			in.Jobs = append(in.Jobs, *j)
		}
		if last[j.Policy] == nil && (j.State == journal.Completed || j.State == journal.Warned) {
			last[j.Policy] = j
		}
	}
	return last, nil
}

func gatherVault(tx *journal.Tx, conf *config.Config, address string, since, now time.Time) (report.Vault, error) {
	v := report.Vault{Address: address}
	if _, err := tx.Place(address, &v.Seen); err != nil {
		return v, err
	}
	for i := range conf.Maintenance {
		m := &conf.Maintenance[i]
		if m.Repository != address || m.Task != config.Scrub && m.Task != config.Check {
			continue
		}
		progress, _, err := tx.Progress(m.Name)
		if err != nil {
			return v, err
		}
		if progress.LastPoint.After(v.Checked) {
			v.Checked = progress.LastPoint
		}
	}
	if trend := now.Add(-forecast); trend.Before(since) {
		since = trend
	}
	list, err := Samples(tx, address, since)
	v.Samples = append([]health.Sample{}, list...)
	return v, err
}

// Gather returns what a report of the time since a moment is made of.
func (a *Agent) Gather(since time.Time) (*report.Input, error) {
	a.mu.Lock()
	conf := a.conf
	a.mu.Unlock()
	return Gather(a.o.Journal, &conf, since, a.o.Now())
}
