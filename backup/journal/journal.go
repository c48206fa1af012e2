// Package journal keeps what the agent did: its jobs, its alerts, and how far
// each policy is.
//
// It is one file, a B+tree of pages that are written anew and then switched
// over with one synced page (bbolt). A change is whole or not there, also after
// SIGKILL or a loss of power: a job is never half shown. A cgo-free SQLite would
// commit in 0.4 ms instead of 0.7, and make each program 6 MB larger and half a
// minute longer to compile, for each of eight targets; nothing here needs SQL.
//
//	format    version of this layout
//	seed      a random number of this machine, for its jitter
//	pause     whether jobs wait
//	jobs      number (8 bytes, big endian) → Job as JSON
//	warnings  number of a job → its Warnings as JSON
//	policies  name → Progress as JSON
//	alerts    number → Alert as JSON
//	active    kind, policy and subject → number of the active alert
//	places    address of a repository → what is known of its place, as JSON
//	samples   address and day → how much room it had, as JSON
//	outbox    number → Event as JSON, until all who want to know it do
//
// One process has the journal open at a time; others ask that one.
package journal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// State is how a job stands.
type State string

// The states of a job.
const (
	InProgress State = "in_progress"
	Cancelling State = "cancelling"
	Cancelled  State = "cancelled"
	Completed  State = "completed"
	Warned     State = "completed_with_warnings"
	Failed     State = "failed"
)

// States are all of them.
func States() []State {
	return []State{InProgress, Cancelling, Cancelled, Completed, Warned, Failed}
}

// Over says that the job will not change any more.
func (s State) Over() bool { return s != InProgress && s != Cancelling }

// Text returns the state in words.
func (s State) Text() string {
	switch s {
	case InProgress:
		return "in progress"
	case Warned:
		return "completed with warnings"
	}
	return string(s)
}

// Trigger is why a job began.
type Trigger string

// The triggers.
const (
	Scheduled Trigger = "schedule" // its time had come
	Asked     Trigger = "asked"    // somebody said "now"
	Again     Trigger = "retry"    // one before it failed
	Resumed   Trigger = "resume"   // one before it was cut short by the end of the agent
)

