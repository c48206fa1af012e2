package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/notify"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

func newAgentNotify(app *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "notify",
		Short: "Show how it goes with those who are notified",
		Long: `Show everybody whom [notify] in the configuration names: by which way he is
told, how many messages wait for him, and since when and why they cannot be
delivered. What waits is kept for 14 days, over restarts, and tried again.

The exit code is 3 if somebody cannot be told.`,
		Example: `  tidemark agent notify
  tidemark agent notify test`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := agentClient(app).Notified(c.Context())
			if err != nil {
				return notRunning(err)
			}
			return printNotified(app, list)
		},
	}
	c.AddCommand(newAgentNotifyTest(app))
	return c
}

func printNotified(app *cli.App, list []notify.Status) error {
	failing := slices.ContainsFunc(list, func(s notify.Status) bool { return s.Error != "" })
	rows := [][]string{{"NAME", "WAY", ">WAITING", "SINCE", "NEXT TRY", "ERROR"}}
	for _, s := range list {
		row := []string{s.Name, s.Way, cli.Count(uint64(s.Waiting)), "", "", cli.Quote(s.Error)}
		if s.Error != "" {
			row[3], row[4] = cli.Time(s.Since, app.Zone), cli.Time(s.Next, app.Zone)
		}
		rows = append(rows, row)
	}
	var err error
	switch {
	case app.Globals.JSON:
		err = app.JSON(list)
	case len(list) == 0:
		app.Notef("Nobody is notified: the configuration has no [notify].")
	default:
		err = cli.Table(app.Stdout, rows)
	}
	if err == nil && failing {
		err = cli.ErrWarnings
	}
	return err
}

func newAgentNotifyTest(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "test [NAME…]",
		Short: "Send a test to those who are notified",
		Long: `Send a test to everybody whom [notify] in the configuration names, or to those
of these names, and say for each whether it was delivered or what went wrong.

This command sends it itself: it needs no agent, but the rights to read the
files with passwords.`,
		Example: `  tidemark agent notify test
  tidemark agent notify test admins --config /etc/tidemark/config.toml`,
		RunE: func(c *cobra.Command, args []string) error { return runNotifyTest(c.Context(), app, args) },
	}
}

type notifyTestJSON struct {
	Name  string `json:"name"`
	Way   string `json:"way"`
	Error string `json:"error,omitempty"`
}

func runNotifyTest(ctx context.Context, app *cli.App, names []string) error {
	conf := &app.Globals.Config.Notify
	targets := conf.Targets()
	for _, name := range names {
		if !slices.ContainsFunc(targets, func(t notify.Target) bool { return t.Name == name }) {
			return cli.Hint(cli.Usage("nobody who is notified is called %q", name), "the configuration %s has %s", configPath(app), targetNames(targets))
		}
	}
	if len(targets) == 0 {
		return cli.Hint(cli.Usage("nobody is notified"), "write a [[notify.mail]], webhook, command or ping table into %s; the README shows them", configPath(app))
	}
	sender := conf.Sender(hostOf(), "", app.Zone)
	message := sender.Test(app.Now(), thisBuild().Version)
	list, failed := []notifyTestJSON{}, 0
	for i := range targets {
		t := &targets[i]
		if len(names) > 0 && !slices.Contains(names, t.Name) {
			continue
		}
		j := notifyTestJSON{Name: t.Name, Way: t.Way}
		if err := t.Send(ctx, message); err != nil {
			failed++
			j.Error = strings.TrimPrefix(err.Error(), "notify "+t.Name+": ")
		}
		list = append(list, j)
		if !app.Globals.JSON {
			printNotifyTest(app, &j)
		}
	}
	var err error
	if app.Globals.JSON {
		err = app.JSON(list)
	}
	if failed > 0 {
		err = errors.Join(err, cli.Hint(fmt.Errorf("notify: %d of %d could not be told: %w", failed, len(list), fault.Unavailable),
			"mend what is named, below [notify] in %s", configPath(app)))
	}
	return err
}

func printNotifyTest(app *cli.App, j *notifyTestJSON) {
	if j.Error != "" {
		app.Printf("%s (%s): %s\n", j.Name, j.Way, cli.Quote(j.Error))
		return
	}
	app.Printf("%s (%s): delivered\n", j.Name, j.Way)
}

func targetNames(targets []notify.Target) string {
	var names []string
	for i := range targets {
		names = append(names, targets[i].Name)
	}
	return strings.Join(names, ", ")
}

// hostOf returns how this machine calls itself, "" if it does not say.
func hostOf() string {
	host, _ := os.Hostname() // a message without it still arrives
	return host
}
