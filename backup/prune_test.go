package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// keeper prunes a repository in its own time, which begins an hour ahead, as
// that of the runs does.
type keeper struct {
	t      testing.TB
	store  store.Store
	id     [16]byte
	counts string
	key    ed25519.PrivateKey
	clock  *calendar
}

// calendar is a clock that tests set.
type calendar struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *calendar) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return later().Add(c.off)
}

func (c *calendar) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

func newKeeper(m *machine) *keeper {
	k := &keeper{t: m.t, store: m.store, id: m.open().ID, counts: filepath.Join(m.t.TempDir(), "counts"), clock: &calendar{}}
	k.key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	m.store.SetClock(k.clock.now)
	return k
}

func (k *keeper) say(records func(*retain.State, int64) []ledger.Record) {
	k.t.Helper()
	b, err := retain.Open(context.Background(), k.store, retain.Options{Repository: k.id})
	if err != nil {
		k.t.Fatal(err)
	}
	now := k.clock.now().Unix()
	_, err = b.Append(context.Background(), k.key, retain.Reading{Place: now, Machine: now}, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		return records(s, v.Now), nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// sleep lets time pass, and has the operator confirm it.
func (k *keeper) sleep(d time.Duration) {
	k.t.Helper()
	k.clock.pass(d)
	now := k.clock.now().Unix()
	k.say(func(*retain.State, int64) []ledger.Record {
		return []ledger.Record{ledger.Clock{Place: now, Machine: now}}
	})
}

// remove deletes points by hand.
func (k *keeper) remove(sequences ...uint64) {
	k.t.Helper()
	k.say(func(s *retain.State, now int64) []ledger.Record {
		var out []ledger.Record
		for _, n := range sequences {
			if p := s.Point(n); p != nil && p.Deleted == nil {
				out = append(out, ledger.Deleted{Sequence: n, Why: ledger.ByHand, GoneAfter: now + 14*24*3600})
			}
		}
		return out
	})
}

func (k *keeper) try(ctx context.Context) (*keep.Plan, error) {
	b, err := retain.Open(ctx, k.store, retain.Options{Repository: k.id})
	if err != nil {
		return nil, err
	}
	return keep.Prune(ctx, k.store, b, keep.Options{Repository: k.id, Key: k.key, Counts: k.counts, Machine: k.clock.now})
}

func (k *keeper) prune() *keep.Plan {
	k.t.Helper()
	p, err := k.try(context.Background())
	if err != nil {
		k.t.Fatal(err)
	}
	for _, w := range p.Warnings {
		k.t.Errorf("warning: %s", w)
	}
	return p
}

// bytes returns how much is stored.
func (m *machine) bytes() int64 {
	var n int64
	for o, err := range m.store.List(m.t.Context(), "") {
		if err != nil {
			m.t.Fatal(err)
		}
		n += o.Size
	}
	return n
}

// change changes a part of the files, and three quarters of a large one.
func (m *machine) change(random *rand.Rand) {
	for range 8 {
		m.write(fmt.Sprintf("text/%03d", random.IntN(60)), noise(random.Uint64(), 2000+random.IntN(60_000)))
	}
	b, err := os.ReadFile(filepath.Join(m.src, "large"))
	if err != nil || len(b) != 8<<20 {
		b = noise(random.Uint64(), 8<<20)
	}
	m.write("large", append(b[6<<20:], noise(random.Uint64(), 6<<20)...))
}

// A repository of which most points were removed: what is not needed goes,
// what is needed moves and stays readable, also to those who have it open, and
// runs go on as if nothing had been.
func TestPrunedRepository(t *testing.T) {
	m := newMachine(t)
	m.sources()
	k := newKeeper(m)
	random := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		m.change(random)
		m.backup()
	}
	reader, err := repo.Open(t.Context(), m.store, repo.Options{FrameCache: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Unlock(t.Context(), passphrase); err != nil {
		t.Fatal(err)
	}
	read := func() {
		t.Helper()
		points, err := reader.Points(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.compare(reader, points[len(points)-1])
	}
	read()
	k.remove(1, 2, 3, 4, 6, 7, 9, 10, 11)
	k.sleep(15 * 24 * time.Hour)
	before := m.bytes()
	var moved, freed, dead int64
	for range 5 {
		p := k.prune()
		moved, freed = moved+p.Moved, freed+p.Bytes()
		for _, c := range p.Compact {
			dead += c.Dead
		}
		read()
		m.whole()
		k.sleep(24 * time.Hour)
	}
	t.Logf("%d bytes before, %d after; %d freed, %d moved", before, m.bytes(), freed, moved)
	if moved == 0 || moved > 2*dead || m.bytes() > before*2/3 {
		t.Errorf("%d bytes of %d are left; %d moved for %d dead", m.bytes(), before, moved, dead)
	}
	if p := k.prune(); p.Bytes() != 0 || p.Moved != 0 || p.Condemn.Until != 0 {
		t.Errorf("after five collections there is more to do: %+v", p)
	}
	m.nothingNew("after the collections")
	m.forget("index", "copies")
	m.nothingNew("after the collections, without local state")
	m.whole()
	if points := m.points(); len(points) != 5 {
		t.Errorf("%d points", len(points))
	}
}

// Backups beside two machines that prune, with points that are deleted and
// days that pass: every point that is there at the end is whole.
func TestWritersBesidePrunes(t *testing.T) {
	rounds := 10
	if os.Getenv("TIDEMARK_LONG") != "" {
		rounds = 150
	}
	m := newMachine(t)
	m.sources()
	m.backup()
	k := newKeeper(m)
	other := *k
	other.counts = ""
	m.store.SetLatency(100 * time.Microsecond)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var mu sync.Mutex
	points := 0
	turns := make(turns, 4)
	for w := range 2 {
		writer := *m
		writer.src = filepath.Join(t.TempDir(), "src")
		copyTree(t, m.src, writer.src)
		writer.state = t.TempDir()
		group.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(w)))
			for n := 0; turns.wait(ctx); n++ {
				if err := writer.work(ctx, random, n); err == nil {
					mu.Lock()
					points++
					mu.Unlock()
				}
			}
		})
	}
	deleted, compacted := 0, 0
	for range rounds {
		turns.allow()
		var both sync.WaitGroup
		for _, k := range []*keeper{k, &other} {
			both.Go(func() {
				p, err := k.try(ctx)
				if err != nil && !errors.Is(err, fault.Unavailable) {
					t.Errorf("prune: %v", err)
				}
				if p != nil {
					mu.Lock()
					deleted, compacted = deleted+len(p.Delete), compacted+len(p.Compact)
					mu.Unlock()
				}
			})
		}
		both.Wait()
		k.say(func(s *retain.State, now int64) []ledger.Record {
			var out []ledger.Record
			for _, p := range s.Shown() {
				if p.Sequence%3 != 0 && p != s.Newest() {
					out = append(out, ledger.Deleted{Sequence: p.Sequence, Why: ledger.ByHand, GoneAfter: now + 14*24*3600})
				}
			}
			return out
		})
		mu.Lock()
		odd := points % 2
		mu.Unlock()
		k.sleep([]time.Duration{25 * time.Hour, 15 * 24 * time.Hour}[odd])
		time.Sleep(200 * time.Millisecond)
	}
	stop()
	group.Wait()
	m.store.SetLatency(0)
	t.Logf("%d points, %d objects deleted, %d compacted", points, deleted, compacted)
	if points < rounds/3 || deleted == 0 {
		t.Error("too little was done")
	}
	report, err := repo.Check(t.Context(), m.open(), repo.CheckOptions{ReadData: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Faults {
		t.Errorf("check: %s: %v %v", f.Object, f.Err, f.Files)
	}
	m.backup()
	m.whole()
}
