package main

import (
	"context"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
)

// rateFlag bounds what a command reads out of the repository. Whoever restores
// has no time to lose: without it, and with nothing in the configuration, there
// is no bound.
func rateFlag(c *cobra.Command, rate *string) {
	c.Flags().StringVar(rate, "limit-rate", "", "read at most so many bytes in a second, such as 20M (default: as [restore] in the configuration says, else no bound)")
}

// throttled returns app with a bound on what is read, by the flag or by a table
// of the week, which is followed until stop is called.
func throttled(ctx context.Context, app *cli.App, flag string, windows []schedule.Window) (_ *cli.App, stop func(), err error) {
	if flag == "" && len(windows) == 0 {
		return app, func() {}, nil
	}
	bound := *app
	bound.Reads = limit.NewRate(0, app.Now)
	if flag != "" {
		n, err := cli.ParseRate("limit-rate", flag)
		if err != nil {
			return nil, nil, err
		}
		bound.Reads.Set(n)
		return &bound, func() {}, nil
	}
	table, err := schedule.NewTable(windows, app.Zone)
	if err != nil {
		return nil, nil, err
	}
	bound.Reads.Set(table.Rate(app.Now()))
	ctx, cancel := context.WithCancel(ctx)
	var follower sync.WaitGroup
	follower.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				bound.Reads.Set(table.Rate(app.Now()))
			case <-ctx.Done():
				return
			}
		}
	})
	return &bound, func() { cancel(); follower.Wait() }, nil
}

// mountWindows is the table for mounts and shares.
func mountWindows(app *cli.App) []schedule.Window {
	if r := app.Globals.Config.Restore; r.Mounts {
		return r.Throttle
	}
	return nil
}
