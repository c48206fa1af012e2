package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
)

// register is what one process has taken: ID.json, a list of volumes, beside
// ID.lock, which it holds while it lives, and ID, a folder to mount in.
type register struct {
	dir, id string
	lock    *durable.Lock
	volumes []*volume
}

const maxRegister = 1 << 20 // bytes

// newRegister names the snapshots, and writes that they will be taken.
func newRegister(dir string, volumes []*volume) (*register, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &register{dir: dir, id: strings.ToLower(rand.Text()[:16]), volumes: volumes}
	var err error
	if r.lock, err = durable.TryLock(r.path(".lock")); err != nil {
		return nil, err
	}
	for i, v := range volumes {
		v.Name = fmt.Sprintf("%s%s-%d", Prefix, r.id, i)
	}
	if err := r.write(); err != nil {
		return nil, errors.Join(err, r.end())
	}
	return r, nil
}

func (r *register) path(suffix string) string { return filepath.Join(r.dir, r.id+suffix) }

// write makes the register durable.
func (r *register) write() error {
	b, err := json.Marshal(r.volumes)
	if err != nil {
		return err
	}
	return durable.WriteFile(r.path(".json"), b, 0o600)
}

// clear removes the snapshots, then the register.
func (r *register) clear(ctx context.Context) error {
	var errs []error
	for _, v := range slices.Backward(r.volumes) {
		if err := v.remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("remove %s snapshot %s of %s; it is tried again before the next run: %w", v.Driver, v.Name, v.Path, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(append(errs, r.lock.Unlock())...)
	}
	return r.end()
}

func (r *register) end() error {
	var errs []error
	for _, suffix := range []string{"", ".json", ".lock"} {
		if err := os.RemoveAll(r.path(suffix)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, r.lock.Unlock())...)
}

// Sweep removes the snapshots that processes which are dead have left, and
// returns how many there were.
func Sweep(ctx context.Context, dir string) (int, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("sweep snapshots: %w", err)
	}
	swept := 0
	var errs []error
	for _, n := range names {
		id, ok := strings.CutSuffix(n.Name(), ".lock")
		if !ok {
			continue
		}
		n, err := sweep(ctx, dir, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep snapshots: %w", err))
		}
		swept += n
	}
	return swept, errors.Join(errs...)
}

func sweep(ctx context.Context, dir, id string) (int, error) {
	r := &register{dir: dir, id: id}
	var err error
	if r.lock, err = durable.TryLock(r.path(".lock")); errors.Is(err, fault.Unavailable) {
		return 0, nil // its process lives
	}
	if err != nil {
		return 0, err
	}
	f, err := os.Open(r.path(".json"))
	if errors.Is(err, iofs.ErrNotExist) { // nothing had been taken, or all is removed
		return 0, r.end()
	}
	if err != nil {
		return 0, errors.Join(err, r.lock.Unlock())
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRegister))
	if err == nil {
		err = json.Unmarshal(b, &r.volumes)
	}
	for _, v := range r.volumes {
		if err == nil && (v == nil || !strings.HasPrefix(v.Name, Prefix)) {
			err = fault.Corrupt
		}
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("read register %s: %w", f.Name(), err), r.lock.Unlock())
	}
	return len(r.volumes), r.clear(ctx)
}
