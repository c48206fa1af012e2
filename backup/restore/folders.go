package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// folders is the chain of folders, from the target down, that the table is at.
// Only the lowest are kept open; higher ones are opened again when the table
// comes back to them.
type folders struct {
	r     *restorer
	strip []byte
	chain []*level
	lost  []byte // key prefix below which nothing is restored
}

// maxOpen bounds the open folders of the chain.
const maxOpen = 64

// level is one folder of the chain.
type level struct {
	name string // in the one above; "" for the target
	rel  string // from the target: "a/b"
	dir  *dir   // nil: not open
}

// dir is an open folder of the target, for as long as somebody uses it.
type dir struct {
	rel  string // from the target
	path string // for messages, and for hosts without calls by descriptor
	root *os.Root
	self *os.File // the same folder, for calls by descriptor
	fd   int      // of self, which asks the kernel again each time
	own  bool     // root is closed with it; the target's is not
	refs atomic.Int32

	// empty: nothing was in it when it was opened, so that nothing is in the
	// way of what is made in it.
	empty bool
	// Who owns what is made in it, where that is known.
	uid, gid uint32
	known    bool
}

func newFolders(r *restorer, s *selection) *folders {
	return &folders{r: r, strip: s.strip, chain: []*level{{}}}
}

func (d *dir) retain() { d.refs.Add(1) }

// release closes the folder when nobody uses it any more.
func (d *dir) release() {
	if d.refs.Add(-1) > 0 {
		return
	}
	_ = d.self.Close() // nothing was written through it
	if d.own {
		_ = d.root.Close()
	}
}

// at returns the place of a name in the folder.
func (d *dir) at(name string) meta.At {
	return meta.At{FD: d.fd, Dir: d.path, Name: name}
}

// owned says whether a new file in the folder belongs to an entry's owner.
func (d *dir) owned(o *owners, e *table.Entry) bool {
	return d.known && d.uid == o.users.id(e.UID) && d.gid == o.groups.id(e.GID)
}

func (s *folders) close() { s.cut(0) }

// cut closes the chain from a level on.
func (s *folders) cut(from int) {
	for _, l := range s.chain[from:] {
		l.shut()
	}
	s.chain = s.chain[:from]
}

func (l *level) shut() {
	if l.dir != nil {
		l.dir.release()
		l.dir = nil
	}
}

// enter returns the folder for which prefix stands in keys; nil if it was not
// restored. The caller must retain it to use it longer than until the next call.
func (s *folders) enter(prefix []byte) (*dir, error) {
	if s.lost != nil && bytes.HasPrefix(prefix, s.lost) {
		return nil, nil
	}
	rest := bytes.TrimPrefix(prefix, s.strip)
	depth, at := 1, len(prefix)-len(rest)
	for ; len(rest) > 0; depth++ {
		i := bytes.IndexByte(rest, 0)
		at += i + 1
		name := string(rest[:i])
		if other, ok := s.r.renamed[string(prefix[:at])]; ok {
			name = other
		}
		if depth >= len(s.chain) || s.chain[depth].name != name {
			s.cut(min(depth, len(s.chain)))
			s.chain = append(s.chain, &level{name: name, rel: filepath.Join(s.chain[depth-1].rel, name)})
		}
		rest = rest[i+1:]
	}
	s.cut(depth)
	if n := depth - maxOpen; n > 0 {
		s.chain[n-1].shut()
	}
	d, err := s.open(depth - 1)
	if err != nil {
		s.lost = bytes.Clone(prefix)
		return nil, err
	}
	return d, nil
}

