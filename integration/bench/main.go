//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options are the flags.
type options struct {
	rows   *regexp.Regexp
	scale  float64
	tools  []string
	runs   int
	work   string
	readme string
	// tidemark is the program to measure, "" to build it.
	tidemark string
	seed     uint64
	verify   bool
	timeout  time.Duration
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "memory-fs" {
		exit(serveMemory(os.Args[2], os.Args[3]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	exit(run(ctx, os.Args[1:]))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// parse reads the flags; list asks only for the names of the rows.
func parse(args []string) (o options, list bool, err error) {
	var pattern, tools string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&pattern, "rows", "", "measure only rows whose name matches this regular expression")
	f.Float64Var(&o.scale, "scale", 1, "fraction of the full size of the data")
	f.StringVar(&tools, "tools", "tidemark,restic,kopia,kopia-zstd,borg", "tools to run; a peer that is not on PATH is left out")
	f.IntVar(&o.runs, "runs", 1, "runs of each step, of which the median counts")
	f.StringVar(&o.work, "work", "", "folder for data and repositories (40 GB at full scale); emptied as the run goes on")
	f.StringVar(&o.tidemark, "tidemark", "", "measure this tidemark instead of building one from the module the bench is started in")
	f.StringVar(&o.readme, "readme", "", "file in which the table replaces what stands between the marks <!-- bench:begin --> and <!-- bench:end -->")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the generated data")
	f.BoolVar(&o.verify, "verify", true, "compare by content what each tool wrote and showed")
	f.DurationVar(&o.timeout, "timeout", 30*time.Minute, "a command that takes longer is stopped and its row is n/a")
	f.BoolVar(&list, "list", false, "print the names of the rows")
	if err := f.Parse(args); err != nil {
		return o, false, err
	}
	o.tools = strings.Split(tools, ",")
	o.rows, err = regexp.Compile(pattern)
	switch {
	case err != nil:
	case list:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.work == "":
		err = fmt.Errorf("-work is missing")
	case o.scale <= 0 || o.scale > 1 || o.runs < 1:
		err = fmt.Errorf("-scale must be above 0 and at most 1, -runs at least 1")
	}
	return o, list, err
}

func run(ctx context.Context, args []string) error {
	o, list, err := parse(args)
	if err != nil {
		return err
	}
	if list {
		for _, r := range rows() {
			fmt.Printf("%-20s %s\n", r.id, r.title)
		}
		return nil
	}
	if o.readme != "" {
		if _, _, err := marks(o.readme); err != nil {
			return err
		}
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	for _, name := range dataSets() {
		if err := b.dataSet(ctx, name); err != nil {
			return fmt.Errorf("data set %s: %w", name, err)
		}
	}
	table := b.markdown()
	fmt.Println(table)
	if o.readme != "" {
		return insert(o.readme, table)
	}
	return nil
}
