package limit_test

import (
	"context"
	"errors"
	iofs "io/fs"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/limit"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return limit.New(mem.New(), limit.NewRate(0, time.Now)) })
}

// TestContractPaced: the same on a store that waits between the parts of an
// object, of two rates.
func TestContractPaced(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		dir, err := local.Create(filepath.Join(t.TempDir(), "store"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = dir.Close() })
		return limit.New(limit.New(dir, limit.NewRate(1<<40, time.Now)), limit.NewRate(1<<40, time.Now))
	})
}

// TestParts measures how fast an object grows while it is put, which a bound of
// whole objects would not bound at all: 2 MiB of 4 at 1 MiB a second, the first
// second's worth at once.
func TestParts(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	dir, err := local.Create(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	rate := limit.NewRate(1<<20, time.Now)
	s := limit.New(dir, rate)
	ctx, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer stop()
	done := make(chan error)
	go func() { done <- s.Put(ctx, "a", make([]byte, 4<<20)) }()
	time.Sleep(1200 * time.Millisecond)
	largest := int64(0)
	err = filepath.WalkDir(root, func(_ string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			largest = max(largest, info.Size())
		}
		return err
	})
	if err != nil || largest < 1<<20 || largest > 9<<18 {
		t.Errorf("%d bytes are there after 1.2 s, %v", largest, err)
	}
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that was given up: %v", err)
	}
	if _, err := s.Get(t.Context(), "a", 0, nil); err == nil {
		t.Error("a part of it is there")
	}
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

// TestChangeAndPause: a rate that changes, and a pause, take hold in the middle
// of an object.
func TestChangeAndPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rate := limit.NewRate(1000, time.Now)
		s := limit.New(mem.New(), rate)
		began, done := time.Now(), make(chan error)
		go func() { done <- s.Put(t.Context(), "a", make([]byte, 101_000)) }()
		time.Sleep(10 * time.Second)
		if n := rate.Paid(); n < 10_750 || n > 11_250 { // a second's worth goes at once
			t.Errorf("%d bytes in 10 s", n)
		}
		rate.Set(4000)
		time.Sleep(10 * time.Second)
		if n := rate.Paid(); n < 48_000 || n > 52_000 {
			t.Errorf("%d bytes 10 s later", n)
		}
		rate.Pause()
		before := rate.Paid()
		time.Sleep(time.Hour)
		if n := rate.Paid() - before; n != 0 {
			t.Errorf("%d bytes went in the pause", n)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := s.Put(ctx, "b", make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("a pause holds what was given up: %v", err)
		}
		rate.Set(0)
		rate.Resume()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if d := time.Since(began) - time.Hour; d > 21*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// TestKnowsTheTime: the time of the place stays known, and only if it was.
func TestKnowsTheTime(t *testing.T) {
	rate := limit.NewRate(0, time.Now)
	if _, ok := limit.New(mem.New(), rate).(store.Clock); !ok {
		t.Error("the clock is gone")
	}
	if _, ok := limit.New(struct{ store.Store }{mem.New()}, rate).(store.Clock); ok {
		t.Error("a clock has come")
	}
}
