// Package restore copies files out of a recovery point, with all that they
// were: owner, mode, times, attributes, links and holes.
//
// Nouns: a Job says what to restore and where to; the target is the folder
// below which everything lands; a Report tells what was done.
//
// It reads the same table and the same frames as every mount, in table order,
// so that neighbours in a pack are opened once; and it compares every piece of
// content with its chunk ID. One goroutine goes through the table, makes
// folders, and hands files to workers. Hard links come when the files are
// there, and folders get their modes and times last.
//
// What a point says is not trusted: everything goes through an os.Root of the
// target, and no link, of the point or of somebody who works against us on this
// machine, leads out of it. Below a link nothing is restored.
//
// A file is written under another name and gets its own when it is whole. So a
// restore that was stopped leaves no half files, and run again it goes on: a
// file with the right size and time counts as restored.
package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// OnConflict says what to do where something is in the way.
type OnConflict uint8

// What to do.
const (
	Copy      OnConflict = iota // leave it, and restore beside it under another name
	Overwrite                   // replace it
	Skip                        // leave it, and do not restore
)

// Job says what to restore and where to.
type Job struct {
	Point      *repo.Point
	Path       string // a file or folder of the point; "" or "/": the whole point
	To         string // with Path its content lands here, else the absolute paths are made below it
	InPlace    bool   // restore to where it was; To is not used
	OnConflict OnConflict
	OwnerNames bool      // owners by name where this host has it; else by number
	Progress   *Progress // nil: nobody watches
}

// Progress tells how far a restore is. It may be read while it goes on.
type Progress struct {
	Files, Bytes           atomic.Int64 // entries and bytes of content done
	TotalFiles, TotalBytes atomic.Int64 // 0: unknown
	current                atomic.Pointer[string]
}

// Current returns the path that the restore is at.
func (p *Progress) Current() string {
	if s := p.current.Load(); s != nil {
		return *s
	}
	return ""
}

// Report tells what a restore did.
type Report struct {
	Started, Finished             time.Time
	Files, Folders, Links, Others uint64 // restored, by kind
	Bytes                         uint64 // of content written
	Unchanged                     uint64 // were there already
	Skipped                       uint64 // something was in the way
	Copied                        uint64 // restored under another name
	WarningCount                  uint64
	Warnings                      []repo.Warning // the first 1,000
	Owners                        []string       // of users and groups that have other numbers here: what became of them
}

// workers is how many files are written at a time: making a file waits for
// the disk, and opening a frame for the processor.
const workers = 6

// restorer is one restore.
type restorer struct {
	job    *Job
	repo   *repo.Repository
	tree   *table.Tree
	verify *repo.Verifier
	base   *os.Root
	root   bool // may give files away
	owners *owners

	jobs    chan *fileJob
	big     chan struct{} // one token per big file under way
	links   links
	renamed map[string]string // key of a folder → its name in the target, where that differs

	mu     sync.Mutex
	report Report
}

// Run restores what a job says. Errors are the vault's, the target's as a
// whole (no space, read-only), or the context's; what is wrong with single
// files is in the Report.
func Run(ctx context.Context, r *repo.Repository, job Job) (*Report, error) {
	rs := &restorer{
		job: &job, repo: r, root: os.Geteuid() == 0,
		jobs: make(chan *fileJob, 256), big: make(chan struct{}, bigFiles),
		owners: newOwners(job.Point, job.OwnerNames), links: newLinks(), renamed: make(map[string]string),
	}
	if job.Progress == nil {
		job.Progress = &Progress{}
	}
	rs.report.Started = time.Now()
	var err error
	if rs.tree, err = r.Tree(ctx, job.Point, table.Options{ReadAhead: 4}); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	rs.verify = r.NewVerifier()
	sel, err := rs.selection(ctx)
	if err != nil {
		return nil, err
	}
	if err := rs.openBase(sel); err != nil {
		return nil, err
	}
	defer rs.base.Close()
	if os.Geteuid() > 0 {
		rs.warn("", "owners are not restored, nor what only root may set: run as root for that")
	}
	if err := rs.entries(ctx, sel); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := rs.makeLinks(); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := rs.finishFolders(ctx, sel); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if rs.root {
		rs.report.Owners = rs.owners.told()
	}
	rs.report.Finished = time.Now()
	return &rs.report, nil
}

// selection is the part of a table that is restored.
type selection struct {
	from, to uint64 // ordinals
	strip    []byte // key prefix of what lands in the target itself
	top      *table.Entry
	made     bool // the target did not exist
}

