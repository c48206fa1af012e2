//go:build unix && !linux && !darwin

package meta

import (
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Mknod makes a device. Devices are made by the kernel alone here.
func Mknod(a At, _ uint32, _ uint64) error {
	return fmt.Errorf("make device %s: %w", a.Path(), fault.Unsupported)
}
