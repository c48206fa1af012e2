//go:build unix

package durable

import (
	"fmt"
	iofs "io/fs"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Private fails with fault.Denied if others than the owner may read a file.
func Private(info iofs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("a file of secrets that others may read (mode %04o); chmod 600 it: %w", mode, fault.Denied)
	}
	return nil
}
