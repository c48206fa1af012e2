package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/proof"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

type proofOptions struct {
	files  int
	bytes  string
	seed   string
	verify string
	key    string
}

func newProof(app *cli.App) *cobra.Command {
	var o proofOptions
	c := &cobra.Command{
		Use:   "proof",
		Short: "Prove that points can be restored, by random samples",
		Long: `Read random files of the recovery points as a mount does, and compare them with
the files of this machine where size and time are as they were, and else with
the IDs that were recorded when they were saved. Three of four are of the newest
point, half of them drawn by bytes; of large files a part is read.

The report is signed with this machine's key and kept in its state. --verify
tells whether a report is as it was written, and by whom: by this machine, or by
the one whose key --key names. A file that does not come back as it was makes
the exit code 6. The agent does the same by schedule: [[maintenance]] with
task = "proof".`,
		Example: `  tidemark proof
  tidemark proof --files 1000 --bytes 10GiB
  tidemark proof --verify report.json --key 5f0c…`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.verify != "" {
				return o.check(c.Context(), app)
			}
			return o.run(c.Context(), app)
		},
	}
	f := c.Flags()
	f.IntVar(&o.files, "files", proof.DefaultFiles, "read so many")
	f.StringVar(&o.bytes, "bytes", "1GiB", "read no more than this `SIZE` of all together")
	f.StringVar(&o.seed, "seed", "", "draw the samples as the report did that names this seed")
	f.StringVar(&o.verify, "verify", "", "verify the report in this `FILE`")
	f.StringVar(&o.key, "key", "", "with --verify: whose signature it must have, as 64 hexadecimal digits")
	return c
}

func (o *proofOptions) run(ctx context.Context, app *cli.App) (err error) {
	bytes, err := humanize.ParseBytes(o.bytes)
	if err != nil || bytes == 0 || o.files < 1 {
		return cli.Usage("--bytes %q, --files %d: give a size such as 10GiB, and a number", o.bytes, o.files)
	}
	r, err := openToRead(ctx, app)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	host, _ := os.Hostname() // without it nothing is compared with files here
	report, err := proof.Run(ctx, r.Repository, proof.Options{
		Files: o.files, Bytes: bytes, Seed: o.seed, Host: host, Now: app.Now, Program: "tidemark " + thisBuild().Version,
	})
	if err != nil {
		return err
	}
	device, err := r.local.Device()
	if err != nil {
		return err
	}
	path, err := proof.Save(r.local.Proofs(), report, device.Key)
	if err != nil {
		return err
	}
	return printProof(app, report, path, hex.EncodeToString(device.Key.Public().(ed25519.PublicKey)))
}

// check verifies a report.
func (o *proofOptions) check(ctx context.Context, app *cli.App) error {
	b, err := proof.Load(o.verify)
	if err != nil {
		return err
	}
	report, key, err := proof.Verify(b)
	if err != nil {
		return err
	}
	want := strings.ToLower(o.key)
	if want == "" {
		if want, err = o.own(ctx, app, report); err != nil {
			return err
		}
	}
	if have := hex.EncodeToString(key); have != want {
		return cli.Hint(fmt.Errorf("verify report %s: it is signed by the key %s, and not by %s: %w", o.verify, have, want, fault.Denied),
			"--key says whose signature it must have")
	}
	return printProof(app, report, o.verify, want)
}

// own is the key with which this machine signs.
func (o *proofOptions) own(ctx context.Context, app *cli.App, report *proof.Report) (string, error) {
	id, err := hex.DecodeString(report.Repository)
	if err != nil || len(id) != 16 {
		return "", fmt.Errorf("verify report %s: repository %q: %w", o.verify, report.Repository, fault.Corrupt)
	}
	local := repo.LocalOf(app.Globals.CacheDir, [16]byte(id), "")
	if _, err := os.Stat(filepath.Join(local.Dir, "device")); err != nil {
		return "", cli.Hint(fmt.Errorf("verify report %s: this machine has no key for its repository, so who signed it is not known: %w", o.verify, fault.Denied),
			"--key says whose signature it must have; `tidemark proof` on that machine prints it")
	}
	device, err := local.Device()
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(device.Key.Public().(ed25519.PublicKey)), ctx.Err()
}

func printProof(app *cli.App, r *proof.Report, path, key string) error {
	failed := error(nil)
	if r.Failed > 0 {
		failed = fmt.Errorf("%d of %d files do not come back as they were: %w", r.Failed, len(r.Samples), fault.Corrupt)
	}
	if app.Globals.JSON {
		type resultJSON struct {
			*proof.Report
			File string `json:"file"`
			Key  string `json:"key"`
		}
		return errors.Join(app.JSON(resultJSON{r, path, key}), failed)
	}
	count := map[string]uint64{}
	for i := range r.Samples {
		s := &r.Samples[i]
		count[s.Outcome+s.Against]++
		if s.Failed() || s.Outcome == proof.Moved {
			app.Printf("%s: %.8s:%s: %s\n", s.Outcome, s.Point, cli.Quote(s.Path), cli.Quote(s.Why))
		}
	}
	app.Printf("read %s, %s: %s as here, %s as recorded, %s differ here, %s failed\n", cli.Counted(uint64(len(r.Samples)), "sample", "samples"), cli.Size(r.Bytes),
		cli.Count(count[proof.Same+"source"]), cli.Count(count[proof.Same+"recorded"]), cli.Count(count[proof.Moved+"recorded"]), cli.Count(uint64(r.Failed)))
	app.Printf("report %s of %s, signed by %s\n", cli.Quote(path), cli.Time(r.Began, app.Zone), key)
	return failed
}
