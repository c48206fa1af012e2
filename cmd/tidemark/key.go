package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/repo"
)

func newKey(app *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Manage the ways into a repository",
		Long: `Manage the key slots of a repository. Each slot is a way in of its own: a
passphrase, or a recovery key that the program draws. Nothing of the data is
written again when they change.

A slot that was removed opens nothing any more here, but somebody who kept a
copy of it and knows its passphrase can still use that.`,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newKeyAdd(app), newKeyRemove(app), newKeyList(app), newKeyPasswd(app), newKeyRecovery(app), newKeystore(app))
	return c
}

// slotJSON is a key slot in JSON.
type slotJSON struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	Label    string `json:"label"`
	Created  string `json:"created"`
	Recovery string `json:"recovery_key,omitempty"`
}

func newSlotJSON(s repo.Slot) slotJSON {
	return slotJSON{ID: s.ID.String(), Kind: slotKind(s), Label: s.Label, Created: cli.JSONTime(s.Created)}
}

func slotKind(s repo.Slot) string {
	if s.Recovery {
		return "recovery"
	}
	return "passphrase"
}

// withRepository opens the repository without keys, runs f and closes it.
func withRepository(ctx context.Context, app *cli.App, f func(*opened) error) error {
	r, err := openLocked(ctx, app)
	if err != nil {
		return err
	}
	return errors.Join(f(r), r.close())
}

func newKeyList(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the key slots",
		Long:    "List the key slots. That needs no passphrase: everybody who can read the\nrepository's files can read the labels.",
		Example: "  tidemark key list -r /srv/backup/me",
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return withRepository(c.Context(), app, func(r *opened) error { return listSlots(c.Context(), app, r) })
		},
	}
}

func listSlots(ctx context.Context, app *cli.App, r *opened) error {
	slots, damaged := r.Slots(ctx)
	if slots == nil && damaged != nil {
		return damaged
	}
	if app.Globals.JSON {
		list := make([]slotJSON, len(slots))
		for i, s := range slots {
			list[i] = newSlotJSON(s)
		}
		return errors.Join(app.JSON(list), damaged)
	}
	rows := [][]string{{"SLOT", "KIND", "MADE", "LABEL"}}
	for _, s := range slots {
		rows = append(rows, []string{s.ID.String(), slotKind(s), cli.Time(s.Created, app.Zone), cli.Quote(s.Label)})
	}
	return errors.Join(cli.Table(app.Stdout, rows), damaged)
}

func newKeyAdd(app *cli.App) *cobra.Command {
	var label, file string
	c := &cobra.Command{
		Use:   "add",
		Short: "Add a passphrase",
		Long: `Add a passphrase. One that opens the repository already (or a recovery key) is
needed too: the usual flags name that one.`,
		Example: "  tidemark key add --label office --new-passphrase-file /root/new",
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return withRepository(c.Context(), app, func(r *opened) error {
				known, err := app.Passphrase(c.Context())
				if err != nil {
					return err
				}
				passphrase, err := app.NewPassphraseFrom(file)
				if err != nil {
					return err
				}
				s, _, err := r.AddSlot(c.Context(), known, passphrase, label, false, app.Now())
				if err != nil {
					return err
				}
				return printSlot(app, "added key slot", s, "")
			})
		},
	}
	c.Flags().StringVar(&label, "label", "", "name of the slot; it is stored readable for everybody")
	c.Flags().StringVar(&file, "new-passphrase-file", "", "read the new passphrase from this file")
	return c
}

func newKeyRecovery(app *cli.App) *cobra.Command {
	var label string
	c := &cobra.Command{
		Use:   "recovery",
		Short: "Add a recovery key and print it",
		Long: `Add a recovery key: 256 random bits, shown once as a line of letters and
digits. It opens the repository as a passphrase does. Print it and lock it
away; whoever has it can read everything.`,
		Example: "  tidemark key recovery --label safe",
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return withRepository(c.Context(), app, func(r *opened) error {
				known, err := app.Passphrase(c.Context())
				if err != nil {
					return err
				}
				s, key, err := r.AddSlot(c.Context(), known, nil, label, true, app.Now())
				if err != nil {
					return err
				}
				return printSlot(app, "added key slot", s, key)
			})
		},
	}
	c.Flags().StringVar(&label, "label", "", "name of the slot; it is stored readable for everybody")
	return c
}

func newKeyRemove(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "remove SLOT",
		Short: "Remove a passphrase or recovery key",
		Long: `Remove a key slot, named by its ID or the first digits of it. The last slot
cannot be removed. A passphrase that opens the repository must be given, so
that nobody removes the ways in who has none himself.`,
		Example: "  tidemark key remove 3f2a",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return withRepository(c.Context(), app, func(r *opened) error {
				if err := unlock(c.Context(), app, r); err != nil {
					return err
				}
				s, err := r.RemoveSlot(c.Context(), args[0])
				if err != nil {
					return cli.Hint(err, "`tidemark key list` shows the slots")
				}
				return printSlot(app, "removed key slot", s, "")
			})
		},
	}
}

func newKeyPasswd(app *cli.App) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "passwd",
		Short: "Change the passphrase",
		Long: `Change the passphrase: the slot that the present one opens is replaced. The
new slot is stored before the old one goes.`,
		Example: "  tidemark key passwd --passphrase-file old --new-passphrase-file new",
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return withRepository(c.Context(), app, func(r *opened) error {
				known, err := app.Passphrase(c.Context())
				if err != nil {
					return err
				}
				passphrase, err := app.NewPassphraseFrom(file)
				if err != nil {
					return err
				}
				s, err := r.ChangePassphrase(c.Context(), known, passphrase, app.Now())
				if err != nil {
					return err
				}
				return printSlot(app, "changed the passphrase; key slot", s, "")
			})
		},
	}
	c.Flags().StringVar(&file, "new-passphrase-file", "", "read the new passphrase from this file")
	return c
}

func printSlot(app *cli.App, done string, s repo.Slot, recovery string) error {
	if app.Globals.JSON {
		j := newSlotJSON(s)
		j.Recovery = recovery
		return app.JSON(j)
	}
	if recovery != "" {
		app.Notef("%s %s. This is the recovery key; it is not shown again:", done, s.ID)
		app.Printf("%s\n", recovery)
		return nil
	}
	app.Printf("%s %s\n", done, s.ID)
	return nil
}
