package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/all"
)

type replicateOptions struct {
	oldestFirst, newestFirst bool
	limit                    string
	points                   []string
}

func newReplicate(app *cli.App) *cobra.Command {
	var o replicateOptions
	c := &cobra.Command{
		Use:   "replicate [TO]",
		Short: "Copy recovery points to another place",
		Long: `Copy recovery points, and all that they need, from the repository to the place
TO; without TO to the replicas that the configuration or --replica name. No
passphrase is needed. Each object is checked against its own hashes before it
is copied: what is damaged is named and not spread.

Only what is not there is copied. The command can be stopped at any time and be
run again; each point that the replica lists is whole, from the first one on.
The replica is a repository of its own: "-r TO" opens it, with the same
passphrase. It obeys no delete of the repository: a point that is removed there
stays here until its own tags run out, and for ever while the replica has no
policy of its own ("tidemark policy … -r TO").

To move a repository, replicate it and use TO from then on.`,
		Example: `  tidemark vault replicate /mnt/second/me
  tidemark vault replicate --oldest-first --limit 20M /mnt/second/me
  tidemark vault replicate --points latest /mnt/second/me`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := alone(c, "oldest-first", "newest-first"); err != nil {
				return err
			}
			return o.run(c.Context(), app, args)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.newestFirst, "newest-first", false, "copy the newest point first, as it is done if nothing is said")
	f.BoolVar(&o.oldestFirst, "oldest-first", false, "copy the oldest point first")
	f.StringVar(&o.limit, "limit", "", "copy at most so many bytes in a second, such as 20M")
	f.StringArrayVar(&o.points, "points", nil, "copy only this POINT, by its ID or the time at which it arrived")
	return c
}

func (o *replicateOptions) run(ctx context.Context, app *cli.App, args []string) error {
	if len(args) == 0 {
		args = app.Globals.Replicas
	}
	if len(args) == 0 {
		return cli.Hint(cli.Usage("replicate: no place is named"), "give TO, or write \"replica\" below [vault] in the configuration")
	}
	rate := int64(0)
	var err error
	if o.limit != "" {
		if rate, err = cli.ParseRate("limit", o.limit); err != nil {
			return err
		}
	}
	address, err := app.NeedRepository()
	if err != nil {
		return err
	}
	from, err := all.Open(ctx, address)
	if err != nil {
		return err
	}
	var errs []error
	for _, to := range args {
		if err := o.replicate(ctx, app, from, address, to, rate); err != nil {
			if len(args) > 1 {
				err = fmt.Errorf("%s: %w", cli.Quote(to), err)
			}
			errs = append(errs, err)
		}
	}
	if len(errs) > 1 {
		// The worst decides; each is named.
		for _, err := range errs[1:] {
			app.Report(err)
		}
	}
	return errors.Join(errors.Join(errs[:min(1, len(errs))]...), closePlace(from))
}

func closePlace(s store.Store) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (o *replicateOptions) replicate(ctx context.Context, app *cli.App, from store.Store, address, to string, rate int64) error {
	if samePlace(address, to) {
		return cli.Usage("replicate: %s is the repository itself", cli.Quote(to))
	}
	id, _, err := replicate.Identify(ctx, from)
	if err != nil {
		return err
	}
	local := localOf(app, id, address)
	device, err := local.Device()
	if err != nil {
		return err
	}
	options := replicate.Options{
		OldestFirst: o.oldestFirst, Rate: rate, Key: device.Key, Now: app.Now, Accept: app.Globals.AcceptRollback,
		SourceMemory: local.Memory(), Memory: localOf(app, id, to).Memory(),
	}
	if options.Points, err = o.selected(ctx, app, from, options.SourceMemory); err != nil {
		return err
	}
	s, err := all.Create(ctx, to)
	if err != nil {
		return err
	}
	report, err := runReplicate(ctx, app, from, s, options)
	if report != nil {
		printReplicate(app, to, report, err)
	}
	if err == nil {
		err = problems(report)
	}
	return errors.Join(err, closePlace(s))
}

// localOf is the folder of this machine for a repository, as it is at an address.
func localOf(app *cli.App, id [16]byte, place string) repo.Local {
	return repo.LocalOf(app.Globals.CacheDir, id, place)
}

// samePlace says whether two addresses are one folder.
func samePlace(a, b string) bool {
	a, b = strings.TrimPrefix(a, "file://"), strings.TrimPrefix(b, "file://")
	if a == b {
		return true
	}
	i, errA := os.Stat(a)
	j, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(i, j)
}

