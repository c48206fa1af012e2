//go:build darwin || freebsd

package space

import "golang.org/x/sys/unix"

func of(path string) (total, free int64, err error) {
	var s unix.Statfs_t
	for {
		if err = unix.Statfs(path, &s); err != unix.EINTR {
			break
		}
	}
	return int64(s.Blocks) * int64(s.Bsize), int64(s.Bavail) * int64(s.Bsize), err
}
