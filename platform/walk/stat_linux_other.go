//go:build linux && !amd64 && !arm64

package walk

import "golang.org/x/sys/unix"

// lstatTerminated is the plain call: the fast one is made for the systems
// that are served most.
func lstatTerminated(fd int, name string, st *unix.Stat_t) error {
	for {
		err := unix.Fstatat(fd, name, st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
		if err != unix.EINTR {
			return err
		}
	}
}

func openTerminated(dir int, name string, flags int, perm uint32) (int, error) {
	return unix.Openat(dir, name, flags, perm)
}
