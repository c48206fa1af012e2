package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/tidemark-backup/tidemark/platform/direct"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/platform/walk"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// maxStreams bounds the large files that are read at a time.
const maxStreams = 2

// run is one pass over the files of a job.
type run struct {
	job    *Job
	repo   *repo.Repository
	local  repo.Local
	writer *repo.Writer // nil in a dry run
	copies *copies
	old    *table.Tree // nil: no copy of the last table
	params chunk.Params
	cutter *chunk.Cutter
	names  meta.Names

	attributes meta.Reader
	devices    devices
	work       chan *batch
	streams    chan struct{}
	ahead      *semaphore.Weighted // bytes of batches that are read ahead
	arenas     [len(arenaSizes)]chan []byte
	pieces     chan []byte
	began      bool
	failed     map[string]bool // keys of folders that could not be listed wholly
	unprinted  []string        // streams that failed and are left out
	started    time.Time

	bytesRead, removed atomic.Int64
	removedFiles       atomic.Int64

	mu       sync.Mutex
	warnings []repo.Warning
	warned   uint64
	skipped  []string
}

func (r *run) now() time.Time { return r.job.Now() }

// roots name what the copy of the table is of.
func (j *Job) roots() []string {
	if len(j.Paths) > 0 {
		return j.Paths
	}
	var roots []string
	for _, s := range j.streams() {
		roots = append(roots, "stream:"+s.Name)
	}
	return roots
}

// first says true once: the top of the tree comes once, whatever slices its
// listing has.
func (r *run) first() bool {
	first := !r.began
	r.began = true
	return first
}

func (r *run) warn(path, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warned++
	if len(r.warnings) < repo.MaxWarnings {
		r.warnings = append(r.warnings, repo.Warning{Path: path, Reason: reason})
	}
}

func (r *run) skip(path string) {
	if len(r.skipped) < repo.MaxWarnings {
		r.skipped = append(r.skipped, path)
	}
}

func (r *run) at(path string) { r.job.Progress.current.Store(&path) }

// arenaSizes are the sizes that arenas of batches come in, in bytes. Most
// folders are small, and so are their batches.
var arenaSizes = [...]int{32 << 10, 128 << 10, batchBytes + 8<<10, streamed + batchBytes + 8<<10}

// arenaClass returns the class of arena for n bytes of content, with room for
// files that grow a little.
func arenaClass(n int64) int {
	for i, size := range arenaSizes {
		if n+4<<10 <= int64(size) {
			return i
		}
	}
	return len(arenaSizes) - 1
}

// reserve waits until a batch may be read ahead. Batches are reserved in order,
// and those before it are saved without it, so that this cannot wait for ever.
func (r *run) reserve(ctx context.Context, b *batch) error {
	b.held = int64(arenaSizes[arenaClass(b.bytes)])
	return r.ahead.Acquire(ctx, b.held)
}

func (r *run) takeArena(b *batch) []byte {
	class := arenaClass(b.bytes)
	select {
	case arena := <-r.arenas[class]:
		return arena[:0]
	default:
		return make([]byte, 0, arenaSizes[class])
	}
}

// giveArena takes back what a batch held once it is saved.
func (r *run) giveArena(b *batch) {
	if b.held > 0 {
		r.ahead.Release(b.held)
	}
	for i, size := range arenaSizes {
		if cap(b.arena) == size {
			select {
			case r.arenas[i] <- b.arena:
			default:
			}
		}
	}
	b.arena = nil
}

// front is how many bytes are kept free before a piece, for the rest of the one
// before it.
func (r *run) front() int { return (r.params.Max + direct.Align - 1) / direct.Align * direct.Align }

// takePiece returns a buffer for a piece of a large file: front bytes, then
// pieceSize that can be read into past the page cache.
func (r *run) takePiece() []byte {
	select {
	case b := <-r.pieces:
		return b
	default:
		return direct.Buffer(r.front() + pieceSize)
	}
}

func (r *run) givePiece(b []byte) {
	if b == nil { // of a hole
		return
	}
	select {
	case r.pieces <- b:
	default:
	}
}

