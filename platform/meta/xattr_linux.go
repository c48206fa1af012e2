package meta

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xattrArgs is the kernel's struct xattr_args, of systems with 64-bit
// pointers.
type xattrArgs struct {
	value *byte
	size  uint32
	flags uint32
}

// hasXattrAt says whether the kernel has listxattrat and its siblings (Linux
// 6.13) and lets us call them: a container's filter may answer ENOSYS or
// EPERM to what it does not know.
var hasXattrAt = sync.OnceValue(func() bool {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		return false
	}
	_, err := listXattrAt(unix.AT_FDCWD, ".", nil)
	return err == nil || errors.Is(err, unix.ENOTSUP)
})

// name is the last step for calls relative to the folder.
func (a At) name() string {
	if a.Name == "" {
		return "."
	}
	return a.Name
}

// procPath is a path to the place for calls that know no folders.
func (a At) procPath() string {
	return "/proc/self/fd/" + strconv.Itoa(a.FD) + "/" + a.name()
}

// listXattrs returns the zero-terminated names in buf.
func listXattrs(a At, buf []byte) ([]byte, error) {
	for {
		var n int
		var err error
		if hasXattrAt() {
			n, err = listXattrAt(a.FD, a.name(), buf)
		} else {
			n, err = unix.Llistxattr(a.procPath(), buf)
		}
		switch {
		case err == nil:
			return buf[:n], nil
		case err == unix.EINTR:
		case err == unix.ERANGE || err == unix.E2BIG:
			return nil, tooLarge(len(buf)+1, len(buf))
		default:
			return nil, err
		}
	}
}

// getXattr returns the value of an attribute, in buf.
func getXattr(a At, attr string, buf []byte) ([]byte, error) {
	for {
		var n int
		var err error
		if hasXattrAt() {
			n, err = getXattrAt(a.FD, a.name(), attr, buf)
		} else {
			n, err = unix.Lgetxattr(a.procPath(), attr, buf)
		}
		switch {
		case err == nil:
			return buf[:n], nil
		case err == unix.EINTR:
		case err == unix.ERANGE || err == unix.E2BIG:
			return nil, tooLarge(len(buf)+1, len(buf))
		default:
			return nil, err
		}
	}
}

func setXattr(a At, attr string, value []byte) error {
	if len(value) > MaxXattrValue {
		return tooLarge(len(value), MaxXattrValue)
	}
	for {
		var err error
		if hasXattrAt() {
			err = setXattrAt(a.FD, a.name(), attr, value)
		} else {
			err = unix.Lsetxattr(a.procPath(), attr, value, 0)
		}
		if err != unix.EINTR {
			return err
		}
	}
}

func removeXattr(a At, attr string) error {
	for {
		var err error
		if hasXattrAt() {
			err = removeXattrAt(a.FD, a.name(), attr)
		} else {
			err = unix.Lremovexattr(a.procPath(), attr)
		}
		switch {
		case isMissing(err):
			return nil
		case err != unix.EINTR:
			return err
		}
	}
}

// isMissing says that there is no such attribute now.
func isMissing(err error) bool { return errors.Is(err, unix.ENODATA) }

func listXattrAt(fd int, name string, buf []byte) (int, error) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	n, _, no := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(p)),
		unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	if no != 0 {
		return 0, no
	}
	return int(n), nil
}

func getXattrAt(fd int, name, attr string, buf []byte) (int, error) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	q, err := unix.BytePtrFromString(attr)
	if err != nil {
		return 0, err
	}
	args := &xattrArgs{value: unsafe.SliceData(buf), size: uint32(len(buf))}
	n, _, no := unix.Syscall6(unix.SYS_GETXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(p)),
		unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(q)), uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	if no != 0 {
		return 0, no
	}
	return int(n), nil
}

func setXattrAt(fd int, name, attr string, value []byte) error {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	q, err := unix.BytePtrFromString(attr)
	if err != nil {
		return err
	}
	args := &xattrArgs{value: unsafe.SliceData(value), size: uint32(len(value))}
	_, _, no := unix.Syscall6(unix.SYS_SETXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(p)),
		unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(q)), uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	if no != 0 {
		return no
	}
	return nil
}

func removeXattrAt(fd int, name, attr string) error {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	q, err := unix.BytePtrFromString(attr)
	if err != nil {
		return err
	}
	_, _, no := unix.Syscall6(unix.SYS_REMOVEXATTRAT, uintptr(fd), uintptr(unsafe.Pointer(p)),
		unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(q)), 0, 0)
	if no != 0 {
		return no
	}
	return nil
}

func setOwner(a At, uid, gid uint32) error {
	return again(func() error {
		return unix.Fchownat(a.FD, a.name(), int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
	})
}

// setMode changes the mode of what is no link. Kernels before 6.6 have no
// call that does not follow one: there the file is opened as a mere place.
func setMode(a At, mode uint32) error {
	err := again(func() error { return unix.Fchmodat(a.FD, a.name(), mode, unix.AT_SYMLINK_NOFOLLOW) })
	if err != unix.EOPNOTSUPP && err != unix.EPERM {
		return err
	}
	fd, openErr := unix.Openat(a.FD, a.name(), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if openErr != nil {
		return openErr
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&typeMask == typeLink {
		return err
	}
	return again(func() error { return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode) })
}

// setTimes sets the time of last change of content, and leaves that of last
// access as it is.
func setTimes(a At, mtime Time) error {
	ts, err := unix.TimeToTimespec(mtime.Time())
	if err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, ts}
	return again(func() error { return unix.UtimesNanoAt(a.FD, a.name(), times, unix.AT_SYMLINK_NOFOLLOW) })
}

// Mkfifo makes a named pipe with these permission bits, less the umask.
func Mkfifo(a At, perm uint32) error {
	if err := again(func() error { return unix.Mkfifoat(a.FD, a.name(), perm&0o7777) }); err != nil {
		return fmt.Errorf("make pipe %s: %w", a.Path(), err)
	}
	return nil
}

// Mknod makes a device (or a socket's name): mode has the type as in st_mode
// and permission bits, rdev is a number as in st_rdev.
func Mknod(a At, mode uint32, rdev uint64) error {
	if err := again(func() error { return unix.Mknodat(a.FD, a.name(), mode, int(rdev)) }); err != nil {
		return fmt.Errorf("make device %s: %w", a.Path(), err)
	}
	return nil
}

// again repeats a call that a signal interrupts.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// Sequential tells the system that the file will be read from front to back.
func Sequential(f *os.File) { advise(f, 0, 0, unix.FADV_SEQUENTIAL) }

// WillNeed asks the system to read a part of the file ahead. Bytes; length 0
// means to the end.
func WillNeed(f *os.File, offset, length int64) { advise(f, offset, length, unix.FADV_WILLNEED) }

// DontNeed tells the system that it need not keep a part of the file in its
// cache. Bytes; length 0 means to the end.
func DontNeed(f *os.File, offset, length int64) { advise(f, offset, length, unix.FADV_DONTNEED) }

// advise is best effort: advice has no failures worth telling.
func advise(f *os.File, offset, length int64, advice int) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), offset, length, advice) })
}
