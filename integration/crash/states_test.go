package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/integration/sim"
)

// step is one thing that a machine or a vault does.
type step struct {
	name string
	run  func(*world, context.Context) error
}

// daily is what happens on a day.
var daily = []step{
	{"backup", (*world).backup},
	{"prune", (*world).prunePrimary},
	{"replicate", (*world).replicate},
	{"prune of the replica", (*world).pruneReplica},
	{"repair", func(w *world, ctx context.Context) error {
		if err := w.damage(newRandom(uint64(len(w.points)))); err != nil {
			return err
		}
		return w.repair(ctx)
	}},
}

// recovery is what happens after a crash, without anybody's help.
var recovery = []step{
	{"repair", (*world).repair},
	{"backup", (*world).backup},
	{"prune", (*world).prunePrimary},
	{"replicate", (*world).replicate},
}

// crasher takes a world through its steps and looks at what every crash would
// leave.
type crasher struct {
	seed   uint64
	rounds int    // days of a history
	from   int    // the first day on which crashes are looked at
	mutant mutant // what is wrong with the program; none
	depth  int    // crashes of recoveries, and of those
	states atomic.Int64
	queue  chan state
	busy   sync.WaitGroup
	failed atomic.Bool

	mu      sync.Mutex
	problem error          // the first one
	crashes map[string]int // by the kind of object that an operation was on
}

// state is a world after a crash.
type state struct {
	*world
	what  string
	seed  uint64
	depth int // crashes so far
}

// start starts n workers, which look at states until stop.
func (c *crasher) start(ctx context.Context, n int) (stop func()) {
	c.queue = make(chan state, 4*n)
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for s := range c.queue {
				c.look(ctx, s)
				c.busy.Done()
			}
		})
	}
	return func() {
		c.busy.Wait()
		close(c.queue)
		workers.Wait()
	}
}

// look lets a crashed world recover, perhaps with a crash on the way, and checks
// it.
func (c *crasher) look(ctx context.Context, s state) {
	c.states.Add(1)
	again := int64(0)
	random := rand.New(rand.NewPCG(c.seed, s.seed))
	if s.depth < c.depth {
		again = 1 + random.Int64N(30)
	}
	err := errors.Join(s.closed(ctx, s.replica), s.closed(ctx, s.primary), s.lose(random))
	if err == nil {
		err = c.run(ctx, s, recovery, again)
	}
	if err == nil && (s.seed%4 == 0 || os.Getenv("TIDEMARK_LONG") != "") {
		err = s.verify(ctx)
	} else if err == nil {
		err = s.whole(ctx, s.primary)
	}
	if err = errors.Join(err, s.gone()); err != nil {
		c.fail(fmt.Errorf("crashed at %s: %w", s.what, err))
	}
}

// fail notes the first problem, and makes an end.
func (c *crasher) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.failed.Swap(true) {
		c.problem = fmt.Errorf("seed %d: %w", c.seed, err)
	}
}

// lose takes a part of the local state, as it happens: each of it can be lost
// without harm.
func (s *state) lose(random *rand.Rand) error {
	lost := [...]string{"", "", "index", "copies", "index copies"}[random.IntN(5)]
	folders, err := filepath.Glob(filepath.Join(s.state(), "*"))
	if err != nil {
		return err
	}
	var list []string
	switch lost {
	case "":
		return nil
	case "index copies":
		list = []string{"index", "copies"}
	default:
		list = []string{lost}
	}
	s.what += ", without " + lost
	for _, folder := range folders {
		for _, part := range list {
			if err := os.RemoveAll(filepath.Join(folder, part)); err != nil {
				return err
			}
		}
	}
	return nil
}

