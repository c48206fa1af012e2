package scrub

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func sampleState(path string) *State {
	s, err := OpenState(path, [16]byte{1})
	if err != nil {
		panic(err)
	}
	s.found("a", true, time.Unix(1000, 0))
	s.found("b", true, time.Unix(2000, 0))
	s.found("b", false, time.Unix(3000, 0))
	s.found("c", true, time.Unix(-5, 0))
	s.setReached(time.Unix(4000, 0))
	if err := s.proof("k", []byte("x")); err != nil {
		panic(err)
	}
	return s
}

func TestStateIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x", "state")
	if err := sampleState(path).save(); err != nil {
		t.Fatal(err)
	}
	s, err := OpenState(path, [16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	if s.last("a").Unix() != 1000 || !s.last("b").IsZero() || s.last("c").Unix() != -5 || s.reached().Unix() != 4000 {
		t.Error(s.last("a"), s.last("b"), s.last("c"), s.reached())
	}
	if s.proof("k", []byte("x")) != nil || s.proof("k", []byte("y")) == nil {
		t.Error("the proof was not kept")
	}
	s.retain(func(yield func(string) bool) { yield("a") })
	if s.last("c") != (time.Time{}) || s.last("a").IsZero() || s.proof("k", []byte("y")) != nil {
		t.Error("what is gone was not forgotten")
	}
	if s, err := OpenState(path, [16]byte{2}); err != nil || !s.last("a").IsZero() {
		t.Error("another repository's state was taken", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b { // a damaged state is as good as none
		c := bytes.Clone(b)
		c[i] ^= 1
		if err := os.WriteFile(path, c, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := OpenState(path, [16]byte{1}); err != nil || !s.last("a").IsZero() {
			t.Fatal(i, err)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add(sampleState("").marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		if again, err := parseState(s.marshal()); err != nil || len(again.whole) != len(s.whole) || len(again.proofs) != len(s.proofs) || again.needs != s.needs {
			t.Fatal("a state that is read is not what is written", err)
		}
	})
}
