package keep_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// A schedule runs writers, collectors and somebody who heals on one store, one
// store operation at a time, in an order that a seed decides; so it can be had
// again. Between operations any of them may be killed, or sleep for a month.

// schedule hands out turns.
type schedule struct {
	*world
	random *rand.Rand

	mu      sync.Mutex
	arrived *sync.Cond
	waiting map[*actor]chan error // what each of them may do; an error kills it
	running int
	out     outcome
	log     []string
}

// actor is one of those who work, as a store.
type actor struct {
	*schedule
	store.Store
	name   string
	book   *retain.Book
	asleep int // turns that it does not get
	bug    *bug
	stale  []store.Object // of a planted bug
	held   map[string][]byte
	tired  bool // it may fall asleep
	looked bool // it has read what it plans with
}

var errKilled = errors.New("killed")

// turn waits until it is the actor's turn. Before a point is put a machine may
// sleep for long: that is when it hurts.
func (a *actor) turn(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.schedule.mu.Lock()
	a.tired = strings.HasPrefix(name, point.Prefix+"0")
	c := make(chan error)
	a.waiting[a] = c
	a.arrived.Signal()
	a.schedule.mu.Unlock()
	return <-c
}

func (a *actor) Put(ctx context.Context, name string, data []byte) error {
	if err := a.turn(ctx, name); err != nil {
		return err
	}
	a.trace("put", name)
	if a.bug != nil && a.bug.put != nil {
		return a.bug.put(a, ctx, name, data)
	}
	return a.put(ctx, name, data)
}

func (a *actor) put(ctx context.Context, name string, data []byte) error {
	err := a.Store.Put(ctx, name, data)
	if err == nil {
		a.note(name, data)
	}
	return err
}

func (a *actor) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	// Entries of the ledger never change, and are read side by side.
	if !strings.HasPrefix(name, ledger.Prefix) {
		if err := a.turn(ctx, ""); err != nil {
			return 0, err
		}
	}
	if b, ok := a.held[name]; ok && b != nil { // of a planted bug
		return copy(dst, b[min(int(offset), len(b)):]), nil
	}
	return a.Store.Get(ctx, name, offset, dst)
}

