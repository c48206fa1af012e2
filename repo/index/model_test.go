package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"pgregory.net/rapid"
)

var repository = [16]byte{1, 2, 3}

// tiny are options that make many segments of few records.
func tiny() Options {
	return Options{Repository: repository, MemoryRun: 4000, FilterMemory: 1 << 12, small: 1}
}

// added is a pack that was added once, and what was in it.
type added struct {
	pack   Pack
	chunks []Chunk
}

// model remembers all that was ever added to an index, in order.
type model struct {
	history []added
}

// testPack returns pack number n of a test.
func testPack(n int) Pack {
	var id pack.ID
	binary.BigEndian.PutUint64(id[:], uint64(n))
	binary.BigEndian.PutUint64(id[8:], uint64(n)*0x9e3779b97f4a7c15)
	return Pack{id, pack.Geometry{First: 5000, Step: 1 << 17, Total: 16 << 20, Kind: pack.Kind(n % pack.NumKinds)}, uint32(n)}
}

// testID returns chunk ID number n: most uniform, some crowded together so
// that many share a fence.
func testID(n int) chunk.ID {
	var id chunk.ID
	r := rand.New(rand.NewPCG(uint64(n), 7))
	binary.BigEndian.PutUint64(id[:], r.Uint64())
	binary.BigEndian.PutUint64(id[8:], r.Uint64())
	switch n % 4 {
	case 1:
		binary.BigEndian.PutUint64(id[:], 1<<60)
	case 2:
		id[0], id[1] = 0xff, 0xff
	}
	return id
}

// testChunks returns chunks of the given IDs at places that depend on seed.
func testChunks(seed int, ids []int) (chunks []Chunk) {
	for i, n := range ids {
		chunks = append(chunks, Chunk{testID(n), uint32(i*1000 + seed), uint32(1 + n%900)})
	}
	return chunks
}

// verify compares every answer of ix with the model. A chunk must be found in
// the newest known pack that has it, unless an unknown one was added after
// that: it may have replaced the record.
func (m *model) verify(ix *Index) error {
	right := map[chunk.ID][]Location{} // in known packs
	newest := map[chunk.ID]uint32{}
	first := map[uint32]int{}  // where in history a known pack was added first
	lost := map[chunk.ID]int{} // last place in history of an unknown pack that has it
	for i, a := range m.history {
		number, known := ix.PackNumber(a.pack.ID)
		if known != ix.Has(a.pack.ID) {
			return fmt.Errorf("Has and PackNumber disagree on %s", a.pack.ID)
		}
		if got, ok := ix.Pack(number); known && (!ok || got != a.pack) {
			return fmt.Errorf("pack %d is %v, want %v", number, got, a.pack)
		}
		if _, again := first[number]; known && !again {
			first[number] = i
		}
		for _, c := range a.chunks {
			if !known {
				lost[c.ID] = i
				continue
			}
			right[c.ID] = append(right[c.ID], Location{number, c.Offset, c.Length})
			newest[c.ID] = max(newest[c.ID], number)
		}
	}
	undamaged := !ix.Rebuilt()
	for _, a := range m.history {
		for _, c := range a.chunks {
			got, ok := ix.Lookup(c.ID)
			if ok && !slices.Contains(right[c.ID], got) {
				return fmt.Errorf("chunk %s is said to be at %v, which is none of %v", c.ID, got, right[c.ID])
			}
			at, isLost := lost[c.ID]
			if len(right[c.ID]) == 0 || isLost && at > first[newest[c.ID]] {
				continue
			}
			if !ok && undamaged && !ix.Rebuilt() {
				return fmt.Errorf("chunk %s of pack number %d is not found", c.ID, newest[c.ID])
			}
			if ok && got.Pack != newest[c.ID] {
				return fmt.Errorf("chunk %s found in pack number %d, newest is %d", c.ID, got.Pack, newest[c.ID])
			}
		}
	}
	for n := range 50 {
		if loc, ok := ix.Lookup(testID(1_000_000 + n)); ok {
			return fmt.Errorf("a chunk never added is at %v", loc)
		}
	}
	return nil
}

