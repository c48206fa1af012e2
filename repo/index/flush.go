package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// A segment is merged with those after it and the run if it is not more than
// mergeRatio times as large as they together, or small. So each stored segment
// is more than twice as large as all after it together: a hundred million
// records make at most five or six segments.
const (
	mergeRatio   = 2
	smallSegment = 1 << 16 // records: 1.8 MB, cheaper to rewrite than to ask
)

// Flush stores what was added and dropped. If another process is the owner
// it does nothing.
func (ix *Index) Flush() error {
	ix.write.Lock()
	defer ix.write.Unlock()
	if ix.closed || !ix.owner {
		return nil
	}
	if err := ix.flush(); err != nil {
		return fmt.Errorf("flush index %s: %w", ix.dir, err)
	}
	return nil
}

// Close flushes, closes all files and lets another process become the owner.
// The index must not be used afterwards: Lookup finds nothing, Add fails.
func (ix *Index) Close() error {
	err := ix.Flush()
	ix.write.Lock()
	defer ix.write.Unlock()
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.closed {
		return nil
	}
	ix.closed = true
	ix.run = newRun(0)
	retire(ix.segments, false)
	ix.segments = nil
	if ix.log != nil {
		err = errors.Join(err, ix.log.Close())
	}
	if ix.lock != nil {
		err = errors.Join(err, ix.lock.Unlock())
	}
	return err
}

// retire closes segments that nobody uses any more, and deletes those that
// only this process knows, or all.
func retire(segments []*segment, all bool) {
	for _, s := range segments {
		if all || s.private {
			s.remove()
		} else {
			s.file.Close()
		}
	}
}

// flush empties the run into a segment and, in the owner, commits. Damage
// makes it discard what is stored and go on as if another process were the
// owner. write is held.
func (ix *Index) flush() error {
	if ix.damaged.Load() {
		ix.discard()
	}
	err := ix.flushRun()
	if errors.Is(err, fault.Corrupt) {
		ix.damaged.Store(true)
		ix.rebuilt.Store(true)
		ix.discard()
		err = ix.flushRun()
	}
	return err
}

// discard deletes the stored files, for they are damaged. The log goes first:
// without it nothing else counts. What was known about packs stays, so that
// Locations given out can be resolved. write is held.
func (ix *Index) discard() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.owner {
		ix.log.Close()
		os.Remove(filepath.Join(ix.dir, logName))
		ix.log = nil
	}
	retire(ix.segments, ix.owner)
	ix.segments, ix.owner, ix.dropped = nil, false, nil
	ix.damaged.Store(false)
}

// flushRun does the work of flush.
func (ix *Index) flushRun() error {
	from := ix.mergeFrom()
	kept, merged := ix.segments[:from:from], ix.segments[from:]
	if ix.run.count == 0 && len(merged) == 0 && !ix.pending() {
		return nil
	}
	for i := range ix.run.shards {
		ix.mu.Lock() // for each by itself: look-ups go on in between
		ix.run.shards[i].sort()
		ix.mu.Unlock()
	}
	fresh, err := ix.mergeInto(merged)
	now := kept
	if err == nil && fresh != nil {
		now = append(kept, fresh)
	}
	if err == nil && ix.owner {
		err = ix.commit(now)
	}
	ix.mu.Lock()
	if err != nil {
		ix.run.unsort()
		ix.mu.Unlock()
		if fresh != nil {
			fresh.remove()
		}
		return err
	}
	ix.run.clear()
	ix.segments = now
	ix.chooseFilters()
	ix.mu.Unlock()
	// Only now: a crash before the commit needs the old ones.
	retire(merged, ix.owner)
	if ix.owner {
		return ix.compactLog()
	}
	return nil
}

// pending tells whether the log lacks something.
func (ix *Index) pending() bool {
	return ix.owner && (len(ix.dropped) > 0 || ix.committed != ix.packs.next)
}

