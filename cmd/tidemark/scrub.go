package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
)

type scrubOptions struct {
	limit, maxAge, maxTime string
	parity                 int
}

func newScrub(app *cli.App) *cobra.Command {
	var o scrubOptions
	c := &cobra.Command{
		Use:   "scrub",
		Short: "Read all that is stored and find what is damaged",
		Long: `Read everything that is stored, compare it with the hashes and signatures that
it carries, and look whether all that recovery points need is there. No
passphrase is needed. Backups and prune can run at the same time.

This machine remembers when it found each object whole. A scrub begins with
what was not read for longest; one that was stopped, or that --max-time ended,
is gone on with by the next. So a large place can be scrubbed a part each night.

Each damaged, missing or foreign object is named, and the exit code then is 6.
"tidemark repair" heals what can be healed, and names the files that cannot.

With --parity 5 each pack that is read whole and has no parity gets some, of 5 %
of its size: damage to as much of it heals without a replica.`,
		Example: `  tidemark vault scrub
  tidemark vault scrub --max-age 30d --max-time 2h --limit 50M`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), app) },
	}
	f := c.Flags()
	f.StringVar(&o.limit, "limit", "", "read at most so many bytes in a second, such as 50M")
	f.StringVar(&o.maxAge, "max-age", "", "pass over what was found whole within this time, such as 30d")
	f.IntVar(&o.parity, "parity", 0, "give packs that have none so many percent of parity, from which damage heals")
	f.StringVar(&o.maxTime, "max-time", "", "stop after this time, such as 2h")
	return c
}

// parse reads the flags.
func (o *scrubOptions) parse() (s scrub.Options, err error) {
	if o.limit != "" {
		if s.Rate, err = cli.ParseRate("limit", o.limit); err != nil {
			return s, err
		}
	}
	if o.maxAge != "" {
		if s.MaxAge, err = cli.ParseSpan("max-age", o.maxAge); err != nil {
			return s, err
		}
	}
	if o.maxTime != "" {
		s.MaxTime, err = cli.ParseSpan("max-time", o.maxTime)
	}
	return s, err
}

func (o *scrubOptions) run(ctx context.Context, app *cli.App) error {
	options, err := o.parse()
	if err != nil {
		return err
	}
	s, id, err := openPlace(ctx, app)
	if err != nil {
		return err
	}
	if o.parity < 0 || o.parity > scrub.MaxParity {
		return errors.Join(cli.Usage("--parity=%d: give percent, 1 to %d", o.parity, scrub.MaxParity), closePlace(s))
	}
	if o.parity > 0 {
		options.Whole = func(ctx context.Context, pack pack.ID, object []byte) error {
			_, err := scrub.MakeParity(ctx, s, id, pack, object, o.parity)
			return err
		}
	}
	stop, err := prepareScrub(app, id, &options)
	if err != nil {
		return errors.Join(err, closePlace(s))
	}
	report, err := scrub.Run(ctx, s, options)
	stop()
	return errors.Join(printScrub(app, report), err, closePlace(s))
}

// openPlace opens the place of the repository, with no key, and says whose it is.
func openPlace(ctx context.Context, app *cli.App) (s store.Store, id [16]byte, err error) {
	address, err := app.NeedRepository()
	if err != nil {
		return nil, id, err
	}
	if s, err = all.Open(ctx, address); err != nil {
		return nil, id, err
	}
	if id, err = scrub.Identify(ctx, s); err != nil {
		return nil, id, errors.Join(err, closePlace(s))
	}
	return s, id, nil
}

// prepareScrub completes options with what this machine remembers and with
// progress, which stop ends.
func prepareScrub(app *cli.App, id [16]byte, o *scrub.Options) (stop func(), err error) {
	o.Repository, o.Now = id, app.Now
	if o.State, err = scrub.OpenState(localOf(app, id, app.Globals.Repository).Scrub(), id); err != nil {
		return nil, err
	}
	var last atomic.Pointer[scrub.Progress]
	last.Store(&scrub.Progress{})
	o.Progress = func(p scrub.Progress) { last.Store(&p) }
	return app.Meter().Poll(func() cli.Progress {
		p := last.Load()
		return cli.Progress{Files: uint64(p.Objects), TotalFiles: uint64(p.TotalObjects), Bytes: uint64(p.Bytes), TotalBytes: uint64(p.TotalBytes), Noun: "object", ShowBytes: true}
	}), nil
}