// known returns which packs of the history are known.
func (m *model) known(ix *Index) map[pack.ID]bool {
	all := map[pack.ID]bool{}
	for _, a := range m.history {
		if ix.Has(a.pack.ID) {
			all[a.pack.ID] = true
		}
	}
	return all
}

// add adds a pack to both. A pack that was there before has the chunks that
// it had, not ids.
func (m *model) add(ix *Index, number int, ids []int) error {
	a := added{testPack(number), testChunks(len(m.history)%1000, ids)}
	for _, b := range m.history {
		if b.pack.ID == a.pack.ID {
			a.chunks = b.chunks
		}
	}
	if !ix.Has(a.pack.ID) {
		m.history = append(m.history, a)
	}
	_, err := ix.Add(a.pack, a.chunks)
	return err
}

func mustOpen(t testing.TB, dir string, o Options) *Index {
	t.Helper()
	ix, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ix.Close() })
	return ix
}

// copyFolder copies a folder of files, as a crash would leave it.
func copyFolder(t testing.TB, from string) string {
	t.Helper()
	to, err := os.MkdirTemp(filepath.Dir(from), "copy")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		top, err := os.MkdirTemp(t.TempDir(), "model")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(top)
		dir := filepath.Join(top, "index")
		o := tiny()
		o.small = rapid.SampledFrom([]uint64{1, 100, 1 << 16}).Draw(rt, "small")
		ix := mustOpen(t, dir, o)
		defer func() { ix.Close() }()
		var m model
		check := func(err error) {
			rt.Helper()
			if err != nil {
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) { check(m.verify(ix)) },
			"add": func(rt *rapid.T) {
				first := rapid.IntRange(0, 1500).Draw(rt, "first")
				ids := make([]int, rapid.IntRange(0, 300).Draw(rt, "count"))
				for i := range ids {
					ids[i] = first + i
				}
				check(m.add(ix, rapid.IntRange(0, 60).Draw(rt, "pack"), ids))
			},
			"drop": func(rt *rapid.T) {
				mask := rapid.IntRange(1, 3).Draw(rt, "mask")
				gone := func(id pack.ID) bool { return int(id[15])&mask == mask }
				ix.Drop(gone)
				for id := range m.known(ix) {
					if gone(id) {
						rt.Fatalf("pack %s is known after its drop", id)
					}
				}
			},
			"flush": func(rt *rapid.T) { check(ix.Flush()) },
			"reopen": func(rt *rapid.T) {
				before := m.known(ix)
				check(ix.Close())
				ix = mustOpen(t, dir, o)
				if after := m.known(ix); len(after) != len(before) || ix.Rebuilt() {
					rt.Fatalf("%d of %d packs known after a clean end; rebuilt %v", len(after), len(before), ix.Rebuilt())
				}
			},
			"crash": func(rt *rapid.T) {
				copied := copyFolder(t, dir)
				crashed := mustOpen(t, copied, o)
				check(m.verify(crashed))
				if crashed.Rebuilt() {
					rt.Fatal("a crash made the index be discarded")
				}
				check(crashed.Close())
			},
			"second": func(*rapid.T) { check(secondProcess(t, dir, o, m)) },
		})
	})
}

// secondProcess opens the index while it is open and uses it.
func secondProcess(t *testing.T, dir string, o Options, m model) error {
	second := mustOpen(t, dir, o)
	defer second.Close()
	if second.Stats().Owner || second.Rebuilt() {
		return fmt.Errorf("second process: %+v, rebuilt %v", second.Stats(), second.Rebuilt())
	}
	own := model{slices.Clone(m.history)}
	if err := own.verify(second); err != nil {
		return err
	}
	for n := range 8 {
		if err := own.add(second, 100+n, []int{n * 7, n*7 + 1, n*7 + 2, 3000 + n}); err != nil {
			return err
		}
	}
	if err := second.Flush(); err != nil {
		return err
	}
	return own.verify(second)
}
