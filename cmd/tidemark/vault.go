package main

import (
	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

func newVault(app *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "vault",
		Short: "Look after the place where the points are",
		Long: `Look after the place that keeps the recovery points. No passphrase is needed:
these commands see sealed objects only, and can run on any machine that reaches
the place.`,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newScrub(app), newVaultRepair(app), newReplicate(app), newStatus(app), newVaultLedger(app), newVaultClock(app), newVaultImmutable(app))
	return c
}
