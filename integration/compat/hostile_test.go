package compat

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// byCheck are cases that reading alone need not find: what is wrong there
// lies in what two entries, or an entry and a chunk list, say of each other.
var byCheck = map[string]bool{
	"hostile-entry-below-a-link": true,
	"hostile-no-parent":          true,
	"hostile-no-root":            true,
	"hostile-inside-a-chunk":     true,
	"hostile-content-in-a-page":  true,
}

// TestHostile reads repositories that were made by hand, with valid seals and
// MACs, by code that shares nothing with the code under test.
func TestHostile(t *testing.T) {
	dir := t.TempDir()
	runPython(t, "cases.py", dir)
	found, err := os.ReadDir(dir)
	if err != nil || len(found) < 20 {
		t.Fatalf("%d repositories, %v", len(found), err)
	}
	for _, d := range found {
		t.Run(d.Name(), func(t *testing.T) {
			hostile := strings.HasPrefix(d.Name(), "hostile-")
			r := openRepository(t, filepath.Join(dir, d.Name()))
			if err := readAll(t, r); hostile && !byCheck[d.Name()] && !errors.Is(err, fault.Corrupt) {
				t.Errorf("read as if it were good: %v", err)
			} else if !hostile && err != nil {
				t.Error(err)
			}
			report, err := repo.Check(t.Context(), r, repo.CheckOptions{ReadData: 1})
			if found := err != nil || len(report.Faults) > 0; found != hostile {
				t.Errorf("check found %+v, %v; to be found: %v", report, err, hostile)
			}
		})
	}
}

// readAll lists every point and reads every file.
func readAll(t *testing.T, r *repo.Repository) error {
	points, err := r.Points(t.Context())
	if err != nil {
		return err
	}
	if len(points) != 1 {
		t.Fatalf("%d points, want 1", len(points))
	}
	_, err = readTree(t.Context(), r, points[0])
	return err
}
