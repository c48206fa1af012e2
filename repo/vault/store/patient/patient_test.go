package patient_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/patient"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s := patient.New("test", func(context.Context) (store.Store, error) { return local.Create(t.TempDir()) }, patient.Options{})
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}

// hanging is a store of which reads hang, whatever the context says, while
// hang is set.
type hanging struct {
	*mem.Store
	hang atomic.Bool
	gone chan struct{}
	hung atomic.Int32
}

func (h *hanging) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	if h.hang.Load() {
		h.hung.Add(1)
		<-h.gone
		for i := range dst {
			dst[i] = 0xee // as a disk that answers too late
		}
	}
	return h.Store.Get(ctx, name, offset, dst)
}

func TestHangingPlaceIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{Store: mem.New(), gone: make(chan struct{})}
		if err := h.Put(t.Context(), "a", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		s := patient.New("the share", func(context.Context) (store.Store, error) { return h, nil }, patient.Options{})
		defer s.Close()
		buf := make([]byte, 5)
		h.hang.Store(true)
		began := time.Now()
		if _, err := s.Get(t.Context(), "a", 0, buf); fault.KindOf(err) != fault.Unavailable {
			t.Fatalf("hanging: %v", err)
		}
		if d := time.Since(began); d < 10*time.Second || d > 11*time.Second {
			t.Errorf("waited %v", d)
		}
		// For a while nobody else waits.
		began = time.Now()
		for range 100 {
			if _, err := s.Get(t.Context(), "a", 0, buf); fault.KindOf(err) != fault.Unavailable {
				t.Fatalf("after it: %v", err)
			}
			for _, err := range s.List(t.Context(), "") {
				if fault.KindOf(err) != fault.Unavailable {
					t.Fatalf("list: %v", err)
				}
			}
		}
		if d := time.Since(began); d != 0 || h.hung.Load() != 1 {
			t.Errorf("a hundred reads waited %v, %d hang", d, h.hung.Load())
		}
		// It comes back; what was left behind touches nobody's bytes.
		h.hang.Store(false)
		time.Sleep(16 * time.Second)
		if n, err := s.Get(t.Context(), "a", 0, buf); err != nil || string(buf[:n]) != "hello" {
			t.Fatalf("back: %q, %v", buf[:n], err)
		}
		close(h.gone)
		synctest.Wait()
		if string(buf) != "hello" {
			t.Errorf("a late answer wrote into the caller's bytes: %q", buf)
		}
	})
}

func TestHangingListIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mem.New()
		m.SetLatency(time.Hour)
		s := patient.New("the share", func(context.Context) (store.Store, error) { return m, nil }, patient.Options{Wait: time.Second})
		defer s.Close()
		n := 0
		for _, err := range s.List(t.Context(), "") {
			n++
			if fault.KindOf(err) != fault.Unavailable {
				t.Errorf("list: %v", err)
			}
		}
		if n != 1 {
			t.Errorf("%d times told", n)
		}
	})
}

func TestAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mem.New()
		if err := m.Put(t.Context(), "a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		var there atomic.Bool
		opened := 0
		s := patient.New("the disk", func(context.Context) (store.Store, error) {
			opened++
			if !there.Load() {
				return nil, fault.NotExist
			}
			return m, nil
		}, patient.Options{})
		defer s.Close()
		buf := make([]byte, 1)
		for range 10 {
			_, err := s.Get(t.Context(), "a", 0, buf)
			if fault.KindOf(err) != fault.Unavailable || errors.Is(err, fault.NotExist) {
				t.Fatalf("away: %v", err)
			}
			if err := s.Put(t.Context(), "b", nil); fault.KindOf(err) != fault.Unavailable {
				t.Fatalf("put: %v", err)
			}
		}
		if opened != 1 {
			t.Errorf("opened %d times", opened)
		}
		there.Store(true)
		time.Sleep(16 * time.Second)
		if n, err := s.Get(t.Context(), "a", 0, buf); n != 1 || err != nil {
			t.Fatalf("back: %v", err)
		}
		if _, err := s.Get(t.Context(), "absent", 0, buf); fault.KindOf(err) != fault.NotExist {
			t.Fatalf("absent object: %v", err)
		}
	})
}

// Who gives up is told so, and the place is not taken for hanging.
func TestCanceledIsNotHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mem.New()
		m.SetLatency(time.Second)
		if err := m.Put(t.Context(), "a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		s := patient.New("the share", func(context.Context) (store.Store, error) { return m, nil }, patient.Options{})
		defer s.Close()
		ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		if _, err := s.Get(ctx, "a", 0, make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("canceled: %v", err)
		}
		if _, err := s.Get(t.Context(), "a", 0, make([]byte, 1)); err != nil {
			t.Fatalf("after it: %v", err)
		}
	})
}
