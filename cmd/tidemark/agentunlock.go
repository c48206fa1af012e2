package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

func newAgentUnlock(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "unlock",
		Short: "Tell the agent the passphrase, until it ends",
		Long: `Tell the agent the passphrase of a sealed repository, so that it can show its
points: mounts and shares of the configuration that are locked come up. Backups
need none: this machine keeps keys that write and cannot read.

It is asked for here, or comes from --passphrase-file or --passphrase-command.
The agent keeps it in memory only, until "agent lock" or its end. It is tried
for each repository of the configuration, or, with -r, for that one.`,
		Example: `  tidemark agent unlock`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			repository := ""
			if c.Flags().Changed("repository") {
				repository = app.Globals.Repository
			}
			k := agentClient(app)
			if _, err := k.Status(c.Context()); err != nil {
				return notRunning(err) // before anybody types
			}
			passphrase, err := app.Passphrase(c.Context())
			if err != nil {
				return err
			}
			opened, err := k.Unlock(c.Context(), repository, passphrase)
			if err != nil {
				return notRunning(err)
			}
			if app.Globals.JSON {
				return app.JSON(struct {
					Unlocked []string `json:"unlocked"`
				}{opened})
			}
			app.Notef("unlocked: %s", cli.Quote(strings.Join(opened, ", ")))
			return nil
		},
	}
}

func newAgentLock(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "lock",
		Short: "Have the agent forget what unlock told it",
		Long: `Have the agent forget the passphrases that "agent unlock" told it. Mounts and
shares start anew; those that need a passphrase then are locked.`,
		Example: `  tidemark agent lock`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return done(app, agentClient(app).Lock(c.Context()), "locked")
		},
	}
}

// printShows prints the mounts and shares that the agent keeps.
func printShows(app *cli.App, list []agent.ShowStatus) error {
	if len(list) == 0 {
		return nil
	}
	rows := [][]string{{"SHOWN AT", "KIND", "STATE", "SINCE", ">STARTS", "WHERE OR WHY NOT"}}
	for i := range list {
		s := &list[i]
		why := s.Where
		switch s.State {
		case agent.ShowLocked:
			why = "`tidemark agent unlock`"
		case agent.ShowDown:
			why = s.Error
		}
		rows = append(rows, []string{cli.Quote(s.Name), s.Kind, string(s.State), cli.Time(s.Since, app.Zone), cli.Count(uint64(s.Starts)), cli.Quote(why)})
	}
	return cli.Table(app.Stdout, rows)
}
