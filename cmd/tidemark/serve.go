package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/access"
	"github.com/tidemark-backup/tidemark/fs/webdav"
)

type serveOptions struct {
	listen      string
	anonymous   bool
	users       string
	ldap        ldapOptions
	certificate string
	noTLS       bool
	hosts       []string
	accessLog   string
	point       string
	listTime    bool
	deleted     bool
	rate        string
	kept        bool               // by the agent
	ready       func(string) error // of that; nil: people are told
}

func newServe(app *cli.App) *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "serve",
		Short: "Show all recovery points as a WebDAV share and in a browser",
		Long: `Show all recovery points as a read-only WebDAV share, which Windows, macOS and
Linux map without a driver, and which a browser shows as pages:

  https://backup.example:8443/
    latest/…                       the newest point
    points/2026-11-22_10-00-00/…   each point, by its local time
    @GMT-2026.11.22-09.00.00/…     each point, as Samba asks for it (UTC)

In each folder of a point there are @versions/FILE/…, @deleted/… and
@diff/POINT..POINT/…, as "tidemark mount --help" tells. Names with @ are listed
only with --list-time; whoever enters them by name finds them.

With --users everybody logs in, and sees exactly what owners, modes and access
control lists of the files let him see on the server that was backed up.
"tidemark serve passwd" adds accounts. With --ldap a directory answers for the
names that have no account: whom it knows is the server's user of that name.
Passwords travel over TLS only: with a
certificate of yours (--certificate, a PEM file that holds the key, too), or
with one made at the first start, whose fingerprint is printed.

With --anonymous there is no login: every user of this machine who can reach
the address can read everything in the repository, whatever its permissions
were. It is for loopback addresses only.

Links are followed within their point. Any folder comes as one file with ?zip,
or with ?tar, which has all metadata. The command stays until Ctrl-C.`,
		Example: `  tidemark serve --users accounts.toml --listen 0.0.0.0:8443
  tidemark serve --ldap ldaps://dc.example --ldap-dn 'uid={name},dc=example'
  tidemark serve --anonymous --listen 127.0.0.1:0 --point yesterday`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), app) },
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "answer on this address; port 0 takes a free one")
	f.BoolVar(&o.anonymous, "anonymous", false, "let in everybody who can reach the address, which must be of this machine alone")
	f.StringVar(&o.users, "users", "", "let in the accounts in this file")
	f.StringVar(&o.ldap.server, "ldap", "", "ask this server, ldaps://HOST or ldap://HOST with STARTTLS, about names without an account")
	f.StringVar(&o.ldap.dn, "ldap-dn", "", "the DN of the user {name}, as in uid={name},ou=people,dc=example")
	f.StringVar(&o.ldap.ca, "ldap-ca", "", "PEM file of who vouches for the LDAP server's certificate; else the system's")
	f.StringVar(&o.certificate, "certificate", "", "PEM file with certificate and key for TLS")
	f.BoolVar(&o.noTLS, "no-tls", false, "no TLS on a loopback address (behind a proxy that has it)")
	f.StringSliceVar(&o.hosts, "host", nil, "name under which clients ask for the share; any if none is given")
	f.StringVar(&o.accessLog, "access-log", "", "write each request to this file, one line of JSON each")
	f.StringVar(&o.point, "point", "", "show this POINT alone")
	f.BoolVar(&o.listTime, "list-time", false, listTimeUsage)
	deletedFlag(c, &o.deleted)
	rateFlag(c, &o.rate)
	f.BoolVar(&o.kept, keptFlag, false, "")
	_ = f.MarkHidden(keptFlag)
	c.AddCommand(newServePasswd(app))
	return c
}

func (o *serveOptions) run(ctx context.Context, app *cli.App) error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return cli.Usage("--listen %q: give an address and a port, as in 127.0.0.1:8080", o.listen)
	}
	switch {
	case (o.ldap.server == "") != (o.ldap.dn == ""):
		return cli.Usage("--ldap and --ldap-dn are given together")
	case o.anonymous == (o.users != "" || o.ldap.server != ""):
		return cli.Hint(cli.Usage("who shall be let in?"), "give --users FILE (`tidemark serve passwd` adds accounts), or --anonymous to let in every user of this machine")
	case o.anonymous && !loopback(host):
		return cli.Hint(cli.Usage("--anonymous on %s: others than the users of this machine could read everything", o.listen), "give a loopback address, as in 127.0.0.1:8080, or --users")
	case o.noTLS && !loopback(host):
		return cli.Usage("--no-tls on %s: passwords would travel in clear", o.listen)
	}
	level := slog.LevelWarn
	if app.Globals.Verbose {
		level = slog.LevelDebug
	}
	if o.kept {
		return beKept(ctx, app, func(ctx context.Context, log *slog.Logger, ready func(string) error) error {
			o.ready = ready
			return o.open(ctx, app, host, log)
		})
	}
	return o.open(ctx, app, host, slog.New(slog.NewTextHandler(app.Stderr, &slog.HandlerOptions{Level: level})))
}

