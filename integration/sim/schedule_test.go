package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

var errCrash = errors.New("the machine is gone")

// scheduler decides which message to a place arrives next, and which is lost.
// It lives in a synctest bubble: when nobody can go on without an answer, one
// message is chosen by the seed. So a seed tells a whole history.
type scheduler struct {
	random *rand.Rand
	calm   bool // no message is lost and nobody crashes

	mu      sync.Mutex
	pending []*message
	awake   []*message // of those, for step
	late    []func()   // messages that arrive after their sender has given up
	trace   []string
	keep    bool // the trace
	actors  map[string]*actor
	counts  map[string]int // what happened how often
}

// message is an operation that waits for its turn.
type message struct {
	actor *actor
	n     int // of the actor
	op    Op
	do    func() error
	reply chan error
	gone  bool // nobody waits any more
}

// actor is a process: it ends by itself, or crashes.
type actor struct {
	name    string
	s       *scheduler
	crashes bool // it may
	asleep  bool // a machine whose lid is closed: none of its messages arrives
	done    bool
	err     error
	dir     string // local state, "" for none
	n       int
	left    string // its copy, as a crash left it
	ctx     context.Context
	crash   context.CancelCauseFunc
}

// call hands a message to the scheduler and waits for the answer.
func (a *actor) call(ctx context.Context, op Op, do func() error) error {
	if a.ctx.Err() != nil { // what a machine does after its crash does not happen
		return fmt.Errorf("%s: %w", op, context.Cause(a.ctx))
	}
	m := &message{actor: a, op: op, do: do, reply: make(chan error, 1)}
	a.s.mu.Lock()
	a.n++
	m.n = a.n
	a.s.pending = append(a.s.pending, m)
	a.s.mu.Unlock()
	select {
	case err := <-m.reply:
		return err
	case <-ctx.Done():
	case <-a.ctx.Done():
	}
	a.s.mu.Lock()
	m.gone = true
	a.s.mu.Unlock()
	if a.ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, context.Cause(a.ctx))
	}
	return fmt.Errorf("%s: %w", op, ctx.Err())
}

// start starts an actor.
func (s *scheduler) start(ctx context.Context, name string, act func(context.Context, *actor) error) {
	a := &actor{name: name, s: s, crashes: true}
	a.ctx, a.crash = context.WithCancelCause(ctx)
	s.mu.Lock()
	s.actors[name] = a
	s.mu.Unlock()
	go func() {
		err := act(a.ctx, a)
		if a.ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", errCrash, err) // whatever it says of its end
		}
		err = errors.Join(err, a.end())
		s.mu.Lock()
		defer s.mu.Unlock()
		a.done, a.err = true, err
	}()
	synctest.Wait() // so that they begin in order
}

// run lets messages arrive until all actors have ended, or sleep. It returns the
// errors of those that have ended, which are forgotten.
func (s *scheduler) run() map[string]error {
	for {
		synctest.Wait()
		if !s.busy() {
			break
		}
		if !s.step() {
			time.Sleep(time.Second) // somebody waits for the clock
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := map[string]error{}
	for name, a := range s.actors {
		if a.done {
			errs[name] = a.err
			delete(s.actors, name)
		}
	}
	return errs
}

// busy says whether an actor has something to do, and is not asleep.
func (s *scheduler) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.actors {
		if !a.done && !a.asleep {
			return true
		}
	}
	return false
}

// wake wakes those who sleep.
func (s *scheduler) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.actors {
		a.asleep = false
	}
}

// running says whether there is an actor of that name, perhaps asleep.
func (s *scheduler) running(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.actors[name] != nil
}

func mapKeys[V any](m map[string]V) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// step lets one message arrive. It says whether there was one.
func (s *scheduler) step() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.calm && s.random.IntN(60) == 0 { // somebody opens a lid
		for _, name := range slices.Sorted(maps.Keys(s.actors)) {
			if a := s.actors[name]; a.asleep {
				a.asleep = false
				break
			}
		}
	}
	s.awake = slices.DeleteFunc(append(s.awake[:0], s.pending...), func(m *message) bool { return m.actor.asleep && !m.gone })
	awake := s.awake
	if len(s.late) > 0 && (len(awake) == 0 || s.random.IntN(8) == 0) {
		i := s.random.IntN(len(s.late))
		do := s.late[i]
		s.late = slices.Delete(s.late, i, i+1)
		do()
		return true
	}
	if len(awake) == 0 {
		return false
	}
	s.counts["steps"]++
	slices.SortFunc(awake, func(a, b *message) int {
		return cmp.Or(strings.Compare(a.actor.name, b.actor.name), strings.Compare(string(a.op.Verb), string(b.op.Verb)), strings.Compare(a.op.Name, b.op.Name))
	})
	m := awake[s.random.IntN(len(awake))]
	if !s.calm && !m.gone && s.random.IntN(m.drowsy()) == 0 {
		m.actor.asleep = true // with this message on its way
		s.counts["asleep"]++
		s.note(m, "falls asleep")
		return true
	}
	s.pending = slices.DeleteFunc(s.pending, func(o *message) bool { return o == m })
	what := "arrives"
	if m.gone { // its sender has crashed or given up
		if s.random.IntN(2) == 0 || !m.op.Changes() {
			what = "is lost with its sender"
		} else {
			_ = m.do()
		}
		s.note(m, what)
		return true
	}
	what = s.deliver(m)
	s.note(m, what)
	return true
}

