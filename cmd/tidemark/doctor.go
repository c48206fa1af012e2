package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/fs/mount"
	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
	"github.com/tidemark-backup/tidemark/repo/vault/store/patient"
)

func newDoctor(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine lacks, and how to get it",
		Long: `Look at what this machine has for mounts (FUSE, WinFsp, the limits of Windows'
WebDAV client), whether the folder for keys and index can be written to, and
whether the clock can be right. If a repository is named, it is looked at, too:
whether it can be reached, what it holds and how much room is left. Nothing is
changed, and no passphrase is needed.

The exit code is 0 if all is well, 3 if something works with limits only, and 1
if something does not work.`,
		Example: `  tidemark doctor
  tidemark doctor -r /srv/backup/office --json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runDoctor(c.Context(), app, mount.Probe()) },
	}
}

// runDoctor is a function of the host and of what the flags name, for tests.
func runDoctor(ctx context.Context, app *cli.App, host mount.Host) error {
	findings := host.Findings()
	findings = append(findings, lookAtState(app.Globals.CacheDir), lookAtClock(app.Now()))
	var unreachable error
	if app.Globals.Repository != "" {
		var more []mount.Finding
		more, unreachable = lookAtRepository(ctx, app)
		findings = append(findings, more...)
	}
	worst := mount.Good
	for _, f := range findings {
		if f.Grade == mount.Bad || f.Grade == mount.Poor && worst == mount.Good {
			worst = f.Grade
		}
	}
	if err := printDiagnosis(app, host, findings, worst); err != nil {
		return err
	}
	switch {
	case unreachable != nil:
		return unreachable
	case worst == mount.Bad:
		return fmt.Errorf("something does not work: %w", fault.Internal)
	case worst == mount.Poor:
		return cli.ErrWarnings
	}
	return nil
}

func printDiagnosis(app *cli.App, host mount.Host, findings []mount.Finding, worst mount.Grade) error {
	if app.Globals.JSON {
		return app.JSON(struct {
			System   string          `json:"system"`
			Grade    mount.Grade     `json:"grade"`
			Findings []mount.Finding `json:"findings"`
		}{host.System, worst, findings})
	}
	mark := map[mount.Grade]string{mount.Good: "ok", mount.Poor: "limited", mount.Bad: "FAILS"}
	for _, f := range findings {
		app.Printf("%-7s  %s: %s\n", mark[f.Grade], cli.Quote(f.Subject), cli.Quote(f.Found))
		if f.Help != "" {
			app.Printf("         → %s\n", f.Help)
		}
	}
	return nil
}

// lookAtState tries to write to the folder for what this machine keeps, or if
// it is not there yet to the one that it would be made in.
func lookAtState(dir string) mount.Finding {
	f := mount.Finding{Subject: "folder for keys and index", Grade: mount.Good, Found: dir + " can be written to"}
	at := dir
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			err = fault.NotDir
		}
		if err == nil {
			break
		}
		if up := filepath.Dir(at); errors.Is(err, iofs.ErrNotExist) && up != at {
			at = up
			continue
		}
		return badState(f, dir, err)
	}
	try, err := os.CreateTemp(at, ".tidemark-doctor-")
	if err != nil {
		return badState(f, dir, err)
	}
	_, err = try.Write(make([]byte, 4096))
	err = errors.Join(err, try.Sync(), try.Close(), os.Remove(try.Name()))
	if err != nil {
		return badState(f, dir, err)
	}
	if at != dir {
		f.Found = dir + " is made at the first backup"
	} else if info, err := os.Stat(dir); err == nil && durable.Private(info) != nil {
		f.Grade, f.Found, f.Help = mount.Poor, dir+" can be read or written by others", "chmod 700 "+cli.Quote(dir)
	}
	return f
}

func badState(f mount.Finding, dir string, err error) mount.Finding {
	f.Grade, f.Found = mount.Bad, fmt.Sprintf("%s cannot be written to: %v", dir, err)
	f.Help = "give another one with --cache-dir, or cache_dir in the configuration"
	return f
}

// released is when this was written: no right clock is earlier.
func released() time.Time { return time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC) }

// clockEnd is what no clock shows before this program is long gone.
func clockEnd() time.Time { return released().AddDate(50, 0, 0) }

func lookAtClock(now time.Time) mount.Finding {
	f := mount.Finding{Subject: "clock", Grade: mount.Good, Found: cli.JSONTime(now)}
	if now.Before(released()) || now.After(clockEnd()) {
		f.Grade, f.Help = mount.Bad, "points carry the time at which they were made: set the clock, and keep it with NTP"
		f.Found += ", which cannot be"
	}
	return f
}

// Bounds of what is remarked on.
const (
	clockSlack = 2 * time.Minute // between this clock and the one of the place
	scarce     = 20              // the part of a place that should be free: one in so many
)

// lookAtRepository looks at the place without any key. The error is why it
// cannot be reached.
func lookAtRepository(ctx context.Context, app *cli.App) ([]mount.Finding, error) {
	address := app.Globals.Repository
	f := mount.Finding{Subject: "repository", Grade: mount.Good}
	p := patient.New(address, func(ctx context.Context) (store.Store, error) { return all.Open(ctx, address) }, patient.Options{})
	defer func() { _ = p.Close() }()
	bad := func(err error) ([]mount.Finding, error) {
		f.Grade, f.Found = mount.Bad, fmt.Sprintf("%s cannot be reached: %v", address, err)
		f.Help = "is the disk or share mounted, and may this user read it? `tidemark init` makes a new repository"
		return []mount.Finding{f}, cli.Hint(fmt.Errorf("look at the repository: %w", err), "%s", f.Help)
	}
	id, _, err := replicate.Identify(ctx, p)
	if err != nil {
		return bad(err)
	}
	c, err := replicate.Look(ctx, p, localOf(app, id, address).Memory())
	if err != nil {
		return bad(err)
	}
	f.Found = fmt.Sprintf("%s holds %s in %s", address, cli.Counted(uint64(c.Points()), "point", "points"), cli.Size(uint64(max(c.Bytes, 0))))
	list := []mount.Finding{f}
	if ahead := c.Newest().Sub(app.Now()); c.Points() > 0 && ahead > clockSlack {
		list = append(list, mount.Finding{Subject: "clock of the repository's place", Grade: mount.Bad,
			Found: "the newest point was stored " + cli.Duration(ahead) + " in the future, by this machine's clock", Help: "compare both clocks, and keep them with NTP"})
	}
	if c.Ledger != nil {
		list = append(list, mount.Finding{Subject: "ledger", Grade: mount.Poor, Found: c.Ledger.Error(), Help: "`tidemark vault ledger verify` tells more"})
	}
	inner, err := p.Place(ctx)
	if err != nil {
		return bad(err)
	}
	return append(list, lookAtPlace(ctx, inner)...), nil
}

// lookAtPlace says how much room the place has, if it knows.
func lookAtPlace(ctx context.Context, s store.Store) (list []mount.Finding) {
	if r, ok := s.(store.Spacer); ok {
		if room, err := r.Space(ctx); err == nil && room.Total > 0 {
			f := mount.Finding{Subject: "room", Grade: mount.Good,
				Found: fmt.Sprintf("%s of %s are free", cli.Size(uint64(max(room.Free, 0))), cli.Size(uint64(room.Total)))}
			if room.Free < room.Total/scarce {
				f.Grade, f.Help = mount.Poor, "`tidemark prune --dry-run` shows what could go; or make room"
			}
			list = append(list, f)
		}
	}
	return list
}