// selection finds what the job names.
func (r *restorer) selection(ctx context.Context) (*selection, error) {
	s := &selection{to: r.tree.Count()}
	p := r.job.Progress
	if r.job.Path == "" || r.job.Path == "/" {
		s.from = 1 // the top folder is the target
		p.TotalFiles.Store(int64(s.to))
		p.TotalBytes.Store(int64(r.job.Point.Statistics.Bytes))
		return s, nil
	}
	key := table.Key(r.job.Path)
	it, err := r.tree.Lookup(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("restore %s of point %s: %w", r.job.Path, r.job.Point.ID.Short(), err)
	}
	folder, _ := table.Split(key)
	s.strip = folder
	if it.Entry.Kind != table.Folder {
		s.from, s.to = it.Ordinal, it.Ordinal+1
	} else {
		first, end := table.SubtreeBounds(key)
		if s.from, _, err = r.tree.Seek(ctx, first); err != nil {
			return nil, err
		}
		if end != nil {
			if s.to, _, err = r.tree.Seek(ctx, end); err != nil {
				return nil, err
			}
		}
		s.top, s.strip = it.Entry.Clone(), prefixOf(it.Entry)
	}
	if r.job.InPlace {
		s.strip = nil
	}
	p.TotalFiles.Store(int64(s.to - s.from))
	return s, nil
}

// openBase opens the target, and makes it.
func (r *restorer) openBase(s *selection) error {
	to := r.job.To
	if r.job.InPlace {
		to = filepath.VolumeName(r.job.To) + string(filepath.Separator)
	}
	if to == "" {
		return fmt.Errorf("restore: no folder to restore into is given: %w", fault.Invalid)
	}
	if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return fmt.Errorf("make the folder to restore into: %w", err)
		}
		s.made = true
	}
	var err error
	if r.base, err = os.OpenRoot(to); err != nil {
		return fmt.Errorf("open the folder to restore into: %w", err)
	}
	return nil
}

// entries goes through the table and restores everything but hard links'
// other names, and folders' modes and times.
func (r *restorer) entries(ctx context.Context, sel *selection) error {
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error { return r.work(ctx) })
	}
	group.Go(func() error {
		defer close(r.jobs)
		folders := newFolders(r, sel)
		defer folders.close()
		for it, err := range r.tree.Range(ctx, sel.from, sel.to) {
			if err != nil {
				return err
			}
			if err := r.entry(ctx, folders, it.Entry); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	for j := range r.jobs { // what nobody took after a failure
		j.dir.release()
	}
	return err
}

// entry restores one entry, or hands it on.
func (r *restorer) entry(ctx context.Context, folders *folders, e *table.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	folder, name := table.Split(e.Key)
	dir, err := folders.enter(folder)
	if err != nil {
		return r.failed(e, err)
	}
	if dir == nil {
		return nil // what is above was not restored, and that was said
	}
	if e.Kind == table.Folder {
		return r.failed(e, r.folder(folders, dir, e, string(name)))
	}
	if e.Link != nil {
		if !r.links.first(e) {
			r.links.later(e, filepath.Join(dir.rel, string(name)))
			r.job.Progress.Files.Add(1)
			return nil
		}
		r.links.begin(e, filepath.Join(dir.rel, string(name)))
	}
	r.ahead(ctx, e)
	dir.retain()
	select {
	case r.jobs <- &fileJob{dir: dir, name: string(name), entry: e}:
		return nil
	case <-ctx.Done():
		dir.release()
		return ctx.Err()
	}
}

// ahead has the frames opened that the workers will need soon. A big file looks
// ahead itself.
func (r *restorer) ahead(ctx context.Context, e *table.Entry) {
	if e.Size <= bigFile && len(e.Extents) > 0 && !e.Extents[0].Hole {
		x := &e.Extents[0]
		r.repo.Prefetch(ctx, x.Pack, x.Offset, int(x.Length))
	}
}

// failed turns what went wrong with one entry into a warning, unless it is
// about the vault, or the target as a whole.
func (r *restorer) failed(e *table.Entry, err error) error {
	if err == nil {
		return nil
	}
	switch fault.KindOf(err) {
	case fault.NoSpace, fault.ReadOnly, fault.Unavailable, fault.Locked, fault.Canceled:
		return fmt.Errorf("%s: %w", table.Path(e.Key), err)
	}
	r.warn(table.Path(e.Key), reason(err))
	return nil
}

// reason keeps what is said of stored data whole, and shortens what the
// operating system says.
func reason(err error) string {
	if errors.Is(err, fault.Corrupt) {
		return err.Error()
	}
	return fault.Reason(err)
}

func (r *restorer) warn(path, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.WarningCount++
	if len(r.report.Warnings) < repo.MaxWarnings {
		r.report.Warnings = append(r.report.Warnings, repo.Warning{Path: path, Reason: reason})
	}
}

// done counts what was restored.
func (r *restorer) done(e *table.Entry, out outcome) {
	r.mu.Lock()
	switch {
	case out == unchanged:
		r.report.Unchanged++
	case out == skipped:
		r.report.Skipped++
	case e.Kind == table.File:
		r.report.Files++
		r.report.Bytes += e.Size
	case e.Kind == table.Folder:
		r.report.Folders++
	case e.Kind == table.Symlink:
		r.report.Links++
	default:
		r.report.Others++
	}
	if out == copied {
		r.report.Copied++
	}
	r.mu.Unlock()
	r.job.Progress.Files.Add(1)
}
