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
	server string
	digest bool
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

An account is a user of the server that was backed up. He sees what the files'
owners, modes and access control lists let him see. Who he is there is said

  by name (--user): each point says which number and groups that name had in
  the server's passwd and group files when it was made. Where a point does not
  know the name (points of the first version know none, and names that only a
  directory service has are in no file), or knows it as user 0, the account sees
  nothing. A name that was given to somebody else opens what was his
  predecessor's in older points: then give numbers.

  by number (--uid, and --group with all groups that he is in).

An account with --admin sees everything.

--digest stores what Digest authentication needs, too. It is offered once every
account has it. What is stored is as good as the password to whoever reads the
file, so use it only for clients that refuse Basic.`,
		Example: `  tidemark serve passwd --users accounts.toml --user ann ann
  tidemark serve passwd --users accounts.toml --uid 1000 --group 1000,27 bob
  tidemark serve passwd --users accounts.toml --admin root`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, app, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.users, "users", "", "the file of accounts; made if it is not there")
	f.StringVar(&o.server, "user", "", "the user's name on the server that was backed up")
	f.Uint32Var(&o.uid, "uid", 0, "the user's number on the server that was backed up")
	f.UintSliceVar(&o.groups, "group", nil, "numbers of the groups that the user is in")
	f.BoolVar(&o.digest, "digest", false, "store what Digest authentication needs, too")
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
	if err := o.change(c, a); err != nil {
		return err
	}
	return o.password(app, all, a)
}

// change takes over what the flags say of an account.
func (o *passwdOptions) change(c *cobra.Command, a *access.Account) error {
	if err := errors.Join(alone(c, "user", "uid"), alone(c, "user", "group"), alone(c, "user", "admin")); err != nil {
		return err
	}
	if o.server != "" {
		*a = access.Account{Name: a.Name, Server: o.server}
	}
	if c.Flags().Changed("uid") {
		a.UID, a.Server = &o.uid, ""
	}
	if c.Flags().Changed("admin") {
		a.Admin, a.Server = o.admin, ""
	}
	if c.Flags().Changed("group") {
		a.Groups, a.Server = nil, ""
		for _, g := range o.groups {
			if uint64(g) > 1<<32-1 {
				return cli.Usage("--group %d: no such number", g)
			}
			a.Groups = append(a.Groups, uint32(g))
		}
	}
	if a.UID == nil && a.Server == "" && !a.Admin {
		return cli.Usage("give --user NAME or --uid N, whom the account is on the server that was backed up, or --admin")
	}
	return nil
}

func (o *passwdOptions) password(app *cli.App, all access.Accounts, a *access.Account) error {
	password, err := app.NewPassword(a.Name)
	if err != nil {
		return err
	}
	a.Password, a.Digest = access.Hash(password), nil
	if o.digest {
		a.Digest = access.NewDigest(a.Name, password)
	}
	all[a.Name] = a
	if err := all.Write(o.users); err != nil {
		return err
	}
	app.Notef("account %s is in %s; a running serve takes it at its next start", cli.Quote(a.Name), cli.Quote(o.users))
	return nil
}
