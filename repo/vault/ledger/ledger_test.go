package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

var repository = [16]byte{1, 2, 3}

func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// seen is a Fold that keeps what it was given.
type seen struct{ entries []*Entry }

func (s *seen) fold(e *Entry) { s.entries = append(s.entries, e) }

func open(t testing.TB, s *mem.Store, memory string) (*Ledger, *seen) {
	t.Helper()
	var all seen
	l, err := Open(t.Context(), s, Options{Repository: repository, Memory: memory, Fold: all.fold})
	if err != nil {
		t.Fatal(err)
	}
	return l, &all
}

// say appends an entry that names a round.
func say(t testing.TB, l *Ledger, signer byte, round uint64) *Entry {
	t.Helper()
	e, err := l.Append(t.Context(), key(signer), func(h Head) (int64, []Record, error) {
		return h.Time + 10, []Record{Condemned{round}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func rounds(entries []*Entry) []uint64 {
	var out []uint64
	for _, e := range entries {
		for _, r := range e.Records {
			out = append(out, r.(Condemned).Round)
		}
	}
	return out
}

func count(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}

func fill(t testing.TB, s *mem.Store, n int) *Ledger {
	t.Helper()
	l, _ := open(t, s, "")
	for i := range n {
		say(t, l, byte(1+i/7%2), uint64(i+1))
	}
	return l
}

func TestChain(t *testing.T) {
	s := mem.New()
	fill(t, s, 20)
	l, all := open(t, s, "")
	if got := rounds(all.entries); !slices.Equal(got, count(20)) {
		t.Errorf("read %v", got)
	}
	if l.Head().Number != 20 || l.Head().Time != 200 || l.Remembered() != (Head{}) {
		t.Errorf("head %+v, remembered %+v", l.Head(), l.Remembered())
	}
}

func TestRollback(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, s *mem.Store)
		common uint64
	}{
		"shorter": {func(t *testing.T, s *mem.Store) { remove(t, s, Name(5)); remove(t, s, Name(4)) }, 3},
		"empty": {func(t *testing.T, s *mem.Store) {
			for n := range uint64(5) {
				remove(t, s, Name(n+1))
			}
		}, 0},
		"fork": {func(t *testing.T, s *mem.Store) {
			remove(t, s, Name(5))
			remove(t, s, Name(4))
			l, _ := open(t, s, "")
			for n := range uint64(4) {
				say(t, l, 9, 100+n)
			}
		}, 3},
		"swapped": {func(t *testing.T, s *mem.Store) {
			remove(t, s, Name(5))
			l, _ := open(t, s, "")
			say(t, l, 1, 99)
		}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			s, memory := mem.New(), filepath.Join(t.TempDir(), "ledger")
			l, _ := open(t, s, memory)
			for n := range uint64(5) {
				say(t, l, 1, n+1)
			}
			c.change(t, s)
			var all seen
			o := Options{Repository: repository, Memory: memory, Fold: all.fold}
			for range 2 {
				_, err := Open(t.Context(), s, o)
				back, ok := errors.AsType[*RollbackError](err)
				if !ok || !errors.Is(err, fault.Rollback) {
					t.Fatalf("%v", err)
				}
				if back.Common.Number != c.common || back.Remembered.Number != 5 || len(back.Lost) != int(5-c.common) || back.Lost[0].Number != c.common+1 {
					t.Errorf("common %d, lost %d: %v", back.Common.Number, len(back.Lost), err)
				}
				if len(all.entries) != 0 {
					t.Error("entries of the lost past were folded")
				}
			}
			o.Accept = true
			if _, err := Open(t.Context(), s, o); err != nil {
				t.Fatal(err)
			}
			o.Accept, all = false, seen{}
			again, err := Open(t.Context(), s, o)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(all.entries); uint64(n) != again.Head().Number || again.Remembered() != again.Head() {
				t.Errorf("%d entries, head %d, remembered %d", n, again.Head().Number, again.Remembered().Number)
			}
		})
	}
}

// Who has the ledger open when the vault goes back sees it, too.
func TestRollbackMeanwhile(t *testing.T) {
	s := mem.New()
	l := fill(t, s, 5)
	remove(t, s, Name(5))
	if err := l.Refresh(t.Context()); !errors.Is(err, fault.Rollback) {
		t.Errorf("%v", err)
	}
}

func remove(t testing.TB, s *mem.Store, name string) {
	t.Helper()
	if err := s.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func tamper(t testing.TB, s *mem.Store, name string, edit func([]byte) []byte) {
	t.Helper()
	if err := s.Tamper(name, edit); err != nil {
		t.Fatal(err)
	}
}

// Whoever remembers an entry that is damaged goes on; others are told.
func TestDamage(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
	for n := uint64(1); n <= 5; n++ {
		s, memory := mem.New(), filepath.Join(t.TempDir(), "ledger")
		l, _ := open(t, s, memory)
		for i := range uint64(5) {
			say(t, l, byte(1+i%2), i+1)
		}
		tamper(t, s, Name(n), flip)
		mine, _ := open(t, s, memory)
		if mine.Head().Number != 5 || n == 5 && !slices.Equal(mine.Damaged(), []uint64{5}) {
			t.Errorf("entry %d: head %d, damaged %v", n, mine.Head().Number, mine.Damaged())
		}
		say(t, mine, 1, 6)
		_, err := Open(t.Context(), s, Options{Repository: repository, Fold: func(*Entry) {}})
		if fault.KindOf(err) != fault.Corrupt {
			t.Errorf("entry %d: %v", n, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	good := func() (*mem.Store, *Ledger) { s := mem.New(); return s, fill(t, s, 3) }
	for name, change := range map[string]func(s *mem.Store, l *Ledger){
		"gap":   func(s *mem.Store, _ *Ledger) { remove(t, s, Name(2)) },
		"first": func(s *mem.Store, _ *Ledger) { remove(t, s, Name(1)) },
		"foreign": func(s *mem.Store, l *Ledger) {
			forge(t, s, &Entry{Repository: [16]byte{9}, Number: 4, Previous: l.Head().Hash, Time: 100})
		},
		"older": func(s *mem.Store, l *Ledger) {
			forge(t, s, &Entry{Repository: repository, Number: 4, Previous: l.Head().Hash, Time: 1})
		},
		"loose": func(s *mem.Store, _ *Ledger) {
			forge(t, s, &Entry{Repository: repository, Number: 4, Previous: Hash{1}, Time: 100})
		},
		"misnamed": func(s *mem.Store, l *Ledger) {
			forge(t, s, &Entry{Repository: repository, Number: 5, Previous: l.Head().Hash, Time: 100})
			b := mustGet(t, s, Name(5))
			remove(t, s, Name(5))
			mustPut(t, s, Name(4), b)
		},
		"no signature": func(s *mem.Store, _ *Ledger) {
			tamper(t, s, Name(3), func(b []byte) []byte { clear(b[len(b)-64:]); return b })
		},
	} {
		s, l := good()
		change(s, l)
		_, err := Open(t.Context(), s, Options{Repository: repository, Fold: func(*Entry) {}})
		if fault.KindOf(err) != fault.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, l := good()
	forge(t, s, &Entry{Repository: repository, Number: 4, Previous: l.Head().Hash, Time: 100, Records: []Record{Unknown{Type: 0x90}}})
	if _, err := Open(t.Context(), s, Options{Repository: repository, Fold: func(*Entry) {}}); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("critical record: %v", err)
	}
	s, l = good()
	forge(t, s, &Entry{Repository: repository, Number: 4, Previous: l.Head().Hash, Time: 100, Records: []Record{Unknown{Type: 0x70, Payload: []byte("new")}}})
	if l, _ := open(t, s, ""); l.Head().Number != 4 {
		t.Error("an unknown record stopped a reader")
	}
}

func forge(t testing.TB, s *mem.Store, e *Entry) {
	t.Helper()
	if e.Records == nil {
		e.Records = []Record{Dropped{1}}
	}
	if err := e.Sign(key(7)); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, Name(e.Number), e.Bytes())
}

func mustPut(t testing.TB, s *mem.Store, name string, b []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, b); err != nil {
		t.Fatal(err)
	}
}

func mustGet(t testing.TB, s *mem.Store, name string) []byte {
	t.Helper()
	b := make([]byte, 1<<20)
	n, err := s.Get(t.Context(), name, 0, b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// Writers at once: nobody's word is lost, none is said twice.
func TestRace(t *testing.T) {
	const writers, each = 6, 60
	s := mem.New()
	var group sync.WaitGroup
	for w := range writers {
		l, _ := open(t, s, "")
		group.Go(func() {
			for i := range each {
				say(t, l, byte(w), uint64(w*each+i+1))
			}
		})
	}
	group.Wait()
	l, all := open(t, s, "")
	got := rounds(all.entries)
	slices.Sort(got)
	if !slices.Equal(got, count(writers*each)) || l.Head().Number != writers*each {
		t.Errorf("%d of %d were said", len(got), writers*each)
	}
}

func TestRolls(t *testing.T) {
	s := mem.New()
	l := fill(t, s, 3*RollSize+10)
	sleeper, _ := open(t, s, "")
	sleeper.head = Head{Number: 299, Hash: entryHash(t, s, 299), Time: 2990}
	for range 2 {
		if _, err := l.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// The newest roll's entries stay, for those who still look there.
	left := 0
	for o, err := range s.List(t.Context(), Prefix) {
		if err != nil {
			t.Fatal(err)
		}
		if _, roll, err := ParseName(o.Name); err == nil && !roll {
			left++
		}
	}
	if left != RollSize+10 {
		t.Errorf("%d entries are left beside rolls", left)
	}
	s.ResetCounts()
	fresh, all := open(t, s, "")
	if !slices.Equal(rounds(all.entries), count(3*RollSize+10)) {
		t.Errorf("read %d", len(all.entries))
	}
	t.Logf("a cold start took %d round trips", s.Counts().RoundTrips())
	// Who slept since entry 299 finds its next number free, but not the past.
	e := say(t, sleeper, 5, 5000)
	if e.Number != 3*RollSize+11 {
		t.Errorf("wrote entry %d", e.Number)
	}
	if _, err := s.Get(t.Context(), Name(300), 0, nil); !errors.Is(err, fault.NotExist) {
		t.Errorf("a stray entry is left: %v", err)
	}
	if err := fresh.Refresh(t.Context()); err != nil || fresh.Head() != e.Head() {
		t.Errorf("%v, %v", fresh.Head(), err)
	}
}

func entryHash(t testing.TB, s *mem.Store, n uint64) Hash {
	t.Helper()
	e, err := readSingle(context.Background(), s, n)
	if err != nil {
		t.Fatal(err)
	}
	return e.Hash
}

// A reader whose listing is older than a roll and its tidying lists again.
func TestRollsBetweenListAndRead(t *testing.T) {
	s, memory := mem.New(), filepath.Join(t.TempDir(), "ledger")
	l := fill(t, s, RollSize)
	open(t, s, memory)
	for n := range uint64(2*RollSize - 5) {
		say(t, l, 1, RollSize+1+n)
	}
	for _, m := range []string{"", memory} {
		done := false
		s.SetHook(func(op mem.Op) (before, after error) {
			if op.Verb == mem.Get && !done {
				done = true
				for n := uint64(1); n <= RollSize; n++ {
					remove(t, s, Name(n))
				}
			}
			return nil, nil
		})
		late, _ := open(t, s, m)
		s.SetHook(nil)
		if late.Head() != l.Head() || !done {
			t.Errorf("read up to %d of %d", late.Head().Number, l.Head().Number)
		}
	}
}

// Each step of an Append fails twice: not stored, and stored but reported
// failed. Whoever tries again says it once.
func TestAppendFails(t *testing.T) {
	boom := fmt.Errorf("boom: %w", fault.Unavailable)
	for step := int64(1); step <= 2; step++ {
		for _, stored := range []bool{false, true} {
			s := mem.New()
			l := fill(t, s, 2)
			said := map[uint64]bool{}
			try := func() error {
				_, err := l.Append(t.Context(), key(1), func(Head) (int64, []Record, error) {
					clear(said)
					if err := again(t.Context(), s, func(there *listing) error {
						return there.batches(t.Context(), s, 2, func(b []*Entry) error {
							for _, e := range b {
								said[e.Records[0].(Condemned).Round] = true
							}
							return nil
						})
					}); err != nil {
						return 0, nil, err
					}
					if said[77] {
						return 0, nil, nil
					}
					return 100, []Record{Condemned{77}}, nil
				})
				return err
			}
			// The plan's own listing is the first operation. The second step
			// looks for a roll that is not there, which is no reply to lose.
			s.ResetCounts()
			s.SetHook(mem.FailAt(step+1, stored, boom))
			if err := try(); !errors.Is(err, fault.Unavailable) && (step == 1 || !stored) {
				t.Errorf("step %d, stored %v: %v", step, stored, err)
			}
			s.SetHook(nil)
			if err := try(); err != nil {
				t.Error(err)
			}
			if _, all := open(t, s, ""); len(all.entries) != 3 {
				t.Errorf("step %d, stored %v: %d entries", step, stored, len(all.entries))
			}
		}
	}
}
