package agent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/triage"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// kinds are the alerts that jobs of a policy, or of a chore, may raise.
type kinds struct {
	failed, warnings journal.Kind
	chore            bool
}

func kindsOf(c *config.Maintenance) kinds {
	if c == nil {
		return kinds{journal.BackupFailed, journal.BackupWarnings, false}
	}
	return kinds{journal.MaintenanceFailed, journal.MaintenanceWarnings, true}
}

func (k kinds) all() []journal.Kind {
	return []journal.Kind{k.failed, k.warnings, journal.Silent, journal.Damage}
}

// alerts raises and ends what follows from a job. One that somebody cancelled
// is no news.
func (k kinds) alerts(tx *journal.Tx, j *journal.Job, warnings []journal.Warning, p *journal.Progress, now time.Time) error {
	if j.State == journal.Completed || j.State == journal.Warned {
		note := fmt.Sprintf("job %d wrote a point", j.ID)
		if k.chore {
			note = fmt.Sprintf("job %d was done", j.ID)
		}
		if err := errors.Join(tx.Resolve(k.failed, j.Policy, note, now), tx.Resolve(journal.Silent, j.Policy, note, now),
			tx.Resolve(journal.Damage, j.Policy, fmt.Sprintf("job %d found none", j.ID), now)); err != nil {
			return err
		}
		if !k.chore {
			if err := tx.Announce(journal.Event{Happening: journal.Success, Time: now, Job: j}); err != nil {
				return err
			}
		}
	}
	switch j.State {
	case journal.Completed:
		return tx.Resolve(k.warnings, j.Policy, fmt.Sprintf("job %d had no warnings", j.ID), now)
	case journal.Warned:
		text := fmt.Sprintf("job %d: %d warnings", j.ID, j.Warnings)
		if j.Warnings == 1 {
			text = fmt.Sprintf("job %d: a warning", j.ID)
		}
		if len(warnings) > 0 {
			text += fmt.Sprintf("; the first: %s: %s", warnings[0].Path, warnings[0].Reason)
		}
		return tx.Raise(journal.Alert{Severity: journal.SeverityWarning, Kind: k.warnings, Policy: j.Policy, Text: text, Job: j.ID}, now)
	case journal.Failed:
		if k.chore && j.Kind == fault.Corrupt.Error() {
			return tx.Raise(journal.Alert{Severity: journal.SeverityCritical, Kind: journal.Damage, Policy: j.Policy, Text: damageText(j, warnings), Job: j.ID}, now)
		}
		again := !p.RetryAt.IsZero()
		if again && now.Sub(p.Failing) < patience {
			return nil
		}
		text := fmt.Sprintf("job %d failed: %s", j.ID, j.Error)
		severity := journal.SeverityCritical
		if k.chore {
			severity = journal.SeverityWarning // the points are there; they are only not looked after
		} else if err := tx.Announce(journal.Event{Happening: journal.Failure, Time: now, Job: j}); err != nil {
			return err
		}
		return tx.Raise(journal.Alert{Severity: severity, Kind: k.failed, Policy: j.Policy, Text: text, Job: j.ID}, now)
	}
	return nil
}

// damageText says what is damaged, and what to do.
func damageText(j *journal.Job, found []journal.Warning) string {
	text := fmt.Sprintf("job %d: %s", j.ID, j.Error)
	if len(found) > 0 {
		text += fmt.Sprintf("; the first: %s: %s", found[0].Path, found[0].Reason)
	}
	return text + "; `tidemark repair` heals what can be healed, keep the place as it is until then"
}

// alarm raises the alert of a run that looks as if somebody had encrypted the
// files. It ends when somebody closes it, and then the next run is not suspect
// for what was before.
func alarm(tx *journal.Tx, j *journal.Job, s *backup.Summary, now time.Time) error {
	if s == nil || s.Alarm.Level == triage.Fine {
		return nil
	}
	severity := journal.SeverityCritical
	if s.Alarm.Level == triage.Warning {
		severity = journal.SeverityWarning
	}
	text := fmt.Sprintf("job %d wrote point %s: %s", j.ID, s.Point.Short(), strings.Join(s.Alarm.Reasons, "; "))
	if n := len(s.Alarm.Held); n > 0 {
		text += fmt.Sprintf("; %d points of before do not expire now", n)
	}
	return tx.Raise(journal.Alert{Severity: severity, Kind: journal.Ransomware, Policy: j.Policy, Text: text, Job: j.ID}, now)
}
