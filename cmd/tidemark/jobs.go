package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

func newJobs(app *cli.App) *cobra.Command {
	var last string
	var f agent.Filter
	c := &cobra.Command{
		Use:   "jobs",
		Short: "List the agent's jobs",
		Long: `List the jobs of the last 24 hours, the newest first; --last takes another time.
It asks the agent, or reads its journal if none runs.

A job is in progress, cancelling, cancelled, completed, completed with warnings,
or failed. "jobs show" names each file that was skipped, and why.`,
		Example: `  tidemark jobs
  tidemark jobs --last 30d --state failed
  tidemark jobs --policy home --json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := schedule.ParseSpan(last)
			if err != nil {
				return cli.Usage("--last %w", err)
			}
			f.Since = app.Now().Add(-d)
			return listJobs(c.Context(), app, f)
		},
	}
	c.Flags().StringVar(&last, "last", "24h", "those that began in this `TIME`, such as 7d")
	c.Flags().StringVar(&f.Policy, "policy", "", "only those of this policy")
	c.Flags().StringVar((*string)(&f.State), "state", "", "only those in this `STATE`: in_progress, cancelling, cancelled, completed, completed_with_warnings, failed")
	c.Flags().IntVar(&f.Max, "max", 0, "only the newest `N`")
	c.AddCommand(newJobsShow(app), newJobsStart(app), newJobsCancel(app))
	return c
}

func listJobs(ctx context.Context, app *cli.App, f agent.Filter) error {
	list, err := fromJournal(app,
		func(c *agent.Client) ([]journal.Job, error) { return c.Jobs(ctx, f) },
		func(j *journal.Journal) ([]journal.Job, error) { return agent.Jobs(j, f) })
	if err != nil {
		return err
	}
	if app.Globals.JSON {
		return app.JSON(list)
	}
	if len(list) == 0 {
		app.Notef("There are no such jobs.")
		return nil
	}
	rows := [][]string{{">JOB", "POLICY", "STATE", "STARTED", ">TOOK", ">FILES", ">STORED", ">WARNINGS", "WHY", "RESULT"}}
	for i := range list {
		j := &list[i]
		rows = append(rows, []string{strconv.FormatUint(j.ID, 10), j.Policy, j.State.Text(), cli.Time(j.Started, app.Zone),
			cli.Duration(j.Took(app.Now())), cli.Count(j.Files), cli.Size(j.BytesStored), cli.Count(j.Warnings), string(j.Trigger), jobResult(j)})
	}
	return cli.Table(app.Stdout, rows)
}

// jobResult is the point, or why there is none.
func jobResult(j *journal.Job) string {
	if j.Error != "" {
		return cli.Quote(j.Error)
	}
	if j.Task != "" {
		return cli.Quote(j.Result)
	}
	return shortID(j.Point)
}

func shortID(id string) string { return id[:min(len(id), 8)] }

func jobNumber(arg string) (uint64, error) {
	id, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		return 0, cli.Hint(cli.Usage("%q is not the number of a job", arg), "`tidemark jobs` lists them")
	}
	return id, nil
}

func newJobsShow(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "show JOB",
		Short: "Show a job with its warnings",
		Long: `Show all that is known of a job: what it did, how far it is, and each file that
was skipped or changed while it was read, with the reason (the first 1,000).`,
		Example: `  tidemark jobs show 12`,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := jobNumber(args[0])
			if err != nil {
				return err
			}
			s, err := fromJournal(app,
				func(k *agent.Client) (*agent.JobStatus, error) { return k.Job(c.Context(), id) },
				func(j *journal.Journal) (*agent.JobStatus, error) { return agent.Job(j, id) })
			if err != nil {
				return err
			}
			if app.Globals.JSON {
				return app.JSON(s)
			}
			printJob(app, s)
			return nil
		},
	}
}

func printJob(app *cli.App, s *agent.JobStatus) {
	j := &s.Job
	of := "policy"
	if j.Task != "" {
		of = "maintenance"
	}
	app.Printf("job %d of %s %s: %s\n", j.ID, of, j.Policy, j.State.Text())
	app.Printf("  began     %s (%s)\n", cli.Time(j.Started, app.Zone), j.Trigger)
	if !j.Ended.IsZero() {
		app.Printf("  ended     %s, after %s\n", cli.Time(j.Ended, app.Zone), cli.Duration(j.Took(app.Now())))
	}
	if j.Error != "" {
		app.Printf("  error     %s\n", cli.Quote(j.Error))
	}
	if j.Task != "" {
		app.Printf("  task      %s\n", j.Task)
	}
	if j.Result != "" {
		app.Printf("  result    %s\n", cli.Quote(j.Result))
	}
	if j.Point != "" {
		app.Printf("  point     %s\n", j.Point)
		if j.Type != "" {
			app.Printf("  type      %s: %s\n", j.Type, cli.Quote(j.TypeWhy))
		}
		for _, why := range j.Suspect {
			app.Printf("  suspect   %s\n", cli.Quote(why))
		}
		app.Printf("  entries   %s new, %s changed, %s removed\n", cli.Count(j.New), cli.Count(j.Changed), cli.Count(j.Removed))
		app.Printf("  data      %s read, %s stored\n", cli.Size(j.BytesRead), cli.Size(j.BytesStored))
	}
	if j.Task == "" {
		app.Printf("  files     %s, %s\n", cli.Count(j.Files), cli.Size(j.Bytes))
	}
	if s.Current != "" {
		app.Printf("  at        %s\n", cli.Quote(s.Current))
	}
	for _, w := range s.Warnings {
		app.Printf("  warning   %s: %s\n", cli.Quote(w.Path), cli.Quote(w.Reason))
	}
	if more := j.Warnings - min(j.Warnings, uint64(len(s.Warnings))); more > 0 {
		app.Printf("  warning   … and %s more\n", cli.Count(more))
	}
}

func newJobsStart(app *cli.App) *cobra.Command {
	var wait bool
	c := &cobra.Command{
		Use:   "start NAME…",
		Short: "Have the agent do something now",
		Long: `Have the agent run policies, or tasks of [[maintenance]], now, whatever their
schedule says; "status" lists the names. --wait waits until the jobs are over:
the exit code then is 1 if one failed, and 3 if one had warnings.`,
		Example: `  tidemark jobs start prune --wait`,
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return backupNow(c.Context(), app, args, time.Time{}, wait)
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until they are over")
	return c
}

func newJobsCancel(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel JOB",
		Short: "Stop a job that runs",
		Long: `Stop a job that runs. What it has stored stays, and the next job of its policy
uses it. That is no alert, and it is not tried again before its time.`,
		Example: `  tidemark jobs cancel 12`,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := jobNumber(args[0])
			if err != nil {
				return err
			}
			j, err := agentClient(app).Cancel(c.Context(), id)
			if err != nil {
				return notRunning(err)
			}
			if app.Globals.JSON {
				return app.JSON(j)
			}
			app.Notef("job %d is %s", j.ID, j.State.Text())
			return nil
		},
	}
}

func newBackupNow(app *cli.App) *cobra.Command {
	var until string
	var wait bool
	c := &cobra.Command{
		Use:   "now [POLICY…]",
		Short: "Have the agent back up now",
		Long: `Have the agent run policies now, whatever their schedule says; without POLICY
all, one after the other. --retain-until keeps the points at least so long,
beside the retention of the repository. A folder of the name "now" is backed up
as ./now. A policy that waits for the mains, or for a network that costs
nothing, does not wait then, until it has its point.

--wait waits until the jobs are over: the exit code then is 1 if one failed, and
3 if one had warnings.`,
		Example: `  tidemark backup now
  tidemark backup now home --retain-until 2027-06-30 --wait`,
		RunE: func(c *cobra.Command, args []string) error {
			var end time.Time
			if until != "" {
				var err error
				if end, err = parseUntil(app, until); err != nil {
					return err
				}
			}
			return backupNow(c.Context(), app, args, end, wait)
		},
	}
	c.Flags().StringVar(&until, "retain-until", "", "keep the points at least until the end of this `DATE`")
	c.Flags().BoolVar(&wait, "wait", false, "wait until they are over")
	return c
}

func backupNow(ctx context.Context, app *cli.App, names []string, until time.Time, wait bool) error {
	k := agentClient(app)
	if len(names) == 0 {
		s, err := k.Status(ctx)
		if err != nil {
			return notRunning(err)
		}
		for _, p := range s.Policies {
			names = append(names, p.Name)
		}
		wait = wait || len(names) > 1 // all at a time would be too much for a machine
	}
	jobs := []journal.Job{}
	var failed error
	for _, name := range names {
		j, err := k.Start(ctx, name, until)
		if err != nil {
			failed = errors.Join(failed, notRunning(err))
			continue
		}
		if wait {
			if j, err = awaitJob(ctx, k, j.ID); err != nil {
				return err
			}
		}
		jobs = append(jobs, j)
	}
	if app.Globals.JSON {
		failed = errors.Join(app.JSON(jobs), failed)
	}
	warned := false
	for i := range jobs {
		j := &jobs[i]
		if !app.Globals.JSON {
			app.Printf("job %d of %s: %s %s\n", j.ID, j.Policy, j.State.Text(), jobResult(j))
		}
		warned = warned || j.State == journal.Warned
		if j.State == journal.Failed || j.State == journal.Cancelled {
			failed = errors.Join(failed, fmt.Errorf("job %d of %s: %s", j.ID, j.Policy, j.Error))
		}
	}
	if failed == nil && warned {
		return cli.ErrWarnings
	}
	return failed
}

// awaitJob waits until a job is over.
func awaitJob(ctx context.Context, k *agent.Client, id uint64) (journal.Job, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := k.Job(ctx, id)
		if err != nil {
			return journal.Job{}, notRunning(err)
		}
		if s.State.Over() {
			return s.Job, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return journal.Job{}, ctx.Err()
		}
	}
}
