package main

import (
	"errors"
	iofs "io/fs"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs/access"
)

type passwdOptions struct {
	users  string
	uid    uint32
	groups []uint
	admin  bool
	remove bool
}

func newServePasswd(app *cli.App) *cobra.Command {
	var o passwdOptions
	c := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Add an account for serve, or change its password",
		Long: `Add an account to the file that "tidemark serve --users" reads, or change the
password of one. The password is asked for, or read from standard input.

An account is a user of the server that was backed up, by number: --uid, and
all groups that he is in. He sees what the files' owners, modes and access
control lists let him see. An account with --admin sees everything.`,
		Example: `  tidemark serve passwd --users accounts.toml --uid 1000 --group 1000,27 ann
  tidemark serve passwd --users accounts.toml --admin root`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, app, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.users, "users", "", "the file of accounts; made if it is not there")
	f.Uint32Var(&o.uid, "uid", 0, "the user's number on the server that was backed up")
	f.UintSliceVar(&o.groups, "group", nil, "numbers of the groups that the user is in")
	f.BoolVar(&o.admin, "admin", false, "let the account see everything")
	f.BoolVar(&o.remove, "remove", false, "remove the account")
	return c
}

func (o *passwdOptions) run(c *cobra.Command, app *cli.App, name string) error {
	if o.users == "" {
		return cli.Usage("give --users FILE")
	}
	all, err := access.ReadAccounts(o.users)
	switch {
	case errors.Is(err, iofs.ErrNotExist) && !o.remove:
		all = access.Accounts{}
	case err != nil:
		return err
	}
	if o.remove {
		if all[name] == nil {
			return cli.Usage("there is no account %q in %s", name, o.users)
		}
		delete(all, name)
		return all.Write(o.users)
	}
	a := all[name]
	if a == nil {
		a = &access.Account{Name: name}
	}
	if c.Flags().Changed("uid") {
		a.UID = &o.uid
	}
	if c.Flags().Changed("admin") {
		a.Admin = o.admin
	}
	if c.Flags().Changed("group") {
		a.Groups = nil
		for _, g := range o.groups {
			if uint64(g) > 1<<32-1 {
				return cli.Usage("--group %d: no such number", g)
			}
			a.Groups = append(a.Groups, uint32(g))
		}
	}
	if a.UID == nil && !a.Admin {
		return cli.Usage("give --uid N, whom the account is on the server that was backed up, or --admin")
	}
	return o.password(app, all, a)
}

func (o *passwdOptions) password(app *cli.App, all access.Accounts, a *access.Account) error {
	password, err := app.NewPassword(a.Name)
	if err != nil {
		return err
	}
	a.Password = access.Hash(password)
	all[a.Name] = a
	if err := all.Write(o.users); err != nil {
		return err
	}
	app.Notef("account %s is in %s; a running serve takes it at its next start", cli.Quote(a.Name), cli.Quote(o.users))
	return nil
}