func printScrub(app *cli.App, r *scrub.Report) error {
	if app.Globals.JSON {
		if err := app.JSON(newScrubJSON(r)); err != nil {
			return err
		}
	} else {
		printFindings(app, r)
	}
	if len(r.Findings) == 0 {
		return nil
	}
	objects := map[string]bool{}
	for _, f := range r.Findings {
		objects[f.Object] = true
	}
	return cli.Hint(fmt.Errorf("scrub: %s damaged: %w", cli.Counted(uint64(len(objects)), "object is", "objects are"), fault.Corrupt),
		"`tidemark repair` heals what can be healed and names the files that cannot; keep the place as it is until then")
}

func printFindings(app *cli.App, r *scrub.Report) {
	for _, f := range r.Findings {
		app.Printf("%s\n", cli.Quote(f.String()))
	}
	for _, name := range r.Healing {
		app.Printf("healing was cut short: %s; `tidemark repair` ends it\n", cli.Quote(name))
	}
	for _, name := range r.Unknown {
		app.Printf("not known to this version, left alone: %s\n", cli.Quote(name))
	}
	if r.Dropped > 0 {
		app.Printf("%s damaged that nothing needs any more; prune frees them with the rest of their packs\n", cli.Counted(uint64(r.Dropped), "frame is", "frames are"))
	}
	app.Printf("scrubbed %s, %s, %s; %s looked at", counted(r.Objects, "object"), counted(r.Packs, "pack"), cli.Size(uint64(r.Bytes)), counted(r.Points, "point"))
	if r.Fresh > 0 {
		app.Printf("; %s not long ago", cli.Count(uint64(r.Fresh)))
	}
	if r.Left > 0 {
		app.Printf("; %s left for the next time", cli.Count(uint64(r.Left)))
	}
	app.Printf("\n")
	switch {
	case r.NeverPacks > 0:
		app.Printf("%s of %s never found whole by this machine, the oldest stored %s ago\n",
			cli.Count(uint64(r.NeverPacks)), counted(r.PacksThere, "pack"), age(max(0, app.Now().Sub(r.OldestNever))))
	case r.PacksThere > 0:
		app.Printf("the pack that waits longest was scrubbed %s ago\n", age(app.Now().Sub(r.OldestPack)))
	}
	if len(r.Findings) == 0 {
		app.Printf("no damage found\n")
	}
}

// age returns a time span in days, if it is one of days.
func age(d time.Duration) string {
	if d < 48*time.Hour {
		return cli.Duration(d.Truncate(time.Second))
	}
	return counted(int(d/(24*time.Hour)), "day")
}

type findingJSON struct {
	Object string `json:"object"`
	Frame  *int   `json:"frame,omitempty"`
	Kind   string `json:"kind"`
	Error  string `json:"error"`
	Point  uint64 `json:"point,omitempty"` // a sequence that needs what is missing
}

type scrubJSON struct {
	Objects    int           `json:"objects"`
	Packs      int           `json:"packs"`
	Points     int           `json:"points"`
	Bytes      int64         `json:"bytes"`
	Fresh      int           `json:"fresh"`
	Left       int           `json:"left"`
	Findings   []findingJSON `json:"findings"`
	Healing    []string      `json:"healing,omitempty"`
	Unknown    []string      `json:"unknown,omitempty"`
	Dropped    int           `json:"dropped_frames_damaged,omitempty"` // that nothing needs any more
	PacksThere int           `json:"packs_there"`
	NeverPacks int           `json:"packs_never_scrubbed"`
	OldestPack string        `json:"oldest_pack_scrubbed,omitempty"`
	// OldestNever is when the oldest pack was stored that was never scrubbed.
	OldestNever string `json:"oldest_pack_never_scrubbed,omitempty"`
}

func newScrubJSON(r *scrub.Report) scrubJSON {
	j := scrubJSON{
		r.Objects, r.Packs, r.Points, r.Bytes, r.Fresh, r.Left, []findingJSON{}, r.Healing, r.Unknown, r.Dropped, r.PacksThere, r.NeverPacks, "", "",
	}
	if !r.OldestNever.IsZero() {
		j.OldestNever = cli.JSONTime(r.OldestNever)
	}
	if !r.OldestPack.IsZero() {
		j.OldestPack = cli.JSONTime(r.OldestPack)
	}
	for _, f := range r.Findings {
		j.Findings = append(j.Findings, newFindingJSON(f))
	}
	return j
}

func newFindingJSON(f scrub.Finding) findingJSON {
	j := findingJSON{Object: f.Object, Kind: f.Kind.String(), Error: f.Err.Error(), Point: f.Point}
	if f.Frame >= 0 {
		j.Frame = &f.Frame
	}
	return j
}
