// Package limit is a Store around a Store that bounds how many bytes go in and
// out in a second, so that a copy does not take a whole link or disk.
package limit

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

var (
	_ store.Store = (*Store)(nil)
	_ store.Pacer = (*Store)(nil)
)

// Store is slowed down. Several may share a Rate.
type Store struct {
	inner store.Store
	rate  *Rate
}

// Rate is a number of bytes in a second, shared by all that use it. It may be
// changed while they wait.
type Rate struct {
	now func() time.Time

	mu     sync.Mutex
	bytes  int64 // in a second; 0: no bound
	paid   int64
	free   time.Time     // when the bytes so far are paid for
	paused chan struct{} // closed when a pause ends; nil: there is none
}

// NewRate returns a rate of bytes in a second; 0: no bound.
func NewRate(bytes int64, now func() time.Time) *Rate { return &Rate{bytes: bytes, now: now} }

// New returns a Store that waits after each object until its bytes are paid for.
// It knows the time if s does.
func New(s store.Store, r *Rate) store.Store {
	if c, ok := s.(store.Clock); ok {
		return &struct {
			*Store
			store.Clock
		}{&Store{s, r}, c}
	}
	return &Store{s, r}
}

// Set changes the rate. Who waits notices within a quarter of a second.
func (r *Rate) Set(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes = bytes
}

// bound says whether anybody would have to wait.
func (r *Rate) bound() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes > 0 || r.paused != nil
}

// Pause lets nothing go any more, until Resume.
func (r *Rate) Pause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused == nil {
		r.paused = make(chan struct{})
	}
}

// Resume ends a pause.
func (r *Rate) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused != nil {
		close(r.paused)
		r.paused = nil
	}
}

// Paid returns how many bytes have gone or may go now.
func (r *Rate) Paid() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paid
}

// pay waits for n bytes. A second's worth may go at once.
func (r *Rate) pay(ctx context.Context, n int) error {
	for n > 0 {
		part, wait, paused := r.take(n)
		n -= part
		if wait <= 0 && paused == nil {
			continue
		}
		timer := time.NewTimer(max(wait, 0))
		if paused != nil {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-paused:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// take pays for a part of n bytes, no more than go in a quarter of a second:
// after it, the rate may be another. In a pause it pays for none.
func (r *Rate) take(n int) (part int, wait time.Duration, paused chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused != nil {
		return 0, 0, r.paused
	}
	part = n
	if r.bytes > 0 {
		part = int(min(int64(n), max(1, r.bytes/4)))
		now := r.now()
		if earliest := now.Add(-time.Second); r.free.Before(earliest) {
			r.free = earliest
		}
		r.free = r.free.Add(time.Duration(float64(part) / float64(r.bytes) * float64(time.Second)))
		wait = r.free.Sub(now)
	}
	r.paid += int64(part)
	return part, wait, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	n, err := s.inner.Get(ctx, name, offset, dst)
	if err != nil {
		return n, err
	}
	return n, s.rate.pay(ctx, n)
}

// Put implements store.Store. It waits first: an object that is stored is told
// of at once. Where the inner Store is a Pacer it waits between the parts.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if p, ok := s.inner.(store.Pacer); ok && s.rate.bound() {
		return p.PutPaced(ctx, name, data, s.rate.pay)
	}
	if err := s.rate.pay(ctx, len(data)); err != nil {
		return err
	}
	return s.inner.Put(ctx, name, data)
}

// PutPaced implements store.Pacer.
func (s *Store) PutPaced(ctx context.Context, name string, data []byte, pace func(context.Context, int) error) error {
	both := func(ctx context.Context, n int) error {
		if err := pace(ctx, n); err != nil {
			return err
		}
		return s.rate.pay(ctx, n)
	}
	if p, ok := s.inner.(store.Pacer); ok {
		return p.PutPaced(ctx, name, data, both)
	}
	if err := both(ctx, len(data)); err != nil {
		return err
	}
	return s.inner.Put(ctx, name, data)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return s.inner.List(ctx, prefix)
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string) error { return s.inner.Delete(ctx, name) }
