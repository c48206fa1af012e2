package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

// newRoot returns the program's tree of commands.
func newRoot(app *cli.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "tidemark",
		Short: "Backups whose every recovery point is a folder",
		Long: `Tidemark backs up files and folders. Every recovery point is complete, shares
what it can with the others, and can be mounted as a read-only folder:
restoring a file is copying it.

  tidemark init -r /srv/backup/me     make a repository
  tidemark backup -r … /home /etc     write a recovery point
  tidemark mount -r … /mnt/backup     show all points as folders

"tidemark try DIR" does all three with a repository for trying it out.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              unknownCommand,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return app.Resolve() },
	}
	root.SetIn(app.Stdin)
	root.SetOut(app.Stdout)
	root.SetErr(app.Stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return cli.Hint(cli.Usage("%w", err), "`%s --help` lists the flags", c.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	app.Globals.Flags(root)
	root.AddCommand(
		newInit(app), newBackup(app), newPoints(app), newPolicy(app), newLs(app), newCat(app), newFind(app), newVersions(app), newDiff(app),
		newMount(app), newServe(app), newRestore(app), newCheck(app), newProof(app), newPrune(app), newRepair(app), newVault(app), newKey(app), newDoctor(app), newTry(app), newVersion(app),
		newAgent(app), newJobs(app), newAlerts(app), newOverview(app), newReport(app),
	)
	return root
}

// unknownCommand are the Args of commands that only have commands below them.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := cli.Usage("there is no command %q", strings.TrimSpace(c.CommandPath()+" "+args[0]))
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return cli.Hint(err, "did you mean %s?", strings.Join(near, " or "))
	}
	return cli.Hint(err, "`%s --help` lists the commands", c.CommandPath())
}

// arguments makes a wrong number of arguments an error of usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return cli.Hint(cli.Usage("%s: %w", c.Name(), err), "usage: %s", c.UseLine())
		}
		return nil
	}
}

// alone fails if more than one of the flags is given.
func alone(c *cobra.Command, names ...string) error {
	var given []string
	for _, name := range names {
		if c.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 1 {
		return cli.Usage("%s cannot be given together", strings.Join(given, " and "))
	}
	return nil
}