func (a *actor) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		if err := a.turn(ctx, ""); err != nil {
			yield(store.Object{}, err)
			return
		}
		a.trace("list", prefix)
		list := a.all(ctx, prefix)
		if a.bug != nil {
			list = a.again(prefix, list)
		}
		if a.bug != nil && a.bug.list != nil {
			list = a.bug.list(a, ctx, prefix, list)
		}
		// A listing is not made in one moment.
		for i, o := range list {
			if i == len(list)/2 && i > 0 {
				if err := a.turn(ctx, ""); err != nil {
					yield(store.Object{}, err)
					return
				}
				list = append(list[:i:i], after(a.all(ctx, prefix), list[i-1].Name)...)
				if a.bug != nil && a.bug.list != nil {
					list = a.bug.list(a, ctx, prefix, list)
				}
				for _, o := range list[min(i, len(list)):] {
					if !yield(o, nil) {
						return
					}
				}
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// again makes a planted bug worse: a collector that looks right before it
// deletes whether there are new intents or points sees none. Else that look
// would hide most of what goes wrong.
func (a *actor) again(prefix string, list []store.Object) []store.Object {
	switch prefix {
	case keep.Rounds:
		a.looked = false
	case live.Prefix:
		a.looked = true
	case "intents/", point.Prefix:
		if a.looked {
			return nil
		}
	}
	return list
}

// trace notes an operation for whoever looks into a seed.
func (a *actor) trace(verb, name string) {
	a.traceLine(fmt.Sprintf("%s %s: %s %s", a.clock().UTC().Format("01-02 15:04"), a.name, verb, name))
}

func (s *schedule) traceLine(line string) {
	if os.Getenv("TIDEMARK_TRACE") != "" {
		s.log = append(s.log, line)
	}
}

func (a *actor) all(ctx context.Context, prefix string) []store.Object {
	var out []store.Object
	for o, err := range a.Store.List(ctx, prefix) {
		if err == nil {
			out = append(out, o)
		}
	}
	return out
}

func after(list []store.Object, name string) []store.Object {
	for i, o := range list {
		if o.Name > name {
			return list[i:]
		}
	}
	return nil
}

func (a *actor) Delete(ctx context.Context, name string) error {
	if err := a.turn(ctx, ""); err != nil {
		return err
	}
	if a.bug != nil && a.bug.del != nil && a.bug.del(a, ctx, name) {
		return nil
	}
	a.trace("delete", name)
	err := a.Store.Delete(ctx, name)
	if lost := a.lost(context.WithoutCancel(ctx)); lost != "" {
		a.fail(fmt.Sprintf("%s deleted %s: %s", a.name, name, lost))
	}
	return err
}

// Now implements store.Clock.
func (a *actor) Now(context.Context) (time.Time, error) { return a.clock(), nil }

// fail notes what is lost; the schedule ends.
func (s *schedule) fail(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.lost == "" {
		s.out.lost = what
	}
}

// bug is a mistake that is planted into an actor's view of the store.
type bug struct {
	put  func(a *actor, ctx context.Context, name string, data []byte) error
	list func(a *actor, ctx context.Context, prefix string, list []store.Object) []store.Object
	del  func(a *actor, ctx context.Context, name string) bool // true: it is not done

	blind bool // writers do not read the rounds again

	from uint64 // a seed that finds it, so that the gate need not search
}

// outcome is what a schedule did.
type outcome struct {
	points, prunes, deleted, moved, killed int
	lost                                   string
}

// run runs a schedule.
func run(t testing.TB, seed uint64, b *bug) outcome {
	s := &schedule{world: newWorld(t), random: rand.New(rand.NewPCG(seed, 7)), waiting: map[*actor]chan error{}}
	s.arrived = sync.NewCond(&s.mu)
	dir := t.TempDir()
	s.write(1, 2, 3)
	s.write(2, 3, 4, 5)
	work := []func(*actor, *rand.Rand){s.writes(b), s.writes(b), s.collects(filepath.Join(dir, "a")), s.collects(""), s.heals()}
	var group sync.WaitGroup
	for i, do := range work {
		a := &actor{schedule: s, Store: s.store, name: []string{"writer 1", "writer 2", "collector 1", "collector 2", "healer"}[i], held: map[string][]byte{}}
		if i == 2 || i == 3 {
			a.bug = b
		}
		s.running++
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		group.Go(func() {
			defer func() {
				s.mu.Lock()
				s.running--
				s.arrived.Signal()
				s.mu.Unlock()
			}()
			do(a, random)
		})
	}
	s.drive()
	group.Wait()
	for _, line := range s.log {
		t.Log(line)
	}
	if s.out.lost == "" {
		s.out.lost = s.lost(t.Context())
	}
	return s.out
}

// drive gives turns until nobody wants one.
func (s *schedule) drive() {
	for {
		s.mu.Lock()
		for len(s.waiting) < s.running {
			s.arrived.Wait()
		}
		if s.running == 0 {
			s.mu.Unlock()
			return
		}
		var ready []*actor
		for a := range s.waiting {
			ready = append(ready, a)
		}
		over := s.out.lost != ""
		s.mu.Unlock()
		sortActors(ready)
		if !over && s.random.IntN(40) == 0 {
			s.sleep([]time.Duration{time.Hour, 23 * time.Hour, 25 * time.Hour, 15 * day, 31 * day}[s.random.IntN(5)])
		}
		a := s.choose(ready)
		var err error
		if over || s.random.IntN(150) == 0 {
			err = errKilled
			s.out.killed++
		}
		s.mu.Lock()
		c := s.waiting[a]
		delete(s.waiting, a)
		s.mu.Unlock()
		c <- err
	}
}

func sortActors(list []*actor) {
	for i := range list {
		for k := i; k > 0 && list[k-1].name > list[k].name; k-- {
			list[k-1], list[k] = list[k], list[k-1]
		}
	}
}

// choose picks who is next. Sometimes somebody falls asleep while the others
// get much done.
func (s *schedule) choose(ready []*actor) *actor {
	a := ready[s.random.IntN(len(ready))]
	if s.random.IntN(25) == 0 || a.tired && s.random.IntN(3) == 0 {
		a.asleep = s.random.IntN(200)
	}
	a.tired = false
	for range 20 {
		if a = ready[s.random.IntN(len(ready))]; a.asleep == 0 {
			return a
		}
		a.asleep--
	}
	return a
}

// writes is the work of a machine that backs up, and deletes points.
func (s *schedule) writes(b *bug) func(*actor, *rand.Rand) {
	return func(a *actor, random *rand.Rand) {
		for range 4 {
			var want []int
			for chunk := range 9 {
				if random.IntN(2) == 0 {
					want = append(want, chunk)
				}
			}
			w := s.writer(a, random.Uint64())
			w.blind = b != nil && b.blind
			n, err := w.backup(append(want, 100+random.IntN(50)))
			s.mu.Lock()
			if err == nil {
				s.out.points++
			}
			s.mu.Unlock()
			if err == nil && n > 1 && random.IntN(2) == 0 {
				_ = s.deletePoint(a, n-1)
			}
		}
	}
}

// deletePoint deletes a point by hand, if it has a receipt.
func (s *schedule) deletePoint(a *actor, n uint64) error {
	ctx := s.t.Context()
	book, err := s.open(ctx, a)
	if err != nil {
		return err
	}
	now := s.clock()
	_, err = book.Append(ctx, s.key, retain.Reading{Place: now.Unix(), Machine: now.Unix()}, func(st *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		if st.Point(n) == nil {
			return nil, nil
		}
		return []ledger.Record{ledger.Deleted{Sequence: n, Why: ledger.ByHand, GoneAfter: v.Now + 14*24*3600}}, nil
	})
	return err
}

func (s *schedule) collects(counts string) func(*actor, *rand.Rand) {
	return func(a *actor, random *rand.Rand) {
		for range 9 {
			o := keep.Options{Counts: counts, Full: random.IntN(10) == 0}
			p, err := s.pruneOn(s.t.Context(), a, o)
			if err != nil && !errors.Is(err, errKilled) && !errors.Is(err, fault.Unavailable) {
				s.fail(fmt.Sprintf("%s: %v", a.name, err))
			}
			s.mu.Lock()
			if s.out.prunes++; p != nil {
				s.out.deleted += len(p.Delete)
				s.out.moved += len(p.Compact)
			}
			s.mu.Unlock()
		}
	}
}

// heals puts packs back, as one does who has read them from a replica and does
// not know what a collector is about to delete.
func (s *schedule) heals() func(*actor, *rand.Rand) {
	return func(a *actor, random *rand.Rand) {
		for range 6 {
			ctx := s.t.Context()
			list := a.all(ctx, pack.Prefix)
			if len(list) == 0 {
				continue
			}
			name := list[random.IntN(len(list))].Name
			b, err := store.ReadAll(ctx, s.store, name, pack.MaxObject)
			if err == nil {
				_ = scrub.Heal(ctx, a, name, b)
			}
			_, _ = scrub.Finish(ctx, a)
		}
	}
}

// runAll runs schedules side by side.
func runAll(t testing.TB, from, to uint64, b *bug) iter.Seq2[uint64, outcome] {
	return func(yield func(uint64, outcome) bool) {
		for first := from; first < to; first += 8 {
			var group sync.WaitGroup
			var outs [8]outcome
			for i := range outs {
				group.Go(func() { outs[i] = run(t, first+uint64(i), b) })
			}
			group.Wait()
			for i, out := range outs {
				if !yield(first+uint64(i), out) {
					return
				}
			}
		}
	}
}
