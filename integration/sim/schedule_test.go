package sim

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"iter"
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
	late    []func() // messages that arrive after their sender has given up
	trace   []string
	keep    bool // the trace
	steps   int
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
	crashes bool   // it may
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

// run runs actors until all have ended, and returns their errors.
func (s *scheduler) run(ctx context.Context, actors map[string]func(context.Context, *actor) error) map[string]error {
	errs := map[string]error{}
	var mu sync.Mutex
	left := len(actors)
	for _, name := range slices.Sorted(mapKeys(actors)) {
		act := actors[name]
		a := &actor{name: name, s: s, crashes: true}
		a.ctx, a.crash = context.WithCancelCause(ctx)
		go func() {
			err := act(a.ctx, a)
			err = errors.Join(err, a.end())
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
			left--
		}()
		synctest.Wait() // so that they begin in order
	}
	for {
		synctest.Wait()
		mu.Lock()
		done := left == 0
		mu.Unlock()
		if done {
			break
		}
		if !s.step() {
			time.Sleep(time.Second) // somebody waits for the clock
		}
	}
	for s.step() { // what is still on its way
	}
	return errs
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
	if len(s.late) > 0 && (len(s.pending) == 0 || s.random.IntN(8) == 0) {
		i := s.random.IntN(len(s.late))
		do := s.late[i]
		s.late = slices.Delete(s.late, i, i+1)
		do()
		return true
	}
	if len(s.pending) == 0 {
		return false
	}
	s.steps++
	slices.SortFunc(s.pending, func(a, b *message) int {
		return strings.Compare(fmt.Sprintf("%s %s %s", a.actor.name, a.op.Verb, a.op.Name), fmt.Sprintf("%s %s %s", b.actor.name, b.op.Verb, b.op.Name))
	})
	i := s.random.IntN(len(s.pending))
	m := s.pending[i]
	s.pending = slices.Delete(s.pending, i, i+1)
	what := "arrives"
	if m.gone { // its sender has crashed or given up
		if s.random.IntN(2) == 0 {
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

// deliver decides a message's fate.
func (s *scheduler) deliver(m *message) string {
	unavailable := fmt.Errorf("%s: no answer: %w", m.op, fault.Unavailable)
	fate := s.random.IntN(400)
	switch {
	case s.calm || fate >= 10:
		m.reply <- m.do()
		return "arrives"
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
	buf := make([]byte, len(dst))
	err = w.a.call(ctx, Op{Verb: mem.Get, Name: name, Size: len(dst)}, func() error {
		var err error
		n, err = w.place.Get(context.Background(), name, offset, buf)
		return err
	})
	if err != nil {
		return 0, err
	}
	return copy(dst, buf[:n]), nil
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
