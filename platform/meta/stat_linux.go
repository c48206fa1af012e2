package meta

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Lstat tells what is at a. A symbolic link is not followed.
func Lstat(a At) (Info, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstatat(a.FD, a.name(), &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", a.Path(), err)
	}
	return infoOf(&st), nil
}

// Link gives the file at from another name, to. A symbolic link is linked
// itself.
func Link(from, to At) error {
	if err := again(func() error { return unix.Linkat(from.FD, from.name(), to.FD, to.name(), 0) }); err != nil {
		return fmt.Errorf("link %s to %s: %w", to.Path(), from.Path(), err)
	}
	return nil
}
