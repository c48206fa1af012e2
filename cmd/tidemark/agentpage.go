package main

import (
	"context"
	"fmt"
	"html"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/page"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/browser"
	"github.com/tidemark-backup/tidemark/platform/durable"
)

func newAgentPage(app *cli.App) *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use:   "page",
		Short: "Open the agent's web page",
		Long: `Open the agent's web page in a browser: how everything is, the jobs as they run,
every file of every point to look at, download and restore.

The page is there if the configuration says where, as in

  [agent]
  page = "127.0.0.1:8377"

It is for this machine alone, and for who may use the agent's socket: the link
that this prints lets its reader in once, within two minutes. From elsewhere,
"ssh -L 8377:127.0.0.1:8377 SERVER" leads there. --print opens no browser.`,
		Example: `  tidemark agent page
  tidemark agent page --print`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			url, err := agentClient(app).Page(c.Context())
			if err != nil {
				return notRunning(err)
			}
			if app.Globals.JSON {
				return app.JSON(struct {
					URL string `json:"url"`
				}{url})
			}
			app.Printf("%s\n", url)
			if show {
				return nil
			}
			if err := openPage(c.Context(), app, url); err != nil {
				app.Notef("no browser opens (%v): open the link yourself, within two minutes", err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&show, "print", false, "print the link, and open no browser")
	return c
}

// openPage opens the browser on a file of this user's that leads on: all users
// of a machine see what its programs are called with, and the link has a token.
func openPage(ctx context.Context, app *cli.App, url string) error {
	path := filepath.Join(agent.Dir(app.Globals.CacheDir), "page.html")
	text := fmt.Sprintf("<!DOCTYPE html><meta charset=utf-8><meta name=referrer content=no-referrer><meta http-equiv=refresh content=\"0; url=%[1]s\"><title>Tidemark</title><a href=%[1]q>Open the page</a>\n", html.EscapeString(url))
	if err := durable.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return browser.Open(ctx, path)
}

// webPage is the page of the agent that the configuration asks for, nil for
// none. Its listener is closed by Serve, or by who does not come to that.
func webPage(ctx context.Context, app *cli.App, e *agent.Engine, restored func(string, error)) (*page.Page, net.Listener, error) {
	address := app.Globals.Config.Agent.Page
	if address == "" {
		return nil, nil, nil
	}
	l, err := page.Listen(ctx, address)
	if err != nil {
		return nil, nil, cli.Hint(err, "another program may have the port; set page below [agent] to another one")
	}
	return page.New(l, page.Options{Dir: app.Globals.CacheDir, Passphrase: e.Passphrase, Told: e.Unlocked.Get, Now: app.Now, Zone: app.Zone, Log: agentLog(app), Version: thisBuild().Version, Restored: restored}), l, nil
}