// open opens a level of the chain through the one above it. A link that stands
// where the folder was made is not followed.
func (s *folders) open(i int) (*dir, error) {
	l := s.chain[i]
	if l.dir != nil {
		return l.dir, nil
	}
	d := &dir{rel: l.rel, path: filepath.Join(s.r.base.Name(), l.rel), root: s.r.base, own: i > 0}
	if i > 0 {
		above, err := s.open(i - 1)
		if err != nil {
			return nil, err
		}
		if d.root, err = s.descend(above.root, l.name); err != nil {
			return nil, err
		}
	}
	var err error
	if d.self, err = d.root.Open("."); err != nil {
		if d.own {
			err = errors.Join(err, d.root.Close())
		}
		return nil, err
	}
	_, err = d.self.Readdirnames(1)
	d.empty = errors.Is(err, io.EOF)
	d.fd = int(d.self.Fd())
	d.uid, d.gid, d.known = meta.NewOwner(d.fd)
	d.refs.Store(1)
	l.dir = d
	return d, nil
}

func (s *folders) descend(above *os.Root, name string) (*os.Root, error) {
	info, err := above.Lstat(name)
	if errors.Is(err, os.ErrNotExist) && s.r.job.InPlace {
		// What led to the path is gone from this machine, and is not part of
		// what is restored.
		if err = above.Mkdir(name, 0o755); err == nil {
			info, err = above.Lstat(name)
		}
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("something that is no folder stands in its place: %w", fault.NotDir)
	}
	return above.OpenRoot(name)
}

// prefixOf is what keys of entries in a folder begin with.
func prefixOf(e *table.Entry) []byte {
	p := table.ChildrenPrefix(e.Key)
	return p[:len(p)-1]
}

// lose says that nothing below a folder is restored.
func (s *folders) lose(e *table.Entry) { s.lost = prefixOf(e) }

// folder makes a folder; its mode and times come last.
func (r *restorer) folder(s *folders, dir *dir, e *table.Entry, name string) error {
	r.job.Progress.current.Store(&dir.path)
	for try := 0; ; try++ {
		err := dir.root.Mkdir(name, 0o700)
		if err == nil {
			r.done(e, fresh)
			return nil
		}
		info, statErr := dir.root.Lstat(name)
		if !errors.Is(err, os.ErrExist) || statErr != nil || try > 100 {
			s.lose(e)
			return err
		}
		if info.IsDir() {
			r.done(e, unchanged)
			return nil
		}
		switch r.job.OnConflict {
		case Skip:
			s.lose(e)
			r.done(e, skipped)
			r.warn(table.Path(e.Key), "a file is in the way; nothing below it is restored")
			return nil
		case Overwrite:
			if err := dir.root.Remove(name); err != nil {
				s.lose(e)
				return err
			}
		default:
			if name, err = r.copyName(dir.root, "", name); err != nil {
				s.lose(e)
				return err
			}
			r.renamed[string(prefixOf(e))] = name
		}
	}
}

// finishFolders gives every folder what it was: now that nothing changes in it
// any more.
func (r *restorer) finishFolders(ctx context.Context, sel *selection) error {
	s := newFolders(r, sel)
	defer s.close()
	for it, err := range r.tree.Range(ctx, sel.from, sel.to) {
		if err != nil {
			return err
		}
		e := it.Entry
		if e.Kind != table.Folder {
			continue
		}
		folder, name := table.Split(e.Key)
		dir, err := s.enter(folder)
		if err != nil || dir == nil {
			continue // it was said before
		}
		real := string(name)
		if other, ok := r.renamed[string(prefixOf(e))]; ok {
			real = other
		}
		info, err := dir.root.Lstat(real)
		if err != nil || !info.IsDir() {
			continue
		}
		if err := r.apply(dir.at(real), e, false); err != nil {
			r.warn(table.Path(e.Key), err.Error())
		}
	}
	if sel.made && sel.top != nil && !r.job.InPlace {
		s.cut(1)
		d, err := s.open(0)
		if err != nil {
			return err
		}
		if err := r.apply(d.at(""), sel.top, false); err != nil {
			r.warn(table.Path(sel.top.Key), err.Error())
		}
	}
	return ctx.Err()
}
