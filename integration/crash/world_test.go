package crash

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	iofs "io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/integration/sim"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// world is all there is of one protected server: its files, its local state,
// the vault and the replica. It lies in memory, as far as a path can.
type world struct {
	dir     string // source and state
	primary *sim.Place
	replica *sim.Place

	mutant  mutant // none: the program is as it is
	damaged bool   // something in the vault is damaged, and waits for repair

	// What each acknowledged point held when it was acknowledged.
	points  map[point.ID][32]byte
	removed map[point.ID]bool // those that the ledger lets go
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
	w := &world{dir: dir, points: map[point.ID][32]byte{}, removed: map[point.ID]bool{}}
	w.primary, w.replica = sim.NewPlace(time.Now()), sim.NewPlace(time.Now())
	if err := os.Mkdir(w.source(), 0o755); err != nil {
		return nil, err
	}
	r, err := repo.Create(ctx, w.primary, repo.CreateOptions{Passphrase: []byte(passphrase), Cost: cheap, Now: w.now()})
	if err != nil {
		return nil, err
	}
	if err := r.Keep(r.Local(w.state()), repo.Unattended); err != nil {
		return nil, err
	}
	return w, w.setPolicy(ctx)
}

// setPolicy lets points live for a day.
func (w *world) setPolicy(ctx context.Context) error {
	r, err := w.open(ctx, w.primary)
	if err != nil {
		return err
	}
	d, err := r.Local(w.state()).Device()
	if err != nil {
		return err
	}
	b := r.Book()
	reading, err := b.Read(ctx, w.vaultNow())
	if err != nil {
		return err
	}
	policy, err := retain.ParsePolicy([]byte(`{"others_days":1}`))
	if err != nil {
		return err
	}
	_, err = b.Append(ctx, d.Key, reading, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		e, err := s.Edit(policy, v)
		if err != nil {
			return nil, err
		}
		return e.Records, nil
	})
	return err
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

