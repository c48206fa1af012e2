package agent

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/triage"
)

// TestAlarm: one of the triage becomes an alert, which ends when somebody
// closes it; from then on the next runs are trusted.
func TestAlarm(t *testing.T) {
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	s := &backup.Summary{Alarm: backup.Alarm{Level: triage.Critical, Reasons: []string{"much is encrypted", "a note"}, Held: []uint64{3, 2}}}
	err = j.Update(func(tx *journal.Tx) error {
		job := &journal.Job{ID: 7, Policy: "p"}
		if err := errors.Join(alarm(tx, job, nil, noon), alarm(tx, job, &backup.Summary{}, noon)); err != nil || tx.IsActive(journal.Ransomware, "p") {
			t.Errorf("an alert for nothing: %v", err)
		}
		return alarm(tx, job, s, noon)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = j.Update(func(tx *journal.Tx) error {
		for a := range tx.Alerts() {
			if a.Severity != journal.SeverityCritical || a.Text != "job 7 wrote point 00000000: much is encrypted; a note; 2 points of before do not expire now" {
				t.Errorf("%+v", a)
			}
			if at, err := tx.Closed(journal.Ransomware, "p"); err != nil || !at.IsZero() {
				t.Errorf("closed at %v, %v", at, err)
			}
			return tx.Close(a.ID, "it was me", noon.Add(time.Hour))
		}
		return errors.New("no alert")
	})
	if err != nil {
		t.Fatal(err)
	}
	err = j.View(func(tx *journal.Tx) error {
		at, err := tx.Closed(journal.Ransomware, "p")
		if !at.Equal(noon.Add(time.Hour)) {
			t.Errorf("closed at %v", at)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
