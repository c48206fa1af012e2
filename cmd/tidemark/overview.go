package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

func newOverview(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the agent's policies are",
		Long: `Show each policy of the agent with its newest point and how old that is, its
last job, and when it is due; each task of maintenance; and how many alerts are
active. If no agent runs it reads the journal, and says so.

The exit code is 3 if an alert is active, and 1 if no agent runs.`,
		Example: `  tidemark status
  tidemark status --json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runOverview(c.Context(), app) },
	}
}

func runOverview(ctx context.Context, app *cli.App) error {
	s, err := agentClient(app).Status(ctx)
	ended := err
	if err != nil {
		s, err = fromJournal(app,
			func(*agent.Client) (*agent.Status, error) { return nil, ended },
			func(j *journal.Journal) (*agent.Status, error) { return agent.Past(j, &app.Globals.Config) })
		if err != nil {
			return err
		}
	}
	if app.Globals.JSON {
		err = app.JSON(s)
	} else {
		err = printOverview(app, s)
	}
	switch {
	case err != nil:
		return err
	case ended != nil:
		return notRunning(ended)
	case s.Alerts.Critical+s.Alerts.Warning+s.Alerts.Information > 0:
		return cli.ErrWarnings
	}
	return nil
}

func printOverview(app *cli.App, s *agent.Status) error {
	rows := [][]string{{"POLICY", "NEWEST POINT", "AGE", "LAST JOB", "NEXT"}}
	for i := range s.Policies {
		p := &s.Policies[i]
		point, old := "none", ""
		if !p.LastPoint.IsZero() {
			point, old = cli.Time(p.LastPoint, app.Zone), age(app.Now().Sub(p.LastPoint).Truncate(time.Second))
		}
		rows = append(rows, []string{p.Name, point, old, jobText(app, p), nextText(app, p)})
	}
	if err := cli.Table(app.Stdout, rows); err != nil {
		return err
	}
	if len(s.Chores) > 0 {
		rows := [][]string{{"MAINTENANCE", "TASK", "LAST DONE", "AGE", "LAST JOB", "NEXT"}}
		for i := range s.Chores {
			p := &s.Chores[i]
			done, old := "never", ""
			if !p.LastPoint.IsZero() {
				done, old = cli.Time(p.LastPoint, app.Zone), age(app.Now().Sub(p.LastPoint).Truncate(time.Second))
			}
			rows = append(rows, []string{p.Name, p.Task, done, old, jobText(app, p), nextText(app, p)})
		}
		if err := cli.Table(app.Stdout, rows); err != nil {
			return err
		}
	}
	if err := printShows(app, s.Shows); err != nil {
		return err
	}
	if s.Pause.On {
		app.Printf("paused: %s\n", pauseText(app, s.Pause))
	}
	if s.Rate > 0 {
		app.Printf("rate: %s\n", rateText(s.Rate))
	}
	if n := s.Alerts; n != (agent.AlertCount{}) {
		app.Printf("alerts: %d critical, %d warnings, %d information (`tidemark alerts`)\n", n.Critical, n.Warning, n.Information)
	} else {
		app.Printf("alerts: none\n")
	}
	return nil
}

func jobText(app *cli.App, p *agent.PolicyStatus) string {
	switch {
	case p.Running != nil && p.Waits != "":
		return "waits " + p.Waits + ": " + cli.Counted(p.Running.Files, "file", "files") + ", " + cli.Size(p.Running.Bytes)
	case p.Running != nil:
		return "in progress: " + cli.Counted(p.Running.Files, "file", "files") + ", " + cli.Size(p.Running.Bytes) + ", " + cli.Duration(p.Running.Took(app.Now()))
	case p.LastJob == nil:
		return "none"
	}
	return p.LastJob.State.Text()
}

func nextText(app *cli.App, p *agent.PolicyStatus) string {
	switch {
	case p.Waits != "" && p.Running == nil:
		return "waits " + p.Waits
	case !p.RetryAt.IsZero() && (p.Next.IsZero() || p.RetryAt.Before(p.Next)):
		return cli.Time(p.RetryAt, app.Zone) + " (again)"
	case p.Next.IsZero():
		return "when asked"
	}
	return cli.Time(p.Next, app.Zone)
}

func pauseText(app *cli.App, p journal.Pause) string {
	switch {
	case !p.On:
		return "no"
	case p.Until.IsZero():
		return "until `tidemark agent resume`"
	}
	return "until " + cli.Time(p.Until, app.Zone)
}

func rateText(n int64) string {
	if n == 0 {
		return "unlimited"
	}
	return cli.Size(uint64(n)) + "/s"
}
