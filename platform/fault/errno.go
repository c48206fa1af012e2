package fault

import (
	"errors"
	"syscall"
)

// kindOfErrno classifies what the operating system said. The constants used
// here exist in package syscall on every system that Tidemark builds for;
// on Windows they are never returned by system calls, which is harmless: the
// standard library's own classification comes first.
func kindOfErrno(err error) (Kind, bool) {
	no, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return Internal, false
	}
	switch no {
	case syscall.EPERM, syscall.EACCES:
		return Denied, true
	case syscall.EROFS:
		return ReadOnly, true
	case syscall.ENOSPC, syscall.EDQUOT:
		return NoSpace, true
	case syscall.ENOTDIR:
		return NotDir, true
	case syscall.EISDIR:
		return IsDir, true
	case syscall.ESTALE:
		return Stale, true
	case syscall.EINVAL, syscall.ENAMETOOLONG, syscall.ELOOP:
		return Invalid, true
	case syscall.ENOSYS, syscall.ENOTSUP:
		return Unsupported, true
	case syscall.EFBIG, syscall.EOVERFLOW:
		return TooLarge, true
	case syscall.ETIMEDOUT, syscall.ENOTCONN, syscall.ECONNREFUSED, syscall.ECONNRESET:
		return Unavailable, true
	}
	return Internal, false
}
