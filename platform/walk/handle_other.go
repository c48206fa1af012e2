//go:build !linux

package walk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// handle is a folder known by its path. Between calls nothing is open.
type handle struct {
	t      *table
	parent *handle
	path   string
	follow bool
	refs   atomic.Int32
}

// table has nothing to bound here.
type table struct{ places *places }

func newTable(p *places) *table { return &table{places: p} }

func (t *table) close() {}

func (h *handle) init(t *table, parent *handle, path string, follow bool) {
	h.t, h.parent, h.path, h.follow = t, parent, path, follow
	h.refs.Store(1)
}

func (h *handle) retain()           { h.refs.Add(1) }
func (h *handle) release()          { h.refs.Add(-1) }
func (h *handle) pin() (int, error) { return -1, nil }
func (h *handle) unpin()            {}

// isMadeUp says whether a folder is on a file system that the kernel makes up.
// Systems other than Linux mount none by themselves where backups begin.
func isMadeUp(int) bool { return false }

// open makes sure that the path is a folder and no link.
func (h *handle) open() (int, Stat, error) {
	if isTop(h.path) {
		return -1, Stat{Mode: TypeFolder | 0o755, Nlink: 1}, nil
	}
	st, err := statPath(h.t.places.host(h.path), h.follow)
	if err != nil {
		return -1, Stat{}, fmt.Errorf("open folder %s: %w", h.path, err)
	}
	if !st.IsFolder() {
		return -1, Stat{}, fmt.Errorf("open folder %s: %w", h.path, fault.NotDir)
	}
	return -1, st, nil
}

// readNames lists the folder into l, as on Linux.
func (h *handle) readNames(_ int, l *nameList, _ []byte, _, stop bool) error {
	d, err := os.Open(h.t.places.host(h.path))
	if err != nil {
		return fmt.Errorf("list folder %s: %w", h.path, err)
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if name == "" || strings.ContainsRune(name, '/') {
				return fmt.Errorf("list folder %s: name %q: %w", h.path, name, fault.Corrupt)
			}
			if !l.add([]byte(name), 0) {
				if stop {
					return errBig
				}
				l.halve()
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list folder %s: %w", h.path, err)
		}
	}
}

// lstatAll fills in the stats of entries.
func (h *handle) lstatAll(_ int, entries []Entry, order []uint32) {
	for _, i := range order {
		e := &entries[i]
		e.Stat, e.Err = h.statAt(-1, e.Name, false)
	}
}

// statAt returns the stat of one name, of a link's target if follow is set.
func (h *handle) statAt(_ int, name string, follow bool) (Stat, error) {
	path := join(h.path, name)
	st, err := statPath(h.t.places.host(path), follow)
	if err != nil {
		return Stat{}, fmt.Errorf("stat %s: %w", path, err)
	}
	return st, nil
}

// openFile opens a file of the folder for reading.
func (h *handle) openFile(name string) (*os.File, error) {
	path := join(h.path, name)
	f, err := openNoFollow(h.t.places.host(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return f, nil
}

// readlink returns the target of a symbolic link.
func (h *handle) readlink(name string) (string, error) {
	path := join(h.path, name)
	target, err := os.Readlink(h.t.places.host(path))
	if err != nil {
		return "", fmt.Errorf("read link %s: %w", path, err)
	}
	return target, nil
}