// pass goes over the files once, with or without the copy of the last table.
func pass(ctx context.Context, rp *repo.Repository, l repo.Local, job *Job, without bool) (sum *Summary, err error) {
	started := job.Now()
	job.Progress.Files.Store(0)
	job.Progress.Bytes.Store(0)
	r := &run{
		job: job, repo: rp, local: l, params: rp.Chunks, started: started,
		failed: make(map[string]bool), work: make(chan *batch), streams: make(chan struct{}, maxStreams),
		ahead: semaphore.NewWeighted(aheadBytes), pieces: make(chan []byte, 6*maxStreams),
	}
	for i := range r.arenas {
		r.arenas[i] = make(chan []byte, aheadBytes/arenaSizes[i]/2)
	}
	r.cutter = rp.Cutter()
	if r.copies, err = openCopies(l.Dir, rp.ID, job.roots(), rp.PageKey(), without); err != nil {
		return nil, err
	}
	defer func() { err = sum.closed(l.Dir, err, r.copies.Close()) }()
	r.openOld()
	if old := r.copies.old; old != nil {
		if err := rp.Remembers(ctx, old.sequence, old.point); err != nil {
			return nil, fmt.Errorf("backup: %w", err)
		}
	}
	if !job.DryRun {
		if r.writer, err = rp.NewWriter(ctx, l, repo.WriterOptions{Now: started, Job: r.copies.name(), Alone: r.copies.lock != nil, Hollow: job.Renew, Claim: job.Claim, Until: job.Until, FrameSize: job.FrameSize}); err != nil {
			return nil, err
		}
		defer func() { err = sum.closed(l.Dir, err, r.writer.Close()) }()
	}
	s := &saver{run: r}
	if err := s.begin(); err != nil {
		return nil, err
	}
	if err := r.pipeline(ctx, s); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return s.finish(ctx)
}

// closed returns a run's error, after its local state was closed. Once there is
// a point, a failure of that is a warning.
func (s *Summary) closed(dir string, err, closing error) error {
	if err != nil || s == nil || closing == nil {
		return errors.Join(err, closing)
	}
	s.slower(dir, closing)
	return nil
}

// slower warns of what costs the next run its speed, and not this one its
// point.
func (s *Summary) slower(dir string, err error) {
	s.warn(dir, "the next run will take longer: "+err.Error())
}

// warn adds what came up when the point was written already.
func (s *Summary) warn(path, reason string) {
	s.Statistics.Warnings++
	s.Warned = append(s.Warned, repo.Warning{Path: path, Reason: reason})
}

// openOld opens the copy of the last table. One that cannot be read is as good
// as none.
func (r *run) openOld() {
	o := r.copies.old
	if o == nil {
		return
	}
	id := r.copies.ids.Sum(o.root)
	t, err := table.New(o, table.Root{Page: o.root, Level: o.level, Count: o.entries, ID: id}, table.Options{ReadAhead: 2})
	if err != nil {
		return
	}
	r.old = t
	r.devices = devices{numbers: slices.Clone(o.devices), seen: make([]bool, len(o.devices))}
}

// pipeline runs compare, readers and saver side by side.
func (r *run) pipeline(ctx context.Context, s *saver) error {
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan *batch, aheadBatches)
	group.Go(func() error {
		defer close(queue)
		defer close(r.work)
		return r.compare(ctx, queue)
	})
	if !r.job.DryRun {
		for range readers {
			group.Go(func() error {
				key := r.repo.ChunkKey()
				return (&reader{run: r, hasher: chunk.NewHasher(&key)}).read(ctx)
			})
		}
	}
	group.Go(func() error { return s.save(ctx, queue) })
	if r.job.Scan {
		scan, stop := context.WithCancel(ctx)
		var done sync.WaitGroup
		defer done.Wait()
		defer stop()
		done.Go(func() { r.scan(scan) })
	}
	return group.Wait()
}

// scan counts what there is, so that Progress can tell how much is left.
func (r *run) scan(ctx context.Context) {
	c := &comparer{job: r.job}
	o := c.options()
	o.Workers = 1
	var files, bytes int64
	for f, err := range walk.Walk(ctx, o) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			continue
		}
		for i := range f.Entries {
			files++
			if f.Entries[i].Stat.IsFile() {
				bytes += f.Entries[i].Stat.Size
			}
		}
	}
	r.job.Progress.TotalFiles.Store(files)
	r.job.Progress.TotalBytes.Store(bytes)
}
