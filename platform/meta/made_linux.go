package meta

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Made is a new file that is being filled, by its bare descriptor: an os.File
// asks the kernel five things more for each, which of a small file's restore
// is a quarter of the time.
type Made struct {
	fd   int
	path string // for messages
}

// Make makes a file for its owner alone at a, where nothing may be. root is
// the same folder, for hosts without calls by descriptor.
func Make(_ *os.Root, a At) (*Made, error) {
	if err := single(a.Name); err != nil {
		return nil, err
	}
	fd := -1
	err := again(func() (err error) {
		fd, err = unix.Openat(a.FD, a.Name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: a.Path(), Err: err}
	}
	return &Made{fd: fd, path: a.Path()}, nil
}

// WriteAt implements io.WriterAt.
func (m *Made) WriteAt(b []byte, offset int64) (int, error) {
	for done := 0; done < len(b); {
		n, err := unix.Pwrite(m.fd, b[done:], offset+int64(done))
		switch {
		case err == nil && n > 0:
			done += n
		case err == nil:
			err = unix.EIO // it would never end
			fallthrough
		case err != unix.EINTR:
			return done, &os.PathError{Op: "write", Path: m.path, Err: err}
		}
	}
	return len(b), nil
}

// Truncate gives the file a size.
func (m *Made) Truncate(size int64) error {
	if err := again(func() error { return unix.Ftruncate(m.fd, size) }); err != nil {
		return &os.PathError{Op: "truncate", Path: m.path, Err: err}
	}
	return nil
}

// Close closes the file. It is not synced.
func (m *Made) Close() error {
	// After EINTR the descriptor is closed all the same.
	if err := unix.Close(m.fd); err != nil && err != unix.EINTR {
		return &os.PathError{Op: "close", Path: m.path, Err: err}
	}
	return nil
}

// Rename gives what is at a another name in its folder. Unless replace is set,
// something with that name is fault.Exist.
func Rename(root *os.Root, a At, name string, replace bool) error {
	if err := errors.Join(single(a.Name), single(name)); err != nil {
		return err
	}
	if replace {
		return root.Rename(a.Name, name)
	}
	err := again(func() error { return unix.Renameat2(a.FD, a.Name, a.FD, name, unix.RENAME_NOREPLACE) })
	switch err {
	case nil:
		return nil
	case unix.EINVAL, unix.ENOSYS: // a file system or kernel without it
		return renameFree(root, a.Name, name)
	case unix.EEXIST:
		return taken(name)
	}
	return &os.PathError{Op: "rename", Path: a.Path(), Err: err}
}

// NewOwner returns who will own files that are made in the folder that fd is
// open on; known is false where its group may be passed on.
func NewOwner(fd int) (uid, gid uint32, known bool) {
	var st unix.Stat_t
	uid, gid = uint32(os.Geteuid()), uint32(os.Getegid())
	err := again(func() error { return unix.Fstat(fd, &st) })
	return uid, gid, err == nil && st.Mode&unix.S_ISGID == 0 && st.Gid == gid
}

// single checks that a name stays in its folder.
func single(name string) error {
	if !isSingle(name) {
		return fmt.Errorf("name %q: %w", name, fault.Invalid)
	}
	return nil
}
