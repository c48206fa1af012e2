package main

import (
	"context"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

func newAgentMetrics(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the agent's metrics for Prometheus",
		Long: `Print how the agent stands in the text format of Prometheus: the age of each
policy's newest point, the last jobs, alerts, and the space of repositories.

With metrics = "127.0.0.1:9469" below [agent] Prometheus can ask by itself, at
http://127.0.0.1:9469/metrics; otherwise let a timer write this into a file for
the textfile collector of the node exporter.`,
		Example: `  tidemark agent metrics > /var/lib/node_exporter/tidemark.prom`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := agentClient(app).Metrics(c.Context())
			if err != nil {
				return notRunning(err)
			}
			if app.Globals.JSON {
				return app.JSON(struct {
					Metrics string `json:"metrics"`
				}{string(b)})
			}
			app.Printf("%s", b)
			return nil
		},
	}
}

// serveMetrics answers Prometheus at an address, if there is one.
func serveMetrics(ctx context.Context, a *agent.Agent, address string) error {
	if address == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for Prometheus: %w", err)
	}
	return agent.ServeMetrics(ctx, l, a)
}