// selected returns the sequences that --points names; nil: all.
func (o *replicateOptions) selected(ctx context.Context, app *cli.App, from store.Store, memory string) ([]uint64, error) {
	if len(o.points) == 0 {
		return nil, nil
	}
	list, err := replicate.List(ctx, from, memory)
	if err != nil {
		return nil, err
	}
	names := make([]cli.PointName, len(list))
	for i, p := range list {
		names[i] = cli.PointName{ID: p.ID.String(), Time: p.Arrival}
	}
	var out []uint64
	for _, arg := range o.points {
		i, err := cli.SelectPoint(names, arg, app.Now(), app.Zone)
		if err != nil {
			return nil, err
		}
		out = append(out, list[i].Sequence)
	}
	return out, nil
}

func runReplicate(ctx context.Context, app *cli.App, from, to store.Store, o replicate.Options) (*replicate.Report, error) {
	var last atomic.Pointer[replicate.Progress]
	last.Store(&replicate.Progress{})
	o.Progress = func(p replicate.Progress) { last.Store(&p) }
	stop := app.Meter().Poll(func() cli.Progress {
		p := last.Load()
		return cli.Progress{Files: uint64(p.Points), TotalFiles: uint64(p.TotalPoints), Bytes: uint64(p.Bytes), Noun: "point", ShowBytes: true}
	})
	defer stop()
	return replicate.Run(ctx, from, to, o)
}

type problemJSON struct {
	Object string   `json:"object"`
	Points []uint64 `json:"points"` // sequences that could not be copied for it
	Error  string   `json:"error"`
}

type replicateJSON struct {
	Replica  string        `json:"replica"`
	Copied   []uint64      `json:"copied"` // sequences, in the order of copying
	There    int           `json:"there"`
	Removed  int           `json:"removed"` // by the replica's own rules
	Expired  int           `json:"expired"`
	Packs    int           `json:"packs"`
	Objects  int           `json:"objects"`
	Bytes    int64         `json:"bytes"`
	Problems []problemJSON `json:"problems"`
	Slots    []string      `json:"old_slots,omitempty"` // that the repository has no more
	Emptied  bool          `json:"emptied,omitempty"`   // it once had points
}

// printReplicate prints what was done, also if it ended early.
func printReplicate(app *cli.App, to string, r *replicate.Report, failed error) {
	if app.Globals.JSON {
		j := replicateJSON{to, append([]uint64{}, r.Copied...), r.There, r.Gone, r.Expired, r.Packs, r.Objects, r.Bytes, []problemJSON{}, r.Slots, r.Emptied}
		for _, p := range r.Problems {
			j.Problems = append(j.Problems, problemJSON{p.Object, append([]uint64{}, p.Points...), p.Err.Error()})
		}
		if err := app.JSON(j); err != nil {
			app.Report(err)
		}
		return
	}
	for _, p := range r.Problems {
		hurts := ""
		if len(p.Points) > 0 {
			hurts = fmt.Sprintf("; %s not copied for it", counted(len(p.Points), "point"))
		}
		fmt.Fprintf(app.Stderr, "tidemark: warning: %s\n", cli.Quote(fmt.Sprintf("%s: %v%s", p.Object, p.Err, hurts)))
	}
	if r.Emptied {
		fmt.Fprintf(app.Stderr, "tidemark: warning: %s had no point any more, although this machine has copied some there before: it is made anew\n", cli.Quote(to))
	}
	if len(r.Slots) > 0 {
		app.Notef("tidemark: %s opens the replica and not the repository any more; `tidemark key remove -r %s` removes what was removed there",
			counted(len(r.Slots), "key slot"), cli.Quote(to))
	}
	if failed != nil && len(r.Copied) == 0 {
		return
	}
	app.Printf("copied %s to %s: %s, %s", counted(len(r.Copied), "point"), cli.Quote(to), counted(r.Packs, "pack"), cli.Size(uint64(r.Bytes)))
	if r.There > 0 {
		app.Printf("; %s there before", counted(r.There, "point"))
	}
	if r.Gone > 0 {
		app.Printf("; %s removed by its own rules", counted(r.Gone, "point"))
	}
	if r.Expired > 0 {
		app.Printf("; %s past its time left out", counted(r.Expired, "point"))
	}
	app.Printf("\n")
}

// problems is the outcome of a run that named problems: damage, if a point could
// not be copied.
func problems(r *replicate.Report) error {
	if len(r.Problems) == 0 {
		return nil
	}
	points := map[uint64]bool{}
	kind := fault.Corrupt
	for _, p := range r.Problems {
		for _, n := range p.Points {
			points[n] = true
		}
		if errors.Is(p.Err, fault.Rollback) {
			kind = fault.Rollback
		}
	}
	if len(points) == 0 {
		return cli.ErrWarnings
	}
	err := fmt.Errorf("replicate: %s could not be copied: %w", counted(len(points), "point"), kind)
	if kind == fault.Rollback {
		return err
	}
	return cli.Hint(err, "`tidemark check --read-data` names the files that are hurt, and the next backup stores them again if they are still there; later points then can be copied")
}
