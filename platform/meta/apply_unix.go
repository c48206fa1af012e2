//go:build unix && !linux

package meta

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func setOwner(a At, uid, gid uint32) error { return os.Lchown(a.Path(), int(uid), int(gid)) }

func setMode(a At, mode uint32) error {
	return unix.Fchmodat(unix.AT_FDCWD, a.Path(), mode, unix.AT_SYMLINK_NOFOLLOW)
}

// setTimes sets the time of last change of content; that of last access
// becomes now.
func setTimes(a At, mtime Time) error {
	m, err := unix.TimeToTimespec(mtime.Time())
	if err != nil {
		return err
	}
	now, err := unix.TimeToTimespec(time.Now())
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, a.Path(), []unix.Timespec{now, m}, unix.AT_SYMLINK_NOFOLLOW)
}

// Mkfifo makes a named pipe with these permission bits, less the umask.
func Mkfifo(a At, perm uint32) error {
	if err := unix.Mkfifo(a.Path(), perm&0o7777); err != nil {
		return fmt.Errorf("make pipe %s: %w", a.Path(), err)
	}
	return nil
}

// Sequential tells the system that the file will be read from front to back.
// Best effort: nothing here.
func Sequential(*os.File) {}

// WillNeed asks the system to read a part of the file ahead. Best effort:
// nothing here.
func WillNeed(_ *os.File, _, _ int64) {}

// DontNeed tells the system that it need not keep a part of the file in its
// cache. Best effort: nothing here.
func DontNeed(_ *os.File, _, _ int64) {}
