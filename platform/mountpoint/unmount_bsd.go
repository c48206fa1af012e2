//go:build darwin || freebsd

package mountpoint

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Unmount removes the mount at path. If it is in use the error is
// fault.Unavailable and it stays.
func Unmount(_ context.Context, path string) error {
	path, err := clean(path)
	if err != nil {
		return err
	}
	switch err := unix.Unmount(path, 0); err {
	case nil:
		return nil
	case unix.EBUSY:
		return fmt.Errorf("unmount %s: in use: %w", path, fault.Unavailable)
	case unix.EINVAL:
		return fmt.Errorf("unmount %s: nothing is mounted there: %w", path, fault.NotExist)
	default:
		return fmt.Errorf("unmount %s: %w", path, err)
	}
}
