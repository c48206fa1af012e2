package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

const servers = 3

// chunks are all contents that there are.
type chunks struct {
	all [contents][]byte
	ids [contents]chunk.ID
}

func newChunks(key chunk.Key) *chunks {
	c := &chunks{}
	h := chunk.NewHasher(&key)
	for n := range c.all {
		c.all[n] = noise(fmt.Sprint("content", n), chunkSize) // enough to be worth moving
		c.ids[n] = h.Sum(c.all[n])
	}
	return c
}

func (c *chunks) id(n int) chunk.ID { return c.ids[n] }
func (c *chunks) data(n int) []byte { return c.all[n] }

// which returns the number of a content, -1 for one that never was.
func (c *chunks) which(b []byte) int {
	for n := range c.all {
		if bytes.Equal(c.all[n], b) {
			return n
		}
	}
	return -1
}

// noise returns n bytes that follow from a name.
func noise(name string, n int) []byte {
	var key [32]byte
	copy(key[:], name)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// template is a repository with nothing in it, and the state of its servers:
// made once, as a passphrase costs time.
type template struct {
	dir    string
	place  *Place
	chunks *chunks

	repository [16]byte
}

// began is when all worlds begin.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTemplate(ctx context.Context, dir string) (*template, error) {
	t := &template{dir: dir, place: NewPlace(began)}
	cheap := seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}
	r, err := repo.Create(ctx, t.place, repo.CreateOptions{Passphrase: []byte("correct horse battery staple"), Cost: cheap, Now: began})
	if err != nil {
		return nil, err
	}
	for i := range servers {
		l := repo.Local{Dir: filepath.Join(dir, serverName(i))}
		if err := r.Keep(l, repo.Unattended); err != nil {
			return nil, err
		}
		if _, err := l.Device(); err != nil {
			return nil, err
		}
	}
	t.chunks, t.repository = newChunks(r.ChunkKey()), r.ID
	return t, t.setPolicy(ctx)
}

// setPolicy makes short lives, so that a few days have all there is.
func (t *template) setPolicy(ctx context.Context) error {
	device, err := repo.Local{Dir: filepath.Join(t.dir, serverName(0))}.Device()
	if err != nil {
		return err
	}
	b, err := retain.Open(ctx, t.place, retain.Options{Repository: t.repository})
	if err != nil {
		return err
	}
	reading, err := b.Read(ctx, began)
	if err != nil {
		return err
	}
	policy, err := retain.ParsePolicy([]byte(`{"daily":{"keep":7},"others_days":1}`))
	if err != nil {
		return err
	}
	_, err = b.Append(ctx, device.Key, reading, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		e, err := s.Edit(policy, v)
		if err != nil {
			return nil, err
		}
		return e.Records, nil
	})
	return err
}

func serverName(i int) string { return fmt.Sprintf("server%d", i) }

// promise is an acknowledged point.
type promise struct {
	files tree
	when  time.Time     // the true time
	life  time.Duration // what its receipt promises; 0: it has none yet
}

// world is everything of one seed.
type world struct {
	scheduler
	*chunks
	seed   uint64
	mutant mutant // what is wrong with the program; nothing

	repository [16]byte
	dir        string
	primary    *Place
	replica    *Place
	servers    []*server
	runs       int
	skew       time.Duration // of the vault's machines
	problem    error
	truth      time.Time // what time it really is

	reading sync.Mutex
	books   map[*Place]*retain.Book // what was read of the ledgers so far

	received map[point.ID]time.Time // when a ledger first had a receipt, in true time

	mu      sync.Mutex
	points  map[point.ID]promise
	copies  map[point.ID]promise // that the replica has taken over
	garbage map[string]bool      // that an attacker put
}

func (t *template) world(seed uint64, dir string) (*world, error) {
	w := &world{seed: seed, repository: t.repository, dir: dir, chunks: t.chunks, truth: began, books: map[*Place]*retain.Book{}, points: map[point.ID]promise{}, received: map[point.ID]time.Time{}, copies: map[point.ID]promise{}, garbage: map[string]bool{}}
	w.actors, w.counts = map[string]*actor{}, map[string]int{}
	w.random = rand.New(rand.NewPCG(seed, 7))
	w.primary, w.replica = t.place.Snapshot(All, 0), NewPlace(began)
	for i := range servers {
		name := serverName(i)
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
		for _, part := range []string{"access", "device"} {
			b, err := os.ReadFile(filepath.Join(t.dir, name, part))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name, part), b, 0o600)
			}
			if err != nil {
				return nil, err
			}
		}
		v := &server{world: w, name: name, files: tree{}}
		for n := range names {
			v.files[fmt.Sprint("file", n)] = w.random.IntN(contents)
		}
		w.servers = append(w.servers, v)
	}
	return w, nil
}

