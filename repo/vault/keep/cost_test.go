package keep_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// many is a repository of many packs that are listed and not really there: of
// those that are needed a collector reads nothing.
type many struct {
	*world
	packs  []pack.ID
	frames int // of each
	last   uint64
}

// big is the store of many.
type big struct {
	store.Store
	m *many
}

func (b big) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	if prefix != pack.Prefix {
		return b.Store.List(ctx, prefix)
	}
	return func(yield func(store.Object, error) bool) {
		for _, id := range b.m.packs {
			if !yield(store.Object{Name: id.Name(), Size: 16 << 20, Modified: time.Unix(1, 0)}, nil) {
				return
			}
		}
	}
}

func (b big) Now(context.Context) (time.Time, error) { return b.m.clock(), nil }

func newMany(t testing.TB, packs, frames int) *many {
	m := &many{world: newWorld(t), frames: frames}
	m.grow(packs)
	return m
}

// grow adds packs to what the next point needs.
func (m *many) grow(n int) {
	for range n {
		var id pack.ID
		binary.BigEndian.PutUint64(id[:], uint64(1_700_000_000_000_000+len(m.packs)*1000))
		sum := sha256.Sum256(id[:8])
		copy(id[8:], sum[:])
		m.packs = append(m.packs, id)
	}
}

// point puts a point that needs what there is, save frames of some packs, and
// returns what its receipt says.
func (m *many) point(random *rand.Rand, without int) ledger.Record {
	m.t.Helper()
	skip := map[int]bool{}
	for range without {
		skip[random.IntN(len(m.packs))] = true
	}
	set, g := live.NewSet(), geometry(m.frames)
	for i, id := range m.packs {
		n := g.Total
		if skip[i] {
			n = pack.MinStep * uint32(1+random.IntN(m.frames))
		}
		if err := set.Add(id, g, 0, n); err != nil {
			m.t.Fatal(err)
		}
	}
	written, err := live.Write(m.t.Context(), m.store, set, live.WriteOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	m.last++
	h := &point.Header{Repository: repository, Sequence: m.last, Live: written.Root, Device: m.key.Public().(ed25519.PublicKey), BodySum: sha256.Sum256(nil)}
	object := h.Sign([32]byte{}, m.key)
	if err := m.store.Put(m.t.Context(), point.Name(m.last), object); err != nil {
		m.t.Fatal(err)
	}
	return ledger.Receipt{Sequence: m.last, Point: h.ID, Live: written.Root, Arrival: m.clock().Unix()}
}

func (m *many) admit(receipts ...ledger.Record) {
	m.t.Helper()
	m.say(m.t.Context(), func(*retain.State) []ledger.Record { return receipts })
}

func (m *many) collect(o keep.Options) *keep.Plan {
	m.t.Helper()
	p, err := m.pruneOn(m.t.Context(), big{m.store, m}, o)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// What a collection costs after one point has come and one has gone does not
// depend on how many points there are: it reads the pages that the two do not
// share with others, and lists.
func TestCostOfAChange(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	m := newMany(t, 2000, 4)
	var receipts []ledger.Record
	for range 1000 {
		m.grow(1)
		receipts = append(receipts, m.point(random, 3))
	}
	m.admit(receipts...)
	o := keep.Options{Counts: filepath.Join(t.TempDir(), "counts")}
	m.store.ResetCounts()
	if p := m.collect(o); !p.Recount {
		t.Error("the first collection knew something")
	}
	first := m.store.Counts()
	m.remove(500)
	m.sleep(15 * day)
	m.grow(1)
	m.admit(m.point(random, 3))
	for i := range 4 {
		m.store.ResetCounts()
		p := m.collect(o)
		c := m.store.Counts()
		t.Logf("collection %d: %d puts, %d gets, %d pages of listings, %d bytes read; %d deleted, %d live pages condemned",
			i, c.Puts, c.Gets, c.Lists, c.Out, len(p.Delete), p.Condemn.Pages)
		// The ledger is read anew each time, as the test keeps no memory of it.
		if c.Gets > 60 || c.Out > 1<<20 || p.Recount {
			t.Errorf("it took %+v", c)
		}
		m.sleep(day)
	}
	t.Logf("the first: %d gets, %d bytes read", first.Gets, first.Out)
	if first.Gets < 1000 {
		t.Errorf("the first took %+v: the test shows nothing", first)
	}
	if p := m.collect(keep.Options{Counts: o.Counts, Full: true}); p.Condemn.Round != 0 || len(p.Delete) > 0 {
		t.Errorf("counted anew there is more to do: %+v", p)
	}
}

// peak returns how far the heap rises while do runs.
func peak(do func()) int64 {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	runtime.GC()
	base, most := heap(), int64(0)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				most = max(most, heap()-base)
			}
		}
	})
	do()
	close(stop)
	group.Wait()
	return most
}

// A collection of ten million frames takes 200 MiB at most; of one million, the
// most that the gate has, a part of it.
func TestMemoryOfACollection(t *testing.T) {
	sizes := map[int]int64{1000: 20 << 20, 10_000: 40 << 20}
	if os.Getenv("TIDEMARK_LONG") != "" {
		sizes[100_000] = 200 << 20
	}
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	t.Log("| frames | first collection, which condemns | the next, after a day | the third, which deletes | the fourth |")
	t.Log("|---|---|---|---|---|")
	for _, packs := range slices.Sorted(maps.Keys(sizes)) {
		random := rand.New(rand.NewPCG(5, 6))
		m := newMany(t, packs, 100)
		var receipts []ledger.Record
		for range 12 {
			m.grow(packs / 100)
			receipts = append(receipts, m.point(random, packs/20))
		}
		m.admit(receipts...)
		o := keep.Options{Counts: filepath.Join(t.TempDir(), "counts")}
		m.remove(2, 3, 4, 5)
		m.sleep(15 * day)
		row := fmt.Sprintf("| %d |", len(m.packs)*m.frames)
		for range 4 {
			start := time.Now()
			rise := peak(func() { m.collect(o) })
			row += fmt.Sprintf(" %v, %d MiB |", time.Since(start).Round(10*time.Millisecond), rise>>20)
			if rise > sizes[packs] {
				t.Errorf("%d packs: %d bytes more than before", packs, rise)
			}
			m.sleep(day)
		}
		t.Log(row)
	}
}
