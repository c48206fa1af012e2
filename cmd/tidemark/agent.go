package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/power"
	"github.com/tidemark-backup/tidemark/platform/process"
	"github.com/tidemark-backup/tidemark/platform/service"
	"github.com/tidemark-backup/tidemark/platform/snapshot"
)

func newAgent(app *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "agent",
		Short: "Back up by itself, as a service",
		Long: `Back up by itself: the agent runs the policies of the configuration when their
time has come, catches up once on what was missed, tries again what failed, and
keeps a record of jobs and alerts.

"agent install" and "agent start" make it a service of this machine; "agent run"
runs it in the foreground.`,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAgentRun(app), newAgentStatus(app), newAgentPause(app), newAgentResume(app), newAgentReload(app), newAgentUnlock(app), newAgentLock(app), newAgentPage(app), newAgentNotify(app), newAgentMetrics(app),
		newAgentInstall(app), newAgentUninstall(app), newAgentStart(app), newAgentStop(app))
	return c
}

// serviceName is that of the agent on every host.
const serviceName = "tidemark"

func newAgentRun(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the agent in the foreground",
		Long: `Run the agent in the foreground until it is told to stop (Ctrl-C, SIGTERM). Jobs
that run then are stopped, and go on at the next start with what they had
stored. SIGHUP has it read its configuration anew.

It tells what it does on standard error, with --json as JSON. Needs policies,
as [[policy]] tables, in the configuration.`,
		Example: `  tidemark agent run --config /etc/tidemark/config.toml`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return service.Run(c.Context(), serviceName, func(ctx context.Context) error { return runAgent(ctx, app) })
		},
	}
}

func runAgent(ctx context.Context, app *cli.App) (err error) {
	conf := app.Globals.Config
	if len(conf.Policies)+len(conf.Maintenance)+len(conf.Mounts)+len(conf.Shares) == 0 {
		return cli.Hint(cli.Usage("the configuration has no policies"), "write a [[policy]] table into %s", configPath(app))
	}
	log := agentLog(app)
	if a := &conf.Agent; a.Nice > 0 || a.IdleIO {
		if err := process.Nice(a.Nice, a.IdleIO); err != nil {
			log.Warn("the agent is not as nice as its configuration wants", "error", err)
		}
	}
	lock, err := agent.Hold(app.Globals.CacheDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if n, err := snapshot.Sweep(ctx, backup.SnapshotDir(app.Globals.CacheDir)); err != nil || n > 0 {
		log.Warn("snapshots were left over", "removed", n, "error", err)
	}
	j, err := journal.Open(agent.JournalPath(app.Globals.CacheDir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	l, err := agent.Listen(ctx, agent.SocketPath(app.Globals.CacheDir, &conf))
	if err != nil {
		return err
	}
	e := engine(app)
	o := agent.Options{Journal: j, Run: e.Run, Now: app.Now, Zone: app.Zone, Log: log, Version: thisBuild().Version, Host: hostOf(), Look: e.Look, Power: power.Read}
	e.Unlocked = &agent.Unlocked{}
	o.Unlocked, o.Verify, o.Keep = e.Unlocked, e.Verify, (&keeper{app: app, log: log}).keep
	web, door, err := webPage(ctx, app, e, restored(j, app.Now, log))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	if web != nil {
		defer func() { _ = door.Close() }() // which Serve may have done
		o.Link = web.Link
	}
	a, err := agent.New(conf, o)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	reload := func() (config.Config, error) { return config.Load(configPath(app)) }
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Run(ctx) })
	group.Go(func() error { return agent.Serve(ctx, l, a, reload) })
	group.Go(func() error { reloadOnHangup(ctx, a, reload); return nil })
	group.Go(func() error { return serveMetrics(ctx, a, conf.Agent.Metrics) })
	if web != nil {
		group.Go(func() error { return web.Serve(ctx, a) })
	}
	return group.Wait()
}

// restored makes an alert of a restore that failed, which ends with the next one
// that does not.
func restored(j *journal.Journal, now func() time.Time, log *slog.Logger) func(what string, failure error) {
	return func(what string, failure error) {
		err := j.Update(func(tx *journal.Tx) error {
			if failure == nil {
				return tx.Resolve(journal.RestoreFailed, "", "a later restore was done", now())
			}
			return tx.Raise(journal.Alert{Severity: journal.SeverityCritical, Kind: journal.RestoreFailed, Text: fmt.Sprintf("restore of %s: %v", what, failure)}, now())
		})
		if err != nil {
			log.Error("an alert is not written down", "error", err)
		}
	}
}

// reloadOnHangup reads the configuration at each SIGHUP.
func reloadOnHangup(ctx context.Context, a *agent.Agent, reload func() (config.Config, error)) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			_ = a.Reload(reload()) // it is logged, and an alert
		case <-ctx.Done():
			return
		}
	}
}

