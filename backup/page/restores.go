package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/backup/restore"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

const (
	maxRestores   = 100 // that are remembered
	maxRestoring  = 2   // at a time
	shownWarnings = 200
)

// restores are those that were asked for since the agent runs.
type restores struct {
	now  func() time.Time
	log  *slog.Logger
	told func(what string, failure error)
	work sync.WaitGroup

	mu   sync.Mutex
	life context.Context // ends with the page; nil before it serves
	last int
	list []*restoration // the newest first
}

// restoration is one restore, of one thing after the other.
type restoration struct {
	ID         int
	Items      []chosen
	Vault      string
	To         string // folder; "": where it was
	OnConflict restore.OnConflict
	OwnerNames bool
	Started    time.Time

	cancel context.CancelFunc
	asked  bool // it was cancelled

	mu       sync.Mutex
	item     int // that it is at
	progress *restore.Progress
	report   restore.Report // of all so far
	ended    time.Time
	failure  error
}

// restoreState is how a restore stands at a moment.
type restoreState struct {
	ID         int
	What       string
	Vault      string
	To         string
	State      string // in_progress, completed, completed_with_warnings, cancelled, failed
	Text       string
	Started    time.Time
	Ended      time.Time
	Item, All  int
	Done       int64 // entries of the item
	Total      int64
	Bytes      uint64
	Current    string
	Files      uint64
	Folders    uint64
	Unchanged  uint64
	Skipped    uint64
	Copied     uint64
	Warnings   []repo.Warning
	WarningSum uint64
	Owners     []string
	Error      string
}

func (r *restores) init(o Options) {
	r.now, r.log, r.told = o.Now, o.Log, o.Restored
	if r.told == nil {
		r.told = func(string, error) {}
	}
}

// begin starts a restore on a repository, which done gives back.
func (r *restores) begin(t *restoration, v *vault, done func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	running := 0
	for _, other := range r.list {
		if other.over().IsZero() {
			running++
		}
	}
	if running >= maxRestoring {
		return fmt.Errorf("restore: %d restores run already; wait for one, or cancel it: %w", running, fault.Unavailable)
	}
	if r.life == nil {
		return fmt.Errorf("restore: the page ends: %w", fault.Unavailable)
	}
	r.last++
	t.ID, t.Started = r.last, r.now()
	ctx, cancel := context.WithCancel(r.life)
	t.cancel = cancel
	r.list = slices.Insert(r.list, 0, t)
	r.list = r.list[:min(len(r.list), maxRestores)]
	r.work.Go(func() {
		defer done()
		defer cancel()
		r.log.Info("restore begins", "restore", t.ID, "to", t.To, "things", len(t.Items))
		err := t.run(ctx, v)
		t.end(err, r.now())
		r.log.Info("restore ends", "restore", t.ID, "error", err)
		if !errors.Is(err, context.Canceled) {
			r.told(t.what(), err)
		}
	})
	return nil
}

// run restores one thing after the other.
func (t *restoration) run(ctx context.Context, v *vault) error {
	for i := range t.Items {
		c := &t.Items[i]
		job := restore.Job{Point: c.Point, Path: c.Path, OnConflict: t.OnConflict, OwnerNames: t.OwnerNames, InPlace: t.To == "", To: t.To, Progress: &restore.Progress{}}
		if c.Folder && !c.whole() && !job.InPlace {
			job.To = filepath.Join(t.To, c.Name())
		}
		t.mu.Lock()
		t.item, t.progress = i, job.Progress
		t.mu.Unlock()
		report, err := restore.Run(ctx, v.Repository, job)
		if report != nil {
			t.add(report)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add counts what one run did.
func (t *restoration) add(r *restore.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.report
	s.Files, s.Folders, s.Links, s.Others = s.Files+r.Files, s.Folders+r.Folders, s.Links+r.Links, s.Others+r.Others
	s.Bytes, s.Unchanged, s.Skipped, s.Copied = s.Bytes+r.Bytes, s.Unchanged+r.Unchanged, s.Skipped+r.Skipped, s.Copied+r.Copied
	s.WarningCount += r.WarningCount
	s.Warnings = append(s.Warnings, r.Warnings[:min(len(r.Warnings), shownWarnings-len(s.Warnings))]...)
	s.Owners = append(s.Owners, r.Owners...)
	t.progress = nil
}

func (t *restoration) end(err error, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failure, t.ended = err, now
}

// over is when it ended, zero if it runs.
func (t *restoration) over() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// state returns how the restore stands.
func (t *restoration) state() restoreState {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.report
	s := restoreState{
		ID: t.ID, What: t.what(), Vault: t.Vault, To: t.To, State: "in_progress", Text: "in progress", Started: t.Started, Ended: t.ended,
		Item: t.item + 1, All: len(t.Items), Bytes: r.Bytes, Files: r.Files + r.Links + r.Others, Folders: r.Folders, Unchanged: r.Unchanged,
		Skipped: r.Skipped, Copied: r.Copied, Warnings: r.Warnings, WarningSum: r.WarningCount, Owners: r.Owners,
	}
	if p := t.progress; p != nil {
		s.Done, s.Total, s.Current = p.Files.Load(), p.TotalFiles.Load(), p.Current()
		s.Bytes += uint64(p.Bytes.Load())
	}
	switch {
	case t.ended.IsZero() && t.asked:
		s.State, s.Text = "cancelling", "cancelling"
	case t.ended.IsZero():
	case t.failure != nil && errors.Is(t.failure, context.Canceled):
		s.State, s.Text = "cancelled", "cancelled"
	case t.failure != nil:
		s.State, s.Text, s.Error = "failed", "failed", sentence(t.failure.Error())
	case r.WarningCount > 0:
		s.State, s.Text = "completed_with_warnings", "completed with warnings"
	default:
		s.State, s.Text = "completed", "completed"
	}
	return s
}

// what names what is restored.
func (t *restoration) what() string {
	first := t.Items[0].Path
	if t.Items[0].whole() {
		first = "the whole point"
	}
	if n := len(t.Items) - 1; n > 0 {
		return first + " and " + plural(n, "more thing", "more things")
	}
	return first
}

// states returns all, the newest first.
func (r *restores) states() []restoreState {
	r.mu.Lock()
	list := slices.Clone(r.list)
	r.mu.Unlock()
	out := make([]restoreState, 0, len(list))
	for _, t := range list {
		out = append(out, t.state())
	}
	return out
}

// find returns a restore by its number.
func (r *restores) find(id uint64) (*restoration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.list {
		if uint64(t.ID) == id {
			return t, nil
		}
	}
	return nil, fmt.Errorf("find restore %d: %w", id, fault.NotExist)
}

// stop cancels a restore that runs.
func (r *restores) stop(id uint64) error {
	t, err := r.find(id)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended.IsZero() {
		return fmt.Errorf("cancel restore %d: it does not run: %w", id, fault.NotExist)
	}
	t.asked = true
	t.cancel()
	return nil
}

// open lets restores begin, until ctx is done.
func (r *restores) open(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = ctx
}

// close waits for those that run; none begins any more.
func (r *restores) close() {
	r.mu.Lock()
	r.life = nil
	for _, t := range r.list {
		t.cancel()
	}
	r.mu.Unlock()
	r.work.Wait()
}
