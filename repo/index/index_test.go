package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
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
	return Pack{id, pack.Geometry{First: 5000, Step: 1 << 17, Total: 16 << 20, Kind: pack.Kind(n % pack.NumKinds)}}
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
			"second": func(rt *rapid.T) {
				second := mustOpen(t, dir, o)
				defer second.Close()
				if second.Stats().Owner || second.Rebuilt() {
					rt.Fatalf("second process: %+v, rebuilt %v", second.Stats(), second.Rebuilt())
				}
				own := model{slices.Clone(m.history)}
				check(own.verify(second))
				for n := range 8 {
					check(own.add(second, 100+n, []int{n * 7, n*7 + 1, n*7 + 2, 3000 + n}))
				}
				check(second.Flush())
				check(own.verify(second))
			},
		})
	})
}

func TestManySegments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	ix := mustOpen(t, dir, tiny())
	var m model
	most := 0
	for n := range 400 {
		ids := make([]int, 60)
		for i := range ids {
			ids[i] = n*50 + i
		}
		if err := m.add(ix, n, ids); err != nil {
			t.Fatal(err)
		}
		most = max(most, ix.Stats().Segments)
	}
	if most < 3 || most > 10 {
		t.Errorf("up to %d segments for 20,000 records in runs of 100", most)
	}
	if err := m.verify(ix); err != nil {
		t.Fatal(err)
	}
	if s := ix.Stats(); s.Filters > int64(tiny().FilterMemory) || s.Filters == 0 {
		t.Errorf("filters take %d bytes of %d allowed", s.Filters, tiny().FilterMemory)
	}

	// Most packs vanish: the next flush drops their records, the log shrinks.
	if n := ix.Drop(func(id pack.ID) bool { return id[7]%10 != 0 }); n < 350 {
		t.Errorf("dropped %d packs", n)
	}
	if err := ix.Flush(); err != nil {
		t.Fatal(err)
	}
	if s := ix.Stats(); s.Stored > 3000 {
		t.Errorf("%+v after nine of ten packs vanished", s)
	}
	if err := m.verify(ix); err != nil {
		t.Fatal(err)
	}
	count := 0
	for number, p := range ix.Packs() {
		if n, ok := ix.PackNumber(p.ID); !ok || n != number {
			t.Errorf("pack %s is number %d, not %d", p.ID, n, number)
		}
		count++
	}
	if count != ix.Stats().Packs {
		t.Errorf("Packs yields %d of %d", count, ix.Stats().Packs)
	}
}

