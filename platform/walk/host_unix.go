//go:build unix && !linux

package walk

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTop says whether the path is above all file systems of the host.
func isTop(string) bool { return false }

func statPath(path string, follow bool) (Stat, error) {
	var st unix.Stat_t
	call := unix.Lstat
	if follow {
		call = unix.Stat
	}
	if err := call(path, &st); err != nil {
		return Stat{}, err
	}
	return Stat{
		Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid,
		Size: st.Size, Blocks: st.Blocks,
		MTime: Time{int64(st.Mtim.Sec), int32(st.Mtim.Nsec)},
		CTime: Time{int64(st.Ctim.Sec), int32(st.Ctim.Nsec)},
		Ino:   st.Ino, Dev: uint64(st.Dev), Rdev: uint64(st.Rdev), Nlink: uint64(st.Nlink),
	}, nil
}

func openNoFollow(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
