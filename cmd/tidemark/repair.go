package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
)

type repairOptions struct{ scrubOptions }

func (o *repairOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.limit, "limit", "", "read at most so many bytes in a second, such as 50M")
	f.StringVar(&o.maxAge, "max-age", "", "do not read again what was found whole within this time, such as 30d")
}

func newRepair(app *cli.App) *cobra.Command {
	var o repairOptions
	c := &cobra.Command{
		Use:   "repair",
		Short: "Heal what is damaged, and name the files that cannot be healed",
		Long: `Read everything that is stored, as "vault scrub" does, and put damaged and lost
objects back as they were, byte by byte. What is needed comes from parity, from
a replica, or out of the repository itself: small damage is undone by what
hashes and authentication tags tell; a frame whose content is stored elsewhere,
too, is made again from that; live sets are made again from the points' tables.
Nothing is put that is not proven to be what was there.

Then this machine's index is rebuilt from the packs, and every file in every
point that stays damaged is named; the exit code then is 6. The next backup
stores again what the files still have, and a repair after it heals older
points with that, too. So: repair, back up, repair.

Nothing is removed, and it can run beside backups and prune.`,
		Example: `  tidemark repair
  tidemark repair --replica /mnt/other/backup
  tidemark repair --max-age 7d`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.keyed(c.Context(), app) },
	}
	o.flags(c)
	return c
}

func newVaultRepair(app *cli.App) *cobra.Command {
	var o repairOptions
	c := &cobra.Command{
		Use:   "repair",
		Short: "Heal what is damaged, with no key",
		Long: `Do what "tidemark repair" does as far as no key is needed: damaged and lost
objects are put back from parity, from a replica, or where one bit of a small
object had flipped. Packs and frames that stay damaged are named; which files
those hurt, only "tidemark repair" and "tidemark check" can say, which ask for
the passphrase.`,
		Example: `  tidemark vault repair --replica /mnt/other/backup`,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return o.keyless(c.Context(), app) },
	}
	o.flags(c)
	return c
}

// replicas opens the replicas as sources. close is never nil.
func replicas(ctx context.Context, app *cli.App, own store.Store, id [16]byte) (sources []scrub.Source, close func() error, err error) {
	var opened []store.Store
	close = func() error {
		var err error
		for _, s := range opened {
			err = errors.Join(err, closePlace(s))
		}
		return err
	}
	for _, address := range app.Globals.Replicas {
		s, err := all.Open(ctx, address)
		if err != nil {
			return nil, close, err
		}
		opened = append(opened, s)
		other, err := scrub.Identify(ctx, s)
		if err == nil && other != id {
			err = fmt.Errorf("replica %s holds repository %x, not %x: %w", address, other[:4], id[:4], fault.Invalid)
		}
		if err != nil {
			return nil, close, err
		}
		name := "replica " + address
		sources = append(sources, scrub.Replica(name, s, id), scrub.Ledgers(name, own, s, id))
	}
	return sources, close, nil
}

func (o *repairOptions) keyless(ctx context.Context, app *cli.App) (err error) {
	options, err := o.parse()
	if err != nil {
		return err
	}
	s, id, err := openPlace(ctx, app)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closePlace(s)) }()
	sources, close, err := replicas(ctx, app, s, id)
	defer func() { err = errors.Join(err, close()) }()
	if err != nil {
		return err
	}
	stop, err := prepareScrub(app, id, &options)
	if err != nil {
		return err
	}
	memory := localOf(app, id, app.Globals.Repository).Memory()
	sources = append(append([]scrub.Source{scrub.FromParity(s)}, sources...), scrub.Remembered(memory, s, id), scrub.Itself())
	d, err := scrub.Repair(ctx, s, scrub.RepairOptions{Options: options, Sources: sources})
	stop()
	if err != nil {
		return err
	}
	return printRepair(app, &repo.RepairReport{Repaired: *d}, false)
}

