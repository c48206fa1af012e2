package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/restore"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

type restoreOptions struct {
	deleted    bool
	to         string
	inPlace    bool
	onConflict string
	ownerNames bool
	rate       string
}

func newRestore(app *cli.App) *cobra.Command {
	var o restoreOptions
	c := &cobra.Command{
		Use:   "restore POINT[:PATH]",
		Short: "Copy files out of a recovery point",
		Long: `Copy files out of a recovery point, with owner, mode, times, attributes, links
and holes, and check each piece of content against its hash.

With PATH its content lands in the folder --to names: what is in a folder
PATH, or the one file PATH. Without PATH the absolute paths of the point are
made below that folder. With --in-place everything goes back to where it was.

Where something is in the way, --on-conflict decides: "copy" (the default)
leaves it and writes beside it, as "2026-11-22 10-00 Copy of NAME", "overwrite"
replaces it, "skip" leaves it. A restore that was stopped can be run again; what
is there already and equal is not written twice.

Owners go by number, as in a mount, so that a machine restored from a rescue
system is right when it starts. With --owner-names a user or group gets the
number that its name has on this host, also in ACLs, and keeps the point's where
there is no such name. What has another number here is told either way.`,
		Example: `  tidemark restore latest:/home/me/letters --to /tmp/letters
  tidemark restore 2026-11-22 --to /mnt/new
  tidemark restore "3d ago:/etc/fstab" --in-place --on-conflict overwrite`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := alone(c, "to", "in-place"); err != nil {
				return err
			}
			return o.run(c.Context(), app, args[0])
		},
	}
	f := c.Flags()
	f.StringVar(&o.to, "to", "", "the folder to restore into")
	f.BoolVar(&o.inPlace, "in-place", false, "restore everything to where it was")
	f.StringVar(&o.onConflict, "on-conflict", "copy", "what is in the way: copy, overwrite or skip")
	rateFlag(c, &o.rate)
	deletedFlag(c, &o.deleted)
	f.BoolVar(&o.ownerNames, "owner-names", false, "give files to the users and groups that have their owners' names on this host, whatever their numbers")
	return c
}

func (o *restoreOptions) run(ctx context.Context, app *cli.App, arg string) error {
	job, err := o.job()
	if err != nil {
		return err
	}
	app, stop, err := throttled(ctx, app, o.rate, app.Globals.Config.Restore.Throttle)
	if err != nil {
		return err
	}
	defer stop()
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	r.deleted = o.deleted
	name, path := cli.SplitPointPath(arg)
	if path != "/" {
		job.Path = path
	}
	if job.Point, err = selectPoint(ctx, app, r, name); err == nil {
		err = runRestore(ctx, app, r, job)
	}
	return errors.Join(err, r.close())
}

func (o *restoreOptions) job() (restore.Job, error) {
	job := restore.Job{InPlace: o.inPlace, OwnerNames: o.ownerNames}
	if !o.inPlace {
		if o.to == "" {
			return job, cli.Usage("restore: say where to: --to DIR or --in-place")
		}
		to, err := filepath.Abs(o.to)
		if err != nil {
			return job, fmt.Errorf("restore to %s: %w", o.to, err)
		}
		job.To = to
	}
	switch o.onConflict {
	case "copy":
		job.OnConflict = restore.Copy
	case "overwrite":
		job.OnConflict = restore.Overwrite
	case "skip":
		job.OnConflict = restore.Skip
	default:
		return job, cli.Usage("--on-conflict %s: there are copy, overwrite and skip", o.onConflict)
	}
	return job, nil
}

// runRestore runs the job with progress on a terminal and prints what it did.
func runRestore(ctx context.Context, app *cli.App, r *opened, job restore.Job) error {
	p := &restore.Progress{}
	job.Progress = p
	stop := app.Meter().Poll(func() cli.Progress {
		return cli.Progress{
			Files: uint64(p.Files.Load()), Bytes: uint64(p.Bytes.Load()),
			TotalFiles: uint64(p.TotalFiles.Load()), TotalBytes: uint64(p.TotalBytes.Load()), Current: p.Current(),
		}
	})
	report, err := restore.Run(ctx, r.Repository, job)
	stop()
	if err != nil {
		return err
	}
	if app.Globals.JSON {
		err = app.JSON(struct {
			Point    string        `json:"point"`
			Files    uint64        `json:"files"`
			Bytes    uint64        `json:"bytes"`
			Skipped  uint64        `json:"skipped"`
			Copied   uint64        `json:"copied"`
			Warnings []warningJSON `json:"warnings"`
			Owners   []string      `json:"owners,omitempty"`
		}{job.Point.ID.String(), report.Files, report.Bytes, report.Skipped, report.Copied, newWarningsJSON(report.Warnings), report.Owners})
		if err != nil {
			return err
		}
	} else {
		for _, w := range report.Warnings {
			fmt.Fprintf(app.Stderr, "tidemark: warning: %s: %s\n", cli.Quote(w.Path), cli.Quote(w.Reason))
		}
		for _, note := range report.Owners {
			app.Notef("tidemark: %s", cli.Quote(note))
		}
		app.Printf("restored %s, %s, of point %s\n", cli.Counted(report.Files, "file", "files"), cli.Size(report.Bytes), job.Point.ID.Short())
	}
	if report.WarningCount > 0 {
		return cli.ErrWarnings
	}
	return nil
}