func agentLog(app *cli.App) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	switch {
	case app.Globals.Verbose:
		o.Level = slog.LevelDebug
	case app.Globals.Quiet:
		o.Level = slog.LevelWarn
	}
	if app.Globals.JSON {
		return slog.New(slog.NewJSONHandler(app.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(app.Stderr, o))
}

// engine does the jobs.
func engine(app *cli.App) *agent.Engine {
	e := &agent.Engine{
		Dir: app.Globals.CacheDir, Now: app.Now,
		New: func(paths []string, m *exclude.Matcher) backup.Job { return newJob(app, paths, m) },
	}
	if app.Globals.HasPassphrase() {
		e.Passphrase = app.Passphrase
	}
	return e
}

// configPath is the configuration that is read.
func configPath(app *cli.App) string {
	if app.Globals.ConfigPath != "" {
		return app.Globals.ConfigPath
	}
	return config.DefaultPath(os.Geteuid(), app.Getenv)
}

// agentClient talks with the agent that runs.
func agentClient(app *cli.App) *agent.Client {
	return agent.NewClient(agent.SocketPath(app.Globals.CacheDir, &app.Globals.Config))
}

// notRunning says what to do about an agent that does not run.
func notRunning(err error) error {
	if errors.Is(err, agent.ErrNotRunning) {
		return cli.Hint(err, "`tidemark agent start` starts the service, `tidemark agent run` runs it here; --config and --cache-dir must be those of the agent")
	}
	return err
}

// fromJournal asks the agent, or, if none runs, reads its journal.
func fromJournal[T any](app *cli.App, ask func(*agent.Client) (T, error), read func(*journal.Journal) (T, error)) (T, error) {
	v, err := ask(agentClient(app))
	path := agent.JournalPath(app.Globals.CacheDir)
	if !errors.Is(err, agent.ErrNotRunning) {
		return v, err
	}
	if !journal.Exists(path) {
		return v, cli.Hint(fmt.Errorf("find the journal of an agent in %s: %w", path, os.ErrNotExist), "`tidemark agent run` makes it; --cache-dir must be that of the agent")
	}
	j, err := journal.Open(path)
	if err != nil {
		return v, err
	}
	v, err = read(j)
	return v, errors.Join(err, j.Close())
}

func newAgentPause(app *cli.App) *cobra.Command {
	var last string
	c := &cobra.Command{
		Use:   "pause",
		Short: "Have jobs wait",
		Long: `Have jobs wait: none begins, and those that run send nothing any more, until
"agent resume", or for as long as --for says. What was missed meanwhile runs
once afterwards. A pause outlasts the agent's end.`,
		Example: `  tidemark agent pause --for 2h`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var until time.Time
			if last != "" {
				d, err := schedule.ParseSpan(last)
				if err != nil {
					return cli.Usage("--for %w", err)
				}
				until = app.Now().Add(d)
			}
			return done(app, agentClient(app).Pause(c.Context(), until), "paused")
		},
	}
	c.Flags().StringVar(&last, "for", "", "end the pause after this `TIME`, such as 90m or 2d")
	return c
}

func newAgentResume(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:     "resume",
		Short:   "End a pause",
		Long:    `End a pause: jobs that wait go on, and what was missed runs once.`,
		Example: `  tidemark agent resume`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return done(app, agentClient(app).Resume(c.Context()), "resumed")
		},
	}
}

func newAgentReload(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Have the agent read its configuration anew",
		Long: `Have the agent read its configuration anew, as SIGHUP does. Jobs that run go on
as they began. If it cannot be read the one before stays in force, and that is
an alert.`,
		Example: `  tidemark agent reload`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return done(app, agentClient(app).Reload(c.Context()), "reloaded")
		},
	}
}

// done says that the agent did something.
func done(app *cli.App, err error, what string) error {
	if err != nil {
		return notRunning(err)
	}
	if app.Globals.JSON {
		return app.JSON(struct {
			Done string `json:"done"`
		}{what})
	}
	app.Notef("%s", what)
	return nil
}
