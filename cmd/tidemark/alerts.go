package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

func newAlerts(app *cli.App) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "alerts",
		Short: "List what somebody must know",
		Long: `List the active alerts, the newest first. The same again is counted in the alert
that is there. An alert ends by itself when what it says is no longer so, or by
"alerts close"; --all lists those, too.

Critical are a backup that failed or did not come for too long, damage, a proof
of restore that failed, files that look encrypted, points that somebody deleted,
and immutability or grace that somebody took away. Warnings are files left out,
shortened retention, little space, a certificate about to end, a wrong clock, a
repository that cannot be reached or that nobody scrubs, and who cannot be
notified. A job that somebody cancelled is none. The exit code is 3 if an alert
is active.`,
		Example: `  tidemark alerts
  tidemark alerts --all --json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := fromJournal(app,
				func(k *agent.Client) ([]journal.Alert, error) { return k.Alerts(c.Context(), all) },
				func(j *journal.Journal) ([]journal.Alert, error) { return agent.Alerts(j, all) })
			if err != nil {
				return err
			}
			return printAlerts(app, list)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those that have ended, too")
	c.AddCommand(newAlertsClose(app))
	return c
}

func printAlerts(app *cli.App, list []journal.Alert) error {
	rows := [][]string{{">ALERT", "SEVERITY", "OF", "FIRST", "LAST", ">TIMES", "WHAT"}}
	active := false
	for i := range list {
		a := &list[i]
		active = active || a.Active
		text := cli.Quote(a.Text)
		if !a.Active {
			text += " (ended " + cli.Time(a.Ended, app.Zone) + ": " + cli.Quote(a.Note) + ")"
		}
		rows = append(rows, []string{strconv.FormatUint(a.ID, 10), string(a.Severity), alertOf(a),
			cli.Time(a.First, app.Zone), cli.Time(a.Last, app.Zone), strconv.Itoa(a.Count), text})
	}
	switch {
	case app.Globals.JSON:
		if err := app.JSON(list); err != nil {
			return err
		}
	case len(list) == 0:
		app.Notef("There are no alerts.")
	default:
		if err := cli.Table(app.Stdout, rows); err != nil {
			return err
		}
	}
	if active {
		return cli.ErrWarnings
	}
	return nil
}

// alertOf is what an alert is of: a policy, or a repository, a file, a name.
func alertOf(a *journal.Alert) string {
	if a.Policy != "" {
		return a.Policy
	}
	return cli.Quote(a.Subject)
}

func newAlertsClose(app *cli.App) *cobra.Command {
	var note string
	c := &cobra.Command{
		Use:   "close ALERT…",
		Short: "End alerts",
		Long: `End alerts, with a note that says why. If what they say comes again, that is a
new alert.`,
		Example: `  tidemark alerts close 3 --note "the disk was full; made room"`,
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			for _, arg := range args {
				id, err := strconv.ParseUint(arg, 10, 64)
				if err != nil {
					return cli.Hint(cli.Usage("%q is not the number of an alert", arg), "`tidemark alerts` lists them")
				}
				if err := closeAlert(c.Context(), app, id, note); err != nil {
					return err
				}
			}
			return done(app, nil, "closed")
		},
	}
	c.Flags().StringVar(&note, "note", "", "why, for whoever reads it later")
	return c
}

func closeAlert(ctx context.Context, app *cli.App, id uint64, note string) error {
	_, err := fromJournal(app,
		func(k *agent.Client) (struct{}, error) { return struct{}{}, k.CloseAlert(ctx, id, note) },
		func(j *journal.Journal) (struct{}, error) {
			return struct{}{}, j.Update(func(tx *journal.Tx) error { return tx.Close(id, note, app.Now()) })
		})
	return err
}
