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

var _ store.Store = (*Store)(nil)

// Store is slowed down. Several may share a Rate.
type Store struct {
	inner store.Store
	rate  *Rate
}

// Rate is a number of bytes in a second, shared by all that use it.
type Rate struct {
	bytes int64
	now   func() time.Time

	mu   sync.Mutex
	free time.Time // when the bytes so far are paid for
}

// NewRate returns a rate of bytes in a second; 0: no bound.
func NewRate(bytes int64, now func() time.Time) *Rate { return &Rate{bytes: bytes, now: now} }

// New returns a Store that waits after each object until its bytes are paid for.
func New(s store.Store, r *Rate) *Store { return &Store{s, r} }

// pay waits for n bytes. A second's worth may go at once.
func (r *Rate) pay(ctx context.Context, n int) error {
	if r.bytes <= 0 || n == 0 {
		return nil
	}
	r.mu.Lock()
	now := r.now()
	if earliest := now.Add(-time.Second); r.free.Before(earliest) {
		r.free = earliest
	}
	r.free = r.free.Add(time.Duration(float64(n) / float64(r.bytes) * float64(time.Second)))
	wait := r.free.Sub(now)
	r.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
// of at once.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := s.rate.pay(ctx, len(data)); err != nil {
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
