package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
)

type initOptions struct {
	label      string
	unattended bool
	noKeep     bool
	existing   bool
}

func newInit(app *cli.App) *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a repository",
		Long: `Make a repository in an empty place, for the data of one server.

Everything in it is encrypted under the passphrase, which must have 16
characters or more. Whoever loses it loses the data: write it down, and let
"tidemark key recovery" print a second way in.

This machine then keeps keys of its own, in a file that only you can read:

  by default        it writes points without the passphrase and can open none
  --unattended      it writes and reads without the passphrase
  --no-keep         it keeps nothing and needs the passphrase each time

With --existing the repository is there already, and only the keys of this
machine are set up or changed.`,
		Example: `  tidemark init -r /srv/backup/me
  tidemark init -r /srv/backup/me --passphrase-file /etc/tidemark/passphrase
  tidemark init -r /srv/backup/me --existing --unattended`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := alone(c, "unattended", "no-keep"); err != nil {
				return err
			}
			return o.run(c.Context(), app)
		},
	}
	c.Flags().BoolVar(&o.unattended, "unattended", false, "this machine reads without the passphrase, too")
	c.Flags().BoolVar(&o.noKeep, "no-keep", false, "keep no keys on this machine")
	c.Flags().StringVar(&o.label, "label", "", "name of the passphrase's slot; it is stored readable for everybody")
	c.Flags().BoolVar(&o.existing, "existing", false, "set up this machine for a repository that is there already")
	return c
}

func (o *initOptions) run(ctx context.Context, app *cli.App) error {
	address, err := app.NeedRepository()
	if err != nil {
		return err
	}
	var r *opened
	if o.existing {
		if r, err = openLocked(ctx, app); err == nil {
			err = unlock(ctx, app, r)
		}
	} else {
		r, err = create(ctx, app, address, o.label)
	}
	if err != nil {
		return err
	}
	if err := r.Keep(r.local, o.use()); err != nil {
		return errors.Join(err, r.close())
	}
	if err := o.print(app, address, r); err != nil {
		return errors.Join(err, r.close())
	}
	return r.close()
}

// create makes a repository with the new passphrase that the App finds.
func create(ctx context.Context, app *cli.App, address, label string) (*opened, error) {
	passphrase, err := app.NewPassphrase(ctx)
	if err != nil {
		return nil, err
	}
	s, err := all.Create(ctx, address)
	if err != nil {
		return nil, err
	}
	r := &opened{close: func() error { return nil }}
	if c, ok := s.(io.Closer); ok {
		r.close = c.Close
	}
	r.Repository, err = repo.Create(ctx, s, repo.CreateOptions{Passphrase: passphrase, Label: label, Now: app.Now()})
	if errors.Is(err, fault.Exist) {
		err = cli.Hint(err, "`tidemark init --existing` sets this machine up for a repository that is there already")
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.local = localOf(app, r.ID, address)
	return r, nil
}

func (o *initOptions) print(app *cli.App, address string, r *opened) error {
	if app.Globals.JSON {
		return app.JSON(struct {
			Repository string   `json:"repository"`
			ID         string   `json:"id"`
			Use        string   `json:"use"`
			Keys       cli.Path `json:"keys"`
		}{address, r.idText(), o.use().String(), cli.JSONPath(r.local.Dir)})
	}
	made := "made repository"
	if o.existing {
		made = "set up this machine for repository"
	}
	app.Printf("%s %s at %s\n", made, r.idText()[:8], cli.Quote(address))
	switch o.use() {
	case repo.Sealed:
		app.Notef("This machine writes points without the passphrase; to read them, it is needed.")
	case repo.Unattended:
		app.Notef("This machine writes and reads points without the passphrase.")
	case repo.Nothing:
		app.Notef("This machine needs the passphrase each time.")
	}
	if !o.existing {
		app.Notef("Without the passphrase nobody can read the data, so keep it in two places;\n`tidemark key recovery` prints another key for the drawer.")
	}
	return nil
}

// use is what this machine will do without the passphrase.
func (o *initOptions) use() repo.Use {
	switch {
	case o.unattended:
		return repo.Unattended
	case o.noKeep:
		return repo.Nothing
	}
	return repo.Sealed
}
