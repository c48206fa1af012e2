package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// noting is a store in a folder on a disk that notes where in the disk's log
// which Put was acknowledged.
type noting struct {
	*local.Dir
	disk     *disk
	careless bool // no fsync: the control

	mu    sync.Mutex
	acked map[string]ack
}

// ack is a promise: from there on the object is there, and up to where.
type ack struct {
	sum         [32]byte
	from, until int // until: where its deletion began; 0: never
}

var _ store.Store = (*noting)(nil)

func (n *noting) Put(ctx context.Context, name string, data []byte) error {
	err := n.put(ctx, name, data)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.acked[name] = ack{sum: sha256.Sum256(data), from: n.disk.position()}
	}
	return err
}

// put is what a programmer in a hurry writes, if careless.
func (n *noting) put(ctx context.Context, name string, data []byte) error {
	if !n.careless {
		return n.Dir.Put(ctx, name, data)
	}
	path := filepath.Join(n.Root(), name)
	if old, err := os.ReadFile(path); err == nil {
		if !bytes.Equal(old, data) {
			return fault.Exist
		}
		return nil
	}
	temporary := filepath.Join(n.Root(), store.Scratch, filepath.Base(name))
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.MkdirAll(filepath.Dir(temporary), 0o700),
		os.WriteFile(temporary, data, 0o600), os.Rename(temporary, path))
}

func (n *noting) Delete(ctx context.Context, name string) error {
	n.mu.Lock()
	if a, ok := n.acked[name]; ok && a.until == 0 {
		a.until = n.disk.position()
		n.acked[name] = a
	}
	n.mu.Unlock()
	return n.Dir.Delete(ctx, name)
}

// powered is a world on a disk: vault and state lie on it, the files do not.
type powered struct {
	disk           *disk
	path, dir      string
	kind           string
	source         string
	points         map[point.ID][32]byte
	acknowledged   map[point.ID]int // where in the log
	unmountCurrent func() error
}

func (p *powered) mount() (err error) {
	p.unmountCurrent, err = mountDisk(p.path, p.dir, p.kind)
	return err
}

// open opens vault and repository.
func (p *powered) open(ctx context.Context, s store.Store) (*repo.Repository, repo.Local, error) {
	r, err := repo.Open(ctx, s, repo.Options{})
	if err != nil {
		return nil, repo.Local{}, err
	}
	l := r.Local(filepath.Join(p.dir, "state"))
	use, err := r.Grant(ctx, l)
	if err == nil && use != repo.Unattended {
		err = fmt.Errorf("the keys are gone: %w", fault.Locked)
	}
	return r, l, err
}

func (p *powered) backup(ctx context.Context, s store.Store) error {
	r, l, err := p.open(ctx, s)
	if err != nil {
		return err
	}
	later := func() time.Time { return time.Now().Add(time.Hour) }
	sum, err := backup.Run(ctx, r, l, backup.Job{Paths: []string{p.source}, Now: later})
	if err != nil {
		return err
	}
	p.acknowledged[sum.Point] = p.disk.position()
	points, err := r.Points(ctx)
	if err != nil {
		return err
	}
	for _, point := range points {
		if p.points[point.ID], err = digest(ctx, r, point); err != nil {
			return err
		}
	}
	return nil
}

