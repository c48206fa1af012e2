package winfsp

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/alias"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// child is an entry of a folder as Windows sees it.
type child struct {
	shown string
	name  string
	attr  *fs.Attr // of what it leads to; nil: to be asked for
}

// children lists a folder that path leads to, from its beginning: aliases of
// twins depend on what comes before. What Windows cannot have is left out, and
// so are links that lead nowhere.
func (s *System) children(path string, folder *fs.Attr) iter.Seq2[child, error] {
	return func(yield func(child, error) bool) {
		var twins alias.Twins
		for d, err := range s.tree.ReadDir(s.ctx, folder.Node, 0) {
			if err != nil {
				yield(child{}, err)
				return
			}
			c := child{name: string(d.Name)}
			c.shown = c.name
			if c.name != "." && c.name != ".." {
				c.shown = twins.Shown(c.name)
			}
			a := d.Attr
			switch {
			case a.Kind == table.Symlink:
				to, err := s.resolve(path + "/" + c.shown)
				if err != nil {
					continue
				}
				c.attr = &to
			case a.Kind != table.File && a.Kind != table.Folder:
				continue
			case !d.Bare:
				c.attr = &a
			}
			if c.attr != nil {
				s.own(c.attr)
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// lookup finds a name as a user says it: in other case, or an alias.
func (s *System) lookup(folder *fs.Attr, name string) (fs.Attr, error) {
	a, err := s.tree.Lookup(s.ctx, folder.Node, name)
	if !errors.Is(err, fault.NotExist) {
		return a, err
	}
	names, err := s.names(folder)
	if err != nil {
		return fs.Attr{}, err
	}
	if own, ok := names[key(name)]; ok {
		return s.tree.Lookup(s.ctx, folder.Node, own)
	}
	return fs.Attr{}, fmt.Errorf("look up %q: %w", name, fault.NotExist)
}

// key is what names are found by: a hash of how Windows compares them.
func key(name string) uint64 {
	sum := sha256.Sum256([]byte(alias.Fold(name)))
	return binary.LittleEndian.Uint64(sum[:])
}

// folded remembers the names of folders by their keys, so that Windows' many
// questions for files that are not there cost one listing of the folder. Of a
// name only its key is kept, and itself where it differs from what is shown.
type folded struct {
	mu    sync.Mutex
	known map[fs.Node]map[uint64]string
	size  int
}

// maxFolded bounds the names that are remembered, over all folders.
const maxFolded = 200_000

// names returns the names of a folder by their keys.
func (s *System) names(folder *fs.Attr) (map[uint64]string, error) {
	s.dirs.mu.Lock()
	names := s.dirs.known[folder.Node]
	s.dirs.mu.Unlock()
	if names != nil {
		return names, nil
	}
	names = map[uint64]string{}
	var twins alias.Twins
	for d, err := range s.tree.ReadDir(s.ctx, folder.Node, 0) {
		if err != nil {
			return nil, err
		}
		name := string(d.Name)
		if name == "." || name == ".." {
			continue
		}
		names[key(twins.Shown(name))] = name
	}
	if folder.Fixed {
		s.dirs.keep(folder.Node, names)
	}
	return names, nil
}

// keep remembers the names of a folder that never changes. When there are too
// many all are forgotten: who walks a tree does not come back soon.
func (f *folded) keep(n fs.Node, names map[uint64]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil || f.size+len(names) > maxFolded {
		f.known, f.size = map[fs.Node]map[uint64]string{}, 0
	}
	if f.known[n] == nil && len(names) <= maxFolded {
		f.known[n] = names
		f.size += len(names) + 1
	}
}
