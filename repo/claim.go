package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// A long run claims what it has so far, again and again, or a collector beside
// it would condemn what it stored hours ago and no point names yet. Each claim
// is an intent with the next number. One takes the place of the one before the
// one before: a collector that has listed intents finds the newest of those
// still there for as long as a step takes.
//
// A run that dies leaves its last claims, and so keeps what the next one finds
// (until they fall). That next run removes them once it has its point: their
// names stand in the file claims/JOB of Local, one a line, for a run that holds
// the job's lock, so that no other run of the job can be alive.

// Step is how much a run stores, or how long it goes on, until it claims anew.
type Step struct {
	Bytes int64
	Time  time.Duration
}

// defaultStep: a claim costs a few small objects, 16 MiB of a pack a hundred
// times that. A collector waits hours between a look and the next.
func defaultStep() Step { return Step{Bytes: 1 << 30, Time: 5 * time.Minute} }

// maxClaims leaves numbers for the last claims of a run.
const maxClaims = 1<<16 - 128

// claims are a run's intents.
type claims struct {
	step   Step
	record string // path of the file with their names; "" if there is none
	number uint32 // of the last one
	put    []*keep.Intent
	old    []string // names of those that earlier runs of the job left

	at    time.Time // of the last one, or of the run's beginning
	bytes int64     // stored by then
	pages map[live.Hash]bool
}

// maxRecord bounds the file of claims: a run has three names in it at most, and
// a run that failed leaves its own to the next.
const maxRecord = 1 << 20

func (l Local) claimsPath(job string) string { return filepath.Join(l.Dir, "claims", job) }

// newClaims begins a run's claims. With a record those of dead runs of the job
// are taken over.
func newClaims(step Step, record string, now time.Time) claims {
	if step == (Step{}) {
		step = defaultStep()
	}
	c := claims{step: step, record: record, at: now, pages: make(map[live.Hash]bool)}
	if record == "" {
		return c
	}
	info, err := os.Stat(record)
	if err != nil || info.Size() > maxRecord {
		return c
	}
	b, err := os.ReadFile(record)
	if err != nil {
		return c // they fall by themselves
	}
	for _, name := range strings.Fields(string(b)) {
		if keep.IsIntent(name) {
			c.old = append(c.old, name)
		}
	}
	return c
}

// all returns the names of all claims that are not known to be gone.
func (c *claims) all() []string {
	names := slices.Clone(c.old)
	for _, i := range c.put {
		names = append(names, i.Name())
	}
	return names
}

// note writes the names down. It is done before an intent is put: one that was
// not noted would stay until it falls. So would one that a power cut takes from
// the file, which is not worth a sync in every run.
func (c *claims) note() error {
	if c.record == "" {
		return nil
	}
	text := ""
	for _, name := range c.all() {
		text += name + "\n"
	}
	if text == "" {
		if err := os.Remove(c.record); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.record), 0o700); err != nil {
		return err
	}
	return os.WriteFile(c.record, []byte(text), 0o600)
}

// Checkpoint claims what the run has stored and used so far, if it is time to.
// It is for runs that go on: Commit claims by itself.
func (w *Writer) Checkpoint(ctx context.Context, now time.Time) error {
	c, stored := &w.claims, w.stored.Load()
	more := stored - c.bytes
	if more < c.step.Bytes && (more == 0 || now.Sub(c.at) < c.step.Time) || c.number >= maxClaims {
		return nil
	}
	w.useLater()
	set := live.NewSet()
	if err := set.Merge(w.live); err != nil {
		return fmt.Errorf("claim what is stored so far: %w", err)
	}
	// Packs of this run are claimed whole: of pages, and of what was stored and
	// not yet used, the live set knows nothing.
	w.mu.Lock()
	own := maps.Clone(w.own)
	w.mu.Unlock()
	for id, g := range own {
		if err := set.Add(id, g, 0, g.Total); err != nil {
			return fmt.Errorf("claim what is stored so far: %w", err)
		}
	}
	written, err := live.Write(ctx, w.r.store, set, live.WriteOptions{Absent: w.absent.Page, Salt: w.absent.Salt(), Known: func(h live.Hash) bool { return c.pages[h] }})
	if err != nil {
		return fmt.Errorf("claim what is stored so far: %w", err)
	}
	clear(c.pages)
	for _, h := range written.Pages {
		c.pages[h] = true
	}
	if _, err := w.claim(ctx, written.Root); err != nil {
		return err
	}
	c.at, c.bytes = now, stored
	// The one before stays for a collector that has just listed it.
	for len(c.put) > 2 {
		if err := w.r.store.Delete(ctx, c.put[0].Name()); err != nil {
			return fmt.Errorf("remove a claim that another has replaced: %w", err)
		}
		c.put = slices.Delete(c.put, 0, 1)
	}
	return nil
}

// claim puts the run's next intent.
func (w *Writer) claim(ctx context.Context, root live.Hash) (*keep.Intent, error) {
	c := &w.claims
	for range 100 {
		i := &keep.Intent{Repository: w.r.ID, Server: w.device.Server, Run: w.run, Number: c.number + 1, Live: root}
		c.put = append(c.put, i)
		// Without the note a run that dies leaves an intent until it falls: no
		// reason to have no backup.
		_ = c.note()
		err := w.r.store.Put(ctx, i.Name(), i.Marshal())
		if err == nil {
			c.number++
			return i, nil
		}
		if !errors.Is(err, fault.Exist) {
			return nil, fmt.Errorf("claim what the run needs: %w", err)
		}
		c.put = c.put[:len(c.put)-1] // it is another run's, which began in the same microsecond
		w.run++
		c.number = 0
	}
	return nil, fmt.Errorf("claim what the run needs: a hundred other runs claimed in the same moment: %w", fault.Unavailable)
}

// unclaim removes the run's claims, and those of dead runs of the job. What
// cannot be removed costs room for 30 days, and nothing else. Each one that is
// gone is crossed out at once: runs that are killed here again and again must
// not have more and more to do.
func (w *Writer) unclaim(ctx context.Context) {
	c := &w.claims
	for _, name := range c.all() {
		if w.r.store.Delete(ctx, name) != nil {
			return
		}
		if len(c.old) > 0 {
			c.old = c.old[1:]
		} else {
			c.put = c.put[1:]
		}
		_ = c.note()
	}
}

// claimed makes a durable pack one that the next claim names.
func (w *Writer) claimed(id pack.ID, g pack.Geometry) {
	w.mu.Lock()
	w.own[id] = g
	w.mu.Unlock()
}
