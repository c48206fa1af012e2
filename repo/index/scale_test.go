package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/chunk"
)

// scaleID returns the n-th of uniform IDs, quickly.
func scaleID(n uint64) (id chunk.ID) {
	mix := func(x uint64) uint64 {
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	binary.BigEndian.PutUint64(id[:], mix(n*2+1))
	binary.BigEndian.PutUint64(id[8:], mix(n*2+2))
	return id
}

const scaleChunks = 500 // of a pack

// fill adds packs first to last-1 of scaleChunks chunks each.
func fill(t testing.TB, ix *Index, first, last int, each func(pack int)) {
	t.Helper()
	chunks := make([]Chunk, scaleChunks)
	for p := first; p < last; p++ {
		for i := range chunks {
			chunks[i] = Chunk{scaleID(uint64(p*scaleChunks + i)), uint32(i * 20000), 20000}
		}
		if _, err := ix.Add(testPack(p), chunks); err != nil {
			t.Fatal(err)
		}
		if each != nil {
			each(p)
		}
	}
}

func TestFilterAlarms(t *testing.T) {
	ix := mustOpen(t, t.TempDir(), Options{Repository: repository})
	fill(t, ix, 0, 400, nil)
	if err := ix.Flush(); err != nil {
		t.Fatal(err)
	}
	block := new([blockSize]byte)
	alarms := 0
	const asked = 100_000
	for n := range uint64(asked) {
		id := scaleID(1<<40 + n)
		may, err := ix.segments[0].mayHave(&id, block)
		if err != nil {
			t.Fatal(err)
		}
		if may {
			alarms++
		}
	}
	t.Logf("%.2f %% false alarms", 100*float64(alarms)/asked)
	if alarms > asked*3/100 {
		t.Errorf("%d false alarms of %d", alarms, asked)
	}
}

// benchIndex has five million records in segments and few in the run.
func benchIndex(b *testing.B, o Options) *Index {
	o.Repository = repository
	ix := mustOpen(b, b.TempDir(), o)
	fill(b, ix, 0, 10_000, nil)
	if err := ix.Flush(); err != nil {
		b.Fatal(err)
	}
	fill(b, ix, 10_000, 11_000, nil)
	b.Logf("%+v", ix.Stats())
	return ix
}

func BenchmarkLookup(b *testing.B) {
	ix := benchIndex(b, Options{})
	defer ix.Close()
	kinds := []struct {
		name  string
		first uint64
		count int64
	}{
		{"missing", 1 << 40, 1 << 40},
		{"run", 10_000 * scaleChunks, 1000 * scaleChunks},
		{"segment", 0, 10_000 * scaleChunks},
	}
	for _, k := range kinds {
		ask := func(r *rand.Rand) {
			ix.Lookup(scaleID(k.first + uint64(r.Int64N(k.count))))
		}
		b.Run(k.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			b.ReportAllocs()
			for b.Loop() {
				ask(r)
			}
		})
		b.Run(fmt.Sprint(k.name, "-parallel"), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				r := rand.New(rand.NewPCG(1, 1))
				for pb.Next() {
					ask(r)
				}
			})
		})
	}
}

// BenchmarkLookupFilterOnDisk is the price of filters that do not fit.
func BenchmarkLookupFilterOnDisk(b *testing.B) {
	ix := benchIndex(b, Options{FilterMemory: 1})
	defer ix.Close()
	r := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		ix.Lookup(scaleID(1<<40 + r.Uint64N(1<<40)))
	}
}

// BenchmarkAdd is the price of a record, with flushes and merges.
func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ix, err := Open(b.TempDir(), Options{Repository: repository})
		if err != nil {
			b.Fatal(err)
		}
		fill(b, ix, 0, 10_000, nil)
		if err := ix.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000/scaleChunks, "ns/record")
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	o := Options{Repository: repository}
	ix := mustOpen(b, dir, o)
	fill(b, ix, 0, 10_000, nil)
	if err := ix.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		ix, err := Open(dir, o)
		if err != nil {
			b.Fatal(err)
		}
		if err := ix.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLookupsGoOnDuringMerges asks for what is moved from the run to segments
// and from segment to segment meanwhile.
func TestLookupsGoOnDuringMerges(t *testing.T) {
	ix := mustOpen(t, t.TempDir(), Options{Repository: repository, MemoryRun: 1 << 20, small: 1})
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := uint64(0); ; n++ {
			select {
			case <-done:
				return
			default:
			}
			id := n % scaleChunks // of the first pack
			if loc, ok := ix.Lookup(scaleID(id)); ok && (loc.Pack != 0 || loc.Offset != uint32(id*20000)) {
				t.Errorf("record %d at %v", id, loc)
				return
			} else if !ok && ix.Has(testPack(1).ID) {
				t.Errorf("record %d was not found", id)
				return
			}
		}
	})
	fill(t, ix, 0, 1000, nil)
	close(done)
	wg.Wait()
}
