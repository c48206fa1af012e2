package agent

import (
	"context"
	"fmt"
	"io"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/hook"
	"github.com/tidemark-backup/tidemark/repo"
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

// quiet says what hooks before the run make of files that are read live:
// programs that were told to be quiet leave them whole, if none of the hooks
// failed.
func quiet(hooks []hook.Hook, failed bool) repo.Consistency {
	n := 0
	for i := range hooks {
		if hooks[i].When == hook.Before {
			n++
		}
	}
	switch {
	case n == 0:
		return repo.Consistency{Type: repo.Live, Why: "no snapshot, and no command before the run"}
	case failed:
		return repo.Consistency{Type: repo.Live, Why: "a command before the run failed, and there is no snapshot"}
	case n == 1:
		return repo.Consistency{Type: repo.Application, Why: "the command before the run succeeded"}
	}
	return repo.Consistency{Type: repo.Application, Why: fmt.Sprintf("all %d commands before the run succeeded", n)}
}
