package backup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// unreadable puts a round that is damaged.
func (m *machine) unreadable(number uint64, dropped bool) string {
	m.t.Helper()
	r := &keep.Round{Repository: m.open().ID, Number: number, Dropped: dropped}
	b := r.Marshal()
	b[len(b)-1] ^= 1
	if err := m.store.Put(context.Background(), r.Name(), b); err != nil {
		m.t.Fatal(err)
	}
	return r.Name()
}

// wholeBut checks everything in the vault, of which just the named objects are
// damaged.
func (m *machine) wholeBut(names ...string) {
	m.t.Helper()
	r := m.open()
	report, err := repo.Check(m.t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil {
		m.t.Fatal(err)
	}
	var got []string
	for _, f := range report.Faults {
		got = append(got, f.Object)
		if !strings.Contains(f.Err.Error(), "backups go on") {
			m.t.Errorf("check: %s: %v %v", f.Object, f.Err, f.Files)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		m.t.Errorf("check found %v damaged, not %v", got, names)
	}
	points := m.points()
	m.compare(r, points[len(points)-1])
}

// unnamed deletes what no point needs, as the collector of a round that nobody
// can read may do, but spares some.
func (m *machine) unnamed(spare map[string]bool) (deleted int) {
	m.t.Helper()
	n := m.collector().look()
	for _, name := range m.names("packs/") {
		id, err := pack.ParseName(name)
		if err != nil {
			m.t.Fatal(err)
		}
		if n.frames[id] == nil && !spare[name] {
			m.delete(name)
			deleted++
		}
	}
	for _, name := range m.names("live/") {
		if h, err := live.ParseName(name); err == nil && !n.pages[h] && !spare[name] {
			m.delete(name)
		}
	}
	return deleted
}

func (m *machine) everything() map[string]bool {
	all := map[string]bool{}
	for _, name := range m.names("") {
		all[name] = true
	}
	return all
}

// A damaged round stops no backup, and what the last point has costs nothing.
func TestDamagedRoundStopsNoBackup(t *testing.T) {
	for _, dropped := range []bool{false, true} {
		t.Run(fmt.Sprint(dropped), func(t *testing.T) {
			m := newMachine(t)
			m.sources()
			m.backup()
			name := m.unreadable(1, dropped)
			for _, lost := range [][]string{nil, {"copies"}, {"index"}} {
				m.forget(lost...)
				m.nothingNew(fmt.Sprint("lost ", lost))
			}
			m.write("new", noise(99, 70_000))
			if s := m.backup(); s.BytesNew != 70_000 {
				t.Errorf("%d bytes are new", s.BytesNew)
			}
			m.wholeBut(name)
		})
	}
}

// What only a run that was cut short has stored is sent again: the damaged
// round may name it, and its collector may delete it while the run goes on.
func TestDamagedRoundMayNameWhatNoPointNeeds(t *testing.T) {
	m := newMachine(t)
	m.write("old", noise(1, 50_000))
	m.backup()
	m.long()
	ctx, kill := context.WithCancel(t.Context())
	m.store.SetHook(func(op mem.Op) (error, error) {
		if op.Verb == mem.Put && strings.HasPrefix(op.Name, "points/") {
			kill()
			return ctx.Err(), nil
		}
		return nil, nil
	})
	if _, err := m.claiming(ctx, never); err == nil {
		t.Fatal("it was not killed")
	}
	m.store.SetHook(nil)
	for _, name := range m.names("intents/") {
		m.delete(name)
	}
	name := m.unreadable(1, false)
	before := m.everything()
	var once atomic.Bool
	m.store.SetHook(func(op mem.Op) (error, error) {
		if op.Verb == mem.Put && strings.HasPrefix(op.Name, "points/") && once.CompareAndSwap(false, true) {
			spare := m.everything()
			for name := range before {
				delete(spare, name)
			}
			if n := m.unnamed(spare); n < 3 {
				t.Errorf("%d packs were deleted", n)
			}
		}
		return nil, nil
	})
	s := m.backup()
	m.store.SetHook(nil)
	if s.BytesNew != 80<<20 {
		t.Errorf("%d bytes were sent again", s.BytesNew)
	}
	m.wholeBut(name)
	m.nothingNew("the run after")
}

// A damaged round that appears while a run goes on may name what the run has
// stored: its pass is repeated, and relies on none of that.
func TestDamagedRoundWhileARunGoesOn(t *testing.T) {
	m := newMachine(t)
	m.write("old", noise(1, 50_000))
	m.backup()
	m.sources()
	var first map[string]bool
	name := ""
	m.store.SetHook(func(op mem.Op) (error, error) {
		switch {
		case op.Verb == mem.Put && strings.HasPrefix(op.Name, "intents/") && name == "":
			name = m.unreadable(1, false)
			first = m.everything()
		case op.Verb == mem.Put && strings.HasPrefix(op.Name, "points/"):
			spare := m.everything()
			for name := range first {
				delete(spare, name)
			}
			for _, intent := range m.names("intents/") {
				m.delete(intent)
			}
			if n := m.unnamed(spare); n == 0 {
				t.Error("the first pass stored nothing")
			}
		}
		return nil, nil
	})
	m.backup()
	m.store.SetHook(nil)
	m.wholeBut(name)
}

// A point that the run relied on is removed before the run has its own: nobody
// can tell whether that is whole.
func TestDamagedRoundAndAPointThatGoes(t *testing.T) {
	for _, needed := range []bool{true, false} {
		t.Run(fmt.Sprint(needed), func(t *testing.T) {
			m := newMachine(t)
			m.sources()
			m.backup()
			if !needed {
				m.backup() // has all of it, too
			}
			m.unreadable(1, true)
			m.store.SetHook(func(op mem.Op) (error, error) {
				if op.Verb == mem.Put && strings.HasPrefix(op.Name, "points/") {
					m.delete(point.Name(1))
				}
				return nil, nil
			})
			_, err := m.try()
			m.store.SetHook(nil)
			if needed && (!errors.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "may not be whole")) || !needed && err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// Where what was condemned can be read, it stands for a damaged list of what
// was dropped.
func TestDamagedDroppedRound(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	needs := m.named("old", m.packs())
	m.round(1, false, needs)
	name := m.unreadable(1, true)
	if s := m.backup(); s.BytesNew == 0 {
		t.Error("what is condemned was relied on")
	}
	m.avoids(needs)
	m.wholeBut(name)
	m.nothingNew("the run after")
}
