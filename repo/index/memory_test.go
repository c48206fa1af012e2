//go:build !race

package index

import (
	"runtime"
	"testing"
)

// TestMemoryIsBounded adds five million records and watches the heap.
func TestMemoryIsBounded(t *testing.T) {
	const records = 5_000_000
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what pools of earlier tests hold goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	ix := mustOpen(t, t.TempDir(), Options{Repository: repository})
	var most int64
	fill(t, ix, 0, records/scaleChunks, func(pack int) {
		if pack%450 == 0 { // out of step with flushes
			for n := range 300 { // takes filters into memory
				ix.Lookup(scaleID(uint64(1<<40 + n)))
			}
			most = max(most, heap()-before)
		}
	})
	if err := ix.Flush(); err != nil {
		t.Fatal(err)
	}
	most = max(most, heap()-before)
	t.Logf("%d records: heap up to %.1f MiB; %+v", records, float64(most)/(1<<20), ix.Stats())
	if most > 64<<20 {
		t.Errorf("heap of %.1f MiB", float64(most)/(1<<20))
	}
	for n := uint64(0); n < records; n += 997 {
		loc, ok := ix.Lookup(scaleID(n))
		p, known := ix.Pack(loc.Pack)
		if !ok || !known || p != testPack(int(n/scaleChunks)) || loc.Offset != uint32(n%scaleChunks*20000) {
			t.Fatalf("record %d is at %v, %v", n, loc, ok)
		}
	}
}
