package backup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

func (m *machine) check(share float64) *repo.CheckReport {
	m.t.Helper()
	l := m.local()
	report, err := repo.Check(m.t.Context(), m.open(), repo.CheckOptions{ReadData: share, Local: &l})
	if err != nil {
		m.t.Fatal(err)
	}
	return report
}

// What a check finds damaged is stored again by the next run, whatever part of
// a pack it is; points from then on are whole, and when the damage is healed
// nothing is remembered of it.
func TestDamageIsStoredAgain(t *testing.T) {
	edits := map[string]func(b []byte) []byte{
		"last frame": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"head":       func(b []byte) []byte { b[100] ^= 1; return b },
		"cut short":  func(b []byte) []byte { return b[:len(b)-1] },
		"empty":      func([]byte) []byte { return nil },
	}
	for name, edit := range edits {
		for _, kind := range []pack.Kind{pack.Small, pack.Large, pack.Blocks, pack.Pages} {
			t.Run(strings.Join([]string{name, [...]string{"small", "large", "blocks", "pages"}[kind]}, " of "), func(t *testing.T) {
				m := newMachine(t)
				m.sources()
				m.backup()
				pristine := m.store.Clone()
				var damaged []pack.ID
				for _, p := range m.packs() {
					if p.Kind == kind {
						damaged = append(damaged, p.ID)
						m.tamper(p.ID.Name(), edit)
					}
				}
				if strings.HasPrefix(name, "last") || name == "head" {
					m.nothingNew("before anybody knows") // and the point is damaged, too
				} else {
					m.storedAgain() // the listing tells
					return
				}
				if len(m.check(1).Faults) == 0 {
					t.Fatal("the check saw nothing")
				}
				m.storedAgain()
				m.forget("index", "copies")
				m.nothingNew("with what was stored again, without index and copy")
				healed(m, pristine, damaged)
			})
		}
	}
}

// storedAgain runs a backup and reads all of its point, without the frames
// that are damaged.
func (m *machine) storedAgain() {
	m.t.Helper()
	before := len(m.names("packs/"))
	m.backup()
	if len(m.names("packs/")) == before {
		m.t.Error("nothing was stored again")
	}
	points := m.points()
	r, last := m.open(), points[len(points)-1]
	m.compare(r, last)
	tree, err := r.Tree(m.t.Context(), last, table.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, err := range tree.Pages(m.t.Context(), nil) {
		if err != nil {
			m.t.Fatal(err)
		}
	}
	for _, f := range m.check(0).Faults {
		for _, file := range f.Files {
			if strings.HasPrefix(file, last.ID.Short()) {
				m.t.Errorf("the new point is hurt: %s: %v", file, f.Err)
			}
		}
	}
	m.nothingNew("the run after")
}

// healed puts the right bytes back. A check that does not read them does not
// believe it, one that does forgets the damage.
func healed(m *machine, pristine *mem.Store, damaged []pack.ID) {
	m.t.Helper()
	for _, id := range damaged {
		b, err := store.ReadAll(m.t.Context(), pristine, id.Name(), pack.MaxObject)
		if err != nil {
			m.t.Fatal(err)
		}
		m.tamper(id.Name(), func([]byte) []byte { return b })
	}
	remembered := func() bool {
		_, err := os.Stat(filepath.Join(m.local().Dir, "damaged"))
		return err == nil
	}
	if m.check(0); !remembered() {
		m.t.Error("forgotten without a look")
	}
	if faults := m.check(1).Faults; len(faults) > 0 || remembered() {
		m.t.Errorf("%v, remembered: %v", faults, remembered())
	}
	m.nothingNew("after it was healed")
	m.whole()
}

func (m *machine) tamper(name string, edit func([]byte) []byte) {
	m.t.Helper()
	if err := m.store.Tamper(name, func(b []byte) []byte { return edit(bytes.Clone(b)) }); err != nil {
		m.t.Fatal(err)
	}
}

// A page of a live set that is damaged has the name of what the next run wants
// to put. That one takes another name.
func TestDamagedLivePage(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	for _, name := range m.names("live/") {
		m.tamper(name, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	}
	m.nothingNew("the run after")
	faults := m.check(1).Faults
	if len(faults) != 1 || faults[0].Object != "points/0000000000000001" {
		t.Errorf("%v", faults)
	}
}