// drowsy says how seldom a machine falls asleep with a message on its way: more
// often between the steps that claims and rounds are about.
func (m *message) drowsy() int {
	for _, prefix := range []string{"points/", "intents/", "gc/"} {
		if strings.HasPrefix(m.op.Name, prefix) && m.op.Verb != mem.Get {
			return 25
		}
	}
	if m.actor.name == "reader" {
		return 8
	}
	return 300
}

// deliver decides a message's fate.
func (s *scheduler) deliver(m *message) string {
	fate := s.random.IntN(400)
	if s.calm || fate >= 10 {
		m.reply <- m.do()
		return "arrives"
	}
	unavailable := fmt.Errorf("%s: no answer: %w", m.op, fault.Unavailable)
	switch {
	case fate < 2 && m.actor.crashes:
		if stored := s.random.IntN(2) == 0; stored {
			_ = m.do()
		}
		s.crash(m.actor)
		return "crash"
	case fate < 4:
		m.reply <- unavailable
		return "is lost"
	case fate < 6:
		_ = m.do()
		m.reply <- unavailable
		return "arrives, its reply is lost"
	case fate < 8 && m.op.Changes():
		s.late = append(s.late, func() { _ = m.do() })
		m.reply <- unavailable
		return "is late"
	default:
		err := m.do()
		if m.op.Changes() { // and once more, later
			s.late = append(s.late, func() { _ = m.do() })
		}
		m.reply <- err
		return "arrives twice"
	}
}

// crash ends an actor. Its local state stays as it is now, whatever its
// goroutines still do while they end.
func (s *scheduler) crash(a *actor) {
	s.counts["crash"]++
	if a.dir != "" {
		a.left = a.dir + ".left"
		if err := copyFolder(a.dir, a.left); err != nil {
			a.left = ""
		}
	}
	a.crash(errCrash)
}

// end is called when all goroutines of an actor have ended.
func (a *actor) end() error {
	if a.left == "" {
		return nil
	}
	err := errors.Join(os.RemoveAll(a.dir), os.Rename(a.left, a.dir))
	a.left = ""
	return err
}

// copyFolder copies a machine's local state.
func copyFolder(from, to string) error {
	return filepath.WalkDir(from, func(path string, e iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, path[len(from):])
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
}

func (s *scheduler) note(m *message, what string) {
	if m.op.Changes() {
		kind, _, _ := strings.Cut(m.op.Name, "/")
		s.counts[kind]++
	}
	if s.keep {
		s.trace = append(s.trace, fmt.Sprintf("%s: %s %s %s", m.actor.name, m.op.Verb, m.op.Name, what))
	}
}

// wire is a Place as an actor reaches it.
type wire struct {
	place *Place
	a     *actor
}

var _ store.Store = (*wire)(nil)

// Now is the clock of the place.
func (w *wire) Now(ctx context.Context) (time.Time, error) { return w.place.Now(ctx) }

// Put implements store.Store.
func (w *wire) Put(ctx context.Context, name string, data []byte) error {
	data = slices.Clone(data) // it may arrive when the caller has used it again
	return w.a.call(ctx, Op{Verb: mem.Put, Name: name, Size: len(data)}, func() error {
		return w.place.Put(context.Background(), name, data)
	})
}

// Get implements store.Store.
func (w *wire) Get(ctx context.Context, name string, offset int64, dst []byte) (n int, err error) {
	err = w.a.call(ctx, Op{Verb: mem.Get, Name: name, Size: len(dst)}, func() error {
		var err error
		n, err = w.place.Get(context.Background(), name, offset, dst)
		return err
	})
	return n, err
}

// List implements store.Store. It is two messages: what comes and goes between
// them is seen or not.
func (w *wire) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		after := ""
		for half := range 2 {
			var page []store.Object
			err := w.a.call(ctx, Op{Verb: mem.List, Name: prefix}, func() error {
				var err error
				page, err = w.page(prefix, after, half == 1)
				return err
			})
			if err != nil {
				yield(store.Object{}, err)
				return
			}
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
				after = o.Name
			}
			if len(page) == 0 && half == 0 {
				return
			}
		}
	}
}

// page lists what comes after a name: all of it, or about half.
func (w *wire) page(prefix, after string, all bool) ([]store.Object, error) {
	var page []store.Object
	for o, err := range w.place.List(context.Background(), prefix) {
		if err != nil {
			return nil, err
		}
		if o.Name > after {
			page = append(page, o)
		}
	}
	if !all {
		page = page[:(len(page)+1)/2]
	}
	return page, nil
}

// Delete implements store.Store.
func (w *wire) Delete(ctx context.Context, name string) error {
	return w.a.call(ctx, Op{Verb: mem.Delete, Name: name}, func() error {
		return w.place.Delete(context.Background(), name)
	})
}