// Job is one run.
type Job struct {
	ID      uint64    `json:"id"`
	Policy  string    `json:"policy"`         // or the name of a chore
	Task    string    `json:"task,omitempty"` // which chore; "": a backup
	Trigger Trigger   `json:"trigger"`
	State   State     `json:"state"`
	Due     time.Time `json:"due,omitzero"` // when it should have begun
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Attempt int       `json:"attempt,omitempty"` // 1: the first retry
	Error   string    `json:"error,omitempty"`
	Kind    string    `json:"error_kind,omitempty"` // of failure, in words

	Result   string `json:"result,omitempty"` // of a chore, in words
	Point    string `json:"point,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	Type     string `json:"type,omitempty"` // of the point: how its files fit together
	TypeWhy  string `json:"type_why,omitempty"`

	Suspect []string `json:"suspect,omitempty"` // why the files look as if somebody had encrypted them

	Files       uint64 `json:"files"` // of the point; while it runs, so far
	Bytes       uint64 `json:"bytes"`
	New         uint64 `json:"new"` // entries
	Changed     uint64 `json:"changed"`
	Removed     uint64 `json:"removed"`
	BytesRead   uint64 `json:"bytes_read"`
	BytesStored uint64 `json:"bytes_stored"`
	Warnings    uint64 `json:"warnings"`
}

// Took returns how long the job has run by now, or did.
func (j *Job) Took(now time.Time) time.Duration {
	if !j.Ended.IsZero() {
		now = j.Ended
	}
	return max(0, now.Sub(j.Started))
}

// Warning is a file that was left out, or not saved as it should be, and why.
type Warning struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// MaxWarnings bounds what is kept of a job; Job.Warnings has their number.
const MaxWarnings = 1000

// Progress is how far a policy is.
type Progress struct {
	Added     time.Time `json:"added"`              // when it was first seen
	Handled   time.Time `json:"handled"`            // slots up to then have had their job
	LastPoint time.Time `json:"last_point"`         // when its newest point was complete
	RetryAt   time.Time `json:"retry_at,omitzero"`  // when it is tried again
	Attempt   int       `json:"attempt,omitempty"`  // of that
	Failing   time.Time `json:"failing,omitzero"`   // since when all runs failed
	Resume    bool      `json:"resume,omitempty"`   // the run before was cut short
	LastJob   uint64    `json:"last_job,omitempty"` // its newest
	Rule      string    `json:"rule,omitempty"`     // the schedule that Handled is of
	Anyway    bool      `json:"anyway,omitempty"`   // somebody asked for the next point, whatever the machine runs on
	Until     time.Time `json:"until,omitzero"`     // how long somebody asked to keep the next point
}

// Pause is whether jobs are to wait.
type Pause struct {
	On    bool      `json:"on"`
	Until time.Time `json:"until,omitzero"` // zero: until somebody says otherwise
}

// patience is how long another process may have the journal: commands read it
// for an instant while no agent runs.
const patience = time.Second

const format = "tidemark journal 1"

// bucketNames are the parts of the file.
var bucketNames = [...]string{"meta", "jobs", "warnings", "policies", "alerts", "active", "outbox", "places", "samples"}

// Journal is an open journal.
type Journal struct {
	db   *bolt.DB
	seed string
	news chan struct{}

	wanted atomic.Pointer[func(*Event) bool]
}

// Open opens the journal at path, and makes it if it is missing, with mode
// 0600. If another process has it the error is fault.Unavailable.
func Open(path string) (*Journal, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: patience, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open journal %s: another process has it open: %w", path, fault.Unavailable)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open journal %s: %w: %w", path, err, fault.Corrupt)
	case err != nil:
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{db: db, news: make(chan struct{}, 1)}
	if err := db.Update(j.begin); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", path, err), db.Close())
	}
	return j, nil
}

// Exists says whether there is a journal at path.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (j *Journal) begin(tx *bolt.Tx) error {
	for _, name := range bucketNames {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	meta := tx.Bucket([]byte("meta"))
	switch have := string(meta.Get([]byte("format"))); have {
	case format:
	case "":
		seed := make([]byte, 16)
		if _, err := rand.Read(seed); err != nil {
			return err
		}
		if err := errors.Join(meta.Put([]byte("format"), []byte(format)), meta.Put([]byte("seed"), []byte(hex.EncodeToString(seed)))); err != nil {
			return err
		}
	default:
		return fmt.Errorf("it is a %q, and this is a version for %q: %w", have, format, fault.Unsupported)
	}
	j.seed = string(meta.Get([]byte("seed")))
	return nil
}

// Close closes the journal.
func (j *Journal) Close() error {
	if err := j.db.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// Seed is a text that no other machine has.
func (j *Journal) Seed() string { return j.seed }

// Update changes the journal in one step: all that do does is durable when
// Update returns nil, and nothing of it is there otherwise.
func (j *Journal) Update(do func(*Tx) error) error {
	t := &Tx{}
	if wanted := j.wanted.Load(); wanted != nil {
		t.wanted = *wanted
	}
	err := j.db.Update(func(tx *bolt.Tx) error {
		t.tx = tx
		return do(t)
	})
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if t.announced {
		select {
		case j.news <- struct{}{}:
		default:
		}
	}
	return nil
}

// View reads the journal as it is at one moment.
func (j *Journal) View(do func(*Tx) error) error {
	if err := j.db.View(func(tx *bolt.Tx) error { return do(&Tx{tx: tx}) }); err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	return nil
}

// Tx is one step in the journal. It is not used after the function that got it
// has returned.
type Tx struct {
	tx        *bolt.Tx
	announced bool
	wanted    func(*Event) bool // nil: all are
}

func (t *Tx) put(bucket string, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.tx.Bucket([]byte(bucket)).Put(key, b)
}

// get reads a value; false: there is none.
func (t *Tx) get(bucket string, key []byte, v any) (bool, error) {
	b := t.tx.Bucket([]byte(bucket)).Get(key)
	if b == nil {
		return false, nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("%s %x: %w: %w", bucket, key, err, fault.Corrupt)
	}
	return true, nil
}

func number(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// NewJob gives a job its number and keeps it.
func (t *Tx) NewJob(j *Job) error {
	id, err := t.tx.Bucket([]byte("jobs")).NextSequence()
	if err != nil {
		return err
	}
	j.ID = id
	return t.PutJob(j)
}

// PutJob keeps a job as it is now.
func (t *Tx) PutJob(j *Job) error { return t.put("jobs", number(j.ID), j) }

// Job returns a job; fault.NotExist if there is none of the number.
func (t *Tx) Job(id uint64) (*Job, error) {
	j := &Job{}
	ok, err := t.get("jobs", number(id), j)
	if err == nil && !ok {
		err = fmt.Errorf("find job %d: %w", id, fault.NotExist)
	}
	return j, err
}

// Jobs yields jobs, the newest first.
func (t *Tx) Jobs() iter.Seq2[*Job, error] {
	return func(yield func(*Job, error) bool) {
		c := t.tx.Bucket([]byte("jobs")).Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			j := &Job{}
			err := json.Unmarshal(v, j)
			if err != nil {
				err = fmt.Errorf("job %x: %w: %w", k, err, fault.Corrupt)
			}
			if !yield(j, err) || err != nil {
				return
			}
		}
	}
}

// PutWarnings keeps the warnings of a job, the first MaxWarnings of them.
func (t *Tx) PutWarnings(job uint64, list []Warning) error {
	return t.put("warnings", number(job), list[:min(len(list), MaxWarnings)])
}

// Warnings returns the warnings of a job.
func (t *Tx) Warnings(job uint64) ([]Warning, error) {
	var list []Warning
	_, err := t.get("warnings", number(job), &list)
	return list, err
}

// PutProgress keeps how far a policy is.
func (t *Tx) PutProgress(policy string, p Progress) error {
	return t.put("policies", []byte(policy), p)
}

// Progress returns how far a policy is; false: it is new.
func (t *Tx) Progress(policy string) (p Progress, ok bool, err error) {
	ok, err = t.get("policies", []byte(policy), &p)
	return p, ok, err
}

// PutPause keeps whether jobs wait.
func (t *Tx) PutPause(p Pause) error { return t.put("meta", []byte("pause"), p) }

// Pause returns whether jobs wait.
func (t *Tx) Pause() (p Pause, err error) {
	_, err = t.get("meta", []byte("pause"), &p)
	return p, err
}

// Forget removes jobs that began before a moment, and alerts that ended
// before it.
func (t *Tx) Forget(before time.Time) error {
	var jobs, alerts [][]byte
	for j, err := range t.Jobs() {
		if err != nil {
			return err
		}
		if j.State.Over() && j.Started.Before(before) {
			jobs = append(jobs, number(j.ID))
		}
	}
	for a, err := range t.Alerts() {
		if err != nil {
			return err
		}
		if !a.Active && a.Ended.Before(before) {
			alerts = append(alerts, number(a.ID))
		}
	}
	for name, keys := range map[string][][]byte{"jobs": jobs, "warnings": slices.Clone(jobs), "alerts": alerts} {
		for _, key := range keys {
			if err := t.tx.Bucket([]byte(name)).Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}