// night lets a good day pass, so that what waits for a day need wait no longer.
// The first one is shorter: a vault with no history takes more for a clock that
// jumped.
func (w *world) night(round int) {
	if round == 0 {
		w.advance(20 * time.Hour)
		return
	}
	w.advance(26 * time.Hour)
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
	if err == nil {
		// The replica has a ledger of its own, and its reader here no memory.
		l := r.Local(w.state())
		if s == store.Store(w.replica) {
			l = repo.Local{}
		}
		err = r.OpenLedger(ctx, l, repo.LedgerOptions{})
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
	c := &world{dir: dir, mutant: w.mutant, damaged: w.damaged, primary: w.primary.Snapshot(kept, seed), replica: w.replica.Snapshot(kept, seed), points: maps.Clone(w.points), removed: maps.Clone(w.removed)}
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
		info, err := e.Info()
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(target, b, 0o600), os.Chtimes(target, info.ModTime(), info.ModTime()))
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
	s, err := backup.Run(ctx, r, r.Local(w.state()), backup.Job{Paths: []string{source}, Now: w.now, FrameSize: frame})
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

// prune collects one of the two places.
func (w *world) prune(ctx context.Context, s store.Store, name string) error {
	d, err := repo.Local{Dir: filepath.Join(w.state(), "vault")}.Device()
	if err != nil {
		return err
	}
	id, err := scrub.Identify(ctx, s)
	if err != nil {
		return err
	}
	book, err := retain.Open(ctx, s, retain.Options{Repository: id, Memory: filepath.Join(w.state(), "vault", name)})
	if err != nil {
		return err
	}
	plan, err := keep.Prune(ctx, s, book, keep.Options{
		Repository: id, Key: d.Key, Counts: filepath.Join(w.state(), "vault", name+" counts"), Machine: w.vaultNow,
	})
	if err != nil {
		return err
	}
	// The retained points of this world live short; the ledger has the last word.
	book.View(func(state *retain.State) {
		for _, r := range state.Removed(0) {
			if name == "primary" {
				w.removed[r.ID] = true
			}
		}
	})
	if len(plan.Warnings) > 0 {
		return fmt.Errorf("prune warns: %v: %w", plan.Warnings, fault.Internal)
	}
	return nil
}

func (w *world) prunePrimary(ctx context.Context) error {
	return w.prune(ctx, w.mutant.collector(w.primary), "primary")
}
func (w *world) pruneReplica(ctx context.Context) error {
	if err := w.prune(ctx, w.replica, "replica"); errors.Is(err, fault.NotExist) {
		return nil // there is none yet
	} else {
		return err
	}
}

// vaultNow is the vault's machine's clock.
func (w *world) vaultNow() time.Time { return w.now().Add(-time.Hour) }

// replicate copies to the replica.
func (w *world) replicate(ctx context.Context) error {
	d, err := repo.Local{Dir: filepath.Join(w.state(), "vault")}.Device()
	if err != nil {
		return err
	}
	report, err := replicate.Run(ctx, w.primary, w.replica, replicate.Options{
		Key: d.Key, Now: w.now, Workers: 2,
		SourceMemory: filepath.Join(w.state(), "vault", "source"), Memory: filepath.Join(w.state(), "vault", "replica"),
	})
	if err != nil {
		return err
	}
	for _, p := range report.Problems {
		return fmt.Errorf("replicate: %s: %w", p.Object, p.Err)
	}
	return nil
}

// damage flips a bit of a pack, and of a live page.
func (w *world) damage(random *rand.Rand) error {
	for _, prefix := range []string{pack.Prefix, live.Prefix} {
		var names []string
		for o, err := range w.primary.Mem().List(context.Background(), prefix) {
			if err != nil {
				return err
			}
			if _, err := w.replica.Mem().Get(context.Background(), o.Name, 0, nil); err == nil {
				names = append(names, o.Name) // what it can be healed from
			}
		}
		name, bit := names[random.IntN(len(names))], random.Uint64()
		err := w.primary.Mem().Tamper(name, func(b []byte) []byte {
			bit %= 8 * uint64(len(b))
			b[bit/8] ^= 1 << (bit % 8)
			return b
		})
		if err != nil {
			return err
		}
	}
	w.damaged = true
	return nil
}

// repair heals from the replica.
func (w *world) repair(ctx context.Context) error {
	id, err := scrub.Identify(ctx, w.primary)
	if err != nil {
		return err
	}
	done, err := scrub.Repair(ctx, w.mutant.healer(w.primary), scrub.RepairOptions{
		Options: scrub.Options{Repository: id, Now: w.now},
		Sources: []scrub.Source{scrub.Replica("the replica", w.replica, id)},
	})
	if err != nil {
		return err
	}
	for _, f := range done.Left {
		return fmt.Errorf("repair leaves %s: %w", f, done.Why[f.Object])
	}
	w.damaged = false
	return nil
}

// seed is that of all digests of this process.
var seed = maphash.MakeSeed()

// digest sums up all entries of a point and their content.
func digest(ctx context.Context, r *repo.Repository, p *repo.Point) (sum [32]byte, err error) {
	return digestWith(ctx, r, p, extents{})
}

// extents are sums of content that was read, so that what points share is read
// once.
type extents map[table.Extent]uint64

func digestWith(ctx context.Context, r *repo.Repository, p *repo.Point, known extents) (sum [32]byte, err error) {
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
		if err := content(ctx, h, r, e, known); err != nil {
			return sum, fmt.Errorf("%s: %w", table.Path(e.Key), err)
		}
	}
	return [32]byte(h.Sum(nil)), nil
}

// content sums up a file's bytes: in passing, as there are many of them.
func content(ctx context.Context, h hash.Hash, r *repo.Repository, e *table.Entry, known extents) error {
	h.Write(e.Inline)
	var b []byte
	for x, err := range table.OpenExtents(r, e, table.Options{}).From(ctx, 0) {
		if err != nil {
			return err
		}
		if x.Hole {
			_ = binary.Write(h, binary.LittleEndian, x.Length)
			continue
		}
		sum, ok := known[x.Extent]
		if !ok {
			if b = b[:0]; uint64(cap(b)) < x.Length {
				b = make([]byte, 0, max(x.Length, frame))
			}
			b = b[:x.Length]
			if err := r.ReadRaw(ctx, x.Pack, x.Offset, b); err != nil {
				return err
			}
			sum = maphash.Bytes(seed, b)
			known[x.Extent] = sum
		}
		_ = binary.Write(h, binary.LittleEndian, sum)
	}
	return nil
}
