package backup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/repo/table"
)

// incompletes returns the folders that the newest point calls incomplete.
func (m *machine) incompletes() []string {
	m.t.Helper()
	points := m.points()
	tree, err := m.open().Tree(m.t.Context(), points[len(points)-1], table.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	var out []string
	for it, err := range tree.From(m.t.Context(), 0) {
		if err != nil {
			m.t.Fatal(err)
		}
		if it.Entry.Incomplete {
			name, err := filepath.Rel(m.src, table.Path(it.Entry.Key))
			if err != nil {
				m.t.Fatal(err)
			}
			out = append(out, name)
		}
	}
	return out
}

// A folder that could not be listed, or not to its end, says so in its entry;
// as long as it cannot nothing changes, and once it can it says so no more.
func TestFoldersThatCannotBeListed(t *testing.T) {
	m := newMachine(t)
	const names = 3000 // more than one call reads, and several pages of the table
	for i := range names {
		m.write(fmt.Sprintf("half/%04d", i), fmt.Appendf(nil, "file %d", i))
		m.write(fmt.Sprintf("good/%04d", i), fmt.Appendf(nil, "file %d", i))
	}
	m.write("closed/child", []byte("child"))
	m.write("closed too/child", []byte("child"))
	if err := os.Mkdir(filepath.Join(m.src, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := &faults{folder: map[string]syscall.Errno{"closed": unix.EIO, "closed too": unix.EIO}, names: map[string]int{"half": 2000}}
	m.faulty(f)
	want := []string{"closed", "closed too", "half"}
	for _, lost := range [][]string{nil, nil, {"copies"}} {
		m.forget(lost...)
		before := len(m.names("packs/"))
		s, err := m.try()
		if err != nil {
			t.Fatal(err)
		}
		if s.Statistics.Warnings != 3 {
			t.Errorf("warned: %v", s.Warned)
		}
		if got := m.incompletes(); !slices.Equal(got, want) {
			t.Errorf("lost %v: incomplete are %v", lost, got)
		}
		if s.Sequence == 2 && (s.Changed > 6 || len(m.names("packs/")) > before+1) {
			t.Errorf("%d entries changed, %d packs are new", s.Changed, len(m.names("packs/"))-before)
		}
	}
	f.healed.Store(true)
	m.backup()
	if got := m.incompletes(); len(got) > 0 {
		t.Errorf("healed, and still incomplete: %v", got)
	}
	m.whole()
	m.nothingNew("the run after")
}
