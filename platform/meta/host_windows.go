package meta

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/windows"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// setOwner does nothing: owners are no numbers here.
func setOwner(At, uint32, uint32) error { return nil }

// setMode keeps the one bit that there is: read-only.
func setMode(a At, mode uint32) error {
	fi, err := os.Lstat(a.Path())
	if err != nil {
		return err
	}
	if fi.Mode()&os.ModeSymlink != 0 || fi.IsDir() {
		return nil
	}
	return os.Chmod(a.Path(), os.FileMode(mode&0o777))
}

// setTimes sets the time of last change of content, of the link itself where
// the name is a link.
func setTimes(a At, mtime Time) error {
	p, err := windows.UTF16PtrFromString(a.Path())
	if err != nil {
		return err
	}
	h, err := windows.CreateFile(p, windows.FILE_WRITE_ATTRIBUTES,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	t := filetime(mtime.Time())
	return windows.SetFileTime(h, nil, nil, &t)
}

// filetime counts 100 ns since 1601, without the detour over nanoseconds in
// 64 bits, which end in 2262.
func filetime(t time.Time) windows.Filetime {
	const secondsTo1970 = 11_644_473_600
	n := (t.Unix()+secondsTo1970)*10_000_000 + int64(t.Nanosecond()/100)
	return windows.Filetime{LowDateTime: uint32(n), HighDateTime: uint32(n >> 32)}
}

// Mkfifo makes a named pipe: there are none in folders here.
func Mkfifo(a At, _ uint32) error {
	return fmt.Errorf("make pipe %s: %w", a.Path(), fault.Unsupported)
}

// Mknod makes a device: there are none in folders here.
func Mknod(a At, _ uint32, _ uint64) error {
	return fmt.Errorf("make device %s: %w", a.Path(), fault.Unsupported)
}

// DeviceNumbers splits a device number.
func DeviceNumbers(rdev uint64) (major, minor uint32) { return uint32(rdev >> 32), uint32(rdev) }

// DeviceOf makes a device number.
func DeviceOf(major, minor uint32) uint64 { return uint64(major)<<32 | uint64(minor) }

// nextData does not look for holes: the file is one extent.
func nextData(_ *os.File, offset, size int64) (data, hole int64, err error) { return offset, size, nil }

// Sequential tells the system that the file will be read from front to back.
// Best effort: nothing here.
func Sequential(*os.File) {}

// WillNeed asks the system to read a part of the file ahead. Best effort:
// nothing here.
func WillNeed(_ *os.File, _, _ int64) {}

// DontNeed tells the system that it need not keep a part of the file in its
// cache. Best effort: nothing here.
func DontNeed(_ *os.File, _, _ int64) {}