// open opens the repository and serves it.
func (o *serveOptions) open(ctx context.Context, app *cli.App, host string, log *slog.Logger) error {
	app, stop, err := throttled(ctx, app, o.rate, mountWindows(app))
	if err != nil {
		return err
	}
	defer stop()
	r, err := openToShow(ctx, app, defaultWait, log) // M3: slow is better than an error
	if err != nil {
		return err
	}
	r.deleted = o.deleted
	err = o.serve(ctx, app, r, host, log)
	return errors.Join(err, r.close())
}

// loopback says whether only this machine reaches a host.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// share is what is served, and how.
type share struct {
	handler http.Handler
	tls     *tls.Config // nil: none
	close   func() error
}

func (o *serveOptions) serve(ctx context.Context, app *cli.App, r *opened, host string, log *slog.Logger) error {
	opt := fs.Options{ListTime: o.listTime, Location: app.Zone, Now: app.Now, Log: log}
	if o.point != "" {
		p, err := selectPoint(ctx, app, r, o.point)
		if err != nil {
			return err
		}
		opt.Point = p
	}
	debug.SetMemoryLimit(mountMemory)
	tree := fs.New(r.source(), opt)
	defer tree.Close()
	s, err := o.share(app, tree, host, r.local.Dir, log)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return errors.Join(cli.Hint(fmt.Errorf("serve: %w", err), "--listen 127.0.0.1:0 takes a free port"), s.close())
	}
	if err := o.tell(app, l.Addr().String(), s); err != nil {
		return errors.Join(err, l.Close(), s.close())
	}
	return errors.Join(webdav.Serve(ctx, l, s.handler, s.tls, log), s.close())
}

// share puts together who is let in, and how.
func (o *serveOptions) share(app *cli.App, tree *fs.Tree, host, dir string, log *slog.Logger) (*share, error) {
	s := &share{close: func() error { return nil }}
	options := webdav.Options{Hosts: o.hosts, Now: app.Now, Log: log}
	if o.anonymous {
		// A page of somebody else's must not reach what has no login.
		options.Hosts = append([]string{"localhost", "127.0.0.1", "::1", host}, o.hosts...)
		s.handler = webdav.New(func(*http.Request) webdav.View { return tree }, options)
		return s, nil
	}
	g, err := o.guard(app, tree)
	if err != nil {
		return nil, err
	}
	if o.accessLog != "" {
		f, err := os.OpenFile(o.accessLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open access log: %w", err)
		}
		g.Log, s.close = slog.New(slog.NewJSONHandler(f, nil)), f.Close
	}
	s.handler = g.Around(webdav.New(g.View, options))
	if o.noTLS {
		return s, nil
	}
	path := o.certificate
	if path == "" {
		path = filepath.Join(dir, "serve.pem")
	} else if _, err := os.Stat(path); err != nil {
		return nil, errors.Join(fmt.Errorf("read certificate: %w", err), s.close())
	}
	names := slices.Concat(o.hosts, []string{"localhost", "127.0.0.1", "::1"})
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		names = append(names, host)
	}
	c, err := webdav.Certificate(path, names, app.Now())
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.tls = &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
	return s, nil
}

// guard is who asks for logins.
func (o *serveOptions) guard(app *cli.App, tree *fs.Tree) (*webdav.Guard, error) {
	var accounts access.Accounts
	if o.users != "" {
		var err error
		if accounts, err = access.ReadAccounts(o.users); err != nil {
			return nil, cli.Hint(err, "`tidemark serve passwd --users FILE NAME` adds an account")
		}
	}
	g := &webdav.Guard{Tree: tree, Logins: access.NewLogins(func(name string) *access.Account { return accounts[name] }, app.Now)}
	g.Digest = o.ldap.server == "" && accounts.HaveDigest()
	if o.ldap.server != "" {
		d, err := o.ldap.directory()
		if err != nil {
			return nil, err
		}
		g.Logins.Ask(d)
	}
	return g, nil
}

// tell says where the share is.
func (o *serveOptions) tell(app *cli.App, address string, s *share) error {
	url, print := "http://"+address+"/", ""
	if s.tls != nil {
		url, print = "https://"+address+"/", webdav.Fingerprint(&s.tls.Certificates[0])
	}
	if o.ready != nil {
		return o.ready(url)
	}
	if app.Globals.JSON {
		return app.JSON(struct {
			URL         string `json:"url"`
			Fingerprint string `json:"fingerprint,omitempty"`
		}{url, print})
	}
	whom := "those who log in"
	if o.anonymous {
		whom = "every user of this machine"
	}
	app.Notef("serving %s to %s (Ctrl-C ends it)", url, whom)
	if print != "" {
		app.Notef("certificate's SHA-256: %s", print)
	}
	return nil
}
