package backup_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// A search after backups on the machine that made them reads less than one on a
// machine that knows nothing; a machine that opens nothing leaves no names.
func TestNamesOfBackups(t *testing.T) {
	m := newMachine(t)
	for i := range 4000 { // with names that fill some frames of pages
		m.write(fmt.Sprintf("d%02d/%x-%04d", i%50, noise(uint64(i), 50), i), nil)
	}
	m.backup()
	m.write(fmt.Sprintf("d07/%x-0007", noise(7, 50)), []byte("changed"))
	m.backup()
	l := m.open().Local(m.state)
	search := func(path string) (found int, read int64) {
		t.Helper()
		r := m.open()
		points, err := r.Points(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		names, err := history.ReadNames(path, r.NamesKey())
		if err != nil {
			t.Fatal(err)
		}
		var bytes atomic.Int64
		m.store.SetHook(func(op mem.Op) (error, error) {
			if op.Verb == mem.Get && strings.HasPrefix(op.Name, "packs/") {
				bytes.Add(int64(op.Size))
			}
			return nil, nil
		})
		defer m.store.SetHook(nil)
		match := func(e *table.Entry) bool { return strings.HasSuffix(table.Path(e.Key), "-0007") }
		for _, err := range history.Find(t.Context(), r, points, match, names, 1) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		return found, bytes.Load()
	}
	n, cold := search(filepath.Join(t.TempDir(), "none"))
	if found, known := search(l.Names()); n != 2 || found != n || known*4 > cold*3 {
		t.Errorf("%d found in %d bytes; without names %d in %d", found, known, n, cold)
	}

	s := newMachine(t)
	s.write("f", []byte("f"))
	r := s.open()
	sealed := r.Local(s.state)
	if err := r.Keep(sealed, repo.Sealed); err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), s.store, repo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if use, err := r.Grant(t.Context(), sealed); err != nil || use != repo.Sealed {
		t.Fatal(use, err)
	}
	if _, err := backup.Run(t.Context(), r, sealed, backup.Job{Paths: []string{s.src}, Now: later}); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(sealed.Names() + "*"); err != nil || len(left) > 0 {
		t.Errorf("a sealed machine leaves %v, %v", left, err)
	}
}