// mergeFrom returns the first segment to be merged with the run.
func (ix *Index) mergeFrom() int {
	var stored uint64
	for _, s := range ix.segments {
		stored += s.records
	}
	if ix.owner && stored > 2*ix.packs.chunks+ix.options.small {
		return 0 // half of it is dead
	}
	from := len(ix.segments)
	for sum := uint64(ix.run.count); sum > 0 && from > 0; from-- {
		s := ix.segments[from-1]
		if s.records > max(ix.options.small, mergeRatio*sum) || !ix.owner && !s.private {
			break
		}
		sum += s.records
	}
	return from
}

// mergeInto writes the run and the segments to a new segment; nil if nothing
// is left of them.
func (ix *Index) mergeInto(segments []*segment) (*segment, error) {
	most := uint64(ix.run.count)
	sources := []*source{runSource(ix.run)}
	for i := len(segments) - 1; i >= 0; i-- {
		sources = append(sources, segmentSource(segments[i]))
		most += segments[i].records
	}
	if most == 0 {
		return nil, nil
	}
	w, err := createSegment(ix.dir, ix.options.Repository, most)
	if err != nil {
		return nil, err
	}
	err = merge(w, sources, func(number uint32) bool { return ix.packs.get(number) != nil })
	if err != nil {
		w.remove()
		return nil, err
	}
	s, err := w.finish()
	if err != nil {
		w.remove()
		return nil, err
	}
	if s != nil {
		s.private = !ix.owner
	}
	return s, nil
}

// commit makes segments and the state of the pack table valid. After an error
// the state before is.
func (ix *Index) commit(segments []*segment) error {
	c := change{next: ix.packs.next, drops: ix.dropped, segments: numbersOf(segments)}
	for number, e := range ix.packs.from(ix.committed) {
		c.packs = append(c.packs, numbered{number, *e})
	}
	end, frames, err := writeChange(ix.log, ix.logEnd, ix.logFrames, c)
	if err != nil {
		// Of use only if the process ends now: a frame that did get there
		// names a segment that is about to be deleted.
		return errors.Join(err, ix.log.Truncate(ix.logEnd))
	}
	ix.logEnd, ix.logFrames = end, frames
	ix.committed, ix.dropped = ix.packs.next, nil
	return nil
}

func numbersOf(segments []*segment) []uint64 {
	var numbers []uint64
	for _, s := range segments {
		numbers = append(numbers, s.number)
	}
	return numbers
}

// compactLog writes the log anew if most of it is history.
func (ix *Index) compactLog() error {
	if ix.logEnd < 64<<10+3*packSize*int64(ix.packs.count) {
		return nil
	}
	c := change{next: ix.packs.next, segments: numbersOf(ix.segments)}
	for number, e := range ix.packs.all() {
		c.packs = append(c.packs, numbered{number, *e})
	}
	end, frames, err := newLog(ix.dir, ix.options.Repository, c)
	if err != nil {
		return err
	}
	// Windows renames over no open file.
	ix.log.Close()
	path := filepath.Join(ix.dir, logName)
	renamed := os.Rename(filepath.Join(ix.dir, newLogName), path)
	if ix.log, err = os.OpenFile(path, os.O_RDWR, 0o600); err != nil {
		ix.mu.Lock()
		ix.owner = false // what is stored is whole, but it ends here
		ix.mu.Unlock()
		return fmt.Errorf("open index log: %w", err)
	}
	if renamed != nil {
		return fmt.Errorf("replace index log: %w", renamed)
	}
	ix.logEnd, ix.logFrames = end, frames
	return nil
}

// newLog writes a log with one change to the file log.new.
func newLog(dir string, repository [16]byte, c change) (int64, uint32, error) {
	f, err := os.OpenFile(filepath.Join(dir, newLogName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, 0, fmt.Errorf("create index log: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(logHeader(repository)); err != nil {
		return 0, 0, fmt.Errorf("write index log: %w", err)
	}
	return writeChange(f, logHeaderSize, 0, c)
}

// chooseFilters says which filters may be in memory: the newest first, for
// they are the small ones, while they fit. Both locks are held.
func (ix *Index) chooseFilters() {
	left := int64(ix.options.FilterMemory)
	for i := len(ix.segments) - 1; i >= 0; i-- {
		s := ix.segments[i]
		if s.filterSize() > left {
			s.forgetFilter()
			continue
		}
		left -= s.filterSize()
		s.keep.Store(true)
	}
}
