// Package backup writes recovery points.
//
// Nouns: a Job says what to save. A run walks the host's folders, compares
// them with its own copy of the last table, reads what changed, and commits a
// point. A Summary tells what it did.
//
//	walk ─► compare ─► batches ─► readers (read, cut, hash)
//	                      │            │
//	                      └──────► save, in order: look up, pack, table ─► commit
//
// Entries pass through in table order from end to end. Readers work ahead,
// bounded in bytes; the one that saves takes batches in order, so that
// neighbouring files lie together in packs and equal trees make equal tables.
//
// A file that cannot be read never stops a run: it becomes a warning in the
// point and in the Summary. What stops a run is the vault, or the context. A
// run that was stopped leaves whole packs, which the next one finds.
package backup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// Job says what to save and how.
type Job struct {
	Paths         []string          // files and folders; absolute
	Stream        *Stream           // instead of Paths; nil: none
	Items         []*Stream         // beside Paths
	Elsewhere     map[string]string // where folders are read, by their paths: in snapshots; see Freeze
	Exclude       *exclude.Matcher  // nil: nothing
	ExcludeCaches bool              // leave out the content of folders with a CACHEDIR.TAG
	OneFileSystem bool
	Tags          []string
	Trust         time.Time         // what looked bad before is fine, somebody says; zero: nobody does
	Until         time.Time         // the point is kept at least so long; zero: as the policy says
	DryRun        bool              // compare only; nothing is read or stored
	Renew         repo.HollowLimits // what is stored again so that old frames can go; zero: the default
	Claim         repo.Step         // how often a long run claims what it has stored; zero: the default
	FrameSize     int               // raw bytes of a frame of content; 0: as its kind wants

	Consistency                      repo.Consistency  // of the point; zero: its files are read live
	Host, User, OS, Program, Version string            // of the point
	ServerUsers                      []meta.ServerUser // of the server, for the point

	Now      func() time.Time
	Progress *Progress // nil: nobody watches
	Scan     bool      // count beforehand what there is, for Progress
}

// Progress tells how far a run is. It may be read while the run goes on.
type Progress struct {
	Files, Bytes           atomic.Int64 // entries and bytes of content done
	TotalFiles, TotalBytes atomic.Int64 // as far as known; 0: unknown
	current                atomic.Pointer[string]
}

// Current returns the path that the run is at.
func (p *Progress) Current() string {
	if s := p.current.Load(); s != nil {
		return *s
	}
	return ""
}

// Summary tells what a run did.
type Summary struct {
	Point             point.ID // zero after a dry run
	Sequence          uint64
	Started, Finished time.Time
	repo.Statistics
	Renewed uint64         // bytes stored again, so that frames of which little is needed can go
	Warned  []repo.Warning // the first 1,000 of Statistics.Warnings
	Skipped []string       // sockets, the first 1,000

	Consistency repo.Consistency // of the point
	Suspect     []string         // why the point looks as if somebody had encrypted its files
	Alarm       Alarm            // what this run adds to that

	// Receipt is what the vault's ledger says of the point. One that is missing
	// is in Warned; its Sequence is 0 then.
	Receipt ledger.Receipt
}

// Run saves a job's paths as a new recovery point. The repository must be open
// for writing; its ledger is opened if it is not. A vault that went back in
// time is refused. Errors are the vault's or the context's, or fault.Invalid for a
// job that makes no sense; what is wrong with single files is in the Summary.
func Run(ctx context.Context, r *repo.Repository, l repo.Local, job Job) (*Summary, error) {
	if err := job.validate(); err != nil {
		return nil, err
	}
	if r.Chunks.Max > pieceSize {
		return nil, fmt.Errorf("backup: chunks of up to %d bytes, as this repository wants them: %w", r.Chunks.Max, fault.Unsupported)
	}
	if job.Progress == nil {
		job.Progress = &Progress{}
	}
	if r.Book() == nil {
		// A damaged ledger must not stop backups: the point gets its receipt
		// when the ledger is mended, and the Summary says so.
		if err := r.OpenLedger(ctx, l, repo.LedgerOptions{}); err != nil && fault.KindOf(err) != fault.Corrupt {
			return nil, fmt.Errorf("backup: %w", err)
		}
	}
	// When a collector condemns something that this run relied on, between its
	// beginning and its commit, the pass is repeated; what it stored is found.
	// So it is, without the copy of the last table, when that is damaged.
	without := job.Stream != nil
	for range 5 {
		s, err := pass(ctx, r, l, &job, without)
		switch {
		case job.Stream != nil && errors.Is(err, repo.ErrCondemned):
			// It has been read.
			return s, fmt.Errorf("backup: the vault's collector condemned what this run needs; run it again: %w", fault.Unavailable)
		case errors.Is(err, errCopy) && ctx.Err() == nil && !without:
			without = true
		case !errors.Is(err, repo.ErrCondemned):
			return s, err
		}
	}
	return nil, fmt.Errorf("backup: the vault's collector condemned what this run needs five times over; try again later: %w", fault.Unavailable)
}

func (j *Job) validate() error {
	if err := j.validateStreams(); err != nil {
		return err
	}
	if j.Stream != nil {
		return nil
	}
	if len(j.Paths) == 0 && len(j.Items) == 0 {
		return fmt.Errorf("backup: no paths given: %w", fault.Invalid)
	}
	var paths []string // the caller's stay as they are
	for _, p := range j.Paths {
		if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
			return fmt.Errorf("backup: %q is not an absolute path: %w", p, fault.Invalid)
		}
		paths = append(paths, filepath.Clean(p))
	}
	slices.Sort(paths)
	j.Paths = slices.Compact(paths)
	return nil
}
