package index

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	lockName   = "lock"
	logName    = "log"
	newLogName = "log.new"
)

// openTries is how often a process that is not the owner tries to find the
// segments that the log names: the owner may replace both meanwhile.
const openTries = 5

// Open opens the index in folder dir, and makes both if they are missing.
// What cannot be used makes it empty, which Rebuilt tells; an error is one of
// the system's.
func Open(dir string, o Options) (*Index, error) {
	if o.MemoryRun == 0 {
		o.MemoryRun = 32 << 20
	}
	if o.FilterMemory == 0 {
		o.FilterMemory = 48 << 20
	}
	if o.small == 0 {
		o.small = smallSegment
	}
	ix := &Index{dir: dir, options: o, run: newRun(o.MemoryRun)}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	lock, err := durable.TryLock(filepath.Join(dir, lockName))
	if err == nil {
		ix.lock, ix.owner = lock, true
		err = ix.openOwned()
	} else if errors.Is(err, fault.Unavailable) {
		err = ix.openForeign()
	}
	if err != nil {
		retire(ix.segments, false)
		if ix.log != nil {
			ix.log.Close()
		}
		if ix.lock != nil {
			err = errors.Join(err, ix.lock.Unlock())
		}
		return nil, fmt.Errorf("open index %s: %w", dir, err)
	}
	ix.committed = ix.packs.next
	ix.chooseFilters()
	return ix, nil
}

// unusable tells whether stored files are to blame for an error.
func unusable(err error) bool {
	return errors.Is(err, fault.Corrupt) || errors.Is(err, iofs.ErrNotExist)
}

// openOwned opens the index in the process that owns it.
func (ix *Index) openOwned() error {
	s, err := ix.load()
	switch {
	case err == nil:
		_, err = ix.sweep(s.segments)
	case unusable(err):
		s = &stored{}
		var found bool
		found, err = ix.sweep(nil, logName)
		ix.rebuilt.Store(found) // a folder with nothing in it is new
	}
	if err != nil {
		return err
	}
	path := filepath.Join(ix.dir, logName)
	if ix.log, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if s.end == 0 {
		if _, err := ix.log.WriteAt(logHeader(ix.options.Repository), 0); err != nil {
			return err
		}
		s.end = logHeaderSize
	}
	ix.logEnd, ix.logFrames = s.end, s.frames
	return nil
}

// openForeign opens what is stored in a process that is not the owner.
func (ix *Index) openForeign() error {
	for try := 1; ; try++ {
		_, err := ix.load()
		switch {
		case err == nil:
			return nil
		case !unusable(err):
			return err
		case try == openTries:
			_, err := os.Stat(filepath.Join(ix.dir, logName))
			ix.rebuilt.Store(err == nil)
			return nil
		}
	}
}

// load reads log and segments. After an error the index is empty.
func (ix *Index) load() (*stored, error) {
	f, err := os.Open(filepath.Join(ix.dir, logName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s, err := readLog(f, info.Size(), ix.options.Repository)
	if err != nil {
		return nil, err
	}
	var segments []*segment
	for _, number := range s.segments {
		g, err := openSegment(ix.dir, number, ix.options.Repository)
		if err != nil {
			retire(segments, false)
			return nil, err
		}
		segments = append(segments, g)
	}
	ix.packs, ix.segments = s.packs, segments
	return s, nil
}

// sweep deletes segments that are not in keep, what an interrupted
// compactLog left, and the files named in also. It tells whether there were
// any.
func (ix *Index) sweep(keep []uint64, also ...string) (bool, error) {
	entries, err := os.ReadDir(ix.dir)
	if err != nil {
		return false, err
	}
	var kept []string
	for _, number := range keep {
		kept = append(kept, filepath.Base(segmentName("", number)))
	}
	also = append(also, newLogName)
	found := false
	for _, e := range entries {
		name := e.Name()
		isSegment := len(name) == 16+len(segmentSuffix) && strings.HasSuffix(name, segmentSuffix)
		if isSegment && !slices.Contains(kept, name) || slices.Contains(also, name) {
			found = true
			// A segment that another process has open cannot be deleted
			// on Windows: a later Open will. A log that stays is no log
			// to write to.
			if err := os.Remove(filepath.Join(ix.dir, name)); err != nil && !isSegment {
				return true, err
			}
		}
	}
	return found, nil
}
