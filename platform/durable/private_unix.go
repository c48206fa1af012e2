//go:build unix

package durable

import (
	"fmt"
	iofs "io/fs"
	"os"
	"syscall"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Private fails with fault.Denied if others than the owner may read a file.
func Private(info iofs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("a file of secrets that others may read (mode %04o); chmod 600 it: %w", mode, fault.Denied)
	}
	return nil
}

// ownLike gives a file of this user to the owner and group of another file.
func ownLike(path string, info iofs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() && int(st.Gid) == os.Getegid() {
		return nil
	}
	return os.Chown(path, int(st.Uid), int(st.Gid))
}