func (o *repairOptions) keyed(ctx context.Context, app *cli.App) (err error) {
	options, err := o.parse()
	if err != nil {
		return err
	}
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	stop, err := prepareScrub(app, r.ID, &options)
	if err != nil {
		return err
	}
	d, err := repo.Repair(ctx, r.Repository, repo.RepairOptions{Scrub: options, Local: r.local})
	stop()
	if err != nil {
		return err
	}
	return printRepair(app, d, true)
}

func printRepair(app *cli.App, d *repo.RepairReport, keyed bool) error {
	if app.Globals.JSON {
		if err := app.JSON(newRepairJSON(d)); err != nil {
			return err
		}
	} else {
		printRepaired(app, d)
	}
	left := len(d.Why)
	if d.Check != nil {
		left = len(d.Check.Faults)
	}
	if left == 0 {
		return nil
	}
	err := fmt.Errorf("repair: %s damaged: %w", cli.Counted(uint64(left), "object stays", "objects stay"), fault.Corrupt)
	if !keyed {
		return cli.Hint(err, "`tidemark repair` heals more, and names the files that are hurt; it asks for the passphrase")
	}
	return cli.Hint(err, "all that is not named can be restored; back up now, which stores again what the files still have, and repair once more")
}

func printRepaired(app *cli.App, d *repo.RepairReport) {
	for _, name := range d.Finished {
		app.Printf("healing ended that was cut short: %s\n", cli.Quote(name))
	}
	for _, h := range d.Healed {
		app.Printf("healed: %s, from %s\n", cli.Quote(h.Object), cli.Quote(strings.Join(h.From, ", ")))
	}
	told := ""
	for _, f := range d.Left {
		app.Printf("%s\n", cli.Quote(f.String()))
		if why := d.Why[f.Object]; why != nil && told != f.Object {
			told = f.Object
			app.Printf("  not healed: %s\n", cli.Quote(why.Error()))
			if advice := repo.Advice(f.Object); advice != "" {
				app.Printf("  %s\n", advice)
			}
		}
	}
	if d.Check != nil {
		for _, f := range d.Check.Faults {
			if d.Why[f.Object] == nil {
				app.Printf("damaged: %s: %s\n", cli.Quote(f.Object), cli.Quote(f.Err.Error()))
			}
			for _, file := range f.Files {
				app.Printf("  hurts %s\n", cli.Quote(file))
			}
		}
	}
	app.Printf("read %s, %s; healed %s\n", counted(d.Scrub.Objects, "object"), cli.Size(uint64(d.Scrub.Bytes)), counted(len(d.Healed), "object"))
	if d.Indexed > 0 {
		app.Printf("rebuilt the index from %s\n", counted(d.Indexed, "pack"))
	}
	if len(d.Left) == 0 && (d.Check == nil || len(d.Check.Faults) == 0) {
		app.Printf("no damage is left\n")
	}
}

type healedJSON struct {
	Object string   `json:"object"`
	From   []string `json:"from"`
}

type leftJSON struct {
	findingJSON
	Why string `json:"why,omitempty"`
}

type repairJSON struct {
	Objects  int          `json:"objects"`
	Bytes    int64        `json:"bytes"`
	Finished []string     `json:"finished,omitempty"`
	Healed   []healedJSON `json:"healed"`
	Left     []leftJSON   `json:"left"`
	Indexed  int          `json:"indexed_packs"`
	Check    *checkJSON   `json:"check,omitempty"`
}

func newRepairJSON(d *repo.RepairReport) repairJSON {
	j := repairJSON{Objects: d.Scrub.Objects, Bytes: d.Scrub.Bytes, Finished: d.Finished, Healed: []healedJSON{}, Left: []leftJSON{}, Indexed: d.Indexed}
	for _, h := range d.Healed {
		j.Healed = append(j.Healed, healedJSON(h))
	}
	for _, f := range d.Left {
		l := leftJSON{findingJSON: newFindingJSON(f)}
		if why := d.Why[f.Object]; why != nil {
			l.Why = why.Error()
		}
		j.Left = append(j.Left, l)
	}
	if d.Check != nil {
		c := newCheckJSON(d.Check)
		j.Check = &c
	}
	return j
}
