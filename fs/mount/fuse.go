//go:build linux || darwin || freebsd

package mount

import (
	"context"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fuse"
)

func start(ctx context.Context, dir string, tree *fs.Tree, o Options) (server, error) {
	return fuse.New(ctx, dir, tree, fuse.Options{AllowOther: o.AllowOther, Log: o.Log})
}
