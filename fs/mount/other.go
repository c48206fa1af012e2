//go:build !linux && !darwin && !freebsd && !windows

package mount

import (
	"context"
	"fmt"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

const makesFolder = false

func start(_ context.Context, _ Door, dir string, _ *fs.Tree, _ Options) (server, error) {
	return nil, fmt.Errorf("mount %s: this system has no door but WebDAV: %w", dir, fault.Unsupported)
}
