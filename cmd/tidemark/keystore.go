package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/keystore"
)

func newKeystore(app *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "keystore",
		Short: "Keep the passphrase in the keystore of this host",
		Long: `Keep the passphrase in the keystore of this host: the Secret Service of a Linux
desktop (GNOME Keyring, KWallet), the Credential Manager of Windows, the
keychain of macOS. Then passphrase_keystore in the configuration, or
--passphrase-keystore, names it.

The keystore is that of the user who calls: for an agent that is a service of
the machine it must be put there by the user that the service runs as.`,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newKeystorePut(app), newKeystoreRemove(app))
	return c
}

func newKeystorePut(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "put NAME",
		Short: "Put the passphrase into the keystore",
		Long: `Put the passphrase of the repository into the keystore of this host under a
name. It is asked for, or comes from --passphrase-file or --passphrase-command,
and must open the repository.`,
		Example: `  tidemark key keystore put this-server`,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			ask := *app
			if !c.Flags().Changed("passphrase-keystore") {
				ask.Globals.PassphraseKeystore = "" // which may be the one to be filled
			}
			passphrase, err := ask.Passphrase(ctx)
			if err != nil {
				return err
			}
			if err := opens(ctx, &ask, passphrase); err != nil {
				return err
			}
			return done(app, keystore.Put(ctx, args[0], passphrase), "kept")
		},
	}
}

// opens fails if a passphrase does not open the repository.
func opens(ctx context.Context, app *cli.App, passphrase []byte) error {
	address, err := app.NeedRepository()
	if err != nil {
		return err
	}
	return engine(app).Verify(ctx, address, passphrase)
}

func newKeystoreRemove(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove the passphrase from the keystore",
		Long:    `Remove a passphrase from the keystore of this host.`,
		Example: `  tidemark key keystore remove this-server`,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return done(app, keystore.Remove(c.Context(), args[0]), "removed")
		},
	}
}
