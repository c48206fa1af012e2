package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Severity is how much an alert matters.
type Severity string

// The severities.
const (
	SeverityCritical    Severity = "critical"
	SeverityWarning     Severity = "warning"
	SeverityInformation Severity = "information"
)

// Kind is what an alert is about.
type Kind string

// The kinds of alerts.
const (
	BackupFailed   Kind = "backup_failed"
	BackupWarnings Kind = "backup_warnings"
	Silent         Kind = "silent"        // no point for too long
	Configuration  Kind = "configuration" // it cannot be read

	Damage              Kind = "damage" // a chore found some
	MaintenanceFailed   Kind = "maintenance_failed"
	MaintenanceWarnings Kind = "maintenance_warnings"
)

// Text returns the kind in words.
func (k Kind) Text() string {
	switch k {
	case BackupFailed:
		return "Backup failed"
	case BackupWarnings:
		return "Backup with warnings"
	case Silent:
		return "No recovery point for too long"
	case Configuration:
		return "The configuration cannot be read"
	case Damage:
		return "Damaged data"
	case MaintenanceFailed:
		return "Maintenance failed"
	case MaintenanceWarnings:
		return "Maintenance with warnings"
	}
	return string(k)
}

// Alert is what somebody must know. While it is active, the same again is
// counted in it.
type Alert struct {
	ID       uint64    `json:"id"`
	Severity Severity  `json:"severity"`
	Kind     Kind      `json:"kind"`
	Policy   string    `json:"policy,omitempty"`
	Text     string    `json:"text"` // of the last time
	Job      uint64    `json:"job,omitempty"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Count    int       `json:"count"`
	Active   bool      `json:"active"`
	Ended    time.Time `json:"ended,omitzero"`
	Note     string    `json:"note,omitempty"` // why it ended, or what somebody wrote
}

// Raise makes an alert, or counts it in the active one of its kind and policy,
// whose text, job and severity it renews.
func (t *Tx) Raise(a Alert, now time.Time) error {
	key := activeKey(a.Kind, a.Policy)
	old, err := t.active(key)
	if err != nil {
		return err
	}
	if old != nil {
		old.Text, old.Job, old.Severity, old.Last = a.Text, a.Job, a.Severity, now
		old.Count++
		return t.put("alerts", number(old.ID), old)
	}
	if a.ID, err = t.tx.Bucket([]byte("alerts")).NextSequence(); err != nil {
		return err
	}
	a.First, a.Last, a.Count, a.Active = now, now, 1, true
	if err := t.tx.Bucket([]byte("active")).Put(key, number(a.ID)); err != nil {
		return err
	}
	return t.put("alerts", number(a.ID), &a)
}

// Resolve ends the active alert of a kind and policy, if there is one.
func (t *Tx) Resolve(kind Kind, policy, note string, now time.Time) error {
	a, err := t.active(activeKey(kind, policy))
	if err != nil || a == nil {
		return err
	}
	return t.end(a, note, now)
}

// Close ends an alert by its number; fault.NotExist if there is none.
func (t *Tx) Close(id uint64, note string, now time.Time) error {
	a := &Alert{}
	ok, err := t.get("alerts", number(id), a)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("find alert %d: %w", id, fault.NotExist)
	case !a.Active:
		return fmt.Errorf("alert %d is not active any more: %w", id, fault.Invalid)
	}
	return t.end(a, note, now)
}

func (t *Tx) end(a *Alert, note string, now time.Time) error {
	a.Active, a.Ended, a.Note = false, now, note
	if err := t.tx.Bucket([]byte("active")).Delete(activeKey(a.Kind, a.Policy)); err != nil {
		return err
	}
	return t.put("alerts", number(a.ID), a)
}

// IsActive says whether an alert of the kind is active for the policy.
func (t *Tx) IsActive(kind Kind, policy string) bool {
	return t.tx.Bucket([]byte("active")).Get(activeKey(kind, policy)) != nil
}

// Alerts yields alerts, the newest first.
func (t *Tx) Alerts() iter.Seq2[*Alert, error] {
	return func(yield func(*Alert, error) bool) {
		c := t.tx.Bucket([]byte("alerts")).Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			a := &Alert{}
			err := json.Unmarshal(v, a)
			if err != nil {
				err = fmt.Errorf("alert %x: %w: %w", k, err, fault.Corrupt)
			}
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

func activeKey(kind Kind, policy string) []byte { return []byte(string(kind) + "\x00" + policy) }

func (t *Tx) active(key []byte) (*Alert, error) {
	id := t.tx.Bucket([]byte("active")).Get(key)
	if id == nil {
		return nil, nil
	}
	a := &Alert{}
	ok, err := t.get("alerts", id, a)
	if err == nil && !ok {
		err = fmt.Errorf("alert %d: %w", binary.BigEndian.Uint64(id), fault.Corrupt)
	}
	return a, err
}
