package space

import "golang.org/x/sys/unix"

func of(path string) (total, free int64, err error) {
	var s unix.Statfs_t
	for {
		if err = unix.Statfs(path, &s); err != unix.EINTR {
			break
		}
	}
	unit := s.Frsize
	if unit == 0 { // file systems older than the field
		unit = s.Bsize
	}
	return int64(s.Blocks) * int64(unit), int64(s.Bavail) * int64(unit), err
}
