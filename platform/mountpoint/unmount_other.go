//go:build !linux && !darwin && !freebsd

package mountpoint

import (
	"context"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Unmount removes the mount at path. Not possible here.
func Unmount(_ context.Context, path string) error {
	return fmt.Errorf("unmount %s: %w", path, fault.Unsupported)
}
