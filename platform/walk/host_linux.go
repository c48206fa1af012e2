package walk

import "golang.org/x/sys/unix"

// isTop says whether the path is above all file systems of the host.
func isTop(string) bool { return false }

func statPath(path string, follow bool) (Stat, error) {
	flags := unix.AT_NO_AUTOMOUNT
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	var st unix.Stat_t
	for {
		err := unix.Fstatat(unix.AT_FDCWD, path, &st, flags)
		if err == unix.EINTR {
			continue
		}
		var s Stat
		s.fill(&st)
		return s, err
	}
}