// run runs steps; each operation that changes something is a crash. With at it
// is only the at-th one of all steps, and only one crash.
func (c *crasher) run(ctx context.Context, s state, steps []step, at int64) error {
	var mu sync.Mutex
	n := int64(0)
	var now string
	watch := func(place string) sim.Watcher {
		return func(op sim.Op) sim.Fate {
			if !op.Changes() {
				return sim.Fate{}
			}
			mu.Lock()
			defer mu.Unlock()
			n++
			if s.depth > 0 && n != at {
				return sim.Fate{}
			}
			c.crash(ctx, s, fmt.Sprintf("%s, %s of %s: %s", s.what, now, place, op), op, n)
			return sim.Fate{}
		}
	}
	for _, step := range steps {
		mu.Lock()
		now = step.name
		mu.Unlock()
		s.primary.Settle()
		s.replica.Settle()
		s.primary.Watch(watch("vault"))
		s.replica.Watch(watch("replica"))
		err := step.run(s.world, ctx)
		s.primary.Watch(nil)
		s.replica.Watch(nil)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// crash queues the states that a crash at this moment can leave.
func (c *crasher) crash(ctx context.Context, s state, what string, op sim.Op, n int64) {
	kind, _, _ := strings.Cut(op.Name, "/")
	c.mu.Lock()
	if c.crashes == nil {
		c.crashes = map[string]int{}
	}
	c.crashes[string(op.Verb)+" "+kind]++
	c.mu.Unlock()
	for kept := range sim.Share(sim.NumShares) {
		if s.depth > 0 && int64(kept) != n%int64(sim.NumShares) || c.failed.Load() {
			continue
		}
		seed := s.seed*1000 + uint64(n)*10 + uint64(kept)
		w, err := s.snapshot(kept, seed)
		if err != nil {
			c.fail(err)
			return
		}
		c.busy.Add(1)
		next := state{world: w, what: fmt.Sprintf("%s, %s kept", what, kept), seed: seed, depth: s.depth + 1}
		if s.depth == 0 {
			c.queue <- next
			continue
		}
		// A worker looks at it itself, as all of them could be waiting here.
		c.look(context.WithoutCancel(ctx), next)
		c.busy.Done()
	}
}

// verify checks everything that must hold after a recovery.
func (w *world) verify(ctx context.Context) error {
	return errors.Join(w.whole(ctx, w.primary), w.whole(ctx, w.replica), w.closed(ctx, w.primary), w.closed(ctx, w.replica))
}

// Whatever is cut short and wherever: the next run goes on from there.
func TestCrashAfterEveryOperation(t *testing.T) {
	want := int64(5_000)
	if os.Getenv("TIDEMARK_LONG") != "" {
		want = 50_000
	}
	began := time.Now()
	total := int64(0)
	at := map[string]int{}
	for seed := uint64(1); total < want; seed++ {
		c := &crasher{seed: seed, depth: 2, rounds: 11}
		if err := c.live(t.Context()); err != nil {
			t.Fatal(err)
		}
		total += c.states.Load()
		for what, n := range c.crashes {
			at[what] += n
		}
	}
	t.Logf("%d states in %v, at %v", total, time.Since(began).Round(time.Second), at)
	for _, what := range []string{"put points", "delete points", "put ledger", "put gc", "delete packs", "put containers", "put moved", "put healed", "delete live"} {
		if at[what] == 0 {
			t.Errorf("nothing crashed at: %s", what)
		}
	}
}

// live takes a world through a history, and returns what is wrong with any of
// the states that crashes leave.
func (c *crasher) live(ctx context.Context) error {
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	w.mutant = c.mutant
	stop := c.start(ctx, 2)
	err = c.history(ctx, w)
	stop()
	return errors.Join(err, c.problem, w.gone())
}

// history is a life of a world.
func (c *crasher) history(ctx context.Context, w *world) error {
	s := state{world: w, what: "history"}
	random := rand.New(rand.NewPCG(c.seed, 0))
	for round := range c.rounds {
		if err := w.change(random); err != nil {
			return err
		}
		s.what = fmt.Sprintf("round %d", round)
		s.seed = uint64(round + 1)
		if err := c.day(ctx, s, round); err != nil {
			return err
		}
		c.busy.Wait() // before the source changes
		if c.failed.Load() {
			return nil
		}
		w.night(round)
	}
	return nil
}

// day takes a world through a day.
func (c *crasher) day(ctx context.Context, s state, round int) error {
	if round >= c.from {
		return c.run(ctx, s, daily, 0)
	}
	for _, step := range daily {
		if err := step.run(s.world, ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// frame is what a frame spans: little, as all of them are read at each state.
const frame = 32 << 10

// change changes the files: small ones, a large one, an image of many frames.
func (w *world) change(random *rand.Rand) error {
	for range 3 {
		if err := w.write(fmt.Sprintf("small/%d", random.IntN(12)), noise(random.Uint64()>>44, 700+random.IntN(4000))); err != nil {
			return err
		}
	}
	// It shrinks to few bytes: a state is checked by reading it all.
	if err := w.write("large", bytes.Repeat(noise(random.Uint64()>>44, 2_000), 40)); err != nil {
		return err
	}
	path := filepath.Join(w.source(), "disk.img")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some frames of an image, so that frames die one by one. It shrinks well,
	// and each block is another one.
	first, n := random.IntN(7), 3
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		first, n = 0, 10
	}
	b := make([]byte, n*frame)
	for at := 0; at < len(b); at += 16 << 10 {
		copy(b[at:], bytes.Repeat(noise(random.Uint64()>>44, 64), 16<<10/64))
	}
	if _, err := f.WriteAt(b, int64(first*frame)); err != nil {
		return err
	}
	return os.Symlink("large", filepath.Join(w.source(), fmt.Sprint("link", random.Uint32())))
}

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// faultCounter fails the n-th operation of those that it is on, or all from it
// on.
type faultCounter struct {
	n    int64
	on   func(sim.Op) bool
	fate sim.Fate
	ever bool

	seen atomic.Int64
}

func (c *faultCounter) watch(op sim.Op) sim.Fate {
	if !c.on(op) {
		return sim.Fate{}
	}
	if n := c.seen.Add(1); n == c.n || c.ever && n > c.n {
		return c.fate
	}
	return sim.Fate{}
}

func (c *faultCounter) hit() bool { return c.seen.Load() >= c.n }
