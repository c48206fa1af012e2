//go:build linux || darwin || freebsd

package mount

import (
	"context"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fuse"
)

// makesFolder says whether the door makes the folder that it mounts on.
const makesFolder = false

// start opens the host's own door.
func start(ctx context.Context, _ Door, dir string, tree *fs.Tree, o Options) (server, error) {
	return fuse.New(ctx, dir, tree, fuse.Options{AllowOther: o.AllowOther, Log: o.Log})
}
