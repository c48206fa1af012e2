package limit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return limit.New(mem.New(), limit.NewRate(0, time.Now)) })
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.New(mem.New(), limit.NewRate(1000, time.Now))
		began := time.Now()
		for _, name := range []string{"a", "b", "c"} {
			if err := s.Put(t.Context(), name, make([]byte, 2000)); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Get(t.Context(), name, 0, make([]byte, 3000)); n != 2000 || err != nil {
				t.Fatal(n, err)
			}
		}
		// 12,000 bytes, of which the first 1,000 go at once.
		if d := time.Since(began); d < 10900*time.Millisecond || d > 11100*time.Millisecond {
			t.Errorf("took %v", d)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := s.Put(ctx, "d", make([]byte, 1<<20)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up: %v", err)
		}
		if _, err := s.Get(t.Context(), "d", 0, nil); err == nil {
			t.Error("it was stored all the same")
		}
	})
}
