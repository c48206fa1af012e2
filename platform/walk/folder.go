package walk

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// errBig says that a folder's names do not fit what a worker may use ahead of
// the consumer.
var errBig = errors.New("folder too big to read ahead")

// Open opens a file of the folder for reading. It follows no link, does not
// wait for a pipe's writer, and leaves the access time alone where allowed.
// What is opened may be another file than was listed: the caller compares
// its stat.
func (f *Folder) Open(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return f.h.openFile(name)
}

// Readlink returns the target of a symbolic link in the folder.
func (f *Folder) Readlink(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	return f.h.readlink(name)
}

// Lstat asks again for the stat of one name.
func (f *Folder) Lstat(name string) (Stat, error) {
	if err := checkName(name); err != nil {
		return Stat{}, err
	}
	fd, err := f.h.pin()
	if err != nil {
		return Stat{}, err
	}
	defer f.h.unpin()
	return f.h.statAt(fd, name, false)
}

// Pin returns a descriptor of the folder, opened again if it was closed
// meanwhile, for calls relative to it. It is the caller's until Unpin, which
// must follow soon: pinned descriptors are not bounded. Where the host has no
// such calls it is -1, and HostPath serves instead.
func (f *Folder) Pin() (fd int, err error) { return f.h.pin() }

// Unpin ends the use of the descriptor that Pin returned.
func (f *Folder) Unpin() { f.h.unpin() }

// HostPath returns the path of a name in the folder as this host writes it;
// with an empty name that of the folder. On Linux it may be longer than
// PATH_MAX.
func (f *Folder) HostPath(name string) string {
	if name == "" {
		return f.h.t.places.host(f.Path)
	}
	return f.h.t.places.host(f.Join(name))
}

// Retain keeps the folder usable after the loop's body, until Release, also
// beyond the end of the walk. Descriptors are closed and opened again as
// needed: any number of folders may be retained.
func (f *Folder) Retain() { f.h.retain() }

// Release gives up what Retain kept.
func (f *Folder) Release() { f.h.release() }

// Has says whether the folder has a name. In Enter and Select it answers from
// the listing, also for names that Select has left out, and for a folder that
// was too big for one listing from the file system. Elsewhere it knows the
// entries of this slice.
func (f *Folder) Has(name string) bool {
	switch {
	case f.names == nil:
		return f.Find(name) != nil
	case f.whole:
		return f.names.has(name)
	}
	_, err := f.Lstat(name)
	return err == nil
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("name %q in a folder: %w", name, fault.Invalid)
	}
	return nil
}
