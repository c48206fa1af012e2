//go:build !linux && !darwin && !freebsd

package mount

import (
	"context"
	"fmt"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

func start(_ context.Context, dir string, _ *fs.Tree, _ Options) (server, error) {
	return nil, fmt.Errorf("mount %s: this version cannot mount on this system; the commands ls, cat and restore show the same: %w", dir, fault.Unsupported)
}