func (w *world) now() time.Time { return w.truth }

// advance lets time pass everywhere.
func (w *world) advance(d time.Duration) {
	w.truth = w.truth.Add(d)
	w.primary.Advance(d)
	w.replica.Advance(d)
}

// life is one history: days on which some things happen at once.
func (w *world) life(ctx context.Context) error {
	for range 3 + w.random.IntN(3) {
		w.clocks(func() {
			if w.random.IntN(3) > 0 {
				w.wake()
			}
			w.day(ctx)
			w.complain(w.run())
			for _, place := range []*Place{w.primary, w.replica} { // while its true time is known
				if _, err := w.gone(ctx, place); err != nil {
					w.problem = errors.Join(w.problem, err)
				}
			}
		})
		if w.problem != nil {
			return w.problem
		}
		w.advance(time.Duration(1+w.random.IntN(48)) * time.Hour)
	}
	return w.settle(ctx)
}

// day starts what happens today.
func (w *world) day(ctx context.Context) {
	for _, v := range w.servers {
		if w.random.IntN(5) < 2 && !w.running(v.name) {
			v.change()
			w.start(ctx, v.name, v.backup)
		}
	}
	if w.random.IntN(5) < 3 && !w.running("vault") {
		w.start(ctx, "vault", w.prune)
	}
	if w.random.IntN(2) == 0 && !w.running("copier") {
		w.start(ctx, "copier", w.replicate)
	}
	if w.random.IntN(4) == 0 && !w.running("replica") {
		w.start(ctx, "replica", w.pruneReplica)
	}
	if w.random.IntN(8) == 0 && !w.running("hostile") {
		w.start(ctx, "hostile", w.attack)
	}
	if w.random.IntN(6) == 0 && !w.running("vault2") {
		w.start(ctx, "vault2", w.prune)
	}
	if v := w.servers[w.random.IntN(servers)]; w.random.IntN(2) == 0 && !w.running("reader") {
		w.start(ctx, "reader", v.look)
	}
}

// complain keeps what must not have happened.
func (w *world) complain(errs map[string]error) {
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		if err := errs[name]; err != nil && !w.excused(err) {
			w.problem = errors.Join(w.problem, fmt.Errorf("%v: %s: %w", w.truth.Sub(began), name, err))
		}
	}
}

// clocks lets something happen while, perhaps, clocks are wrong.
func (w *world) clocks(do func()) {
	const years = 10 * 365 * 24 * time.Hour
	jump := [...]time.Duration{years, -years}[w.random.IntN(2)]
	which := w.random.IntN(24)
	var wrong *Place
	switch {
	case which < 2:
		wrong = [...]*Place{w.primary, w.replica}[which]
		wrong.Advance(jump)
	case which < 2+servers:
		w.servers[which-2].ahead = jump
	case which < 2+servers+2:
		w.skew = jump
	}
	do()
	if wrong != nil {
		wrong.Advance(-jump)
	}
	for _, v := range w.servers {
		v.ahead = 0
	}
	w.skew = 0
}

// excused says whether an error is what happens when messages are lost, or when
// a machine sleeps with a point on its way whose number comes and goes meanwhile.
func (w *world) excused(err error) bool {
	return errors.Is(err, errCrash) || errors.Is(err, fault.Unavailable) || errors.Is(err, fault.Exist)
}

// settle lets everything go on in peace, and checks what must hold then.
func (w *world) settle(ctx context.Context) error {
	w.wake()
	w.calm = true
	w.complain(w.run())
	if w.problem != nil {
		return w.problem
	}
	v := w.servers[w.random.IntN(servers)]
	v.change()
	one := func(name string, do func(context.Context, *actor) error) error {
		w.start(ctx, name, do)
		if err := w.run()[name]; err != nil {
			return fmt.Errorf("in the end: %s: %w", name, err)
		}
		return nil
	}
	if err := one(v.name, v.backup); err != nil {
		return err
	}
	if err := one("copier", w.replicate); err != nil {
		return err
	}
	if err := w.converged(ctx); err != nil {
		return err
	}
	w.advance(31 * 24 * time.Hour) // claims of the dead have fallen
	for _, place := range []*Place{w.primary, w.replica} {
		if err := one("operator", func(ctx context.Context, a *actor) error { return w.confirm(ctx, a, place) }); err != nil {
			return err
		}
	}
	for range 3 {
		if err := one("vault", w.prune); err != nil {
			return err
		}
		if err := one("replica", w.pruneReplica); err != nil {
			return err
		}
		w.advance(25 * time.Hour)
	}
	return errors.Join(w.judge(ctx, w.primary, w.points), w.judge(ctx, w.replica, w.copies))
}
