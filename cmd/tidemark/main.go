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
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

func main() {
	// What lives long here are a few large buffers, and what dies young are
	// decoded pages. The collector's usual pace, when as much again has died as
	// is alive, would double the memory of a big backup, and collect all the
	// time in a small one. So it is told to run at 25 %, on top of 64 MiB that
	// are never touched, and so take no memory: a run over 200,000 unchanged
	// files takes 4/5 of the time.
	debug.SetGCPercent(25)
	// A goroutine that waits in a system call for a cold disk keeps its
	// processor until the runtime notices, up to 10 ms later. With as many of
	// them as there are cores, cores idle: a first backup of small cold files
	// took 6.1 s with 2 of them on 2 cores, 4.3 s with 4, and 4.0 s with 8.
	runtime.GOMAXPROCS(4 * runtime.GOMAXPROCS(0))
	ballast := make([]byte, 64<<20)
	code := run(cli.New(), os.Args[1:])
	runtime.KeepAlive(ballast)
	os.Exit(code)
}

// run is the program with its streams and arguments injected.
func run(app *cli.App, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not ask
	root := newRoot(app)
	root.SetArgs(args)
	return app.Report(root.ExecuteContext(ctx))
}
