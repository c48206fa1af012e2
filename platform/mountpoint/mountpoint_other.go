//go:build !linux

package mountpoint

import (
	"context"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// List returns the mounts that this process sees. Not known here.
func List() ([]Mount, error) {
	return nil, fmt.Errorf("list mounts: %w", fault.Unsupported)
}

// At returns the mount at path. Not known here.
func At(path string) (m Mount, ok bool, err error) {
	return Mount{}, false, fmt.Errorf("mount point %s: %w", path, fault.Unsupported)
}

// IsMount says whether something is mounted just at path. Not known here.
func IsMount(path string) (bool, error) {
	return false, fmt.Errorf("mount point %s: %w", path, fault.Unsupported)
}

// IsDead says whether the program that served the mount at path is gone. Not
// known here.
func IsDead(string) bool { return false }

// ClearDead removes a mount of ours at path whose server is gone. Not possible
// here.
func ClearDead(_ context.Context, path string) (bool, error) {
	return false, fmt.Errorf("clear dead mount %s: %w", path, fault.Unsupported)
}

// Detach takes the mount at path out of the tree of folders. Not possible here.
func Detach(_ context.Context, path string) error {
	return fmt.Errorf("detach %s: %w", path, fault.Unsupported)
}

// SetReadAhead sets how far the kernel reads ahead on the mount at path. Not
// possible here.
func SetReadAhead(path string, _ int) error {
	return fmt.Errorf("set read-ahead of %s: %w", path, fault.Unsupported)
}
