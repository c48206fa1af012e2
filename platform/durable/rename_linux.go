package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// renameNew renames temp to path if nothing has that name. File systems that
// cannot (EINVAL: NFS, some FUSE) make a hard link.
func renameNew(temp, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	switch err {
	case nil:
		return nil
	case unix.EINVAL, unix.ENOSYS, unix.ENOTSUP, unix.EPERM:
		return linkNew(temp, path)
	}
	return &os.LinkError{Op: "rename", Old: temp, New: path, Err: err}
}
