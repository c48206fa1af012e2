package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// syncDir has nothing to call: folders cannot be synced here.
func syncDir(path string) error {
	_, err := os.Stat(path)
	return err
}

// renameNew renames temp to path if nothing has that name, written through.
func renameNew(temp, path string) error {
	from, err := windows.UTF16PtrFromString(temp)
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	if err := windows.MoveFileEx(from, to, windows.MOVEFILE_WRITE_THROUGH); err != nil {
		return &os.LinkError{Op: "rename", Old: temp, New: path, Err: err}
	}
	return nil
}

func lockFile(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return fault.Unavailable
	}
	return err
}