// newPowered makes a repository on a new disk.
func newPowered(t *testing.T, kind string, size int64, mkfs ...string) *powered {
	t.Helper()
	p := &powered{kind: kind, dir: t.TempDir(), source: filepath.Join(t.TempDir(), "source"), points: map[point.ID][32]byte{}, acknowledged: map[point.ID]int{}}
	p.disk, p.path = newDisk(t, size)
	p.disk.format(t, p.path, mkfs...)
	if err := p.mount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.unmountCurrent != nil {
			t.Error(p.unmountCurrent()) // after a failure
		}
	})
	dir, err := local.Create(filepath.Join(p.dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r, err := repo.Create(t.Context(), dir, repo.CreateOptions{Passphrase: []byte(passphrase), Cost: cheap, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(r.Local(filepath.Join(p.dir, "state")), repo.Unattended); err != nil {
		t.Fatal(err)
	}
	return p
}

// unmount fails no test of a store by being busy for a moment.
func (p *powered) unmount() error {
	un := p.unmountCurrent
	p.unmountCurrent = nil
	return un()
}

// live writes a history onto the disk and returns what was promised when.
func (p *powered) live(t *testing.T, careless bool) *noting {
	t.Helper()
	ctx := t.Context()
	dir, err := local.Open(filepath.Join(p.dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	n := &noting{Dir: dir, disk: p.disk, careless: careless, acked: map[string]ack{}}
	w := &world{dir: filepath.Dir(p.source)}
	for round := range 4 {
		if err := w.change(newRandom(uint64(round))); err != nil {
			t.Fatal(err)
		}
		if err := p.backup(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// kept says what of the promises is broken after a loss of power at event n.
func (p *powered) kept(ctx context.Context, n *noting, at int) error {
	dir, err := local.Open(filepath.Join(p.dir, "vault"))
	if err != nil {
		return err
	}
	defer dir.Close()
	for name, a := range n.acked {
		if a.from > at || a.until > 0 && a.until <= at {
			continue
		}
		b, err := store.ReadAll(ctx, dir, name, 64<<20)
		if err != nil {
			return fmt.Errorf("%s was promised at %d: %w", name, a.from, err)
		}
		if sha256.Sum256(b) != a.sum {
			return fmt.Errorf("%s has other bytes: %w", name, fault.Corrupt)
		}
	}
	if err := p.whole(ctx, dir, at); err != nil {
		return err
	}
	after := &powered{disk: p.disk, dir: p.dir, source: p.source, points: map[point.ID][32]byte{}, acknowledged: map[point.ID]int{}}
	if err := after.backup(ctx, dir); err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	return p.whole(ctx, dir, at)
}

// whole checks the repository, and the points that had been acknowledged.
func (p *powered) whole(ctx context.Context, s store.Store, at int) error {
	r, _, err := p.open(ctx, s)
	if err != nil {
		return err
	}
	report, err := repo.Check(ctx, r, repo.CheckOptions{ReadData: 1})
	if err != nil {
		return err
	}
	for _, f := range report.Faults {
		return fmt.Errorf("check: %s: %w", f.Object, f.Err)
	}
	points, err := r.Points(ctx)
	if err != nil {
		return err
	}
	there := map[point.ID]bool{}
	for _, point := range points {
		there[point.ID] = true
		want, ok := p.points[point.ID]
		if got, err := digest(ctx, r, point); err != nil || ok && got != want {
			return fmt.Errorf("point %d holds something else: %w", point.Sequence, errors.Join(err, fault.Corrupt))
		}
	}
	for id, from := range p.acknowledged {
		if from <= at && !there[id] {
			return fmt.Errorf("point %s was acknowledged at %d: %w", id.Short(), from, fault.NotExist)
		}
	}
	return nil
}

// The power goes at any moment, and the disk loses half of what it had not
// flushed: what was promised is there, and the next run goes on. With a store
// that does not sync, something is lost, else this would show nothing.
func TestPowerLoss(t *testing.T) {
	for _, c := range []struct {
		kind string
		size int64
		mkfs []string
	}{
		{"ext4", 96 << 20, []string{"mkfs.ext4", "-q", "-F", "-b", "4096"}},
		{"xfs", 320 << 20, []string{"mkfs.xfs", "-q", "-f"}},
	} {
		for _, careless := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, careless %v", c.kind, careless), func(t *testing.T) {
				t.Parallel() // they wait for the kernel more than they work
				p := newPowered(t, c.kind, c.size, c.mkfs...)
				powerLoss(t, p, careless)
			})
		}
	}
}

func powerLoss(t *testing.T, p *powered, careless bool) {
	states := 150
	if os.Getenv("TIDEMARK_LONG") != "" {
		states = 3000
	}
	// The disk's log begins with a file system that nobody has mounted.
	if err := p.unmount(); err != nil {
		t.Fatal(err)
	}
	before := p.disk.begin()
	if err := p.mount(); err != nil {
		t.Fatal(err)
	}
	promised := p.live(t, careless)
	log := p.disk.log[:p.disk.position()]
	if err := p.unmount(); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 7))
	broken, seen := 0, 0
	for i := range states {
		seen++
		at := random.IntN(len(log) + 1)
		p.disk.set(lost(before, log, at, i%3 == 0, random))
		if err := p.mount(); err != nil {
			t.Fatalf("state %d, event %d: the file system itself is broken: %v", i, at, err)
		}
		err := p.kept(t.Context(), promised, at)
		if err != nil {
			broken++
		}
		if err := p.unmount(); err != nil {
			t.Fatal(err)
		}
		if err != nil && !careless {
			t.Fatalf("power lost at event %d of %d (state %d): %v", at, len(log), i, err)
		}
		if broken > 5 { // the control has shown what it had to
			break
		}
	}
	t.Logf("%d events, %d of %d states broken", len(log), broken, seen)
	if careless {
		t.Logf("| no fsync | power | %d states | %d of them broken |", seen, broken)
	}
	if careless && broken == 0 {
		t.Error("without syncing nothing was lost: this test shows nothing")
	}
}
