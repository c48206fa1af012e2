// Command tidemark backs up files and folders, and shows every recovery point
// as a read-only folder.
//
// Each command has a file here: it holds its flags, one call of a library, and
// printing. What they share is in package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

func main() { os.Exit(run(cli.New(), os.Args[1:])) }

// run is the program with its streams and arguments injected.
func run(app *cli.App, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(app)
	root.SetArgs(args)
	return app.Report(root.ExecuteContext(ctx))
}
