//go:build unix

package walk

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// StatOf returns what an open file's stat tells.
func StatOf(f *os.File) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Stat{}, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return Stat{
		Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid,
		Size: st.Size, Blocks: st.Blocks,
		MTime: Time{int64(st.Mtim.Sec), int32(st.Mtim.Nsec)},
		CTime: Time{int64(st.Ctim.Sec), int32(st.Ctim.Nsec)},
		Ino:   st.Ino, Dev: uint64(st.Dev), Rdev: uint64(st.Rdev), Nlink: uint64(st.Nlink),
	}, nil
}
