package mount

import (
	"context"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/winfsp"
)

// makesFolder says whether the door makes the folder that it mounts on.
const makesFolder = true

// start opens the host's own door.
func start(ctx context.Context, _ Door, dir string, tree *fs.Tree, o Options) (server, error) {
	if d := drive(dir); d != "" {
		dir = d
	}
	return winfsp.New(ctx, dir, tree, winfsp.Options{KeepOwners: o.KeepOwners, Log: o.Log})
}
