package crash

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/integration/sim"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// world is all there is of one protected server: its files, its local state,
// the vault and the replica. It lies in memory, as far as a path can.
type world struct {
	dir     string // source and state
	primary *sim.Place
	replica *sim.Place

	mutant mutant // none: the program is as it is

	// What each acknowledged point held when it was acknowledged.
	points map[point.ID][32]byte
}

// memory returns a folder for worlds that takes no disk, where there is one.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// newWorld makes a world with a repository and nothing in it. Remove it with
// gone.
func newWorld(ctx context.Context) (*world, error) {
	dir, err := os.MkdirTemp(memory(), "tidemark-crash")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, points: map[point.ID][32]byte{}}
	w.primary, w.replica = sim.NewPlace(time.Now()), sim.NewPlace(time.Now())
	if err := os.Mkdir(w.source(), 0o755); err != nil {
		return nil, err
	}
	r, err := repo.Create(ctx, w.primary, repo.CreateOptions{Passphrase: []byte(passphrase), Cost: cheap, Now: w.now()})
	if err != nil {
		return nil, err
	}
	return w, r.Keep(r.Local(w.state()), repo.Unattended)
}

func (w *world) source() string { return filepath.Join(w.dir, "source") }
func (w *world) state() string  { return filepath.Join(w.dir, "state") }

// now is an hour after the vault's time, so that no file has just changed.
func (w *world) now() time.Time {
	now, _ := w.primary.Now(context.Background())
	return now.Add(time.Hour)
}

func (w *world) advance(d time.Duration) {
	w.primary.Advance(d)
	w.replica.Advance(d)
}

func (w *world) write(name string, content []byte) error {
	path := filepath.Join(w.source(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o640)
}

// open opens the repository in a place, as a new process does.
func (w *world) open(ctx context.Context, s store.Store) (*repo.Repository, error) {
	r, err := repo.Open(ctx, s, repo.Options{})
	if err != nil {
		return nil, err
	}
	use, err := r.Grant(ctx, r.Local(w.state()))
	if err == nil && use != repo.Unattended {
		err = fmt.Errorf("this machine has no keys: %w", fault.Locked)
	}
	return r, err
}

// snapshot copies the world as a crash leaves it, without the source, which is
// shared: nobody changes that while copies are in use.
func (w *world) snapshot(kept sim.Share, seed uint64) (*world, error) {
	dir, err := os.MkdirTemp(memory(), "tidemark-crash")
	if err != nil {
		return nil, err
	}
	c := &world{dir: dir, mutant: w.mutant, primary: w.primary.Snapshot(kept, seed), replica: w.replica.Snapshot(kept, seed), points: maps.Clone(w.points)}
	if err := os.Symlink(w.source(), c.source()); err != nil {
		return nil, err
	}
	return c, copyFolder(w.state(), c.state())
}

// gone removes what is on the disk of a world.
func (w *world) gone() error { return os.RemoveAll(w.dir) }

// copyFolder copies files as they are at the moment: what vanishes meanwhile is
// left out.
func copyFolder(from, to string) error {
	return filepath.WalkDir(from, func(path string, e iofs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, path[len(from):])
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
}

// backup backs up, and notes what the point holds.
func (w *world) backup(ctx context.Context) error {
	r, err := w.open(ctx, w.mutant.writer(w.primary))
	if err != nil {
		return err
	}
	source, err := filepath.EvalSymlinks(w.source())
	if err != nil {
		return err
	}
	s, err := backup.Run(ctx, r, r.Local(w.state()), backup.Job{Paths: []string{source}, Now: w.now})
	if err != nil {
		return err
	}
	if s.Statistics.Warnings > 0 {
		return fmt.Errorf("backup with warnings: %v: %w", s.Warned, fault.Internal)
	}
	// Read without the watcher: it is the test that looks, not the program.
	quiet, err := w.open(ctx, w.primary.Mem())
	if err != nil {
		return err
	}
	points, err := quiet.Points(ctx)
	if err != nil {
		return err
	}
	for _, p := range points {
		if p.ID == s.Point {
			w.points[p.ID], err = digest(ctx, quiet, p)
			return err
		}
	}
	return fmt.Errorf("point %s is acknowledged and not there: %w", s.Point.Short(), fault.NotExist)
}

// digest sums up all entries of a point and their content.
func digest(ctx context.Context, r *repo.Repository, p *repo.Point) (sum [32]byte, err error) {
	tree, err := r.Tree(ctx, p, table.Options{})
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	for it, err := range tree.From(ctx, 0) {
		if err != nil {
			return sum, err
		}
		e := it.Entry
		fmt.Fprintf(h, "%q %v %o %d %d %v %d %q %q\n", e.Key, e.Kind, e.Mode, e.UID, e.GID, e.MTime, e.Size, e.Target, e.Xattrs)
		if err := content(ctx, h, r, e); err != nil {
			return sum, fmt.Errorf("%s: %w", table.Path(e.Key), err)
		}
	}
	return [32]byte(h.Sum(nil)), nil
}

// content writes a file's bytes.
func content(ctx context.Context, h hash.Hash, r *repo.Repository, e *table.Entry) error {
	h.Write(e.Inline)
	for x, err := range table.OpenExtents(r, e, table.Options{}).From(ctx, 0) {
		if err != nil {
			return err
		}
		if x.Hole {
			_ = binary.Write(h, binary.LittleEndian, x.Length)
			continue
		}
		b := make([]byte, x.Length)
		if err := r.ReadRaw(ctx, x.Pack, x.Offset, b); err != nil {
			return err
		}
		h.Write(b)
	}
	return nil
}
