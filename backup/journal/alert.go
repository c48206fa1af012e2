package journal

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
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

// Alert is what somebody must know. While it is active, the same again is
// counted in it.
type Alert struct {
	ID       uint64    `json:"id"`
	Severity Severity  `json:"severity"`
	Kind     Kind      `json:"kind"`
	Policy   string    `json:"policy,omitempty"`
	Subject  string    `json:"subject,omitempty"` // of alerts that are not a policy's: an address, a name
	Text     string    `json:"text"`              // of the last time
	Job      uint64    `json:"job,omitempty"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Count    int       `json:"count"`
	Active   bool      `json:"active"`
	Ended    time.Time `json:"ended,omitzero"`
	Note     string    `json:"note,omitempty"` // why it ended, or what somebody wrote
	Told     time.Time `json:"told,omitzero"`  // when it was last announced
}

// Worse says whether a severity matters more than another.
func (s Severity) Worse(other Severity) bool { return s.weight() > other.weight() }

// weight orders severities.
func (s Severity) weight() int {
	switch s {
	case SeverityCritical:
		return 2
	case SeverityWarning:
		return 1
	}
	return 0
}

// Raise makes an alert, or counts it in the active one of its kind, policy and
// subject, whose text, job and severity it renews. A new one is announced, and
// one that became worse. Without a severity it has that of its kind.
func (t *Tx) Raise(a Alert, now time.Time) error {
	if a.Severity == "" {
		a.Severity = a.Kind.Severity()
	}
	key := activeKey(a.Kind, a.Policy, a.Subject)
	old, err := t.active(key)
	if err != nil {
		return err
	}
	if old != nil {
		worse := a.Severity.Worse(old.Severity)
		old.Text, old.Job, old.Severity, old.Last = a.Text, a.Job, a.Severity, now
		old.Count++
		if worse {
			return t.renew(old, now)
		}
		return t.put("alerts", number(old.ID), old)
	}
	if a.ID, err = t.tx.Bucket([]byte("alerts")).NextSequence(); err != nil {
		return err
	}
	a.First, a.Last, a.Told, a.Count, a.Active = now, now, now, 1, true
	if err := t.tx.Bucket([]byte("active")).Put(key, number(a.ID)); err != nil {
		return err
	}
	if err := t.Announce(Event{Happening: Raised, Time: now, Alert: &a}); err != nil {
		return err
	}
	return t.put("alerts", number(a.ID), &a)
}

// renew announces an active alert once more.
func (t *Tx) renew(a *Alert, now time.Time) error {
	a.Told = now
	if err := t.Announce(Event{Happening: Renewed, Time: now, Alert: a}); err != nil {
		return err
	}
	return t.put("alerts", number(a.ID), a)
}

// Remind announces the critical alerts once more that are active, and were
// announced before a moment.
func (t *Tx) Remind(before, now time.Time) error {
	list, err := t.Active()
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.Severity != SeverityCritical || a.Told.After(before) {
			continue
		}
		if err := t.renew(a, now); err != nil {
			return err
		}
	}
	return nil
}

// Resolve ends the active alert of a kind and policy, if there is one.
func (t *Tx) Resolve(kind Kind, policy, note string, now time.Time) error {
	return t.resolve(activeKey(kind, policy, ""), note, now)
}

// ResolveOf ends the active alert of a kind and subject, if there is one.
func (t *Tx) ResolveOf(kind Kind, subject, note string, now time.Time) error {
	return t.resolve(activeKey(kind, "", subject), note, now)
}

func (t *Tx) resolve(key []byte, note string, now time.Time) error {
	a, err := t.active(key)
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
	if err := t.tx.Bucket([]byte("active")).Delete(activeKey(a.Kind, a.Policy, a.Subject)); err != nil {
		return err
	}
	if err := t.Announce(Event{Happening: Resolved, Time: now, Alert: a}); err != nil {
		return err
	}
	return t.put("alerts", number(a.ID), a)
}

// Closed returns when the newest alert of a kind and policy ended; zero: it is
// active, or there is none.
func (t *Tx) Closed(kind Kind, policy string) (time.Time, error) {
	for a, err := range t.Alerts() {
		if err != nil {
			return time.Time{}, err
		}
		if a.Kind == kind && a.Policy == policy {
			return a.Ended, nil
		}
	}
	return time.Time{}, nil
}

// IsActive says whether an alert of the kind is active for the policy.
func (t *Tx) IsActive(kind Kind, policy string) bool {
	return t.tx.Bucket([]byte("active")).Get(activeKey(kind, policy, "")) != nil
}

// ActiveOf returns the active alert of the kind and subject, nil if there is none.
func (t *Tx) ActiveOf(kind Kind, subject string) (*Alert, error) {
	return t.active(activeKey(kind, "", subject))
}

// IsActiveOf says whether an alert of the kind is active for the subject.
func (t *Tx) IsActiveOf(kind Kind, subject string) bool {
	return t.tx.Bucket([]byte("active")).Get(activeKey(kind, "", subject)) != nil
}

// Active returns the active alerts, the oldest first.
func (t *Tx) Active() ([]*Alert, error) {
	var list []*Alert
	c := t.tx.Bucket([]byte("active")).Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		a, err := t.active(key)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *Alert) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
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

func activeKey(kind Kind, policy, subject string) []byte {
	key := string(kind) + "\x00" + policy
	if subject != "" {
		key += "\x00" + subject
	}
	return []byte(key)
}

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
