package meta

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Mknod makes a device: mode has the type as in st_mode and permission bits,
// rdev is a number as in st_rdev.
func Mknod(a At, mode uint32, rdev uint64) error {
	if err := unix.Mknod(a.Path(), mode, int(rdev)); err != nil {
		return fmt.Errorf("make device %s: %w", a.Path(), err)
	}
	return nil
}
