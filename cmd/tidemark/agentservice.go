package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/service"
)

// agentService is the agent as a service of this machine, with the configuration
// and folders that this call names.
func agentService(app *cli.App) (*service.Service, error) {
	program, err := service.Program()
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(configPath(app))
	if err != nil {
		return nil, err
	}
	s := &service.Service{
		Name: serviceName, Title: "Tidemark backup agent", Program: program,
		Args: []string{"agent", "run", "--config", path, "--cache-dir", app.Globals.CacheDir},
		User: os.Geteuid() > 0, Writable: []string{app.Globals.CacheDir}, Mounts: len(app.Globals.Config.Mounts) > 0,
	}
	for _, p := range app.Globals.Config.Policies {
		if at := strings.TrimPrefix(p.Repository, "file://"); filepath.IsAbs(at) {
			s.Writable = append(s.Writable, at)
		}
	}
	return s, nil
}

func newAgentInstall(app *cli.App) *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use:   "install",
		Short: "Install the agent as a service",
		Long: `Install the agent as a service that this machine starts at each boot: of
systemd, launchd, or Windows. It runs this program, where it is now, with the
configuration and the --cache-dir of this call. "agent start" starts it.

For systemd the unit is hardened. What keeps a service apart from the file
systems of others is left out where the configuration has a [[mount]]: install
again after adding the first one.

--print shows the unit for systemd, and installs nothing.`,
		Example: `  tidemark agent install --config /etc/tidemark/config.toml
  tidemark agent install --print`,
		Args: arguments(cobra.NoArgs),
		RunE: func(_ *cobra.Command, _ []string) error {
			s, err := agentService(app)
			if err != nil {
				return err
			}
			if show {
				app.Printf("%s", s.Unit())
				return nil
			}
			if c := &app.Globals.Config; len(c.Policies)+len(c.Maintenance)+len(c.Mounts)+len(c.Shares) == 0 {
				return cli.Hint(cli.Usage("the configuration has no policies"), "write a [[policy]] table into %s", configPath(app))
			}
			return done(app, s.Install(), "installed")
		},
	}
	c.Flags().BoolVar(&show, "print", false, "show the unit for systemd, and install nothing")
	return c
}

// serviceCommand is a command that has the host do something with the service.
func serviceCommand(app *cli.App, use, short, long, what string, act func(*service.Service) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: "  tidemark agent " + use, Args: arguments(cobra.NoArgs),
		RunE: func(_ *cobra.Command, _ []string) error {
			s, err := agentService(app)
			if err != nil {
				return err
			}
			return done(app, act(s), what)
		},
	}
}

func newAgentUninstall(app *cli.App) *cobra.Command {
	return serviceCommand(app, "uninstall", "Remove the service",
		`Remove the service of the agent. Recovery points, keys, and the record of jobs
stay; points go on to expire by their policy.`, "uninstalled", (*service.Service).Uninstall)
}

func newAgentStart(app *cli.App) *cobra.Command {
	return serviceCommand(app, "start", "Start the service",
		`Start the service that "agent install" has installed. "agent status" tells
whether it runs.`, "started", (*service.Service).Start)
}

func newAgentStop(app *cli.App) *cobra.Command {
	return serviceCommand(app, "stop", "Stop the service",
		`Stop the service. A job that runs is stopped, and goes on at the next start with
what it had stored.`, "stopped", (*service.Service).Stop)
}

type agentStatusJSON struct {
	Service string        `json:"service"` // how the host's service stands
	System  string        `json:"system,omitempty"`
	Running bool          `json:"running"` // an agent answers
	Agent   *agent.Status `json:"agent,omitempty"`
}

func newAgentStatus(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show whether the agent runs",
		Long: `Show whether the agent is installed as a service, whether one runs and answers,
and whether it is paused. The exit code is 1 if none runs. "tidemark status"
shows how the policies are.`,
		Example: `  tidemark agent status --json`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			j := agentStatusJSON{Service: string(service.Unknown), System: service.System()}
			if s, err := agentService(app); err == nil {
				if status, err := s.Status(); err == nil {
					j.Service = string(status)
				}
			}
			status, err := agentClient(app).Status(c.Context())
			j.Agent, j.Running = status, err == nil
			if app.Globals.JSON {
				return errors.Join(app.JSON(j), notRunning(err))
			}
			app.Printf("service: %s\n", j.Service)
			if err != nil {
				return notRunning(err)
			}
			app.Printf("agent:   version %s, process %d, runs since %s\n", cli.Quote(status.Version), status.PID, cli.Time(status.Started, app.Zone))
			app.Printf("pause:   %s\n", pauseText(app, status.Pause))
			app.Printf("rate:    %s\n", rateText(status.Rate))
			return nil
		},
	}
}
