package index

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

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
		if _, err := ix.Add(Pack{ID: good.ID, Geometry: c.geometry}, c.chunks); err == nil {
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
