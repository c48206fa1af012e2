//go:build linux && (amd64 || arm64)

package walk

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lstatTerminated is fstatat without a copy of the name: names in an arena
// are followed by a zero byte, as the kernel wants them.
func lstatTerminated(fd int, name string, st *unix.Stat_t) error {
	for {
		_, _, no := unix.Syscall6(unix.SYS_NEWFSTATAT, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.StringData(name))), uintptr(unsafe.Pointer(st)),
			unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, 0)
		if no == 0 {
			return nil
		}
		if no != syscall.EINTR {
			return no
		}
	}
}

// openTerminated is openat without a copy of the name.
func openTerminated(dir int, name string, flags int, perm uint32) (int, error) {
	fd, _, no := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir),
		uintptr(unsafe.Pointer(unsafe.StringData(name))), uintptr(flags|unix.O_LARGEFILE), uintptr(perm), 0, 0)
	if no != 0 {
		return -1, no
	}
	return int(fd), nil
}
