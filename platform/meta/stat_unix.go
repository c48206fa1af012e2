//go:build unix

package meta

import "golang.org/x/sys/unix"

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid, Size: st.Size,
		MTime: Time{int64(st.Mtim.Sec), int32(st.Mtim.Nsec)},
		Nlink: uint64(st.Nlink), Rdev: uint64(st.Rdev),
		ID: FileID{uint64(st.Dev), st.Ino},
	}
}
