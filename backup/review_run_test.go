package backup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// A run of which no path is there writes no point: an unmounted disk must not
// become an empty newest point. One of several is a warning.
func TestPathsThatAreNotThere(t *testing.T) {
	m := newMachine(t)
	m.write("file", noise(1, 700))
	run := func(paths ...string) (*backup.Summary, error) {
		r := m.open()
		return backup.Run(context.Background(), r, r.Local(m.state), backup.Job{Paths: paths, Now: later})
	}
	gone := filepath.Join(m.src, "gone")
	if _, err := run(gone, gone+"/too"); err == nil || fault.KindOf(err) != fault.NotExist {
		t.Error(err)
	}
	if n := len(m.points()); n != 0 {
		t.Errorf("%d points", n)
	}
	if s, err := run(gone, m.src); err != nil || s.Statistics.Warnings != 1 || s.Files != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// When pages had to be made anew, the copy names the new ones, so that the
// next run takes them over.
func TestCopyFollowsPagesMadeAnew(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	for _, p := range m.packs() {
		if p.Kind == pack.Pages {
			m.delete(p.ID.Name())
		}
	}
	stateFile := func() string {
		for _, path := range m.files("copies") {
			if filepath.Base(path) == "state" {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
		}
		return ""
	}
	before := stateFile()
	if s := m.backup(); s.New+s.Changed > 0 && s.BytesNew > 0 {
		t.Errorf("%+v", s.Statistics)
	}
	if stateFile() == before {
		t.Error("the copy still names the pages that are gone")
	}
	bury(t, m.store, m.open().ID, "points/0000000000000001")
	m.nothingNew("the run after")
	m.whole()
}

// What fails after the point was written is a warning.
func TestLocalStateThatCannotBeWritten(t *testing.T) {
	m := newMachine(t)
	m.sources()
	index := filepath.Join(m.local().Dir, "index")
	m.store.SetHook(func(op mem.Op) (error, error) {
		if op.Verb == mem.Put && strings.HasPrefix(op.Name, "points/") {
			return nil, os.RemoveAll(index)
		}
		return nil, nil
	})
	s, err := m.try()
	m.store.SetHook(nil)
	if err != nil || s.Statistics.Warnings == 0 || len(m.points()) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	m.whole()
	m.nothingNew("the run after")
}

// Progress of a pass that is repeated does not count twice.
func TestProgressOfARepeatedPass(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	for _, path := range m.files("copies") {
		if strings.Contains(path, "/pages-") {
			rewrite(t, path, func(b []byte) []byte { return make([]byte, len(b)) })
		}
	}
	p := &backup.Progress{}
	r := m.open()
	s, err := backup.Run(t.Context(), r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: later, Progress: p, Scan: true})
	if err != nil {
		t.Fatal(err)
	}
	if n := uint64(p.Files.Load()); n != s.Files+s.Folders {
		t.Errorf("%d entries of %d", n, s.Files+s.Folders)
	}
}

// A vault that lost points, or swapped the last one, is refused, with the name
// of what is missing, until somebody accepts it.
func TestVaultThatWentBack(t *testing.T) {
	m := newMachine(t)
	m.write("file", noise(1, 700))
	m.backup()
	before := m.store.Clone()
	m.write("file", noise(2, 700))
	lost := m.backup().Point.Short()
	later := m.store
	for name, s := range map[string]*mem.Store{"lost": before.Clone(), "swapped": before.Clone()} {
		other := *m
		other.store, other.state = s, t.TempDir()
		if name == "swapped" {
			other.backup() // by somebody else
		}
		copyTree(t, m.state, other.state)
		for range 2 { // the second time only the copy of the last table remembers
			if _, err := other.try(); !errors.Is(err, fault.Rollback) || !strings.Contains(err.Error(), lost) {
				t.Errorf("%s: %v", name, err)
			}
			other.forget("ledger")
		}
		copyTree(t, m.state, other.state)
		r := other.open()
		if err := r.OpenLedger(t.Context(), r.Local(other.state), repo.LedgerOptions{Accept: true}); err != nil {
			t.Fatal(err)
		}
		if s, err := other.tryOn(r); err != nil || s.Statistics.Warnings != 0 {
			t.Errorf("%s: %v, %+v", name, err, s)
		}
		other.backup()
		other.whole()
	}
	m.store = later
	m.backup()
}
