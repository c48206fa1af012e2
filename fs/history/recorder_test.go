package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// A search after backups that recorded their names reads no page without a match,
// however many files of records there are.
func TestRecordedNames(t *testing.T) {
	const points = 70
	path, key := filepath.Join(t.TempDir(), "state", "names"), seal.Key{1}
	s := fsconform.NewSource()
	files := make([]fsconform.File, 2000)
	for i := range files {
		files[i] = file(fmt.Sprintf("/d%02d/file-%04d", i/100, i), "0", 0o644, 1)
	}
	var all []*repo.Point
	for n := range points {
		files[n*13] = file(files[n*13].Path, fmt.Sprint(n), 0o644, int64(n+2))
		r := history.NewRecorder(path, key)
		s.Stored = r.Page
		p, err := s.Add(t.Context(), time.Unix(int64(n), 0), files)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Write(); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	records, err := filepath.Glob(path + "-*")
	if err != nil || len(records) == 0 || len(records) > 65 {
		t.Errorf("%d files of records: %v", len(records), err)
	}
	search := func(path string, key seal.Key) (found, read int) {
		names, err := history.ReadNames(path, key)
		if err != nil {
			t.Fatal(err)
		}
		s.Broken = func(pack.ID, uint32) error { read++; return nil }
		match := func(e *table.Entry) bool { return strings.HasSuffix(string(e.Key), "file-0013") }
		for _, err := range history.Find(t.Context(), s, all, match, names, 1) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		if err := names.Write(); err != nil {
			t.Fatal(err)
		}
		return found, read
	}
	// Only pages on the way to the match, of which there are many here.
	_, cold := search(filepath.Join(t.TempDir(), "none"), key)
	if found, read := search(path, key); found != 2 || read*2 > cold {
		t.Errorf("%d found in %d pages; without names in %d", found, read, cold)
	}
	if records, err = filepath.Glob(path + "-*"); err != nil || len(records) != 0 {
		t.Errorf("%d files of records are left: %v", len(records), err)
	}
	if found, read := search(path, key); found != 2 || read*2 > cold {
		t.Errorf("again: %d found in %d pages; without names in %d", found, read, cold)
	}
	// Records of another repository, or damaged, count as none.
	if err := os.WriteFile(path+"-00000007", []byte("TMNAMED1 and what is no record"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, _ := search(path, seal.Key{2}); found != 2 {
		t.Errorf("with names of another repository: %d found", found)
	}
	t.Logf("pages read: without names %d", cold)
}
