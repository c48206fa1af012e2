package backup_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/backup/restore"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Holes of small files are no zeros: nothing of them is stored, and they are
// holes again when the file is restored.
func TestHolesOfSmallFiles(t *testing.T) {
	m := newMachine(t)
	sparse := func(name string, size int64, at ...int64) {
		t.Helper()
		m.write(name, nil)
		f, err := os.OpenFile(filepath.Join(m.src, name), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i, offset := range at {
			if _, err := f.WriteAt(noise(uint64(i), 5000), offset); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fsync(int(f.Fd())); err != nil { // so that the blocks are counted
			t.Fatal(err)
		}
	}
	sparse("begins with data", 1<<20, 0, 600_000)
	sparse("begins with a hole", 700_001, 131_072, 400_000)
	sparse("ends with data", 405_000, 400_000)
	sparse("one hole", 100_000)
	sparse("a small hole", 513)
	m.write("no hole", noise(9, 300_000))
	m.backup()
	m.whole()
	points := m.points()
	point := points[len(points)-1]
	tree, err := m.open().Tree(t.Context(), point, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if _, err := restore.Run(t.Context(), m.open(), restore.Job{Point: point, Path: m.src, To: to}); err != nil {
		t.Fatal(err)
	}
	for name, stored := range map[string]uint64{"begins with data": 16 << 10, "begins with a hole": 20 << 10, "ends with data": 9 << 10, "one hole": 0, "a small hole": 0, "no hole": 300_000} {
		it, err := tree.Lookup(t.Context(), table.Key(filepath.Join(m.src, name)))
		if err != nil {
			t.Fatal(err)
		}
		got := uint64(0)
		for _, x := range it.Entry.Extents {
			if !x.Hole {
				got += x.Length
			}
		}
		if got > stored {
			t.Errorf("%s: %d bytes are stored", name, got)
		}
		var before, after unix.Stat_t
		if err := unix.Stat(filepath.Join(m.src, name), &before); err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(filepath.Join(to, name), &after); err != nil {
			t.Fatal(err)
		}
		if after.Blocks > before.Blocks+8 {
			t.Errorf("%s: %d blocks, restored %d", name, before.Blocks, after.Blocks)
		}
	}
}
