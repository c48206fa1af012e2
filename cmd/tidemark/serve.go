package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/webdav"
)

type serveOptions struct {
	listen    string
	anonymous bool
	point     string
}

func newServe(app *cli.App) *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "serve",
		Short: "Show all recovery points as a WebDAV share and in a browser",
		Long: `Show all recovery points as a read-only WebDAV share, which Windows, macOS and
Linux map without a driver, and which a browser shows as pages:

  http://127.0.0.1:8080/
    latest/…                       the newest point
    points/2026-11-22_10-00-00/…   each point, by its local time

Links are followed within their point. Any folder comes as one file with ?zip,
or with ?tar, which has all metadata.

With --anonymous there is no login: every user of this machine who can reach
the address can read everything in the repository, whatever its permissions
were. It is for loopback addresses only. The command stays until Ctrl-C.`,
		Example: `  tidemark serve --anonymous
  tidemark serve --anonymous --listen 127.0.0.1:0 --point yesterday`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), app) },
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "answer on this address; port 0 takes a free one")
	f.BoolVar(&o.anonymous, "anonymous", false, "let in everybody who can reach the address, which must be of this machine alone")
	f.StringVar(&o.point, "point", "", "show this POINT alone")
	return c
}

func (o *serveOptions) run(ctx context.Context, app *cli.App) error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return cli.Usage("--listen %q: give an address and a port, as in 127.0.0.1:8080", o.listen)
	}
	if !o.anonymous {
		return cli.Hint(cli.Usage("nobody is let in"), "this version has no accounts yet: give --anonymous to let in every user of this machine")
	}
	if !loopback(host) {
		return cli.Hint(cli.Usage("--anonymous on %s: others than the users of this machine could read everything", o.listen), "give a loopback address, as in 127.0.0.1:8080")
	}
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	err = o.serve(ctx, app, r, host)
	return errors.Join(err, r.close())
}

// loopback says whether only this machine reaches a host.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (o *serveOptions) serve(ctx context.Context, app *cli.App, r *opened, host string) error {
	level := slog.LevelWarn
	if app.Globals.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(app.Stderr, &slog.HandlerOptions{Level: level}))
	opt := fs.Options{Location: app.Zone, Now: app.Now, Log: log}
	if o.point != "" {
		p, err := selectPoint(ctx, app, r, o.point)
		if err != nil {
			return err
		}
		opt.Point = p
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return cli.Hint(fmt.Errorf("serve: %w", err), "--listen 127.0.0.1:0 takes a free port")
	}
	debug.SetMemoryLimit(mountMemory)
	tree := fs.New(r.Repository, opt)
	defer tree.Close()
	h := webdav.New(func(*http.Request) webdav.View { return tree }, webdav.Options{
		Hosts: []string{"localhost", "127.0.0.1", "::1", host}, Log: log,
	})
	url := "http://" + l.Addr().String() + "/"
	if app.Globals.JSON {
		if err := app.JSON(struct {
			URL string `json:"url"`
		}{url}); err != nil {
			return errors.Join(err, l.Close())
		}
	} else {
		app.Notef("serving %s to every user of this machine (Ctrl-C ends it)", url)
	}
	return webdav.Serve(ctx, l, h, log)
}
