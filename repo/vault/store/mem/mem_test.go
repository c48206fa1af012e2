package mem

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return New() })
}

func TestFailAt(t *testing.T) {
	boom := errors.New("boom")
	for _, stored := range []bool{false, true} {
		s := New()
		s.SetHook(FailAt(2, stored, boom))
		if err := s.Put(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "b", nil); !errors.Is(err, boom) {
			t.Fatalf("the second operation: %v", err)
		}
		_, err := s.Get(t.Context(), "b", 0, nil)
		if there := err == nil; there != stored {
			t.Errorf("stored=%v: Get: %v", stored, err)
		}
		if err := s.Put(t.Context(), "b", nil); err != nil { // only once
			t.Errorf("again: %v", err)
		}
	}
}

func TestHookFailsEveryVerb(t *testing.T) {
	boom := errors.New("boom")
	s := New()
	if err := s.Put(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var seen []Verb
	s.SetHook(func(op Op) (before, after error) {
		seen = append(seen, op.Verb)
		return boom, nil
	})
	_, getErr := s.Get(t.Context(), "a", 0, nil)
	var listErr error
	for _, err := range s.List(t.Context(), "") {
		listErr = err
	}
	for _, err := range []error{s.Put(t.Context(), "b", nil), getErr, listErr, s.Delete(t.Context(), "a")} {
		if !errors.Is(err, boom) {
			t.Errorf("error %v, want boom", err)
		}
	}
	if len(seen) != 4 {
		t.Errorf("the hook saw %v", seen)
	}
	s.SetHook(nil)
	if n, err := s.Get(t.Context(), "a", 0, make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("a refused Delete deleted: %d, %v", n, err)
	}
}

func TestCountsAndLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.SetLatency(50 * time.Millisecond)
		start := time.Now()
		if err := s.Put(t.Context(), "a", make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "a", 90, make([]byte, 50)); err != nil {
			t.Fatal(err)
		}
		for range s.List(t.Context(), "") {
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 200*time.Millisecond {
			t.Errorf("four round trips took %v", took)
		}
		want := Counts{Puts: 1, Gets: 1, Lists: 1, Deletes: 1, In: 100, Out: 10}
		if got := s.Counts(); got != want || got.RoundTrips() != 4 {
			t.Errorf("counts %+v, want %+v", got, want)
		}
		s.ResetCounts()
		if got := s.Counts(); got != (Counts{}) {
			t.Errorf("after a reset: %+v", got)
		}
	})
}

func TestTamperAndClone(t *testing.T) {
	s := New()
	if err := s.Put(t.Context(), "a", []byte("abc")); err != nil {
		t.Fatal(err)
	}
	c := s.Clone()
	if err := s.Tamper("a", func(b []byte) []byte { b[0] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		s    *Store
		data string
	}{{s, "`bc"}, {c, "abc"}} {
		got, err := store.ReadAll(t.Context(), want.s, "a", 10)
		if err != nil || string(got) != want.data {
			t.Errorf("%q, %v; want %q", got, err, want.data)
		}
	}
	if err := s.Tamper("b", nil); fault.KindOf(err) != fault.NotExist {
		t.Errorf("tamper with an absent object: %v", err)
	}
}
