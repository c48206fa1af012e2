package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
	"github.com/tidemark-backup/tidemark/repo/vault/store/patient"
)

func newStatus(app *cli.App) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what the place holds, and how far its replicas are behind",
		Long: `Show how many objects, bytes and recovery points the repository and each of its
replicas hold, and how far a replica is behind: the points that it lacks, and
how old the newest and the oldest of these are. Points that a replica has
removed by its own rules do not count. What was lately read from a replica
because the repository had it damaged is shown, too.

No passphrase is needed. The exit code is 3 if a replica is behind or cannot be
reached.`,
		Example: `  tidemark vault status
  tidemark vault status --replica /mnt/second/me --json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), app) },
	}
}

type folderJSON struct {
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

type lagJSON struct {
	Points        int     `json:"points"`                       // that the replica lacks
	NewestSeconds float64 `json:"newest_age_seconds,omitempty"` // of them
	OldestSeconds float64 `json:"oldest_age_seconds,omitempty"`
	More          int     `json:"only_in_replica"`
}

type placeJSON struct {
	Address string                `json:"address"`
	Error   string                `json:"error,omitempty"`
	Objects int                   `json:"objects"`
	Bytes   int64                 `json:"bytes"`
	Points  int                   `json:"points"`
	Newest  string                `json:"newest_point,omitempty"`
	Folders map[string]folderJSON `json:"folders,omitempty"`
	Ledger  string                `json:"ledger_error,omitempty"`
	Lag     *lagJSON              `json:"lag,omitempty"`
}

type statusJSON struct {
	placeJSON
	Replicas []placeJSON  `json:"replicas"`
	Notices  []noticeJSON `json:"notices"` // the newest of this machine
}

// look lists a place, and waits no longer for it than for a mount's.
func look(ctx context.Context, app *cli.App, address string) (*replicate.Contents, error) {
	p := patient.New(address, func(ctx context.Context) (store.Store, error) { return all.Open(ctx, address) }, patient.Options{})
	id, _, err := replicate.Identify(ctx, p)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	c, err := replicate.Look(ctx, p, localOf(app, id, address).Memory())
	return c, errors.Join(err, p.Close())
}

func newPlaceJSON(address string, c *replicate.Contents, err error) placeJSON {
	j := placeJSON{Address: address}
	if err != nil {
		j.Error = err.Error()
		return j
	}
	j.Objects, j.Bytes, j.Points, j.Folders = c.Objects, c.Bytes, c.Points(), map[string]folderJSON{}
	for name, f := range c.Folders {
		j.Folders[name] = folderJSON(f)
	}
	if at := c.Newest(); !at.IsZero() {
		j.Newest = cli.JSONTime(at)
	}
	if c.Ledger != nil {
		j.Ledger = c.Ledger.Error()
	}
	return j
}

// shownNotices are the newest notices that are shown.
const shownNotices = 10

func runStatus(ctx context.Context, app *cli.App) error {
	address, err := app.NeedRepository()
	if err != nil {
		return err
	}
	source, err := look(ctx, app, address)
	if err != nil && len(app.Globals.Replicas) == 0 {
		return err
	}
	s := statusJSON{placeJSON: newPlaceJSON(address, source, err), Replicas: []placeJSON{}, Notices: []noticeJSON{}}
	behind := err != nil
	var id [16]byte
	for _, to := range app.Globals.Replicas {
		c, err := look(ctx, app, to)
		if err == nil && source != nil && c.Repository != source.Repository {
			err = fmt.Errorf("it holds another repository: %w", fault.Exist)
		}
		j := newPlaceJSON(to, c, err)
		if err == nil {
			id = c.Repository
		}
		if err == nil && source != nil {
			l := replicate.LagOf(source, c)
			j.Lag = &lagJSON{Points: l.Behind, More: l.More}
			if l.Behind > 0 {
				j.Lag.NewestSeconds, j.Lag.OldestSeconds = app.Now().Sub(l.Newest).Seconds(), app.Now().Sub(l.Oldest).Seconds()
			}
			behind = behind || l.Behind > 0
		}
		behind = behind || err != nil
		s.Replicas = append(s.Replicas, j)
	}
	if source != nil {
		id = source.Repository
	}
	if list := recent(localOf(app, id, address)); len(list) > 0 {
		s.Notices = list[max(0, len(list)-shownNotices):]
	}
	if app.Globals.JSON {
		err = app.JSON(s)
	} else {
		err = printStatus(app, &s)
	}
	if err == nil && behind {
		err = cli.ErrWarnings
	}
	return err
}

func printStatus(app *cli.App, s *statusJSON) error {
	rows := [][]string{{"PLACE", ">OBJECTS", ">SIZE", ">POINTS", "BEHIND"}}
	for i, p := range append([]placeJSON{s.placeJSON}, s.Replicas...) {
		row := []string{cli.Quote(p.Address), cli.Count(uint64(p.Objects)), cli.Size(uint64(p.Bytes)), cli.Count(uint64(p.Points)), lagText(&p, i == 0)}
		if p.Error != "" {
			row[1], row[2], row[3], row[4] = "", "", "", cli.Quote(p.Error)
		}
		rows = append(rows, row)
	}
	if err := cli.Table(app.Stdout, rows); err != nil {
		return err
	}
	if app.Globals.Verbose {
		for _, name := range slices.Sorted(maps.Keys(s.Folders)) {
			f := s.Folders[name]
			app.Printf("  %-12s %s, %s\n", cli.Quote(name), counted(f.Objects, "object"), cli.Size(uint64(f.Bytes)))
		}
	}
	for _, p := range append([]placeJSON{s.placeJSON}, s.Replicas...) {
		if p.Ledger != "" {
			app.Printf("the ledger of %s cannot be read: %s\n", cli.Quote(p.Address), cli.Quote(p.Ledger))
		}
	}
	if len(s.Notices) > 0 {
		app.Printf("lately read from replicas:\n")
	}
	for _, n := range s.Notices {
		at, _ := time.Parse(time.RFC3339Nano, n.Time)
		app.Printf("  %s  %s %s %s\n", cli.Time(at, app.Zone), cli.Quote(n.Notice), cli.Quote(n.Object), cli.Quote(n.Error))
	}
	return nil
}

func lagText(p *placeJSON, source bool) string {
	switch {
	case source || p.Lag == nil:
		return ""
	case p.Lag.Points == 0 && p.Lag.More > 0:
		return fmt.Sprintf("nothing; has %s more", counted(p.Lag.More, "point"))
	case p.Lag.Points == 0:
		return "nothing"
	}
	ago := func(seconds float64) string {
		return age(time.Duration(seconds * float64(time.Second)).Truncate(time.Second))
	}
	text := fmt.Sprintf("%s, the newest %s old", counted(p.Lag.Points, "point"), ago(p.Lag.NewestSeconds))
	if p.Lag.Points > 1 {
		text += fmt.Sprintf(", the oldest %s", ago(p.Lag.OldestSeconds))
	}
	return text
}
