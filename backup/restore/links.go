package restore

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/tidemark-backup/tidemark/repo/table"
)

// links remembers files with several names: the first is restored like any
// file, the others are linked to it when all files are there.
type links struct {
	mu    *sync.Mutex
	files map[table.Link]*linked
	names []linkName
}

// linked is a file with several names.
type linked struct {
	path string // of its first name, from the target
	made bool   // it was restored under that name
}

// linkName is another name of a file.
type linkName struct {
	entry *table.Entry
	path  string
	of    *linked
}

func newLinks() links {
	return links{mu: &sync.Mutex{}, files: make(map[table.Link]*linked)}
}

// identity is what the names of one file agree in. The count of links may
// change while a run goes on.
func identity(e *table.Entry) table.Link {
	return table.Link{Device: e.Link.Device, Inode: e.Link.Inode}
}

// first says whether an entry is the first name of its file.
func (l *links) first(e *table.Entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files[identity(e)] == nil
}

func (l *links) begin(e *table.Entry, path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files[identity(e)] = &linked{path: path}
}

func (l *links) later(e *table.Entry, path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, linkName{entry: e.Clone(), path: path, of: l.files[identity(e)]})
}

// made notes that the first name is there.
func (l *links) made(e *table.Entry, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[identity(e)]
	f.path, f.made = filepath.Join(filepath.Dir(f.path), name), true
}

// makeLinks makes the other names.
func (r *restorer) makeLinks() error {
	for _, n := range r.links.names {
		out, err := r.link(&n)
		if err := r.failed(n.entry, err); err != nil {
			return err
		}
		if err == nil {
			r.done(n.entry, out)
		}
	}
	return nil
}

func (r *restorer) link(n *linkName) (outcome, error) {
	there, err := r.base.Lstat(n.of.path)
	if err != nil {
		return fresh, errors.New("the file that it is a link to was not restored")
	}
	name, out := n.path, fresh
	if info, err := r.base.Lstat(name); err == nil {
		switch {
		case os.SameFile(info, there):
			return unchanged, nil
		case r.job.OnConflict == Skip:
			return skipped, nil
		case r.job.OnConflict == Overwrite || sameFile(n.entry, info):
			// A name that is linked to nothing yet may be what an earlier
			// restore made of it; it is replaced in one step below.
		default:
			other, err := r.copyName(r.base, filepath.Dir(n.path), filepath.Base(n.path))
			if err != nil {
				return fresh, err
			}
			name, out = filepath.Join(filepath.Dir(n.path), other), copied
		}
	}
	temp := filepath.Join(filepath.Dir(name), tempName(filepath.Base(name)))
	if err := r.base.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, err
	}
	if err := r.base.Link(n.of.path, temp); err != nil {
		return out, err
	}
	return out, r.base.Rename(temp, name)
}

// sameFile says whether a file is what an entry was restored to.
func sameFile(e *table.Entry, info os.FileInfo) bool {
	mtime := info.ModTime()
	return info.Mode().IsRegular() && info.Size() == int64(e.Size) && mtime.Unix() == e.MTime.Sec && mtime.Nanosecond() == int(e.MTime.Nsec)
}
