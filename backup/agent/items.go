package agent

import (
	"context"
	"io"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/hook"
)

// items are the commands whose output is backed up.
func items(p *config.Policy, event hook.Event) []*backup.Stream {
	var list []*backup.Stream
	for i := range p.Items {
		it := &p.Items[i]
		list = append(list, &backup.Stream{
			Name: it.Name, Spare: it.OnFailure == hook.Warn,
			Open: func(ctx context.Context) (io.ReadCloser, error) { return it.Open(ctx, event) },
		})
	}
	return list
}
