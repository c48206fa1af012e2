package await_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/await"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

const sign = "sign"

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		d, err := local.Create(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s := around(t, signed{d}, await.Options{})
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}

// signed is a store with a sign that nobody put there.
type signed struct{ *local.Dir }

func (s signed) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	if prefix == sign {
		return func(yield func(store.Object, error) bool) { yield(store.Object{Name: sign, Size: 1}, nil) }
	}
	return s.Dir.List(ctx, prefix)
}

func (s signed) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	if name == sign {
		return len(dst), nil
	}
	return s.Dir.Get(ctx, name, offset, dst)
}

// leaving is a store that is away at times, as a folder on which nothing is
// mounted: empty.
type leaving struct {
	*mem.Store
	away atomic.Bool
	asks atomic.Int32
}

func (l *leaving) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	l.asks.Add(1)
	if l.away.Load() {
		return 0, fault.NotExist
	}
	return l.Store.Get(ctx, name, offset, dst)
}

func (l *leaving) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	l.asks.Add(1)
	if l.away.Load() {
		return func(func(store.Object, error) bool) {}
	}
	return l.Store.List(ctx, prefix)
}

func newLeaving(t *testing.T) *leaving {
	t.Helper()
	l := &leaving{Store: mem.New()}
	for _, name := range []string{sign, "a", "b"} {
		if err := l.Put(t.Context(), name, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// around returns a Store that has seen its place.
func around(t *testing.T, inner store.Store, o await.Options) *await.Store {
	t.Helper()
	o.Sign = sign
	s := await.New(inner, o)
	if err := get(t.Context(), s, sign); err != nil {
		t.Fatal(err)
	}
	return s
}

func get(ctx context.Context, s store.Store, name string) error {
	_, err := s.Get(ctx, name, 0, make([]byte, 5))
	return err
}

func count(ctx context.Context, s store.Store, prefix string) (n int, err error) {
	for _, err := range s.List(ctx, prefix) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestReadersWaitForThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeaving(t)
		var told []error
		s := around(t, l, await.Options{Wait: time.Minute, Tell: func(err error) { told = append(told, err) }})
		defer s.Close()
		l.away.Store(true)
		start := time.Now()
		time.AfterFunc(20*time.Second, func() { l.away.Store(false) })
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := get(t.Context(), s, "a"); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if n, err := count(t.Context(), s, ""); n != 3 || err != nil {
					t.Errorf("%d objects, %v", n, err)
				}
			})
		}
		all.Wait()
		if past := time.Since(start); past < 20*time.Second || past > 21*time.Second {
			t.Errorf("they waited %v", past)
		}
		if asks := l.asks.Load(); asks > 1000 {
			t.Errorf("the place was asked %d times", asks)
		}
		synctest.Wait()
		if len(told) != 2 || told[0] == nil || told[1] != nil {
			t.Errorf("told %v", told)
		}
	})
}

func TestNobodyWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeaving(t)
		s := around(t, l, await.Options{Wait: 30 * time.Second})
		defer s.Close()
		l.away.Store(true)
		start := time.Now()
		for i := range 3 { // the first one waits, the others know
			err := get(t.Context(), s, "a")
			if !errors.Is(err, fault.Unavailable) || errors.Is(err, fault.NotExist) {
				t.Errorf("get %d: %v", i, err)
			}
			if _, err := count(t.Context(), s, "a"); !errors.Is(err, fault.Unavailable) {
				t.Errorf("list %d: %v", i, err)
			}
			if past := time.Since(start); past != 30*time.Second {
				t.Errorf("after %v", past)
			}
		}
		l.away.Store(false)
		time.Sleep(time.Second)
		if err := get(t.Context(), s, "a"); err != nil {
			t.Errorf("the place is back: %v", err)
		}
		// The next outage has a bound of its own.
		l.away.Store(true)
		start = time.Now()
		if err := get(t.Context(), s, "a"); !errors.Is(err, fault.Unavailable) || time.Since(start) != 30*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestWhatIsMissingIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := around(t, newLeaving(t), await.Options{Wait: time.Minute})
		defer s.Close()
		start := time.Now()
		if err := get(t.Context(), s, "c"); !errors.Is(err, fault.NotExist) {
			t.Error(err)
		}
		if n, err := count(t.Context(), s, "c"); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if time.Since(start) != 0 {
			t.Errorf("after %v", time.Since(start))
		}
	})
}

func TestWhatWasNeverThereIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := await.New(mem.New(), await.Options{Sign: sign, Wait: time.Minute})
		defer s.Close()
		start := time.Now()
		if err := get(t.Context(), s, sign); !errors.Is(err, fault.NotExist) || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeaving(t)
		s := around(t, l, await.Options{Wait: time.Hour})
		l.away.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := get(ctx, s, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		waited := make(chan error)
		go func() { waited <- get(t.Context(), s, "a") }()
		synctest.Wait()
		if err := s.Close(); err != nil { // with the outage still on
			t.Error(err)
		}
		if err := <-waited; !errors.Is(err, fault.Unavailable) {
			t.Error(err)
		}
	})
}
