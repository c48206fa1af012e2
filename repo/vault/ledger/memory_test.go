package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

func TestMemory(t *testing.T) {
	s, memory := mem.New(), filepath.Join(t.TempDir(), "a", "ledger")
	other, _ := open(t, s, "")
	for round := range uint64(6) {
		l, all := open(t, s, memory)
		if got := rounds(all.entries); !slices.Equal(got, count(int(2*round))) {
			t.Fatalf("read %v", got)
		}
		if want := max(2*round, 1) - 1; round > 0 && l.Remembered().Number != want {
			t.Errorf("remembered %d entries, want %d", l.Remembered().Number, want)
		}
		say(t, l, 1, 2*round+1)
		if err := l.Memory(); err != nil {
			t.Fatal(err)
		}
		if err := other.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		say(t, other, 2, 2*round+2)
	}
	s.ResetCounts()
	open(t, s, memory)
	if n := s.Counts().RoundTrips(); n > 3 {
		t.Errorf("a start with one new entry took %d round trips", n)
	}
	s.ResetCounts()
	open(t, s, memory)
	if n := s.Counts().RoundTrips(); n > 2 {
		t.Errorf("a start with no new entry took %d round trips", n)
	}
}

// A memory that a power cut has torn, or that two processes wrote to, is used
// as far as it goes and mended.
func TestMemoryTorn(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"tail":    func(b []byte) []byte { return b[:len(b)-10] },
		"zeros":   func(b []byte) []byte { return append(b[:len(b)-10], make([]byte, 40)...) },
		"flip":    func(b []byte) []byte { b[300] ^= 1; return b },
		"last":    func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"head":    func(b []byte) []byte { return b[:10] },
		"foreign": func(b []byte) []byte { b[9] ^= 1; return b },
		"empty":   func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s, memory := fill(t, mem.New(), 3).store.(*mem.Store), filepath.Join(t.TempDir(), "ledger")
			open(t, s, memory)
			b, err := os.ReadFile(memory)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(memory, spoil(slices.Clone(b)), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				l, all := open(t, s, memory)
				if !slices.Equal(rounds(all.entries), count(3)) || l.Memory() != nil {
					t.Errorf("read %v, %v", rounds(all.entries), l.Memory())
				}
			}
			if now, err := os.ReadFile(memory); err != nil || !bytes.Equal(now, b) {
				t.Errorf("the memory is not mended: %v", err)
			}
		})
	}
}

func TestMemoryTwice(t *testing.T) {
	s, memory := mem.New(), filepath.Join(t.TempDir(), "ledger")
	l, _ := open(t, s, memory)
	say(t, l, 1, 1)
	a, _ := open(t, s, memory)
	b, _ := open(t, s, memory)
	say(t, l, 1, 2)
	for _, x := range []*Ledger{a, b} {
		if err := x.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	say(t, b, 1, 3)
	if _, all := open(t, s, memory); !slices.Equal(rounds(all.entries), count(3)) {
		t.Errorf("read %v", rounds(all.entries))
	}
}
