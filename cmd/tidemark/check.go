package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

type checkOptions struct{ readData string }

func newCheck(app *cli.App) *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the repository",
		Long: `Check that every recovery point is whole: that all tables can be read and that
everything they name is there. With --read-data all content is read, too, and
compared with its hashes; with --read-data=10% a tenth of it, another one each
time.

Damaged objects are named with the files they hurt; the exit code then is 6.
The next backup of this machine does not rely on them: what they held is read
and stored again where the files still have it. Checking changes nothing in the
repository and can run beside backups.`,
		Example: `  tidemark check
  tidemark check --read-data
  tidemark check --read-data=5%`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), app) },
	}
	c.Flags().StringVar(&o.readData, "read-data", "0%", "read the content, too: all, or this share of it")
	c.Flags().Lookup("read-data").NoOptDefVal = "100%"
	return c
}

func (o *checkOptions) run(ctx context.Context, app *cli.App) error {
	share, err := parseShare(o.readData)
	if err != nil {
		return err
	}
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	report, err := runCheck(ctx, app, r, share)
	if report != nil {
		err = errors.Join(printCheck(app, report), err)
	}
	if err == nil {
		err = r.after(ctx)
	}
	return errors.Join(err, r.close())
}

// parseShare reads a percentage, with or without its sign.
func parseShare(s string) (float64, error) {
	p, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(p >= 0 && p <= 100) {
		return 0, cli.Usage("--read-data=%s: give a share from 0%% to 100%%", s)
	}
	return p / 100, nil
}

func runCheck(ctx context.Context, app *cli.App, r *opened, share float64) (*repo.CheckReport, error) {
	var done, total atomic.Int64
	stop := app.Meter().Poll(func() cli.Progress {
		return cli.Progress{Files: uint64(done.Load()), TotalFiles: uint64(total.Load()), Noun: "pack"}
	})
	defer stop()
	return repo.Check(ctx, r.Repository, repo.CheckOptions{ReadData: share, Local: &r.local, Progress: func(d, t int) {
		done.Store(int64(d))
		total.Store(int64(t))
	}})
}

func printCheck(app *cli.App, c *repo.CheckReport) error {
	if app.Globals.JSON {
		if err := app.JSON(newCheckJSON(c)); err != nil {
			return err
		}
	} else {
		printFaults(app, c)
	}
	if len(c.Faults) > 0 {
		return cli.Hint(fmt.Errorf("check: %s damaged: %w", cli.Counted(uint64(len(c.Faults)), "object is", "objects are"), fault.Corrupt),
			"all that is not named can be restored; keep the repository as it is and back up again now, which stores what the files still have")
	}
	return nil
}

func printFaults(app *cli.App, c *repo.CheckReport) {
	for _, f := range c.Faults {
		app.Printf("damaged: %s: %s\n", cli.Quote(f.Object), cli.Quote(f.Err.Error()))
		for _, file := range f.Files {
			app.Printf("  hurts %s\n", cli.Quote(file))
		}
		if more := f.Count - len(f.Files); more > 0 {
			app.Printf("  … and %s more\n", counted(more, "file"))
		}
	}
	if c.Dropped > 0 {
		app.Printf("%s damaged that nothing needs any more; prune frees them with the rest of their packs\n", cli.Counted(uint64(c.Dropped), "frame is", "frames are"))
	}
	data := "data not read"
	if c.PacksRead > 0 {
		data = fmt.Sprintf("data read of %s: %s, %s", counted(c.PacksRead, "pack"), counted(c.Frames, "frame"), cli.Size(uint64(c.Bytes)))
	}
	app.Printf("checked %s, %s, %s; %s\n", counted(c.Points, "point"), counted(c.Pages, "page"), counted(c.Packs, "pack"), data)
	if len(c.Faults) == 0 {
		app.Printf("no damage found\n")
	}
}

func counted(n int, noun string) string { return cli.Counted(uint64(n), noun, noun+"s") }

type faultJSON struct {
	Object string     `json:"object"`
	Error  string     `json:"error"`
	Files  []cli.Path `json:"files"` // point:path; the first ones
	Count  int        `json:"count"` // of all files that it hurts
}

type checkJSON struct {
	Points    int         `json:"points"`
	Pages     int         `json:"pages"`
	Packs     int         `json:"packs"`
	PacksRead int         `json:"packs_read"`
	Frames    int         `json:"frames"`
	Bytes     int64       `json:"bytes"`
	Dropped   int         `json:"dropped_frames_damaged,omitempty"` // that nothing needs any more
	Faults    []faultJSON `json:"faults"`
}

func newCheckJSON(c *repo.CheckReport) checkJSON {
	j := checkJSON{c.Points, c.Pages, c.Packs, c.PacksRead, c.Frames, c.Bytes, c.Dropped, []faultJSON{}}
	for _, f := range c.Faults {
		files := make([]cli.Path, len(f.Files))
		for i, file := range f.Files {
			files[i] = cli.JSONPath(file)
		}
		j.Faults = append(j.Faults, faultJSON{f.Object, f.Err.Error(), files, f.Count})
	}
	return j
}
