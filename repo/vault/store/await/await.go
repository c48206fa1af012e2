// Package await is a Store around a place that may go away for a while and
// come back: a disk that is plugged in again, a share that is mounted again.
// Reading waits for it, for a bound at most; then it fails, until the place is
// back. Nothing has to be opened anew.
//
// An outage is the time from the first call that failed because the place is
// away until the place is back. That the place is away, and not just an object
// missing, is told by an object that every repository has: a folder on which
// nothing is mounted is there, too, and is empty.
//
//   - The bound is counted from the beginning of the outage and not for each
//     call, so that a program that reads a thousand files does not wait a
//     thousand times.
//   - During an outage one goroutine looks for the place, however many wait.
//   - Writing waits for nothing: who writes must know at once.
//   - A place whose sign was never read is none, and is not waited for.
//
// A call that hangs in the operating system, as on a hard-mounted NFS share,
// waits there; package patient is for that.
package await

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

var (
	_ store.Store = (*Store)(nil)
	_ io.Closer   = (*Store)(nil)
)

// Options say how long is waited for what.
type Options struct {
	Sign  string        // an object that is there whenever the place is
	Wait  time.Duration // from the beginning of an outage; 0: not at all
	Every time.Duration // between two looks for the place; 0: half a second

	// Tell, if not nil, hears of the beginning of an outage with its cause,
	// and of its end with nil.
	Tell func(error)
}

// Store waits for another one.
type Store struct {
	inner store.Store
	opt   Options
	life  context.Context
	end   context.CancelFunc
	looks sync.WaitGroup
	seen  atomic.Bool // the sign was read

	mu  sync.Mutex
	out *outage // nil: the place is there, as far as is known
}

// outage is one time of absence.
type outage struct {
	back chan struct{} // closed when the place is there again
	late chan struct{} // closed when nobody waits any more
}

// New returns a Store around inner. Close closes that too.
func New(inner store.Store, o Options) *Store {
	if o.Every == 0 {
		o.Every = 500 * time.Millisecond
	}
	life, end := context.WithCancel(context.Background())
	return &Store{inner: inner, opt: o, life: life, end: end}
}

// there asks the place for the sign.
func (s *Store) there(ctx context.Context) bool {
	var one [1]byte
	for o, err := range s.inner.List(ctx, s.opt.Sign) {
		if err != nil || o.Name != s.opt.Sign {
			return false
		}
		n, err := s.inner.Get(ctx, s.opt.Sign, 0, one[:]) // which may still be open, where a listing finds none
		return err == nil && n == len(one)
	}
	return false
}

// failed is called after a call that may have failed because the place is
// away; cause is nil if it just found nothing. It says whether to make the call
// again, and if not, how it has ended.
func (s *Store) failed(ctx context.Context, cause error) (again bool, err error) {
	if !s.seen.Load() || ctx.Err() != nil || cause != nil && fault.KindOf(cause) == fault.Canceled {
		return false, cause
	}
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	if out == nil {
		if s.there(ctx) || ctx.Err() != nil {
			return false, cause
		}
		out = s.begin(cause)
	}
	select {
	case <-out.back:
		return true, nil
	default:
	}
	select {
	case <-out.back:
		return true, nil
	case <-out.late:
	case <-s.life.Done():
	case <-ctx.Done():
		return false, fmt.Errorf("wait for the repository: %w", ctx.Err())
	}
	if cause == nil {
		return false, fmt.Errorf("the place of the repository is away: %w", fault.Unavailable)
	}
	// Not %w: that the place is not there must not be taken for an object's
	// not being there.
	return false, fmt.Errorf("the place of the repository is away: %v: %w", cause, fault.Unavailable)
}

// begin begins an outage, if nobody else has.
func (s *Store) begin(cause error) *outage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil {
		return s.out
	}
	out := &outage{back: make(chan struct{}), late: make(chan struct{})}
	s.out = out
	if s.opt.Tell != nil {
		if cause == nil {
			cause = fault.Unavailable
		}
		s.opt.Tell(cause)
	}
	late := time.AfterFunc(s.opt.Wait, func() { close(out.late) })
	s.looks.Go(func() {
		defer late.Stop()
		s.look(out)
	})
	return out
}

// look looks for the place until it is back.
func (s *Store) look(out *outage) {
	every := time.NewTicker(s.opt.Every)
	defer every.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-every.C:
		}
		if !s.there(s.life) {
			continue
		}
		s.mu.Lock()
		s.out = nil
		s.mu.Unlock()
		close(out.back)
		if s.opt.Tell != nil {
			s.opt.Tell(nil)
		}
		return
	}
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	for {
		n, err := s.inner.Get(ctx, name, offset, dst)
		if err == nil && name == s.opt.Sign {
			s.seen.Store(true)
		}
		if err == nil || fault.KindOf(err) == fault.Invalid {
			return n, err
		}
		if again, err := s.failed(ctx, err); !again {
			return 0, err
		}
	}
}

// List implements store.Store. A listing that ends in an outage goes on behind
// what it has shown.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for last := ""; ; {
			found := false
			var failure error
			for o, err := range s.inner.List(ctx, prefix) {
				if failure = err; err != nil {
					break
				}
				if found = true; o.Name <= last {
					continue
				}
				if last = o.Name; !yield(o, nil) {
					return
				}
			}
			if failure == nil && found {
				return
			}
			again, err := s.failed(ctx, failure)
			if again {
				continue
			}
			if err != nil {
				yield(store.Object{}, err)
			}
			return
		}
	}
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	return s.inner.Put(ctx, name, data)
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string) error { return s.inner.Delete(ctx, name) }

// Place returns the place itself: what it can do beyond the four verbs it says
// on its own.
func (s *Store) Place(context.Context) (store.Store, error) { return s.inner, nil }

// Close ends waiting and closes the place.
func (s *Store) Close() error {
	s.end()
	s.looks.Wait()
	if c, ok := s.inner.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
