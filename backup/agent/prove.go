package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-backup/tidemark/backup/proof"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// proof reads samples of the points and keeps a signed report.
func (e *Engine) proof(ctx context.Context, t *Task) (err error) {
	r, local, closing, err := e.openWith(ctx, t, (*repo.Repository).CanRead)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	job := e.New(nil, nil) // knows how this machine and program are called
	report, err := proof.Run(ctx, r, proof.Options{
		Files: t.Chore.Files, Bytes: t.Chore.BytesOr(proof.DefaultBytes), Host: job.Host, Now: e.Now, Program: job.Program + " " + job.Version,
		Progress: func(files int, bytes uint64) { t.moved(int64(files), int64(bytes)) },
	})
	if err != nil {
		return err
	}
	device, err := local.Device()
	if err != nil {
		return err
	}
	path, err := proof.Save(local.Proofs(), report, device.Key)
	if err != nil {
		return err
	}
	for i := range report.Samples {
		if s := &report.Samples[i]; s.Failed() || s.Outcome == proof.Moved {
			t.Warn(s.Path, fmt.Errorf("of point %.8s: %s: %s", s.Point, s.Outcome, s.Why))
		}
	}
	t.Tell(fmt.Sprintf("%d samples, %s read, %d failed; report %s", len(report.Samples), size(int64(report.Bytes)), report.Failed, path))
	if report.Failed > 0 {
		return fmt.Errorf("proof: %d of %d files do not come back as they were: %w", report.Failed, len(report.Samples), fault.Corrupt)
	}
	return nil
}