// TestLogStaysSmall: hundreds of thousands of packs come and go.
func TestLogStaysSmall(t *testing.T) {
	dir := t.TempDir()
	ix := mustOpen(t, dir, tiny())
	const rounds, each = 12, 20000
	for round := range rounds {
		for n := range each {
			if _, err := ix.Add(testPack(round*each+n), nil); err != nil {
				t.Fatal(err)
			}
		}
		ix.Drop(func(id pack.ID) bool { return binary.BigEndian.Uint64(id[:])%100 != 0 })
		if round%3 == 0 {
			if err := ix.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One change of more than a frame.
	for n := range 3 * perFrame {
		if _, err := ix.Add(testPack(1<<30+n), nil); err != nil {
			t.Fatal(err)
		}
	}
	want := ix.Stats().Packs
	if want != rounds*each/100+3*perFrame {
		t.Errorf("%d packs", want)
	}
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	ix = mustOpen(t, dir, tiny())
	if got := ix.Stats().Packs; got != want || ix.Rebuilt() {
		t.Errorf("%d packs after reopening, %d before", got, want)
	}
	ix.Drop(func(id pack.ID) bool { return id[0] == 0 && id[4] != 0 })
	if err := ix.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 64<<10+4*packSize*int64(ix.Stats().Packs) {
		t.Errorf("log of %d bytes for %d packs", info.Size(), ix.Stats().Packs)
	}
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	if again := mustOpen(t, dir, tiny()); again.Stats().Packs != rounds*each/100 || again.Rebuilt() {
		t.Errorf("%d packs in a compacted log", again.Stats().Packs)
	}
}

func TestAddRefusesNonsense(t *testing.T) {
	ix := mustOpen(t, t.TempDir(), tiny())
	good := testPack(1)
	for name, c := range map[string]struct {
		geometry pack.Geometry
		chunks   []Chunk
	}{
		"no step":   {pack.Geometry{First: 1, Total: 10}, nil},
		"no bytes":  {pack.Geometry{First: 1, Step: 4096}, nil},
		"empty":     {good.Geometry, []Chunk{{testID(1), 0, 0}}},
		"beyond":    {good.Geometry, []Chunk{{testID(1), good.Total, 1}}},
		"overflow":  {good.Geometry, []Chunk{{testID(1), 2, 1<<32 - 1}}},
		"many":      {good.Geometry, make([]Chunk, maxChunks+1)},
		"last only": {good.Geometry, []Chunk{{testID(1), 0, 5}, {testID(2), 0, 0}}},
	} {
		if _, err := ix.Add(Pack{good.ID, c.geometry}, c.chunks); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, ok := ix.Lookup(testID(1)); ok || ix.Has(good.ID) {
		t.Error("something of a refused pack was added")
	}
}

// TestDiskFailure: what cannot be written is not lost, and stays answerable.
func TestDiskFailure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	ix := mustOpen(t, dir, tiny())
	var m model
	next := 0
	fill := func(packs int) (err error) {
		for range packs {
			ids := make([]int, 40)
			for i := range ids {
				ids[i] = next*40 + i
			}
			next++
			if err := m.add(ix, next, ids); err != nil {
				m.history = m.history[:len(m.history)-1]
				return err
			}
		}
		return nil
	}
	if err := fill(10); err != nil {
		t.Fatal(err)
	}
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := fill(10); err == nil {
			t.Fatal("no error from a folder that is gone")
		}
		if err := ix.Flush(); err == nil {
			t.Fatal("Flush succeeded in a folder that is gone")
		}
		if err := m.verify(ix); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	if err := fill(10); err != nil {
		t.Fatal(err)
	}
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	ix = mustOpen(t, dir, tiny())
	if err := m.verify(ix); err != nil || ix.Rebuilt() || ix.Stats().Packs != len(m.history) {
		t.Fatalf("%v; %+v, want %d packs", err, ix.Stats(), len(m.history))
	}
}

func TestConcurrency(t *testing.T) {
	ix := mustOpen(t, t.TempDir(), tiny())
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 60 {
				ids := make([]int, 30)
				for i := range ids {
					ids[i] = (g*60+n)*30 + i
				}
				number, err := ix.Add(testPack(g*60+n), testChunks(g, ids))
				if err != nil {
					t.Error(err)
				}
				for i, id := range ids {
					want := Location{number, uint32(i*1000 + g), uint32(1 + id%900)}
					if got, ok := ix.Lookup(testID(id)); !ok || got != want {
						t.Errorf("chunk %d at %v, %v, want %v", id, got, ok, want)
					}
				}
				switch {
				case n%20 == 7:
					if err := ix.Flush(); err != nil {
						t.Error(err)
					}
				case n%20 == 9:
					ix.Stats()
					for range ix.Packs() {
						break
					}
					ix.Drop(func(id pack.ID) bool { return id == testPack(-1).ID })
				}
			}
		})
	}
	wg.Wait()
	if s := ix.Stats(); s.Packs != 240 {
		t.Errorf("%+v", s)
	}
}

func TestSecondProcessLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, dir, tiny())
	var m model
	if err := m.add(first, 1, []int{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := first.Flush(); err != nil {
		t.Fatal(err)
	}
	names := func() (all []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	before := names()
	second := mustOpen(t, dir, tiny())
	theirs := model{slices.Clone(m.history)}
	for n := range 100 {
		if err := theirs.add(second, 10+n, []int{n*10 + 10, n*10 + 11, n*10 + 12, n*10 + 13}); err != nil {
			t.Fatal(err)
		}
	}
	if s := second.Stats(); s.Segments < 2 || s.Run > 150 {
		t.Errorf("second process keeps all in memory: %+v", s)
	}
	// The owner replaces the segments that the second has open, and is
	// followed by another, which sweeps the folder.
	for n := range 100 {
		if err := m.add(first, 1000+n, []int{n*10 + 5000, n*10 + 5001}); err != nil {
			t.Fatal(err)
		}
		if err := first.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := mustOpen(t, dir, tiny())
	if !third.Stats().Owner || third.Rebuilt() {
		t.Errorf("third: %+v, rebuilt %v", third.Stats(), third.Rebuilt())
	}
	if err := theirs.verify(second); err != nil {
		t.Error(err)
	}
	if err := m.verify(third); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if after := names(); len(after) > len(before)+3 {
		t.Errorf("files before %v, after %v", before, after)
	}
}

func TestClosed(t *testing.T) {
	ix := mustOpen(t, t.TempDir(), tiny())
	if _, err := ix.Add(testPack(1), testChunks(1, []int{1})); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := ix.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := ix.Lookup(testID(1)); ok {
		t.Error("a closed index answers")
	}
	if _, err := ix.Add(testPack(2), nil); err == nil {
		t.Error("a closed index takes packs")
	}
	if err := ix.Flush(); err != nil {
		t.Error(err)
	}
}
