package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Happening is what an Event is about.
type Happening string

// The happenings. The first three are of alerts, the others of jobs.
const (
	Raised   Happening = "raised"   // an alert became active
	Renewed  Happening = "renewed"  // it is so still, or has become worse
	Resolved Happening = "resolved" // it ended
	Began    Happening = "began"    // a job began
	Success  Happening = "success"  // it wrote a point
	Failure  Happening = "failure"  // it failed, and that is an alert
)

// Event is what somebody may want to be told of. It is kept in the step that
// brings it about, and until everybody has been told: nothing is lost, and
// after a crash somebody may be told twice.
type Event struct {
	ID        uint64    `json:"id"`
	Happening Happening `json:"event"`
	Time      time.Time `json:"time"`
	Alert     *Alert    `json:"alert,omitempty"` // as it was then
	Job       *Job      `json:"job,omitempty"`

	Told []string `json:"told,omitempty"` // names of those who know it
}

const (
	// maxEvents bounds the outbox, for when nobody can be told for weeks.
	maxEvents = 10_000
	// boundEvery is how many events come between two looks at that bound.
	boundEvery = 100
)

// Announce keeps an event for those who are to be told, if there are any.
func (t *Tx) Announce(e Event) error {
	if t.wanted != nil && !t.wanted(&e) {
		return nil
	}
	b := t.tx.Bucket([]byte("outbox"))
	id, err := b.NextSequence()
	if err != nil {
		return err
	}
	e.ID = id
	t.announced = true
	if err := t.put("outbox", number(id), &e); err != nil || id%boundEvery != 0 {
		return err
	}
	return t.boundOutbox()
}

// boundOutbox removes what is too much: jobs first, since what they say is in
// lists, too, and then the oldest.
func (t *Tx) boundOutbox() error {
	b := t.tx.Bucket([]byte("outbox"))
	if first, _ := b.Cursor().First(); first == nil || b.Sequence()-binary.BigEndian.Uint64(first) < maxEvents {
		return nil // there cannot be more than numbers
	}
	var jobs, alerts []uint64
	for e, err := range t.Events() {
		switch {
		case err != nil:
			return err
		case e.Alert == nil:
			jobs = append(jobs, e.ID)
		default:
			alerts = append(alerts, e.ID)
		}
	}
	all := append(jobs, alerts...)
	for _, id := range all[:max(0, len(all)-maxEvents)] {
		if err := t.Settle(id); err != nil {
			return err
		}
	}
	return nil
}

// Events yields what somebody is still to be told of, the oldest first.
func (t *Tx) Events() iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		c := t.tx.Bucket([]byte("outbox")).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			e := &Event{}
			err := json.Unmarshal(v, e)
			if err != nil {
				err = fmt.Errorf("event %x: %w: %w", k, err, fault.Corrupt)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Told notes that somebody knows of an event, and removes it if nobody waits for
// it any more.
func (t *Tx) Told(id uint64, name string, waits func(*Event) bool) error {
	e := &Event{}
	ok, err := t.get("outbox", number(id), e)
	if err != nil || !ok || slices.Contains(e.Told, name) {
		return err
	}
	e.Told = append(e.Told, name)
	if !waits(e) {
		return t.Settle(id)
	}
	return t.put("outbox", number(id), e)
}

// Settle removes an event: everybody knows, or it is too old.
func (t *Tx) Settle(id uint64) error { return t.tx.Bucket([]byte("outbox")).Delete(number(id)) }

// Want says of which events somebody wants to be told: others are not kept. As
// long as nobody says anything all are.
func (j *Journal) Want(wanted func(*Event) bool) { j.wanted.Store(&wanted) }

// News tells that events were announced. It is for one listener, who looks at
// all of them.
func (j *Journal) News() <-chan struct{} { return j.news }
