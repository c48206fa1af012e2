// Package patient is a Store around a place that may be away: a folder on a
// disk that was unplugged, a share whose server hangs.
//
// The place is opened when it is first needed, and again when it has come
// back. Reading waits no longer than a bound; who waited in vain finds out
// once, and for a while afterwards everybody is told at once, so that a reader
// with another place to go to is not held up by each frame anew.
//
// What is never bounded is writing: a Put that was given up could still be
// running, with bytes that its caller has changed since. A call that hangs in
// the operating system cannot be ended either. It is left behind with its
// goroutine and a buffer of its own, at most one for each pause once the place
// is known to hang.
package patient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

var (
	_ store.Store = (*Store)(nil)
	_ io.Closer   = (*Store)(nil)
)

// Options say how patient a Store is.
type Options struct {
	Wait  time.Duration // for an answer; 0: 10 s, in which a sleeping disk wakes up
	Pause time.Duration // until a place that gave none is asked again; 0: 15 s
}

// slowest is how slow a place may be that is not taken for hanging, in bytes a
// second: reads that ask for much are given as much longer.
const slowest = 256 << 10

// listBatch is how many objects of a listing are handed over at a time.
const listBatch = 256

// Store waits for another one, but not for ever.
type Store struct {
	name string
	open func(context.Context) (store.Store, error)
	opt  Options
	bufs sync.Pool // *[]byte

	mu    sync.Mutex
	inner store.Store // nil: not opened yet
	down  error       // why nobody asks the place at the moment
	timer *time.Timer // that ends this
}

// New returns a Store of the place that open opens, which messages call name.
// Nothing is opened yet.
func New(name string, open func(context.Context) (store.Store, error), o Options) *Store {
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	if o.Pause == 0 {
		o.Pause = 15 * time.Second
	}
	return &Store{name: name, open: open, opt: o, bufs: sync.Pool{New: func() any { return new([]byte) }}}
}

// place returns the opened place.
func (s *Store) place(ctx context.Context) (store.Store, error) {
	s.mu.Lock()
	inner, down := s.inner, s.down
	s.mu.Unlock()
	switch {
	case down != nil:
		return nil, down
	case inner != nil:
		return inner, nil
	}
	inner, err := s.open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// Not %w: that the place is not there must not be taken for an
		// object's not being there.
		return nil, s.trip(fmt.Errorf("open %s: %v: %w", s.name, err, fault.Unavailable))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inner != nil { // somebody else was faster
		return s.inner, closeStore(inner)
	}
	s.inner = inner
	return inner, nil
}

// trip lets nobody ask the place for a while.
func (s *Store) trip(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == nil {
		s.down = err
		s.timer = time.AfterFunc(s.opt.Pause, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.down = nil
		})
	}
	return err
}

// bounded runs f with the place and waits for it, for as long as bytes take.
// f must not touch anything of the caller's: it may still be running then.
func (s *Store) bounded(ctx context.Context, what string, bytes int, f func(context.Context, store.Store) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	wait := s.opt.Wait + time.Duration(bytes)*time.Second/slowest
	inner, stop := context.WithTimeout(ctx, wait)
	defer stop()
	done := make(chan error, 1)
	go func() {
		p, err := s.place(inner)
		if err == nil {
			err = f(inner, p)
		}
		done <- err
	}()
	var err error
	select {
	case err = <-done:
		if err == nil || inner.Err() == nil || !errors.Is(err, inner.Err()) {
			return err
		}
	case <-inner.Done():
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return s.trip(fmt.Errorf("%s: no answer from %s in %s: %w", what, s.name, wait, fault.Unavailable))
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	buf := s.bufs.Get().(*[]byte)
	if cap(*buf) < len(dst) {
		*buf = make([]byte, len(dst))
	}
	into := (*buf)[:len(dst)]
	var n int
	err := s.bounded(ctx, "get "+name, len(dst), func(ctx context.Context, p store.Store) (err error) {
		n, err = p.Get(ctx, name, offset, into)
		return err
	})
	if err != nil {
		return 0, err // the buffer may still be written to, and so may n
	}
	copy(dst, into[:n])
	s.bufs.Put(buf)
	return n, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop() // ends a listing that nobody waits for
		batches := make(chan []store.Object)
		result := make(chan error, 1)
		go func() {
			p, err := s.place(ctx)
			if err == nil {
				err = listInto(ctx, p, prefix, batches)
			}
			result <- err
		}()
		for {
			var batch []store.Object
			over := false
			err := s.bounded(ctx, fmt.Sprintf("list %q", prefix), 0, func(ctx context.Context, _ store.Store) error {
				select {
				case b := <-batches:
					batch = b
					return nil
				case err := <-result:
					over = true
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			if err != nil {
				yield(store.Object{}, err)
				return
			}
			for _, o := range batch {
				if !yield(o, nil) {
					return
				}
			}
			if over {
				return
			}
		}
	}
}

// listInto sends a listing in batches.
func listInto(ctx context.Context, p store.Store, prefix string, batches chan<- []store.Object) error {
	var batch []store.Object
	send := func() error {
		select {
		case batches <- batch:
			batch = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for o, err := range p.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if batch = append(batch, o); len(batch) == listBatch {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return send()
}

// Put implements store.Store. It waits for as long as it takes.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	p, err := s.place(ctx)
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return p.Put(ctx, name, data)
}

// Delete implements store.Store. It waits for as long as it takes.
func (s *Store) Delete(ctx context.Context, name string) error {
	p, err := s.place(ctx)
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return p.Delete(ctx, name)
}

// Close closes the place, if it was opened.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	inner := s.inner
	s.inner = nil
	return closeStore(inner)
}

func closeStore(s store.Store) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Place returns the place itself, opened: what it can do beyond the four verbs
// it says on its own.
func (s *Store) Place(ctx context.Context) (store.Store, error) { return s.place(ctx) }
