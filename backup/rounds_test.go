package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// packs returns the packs that the local index knows.
func (m *machine) packs() []index.Pack {
	m.t.Helper()
	ix, err := index.Open(filepath.Join(m.local().Dir, "index"), index.Options{Repository: m.open().ID})
	if err != nil {
		m.t.Fatal(err)
	}
	var packs []index.Pack
	for _, p := range ix.Packs() {
		packs = append(packs, p)
	}
	if err := ix.Close(); err != nil {
		m.t.Fatal(err)
	}
	return packs
}

// frames names frames of a pack for a round: those from first to last.
func frames(p index.Pack, first, last int) live.Need {
	n := live.Need{Pack: p.ID, Frames: uint32(p.Frames())}
	for _, r := range []live.Run{{Need: 0, Length: uint32(first)}, {Need: 255, Length: uint32(last - first + 1)}, {Need: 0, Length: uint32(p.Frames() - 1 - last)}} {
		if r.Length > 0 {
			n.Runs = append(n.Runs, r)
		}
	}
	return n
}

func wholePack(p index.Pack) live.Need { return frames(p, 0, p.Frames()-1) }

// round puts a round, as a collector does.
func (m *machine) round(number uint64, dropped bool, needs []live.Need, pages ...live.Hash) {
	m.t.Helper()
	slices.SortFunc(needs, func(a, b live.Need) int { return bytes.Compare(a.Pack[:], b.Pack[:]) })
	slices.SortFunc(pages, func(a, b live.Hash) int { return bytes.Compare(a[:], b[:]) })
	r := &keep.Round{Repository: m.open().ID, Number: number, Dropped: dropped, Frames: needs, Pages: pages}
	if err := m.store.Put(context.Background(), r.Name(), r.Marshal()); err != nil {
		m.t.Fatal(err)
	}
}

// avoids makes sure that the newest point needs none of some frames.
func (m *machine) avoids(needs []live.Need) {
	m.t.Helper()
	points := m.points()
	for n, err := range live.Walk(m.t.Context(), m.store, points[len(points)-1].Live, nil) {
		if err != nil {
			m.t.Fatal(err)
		}
		for _, absent := range needs {
			if absent.Pack != n.Pack {
				continue
			}
			a, b := absent.Masks(), n.Masks()
			for i := range a {
				if a[i] != 0 && b[i] != 0 {
					m.t.Errorf("the new point needs frame %d of %s, which a round names", i, n.Pack)
				}
			}
		}
	}
}

// nothingNew makes sure that a run stores no content, and no pages unless
// somebody touched a folder above the source. It says whether nobody did.
func (m *machine) nothingNew(when string) bool {
	m.t.Helper()
	packs, above := m.names("packs/"), m.above
	s := m.backup()
	same := above != "" && m.above == above
	if more := len(m.names("packs/")) - len(packs); s.BytesNew != 0 || more != 0 && same {
		m.t.Errorf("%s: %d bytes of content and %d packs are new", when, s.BytesNew, more)
	}
	return same
}

// Condemned frames of every kind of pack are no hits, neither for entries that
// are taken over nor for dedup, and what was in them is stored once more, once.
func TestCondemnedFramesAreStoredAgain(t *testing.T) {
	for kind := range pack.Kind(pack.NumKinds) {
		for _, whole := range []bool{true, false} {
			t.Run(fmt.Sprintf("kind %d whole %v", kind, whole), func(t *testing.T) {
				m := newMachine(t)
				m.sources()
				m.backup()
				var needs []live.Need
				for _, p := range m.packs() {
					if p.Kind == kind {
						last := p.Frames() - 1
						if whole {
							needs = append(needs, wholePack(p))
						} else {
							needs = append(needs, frames(p, last, last))
						}
					}
				}
				if len(needs) == 0 {
					t.Fatal("the sources make no such pack")
				}
				m.round(1, false, needs)
				condemnedThenGone(m, needs, kind == pack.Pages, whole)
			})
		}
	}
}

func condemnedThenGone(m *machine, needs []live.Need, pages, whole bool) {
	before := len(m.names("packs/"))
	s := m.backup()
	if pages && s.BytesNew != 0 || !pages && s.BytesNew == 0 || len(m.names("packs/")) == before {
		m.t.Errorf("%d bytes of content were stored again", s.BytesNew)
	}
	m.avoids(needs)
	m.whole()
	m.nothingNew("the run after")
	m.forget("copies")
	m.nothingNew("without the copy")
	m.forget("index")
	m.nothingNew("without the index")
	m.forget("index", "copies")
	m.nothingNew("without index and copy")
	m.avoids(needs)

	m.round(1, true, needs)
	m.nothingNew("after the frames were dropped")
	if !whole {
		return
	}
	// The collector deletes; nobody needs the first point any more.
	for _, n := range needs {
		m.delete(n.Pack.Name())
	}
	bury(m.t, m.store, m.open().ID, point.Name(1))
	m.nothingNew("after the packs were deleted")
	m.whole()
	m.forget("index", "copies")
	m.nothingNew("after the packs were deleted, without local state")
	m.whole()
}

func (m *machine) delete(name string) {
	m.t.Helper()
	if err := m.store.Delete(m.t.Context(), name); err != nil {
		m.t.Fatal(err)
	}
}

// A round that appears after the run's intent, naming what the run needs,
// makes it repeat its pass.
func TestRoundBetweenIntentAndPoint(t *testing.T) {
	for _, content := range []string{"old", "new", "pages"} {
		t.Run(content, func(t *testing.T) {
			m := newMachine(t)
			m.sources()
			m.backup()
			old := m.packs()
			m.write("new", noise(99, 70_000))
			var needs []live.Need
			once := true
			m.store.SetHook(func(op mem.Op) (error, error) {
				if op.Verb == mem.Put && strings.HasPrefix(op.Name, "intents/") && once {
					once = false
					needs = m.named(content, old)
					m.round(1, false, needs)
				}
				return nil, nil
			})
			m.backup()
			m.store.SetHook(nil)
			if once || len(needs) == 0 {
				t.Fatal("no round was put")
			}
			if n := len(m.points()); n != 2 {
				t.Errorf("%d points", n)
			}
			m.avoids(needs)
			m.whole()
			if left := m.names("intents/"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			m.nothingNew("the run after")
		})
	}
}

// named chooses what a collector condemns: packs of old content, of what the
// run under way has stored, or all packs of pages.
func (m *machine) named(what string, old []index.Pack) []live.Need {
	var needs []live.Need
	for _, p := range old {
		if what == "old" && p.Kind == pack.Large || what == "pages" && p.Kind == pack.Pages {
			needs = append(needs, wholePack(p))
		}
	}
	if what != "new" {
		return needs
	}
	for _, name := range m.names("packs/") {
		id, err := pack.ParseName(name)
		if err != nil {
			m.t.Fatal(err)
		}
		if slices.ContainsFunc(old, func(p index.Pack) bool { return p.ID == id }) {
			continue
		}
		buf := make([]byte, pack.HeadRead)
		n, err := m.store.Get(context.Background(), name, 0, buf)
		if err != nil {
			m.t.Fatal(err)
		}
		h, err := pack.Parse(buf[:n])
		if err != nil {
			m.t.Fatal(err)
		}
		needs = append(needs, live.Need{Pack: id, Frames: uint32(h.Frames()), Runs: []live.Run{{Need: 255, Length: uint32(h.Frames())}}})
	}
	return needs
}

// A collector that condemns everything again and again does not keep a run
// for ever. What it stored stays claimed for the next run, whose point ends that.
func TestRoundAfterRound(t *testing.T) {
	m := newMachine(t)
	m.sources()
	number := uint64(0)
	m.store.SetHook(func(op mem.Op) (error, error) {
		if op.Verb == mem.Put && strings.HasPrefix(op.Name, "intents/") {
			number++
			m.round(number, false, m.named("new", nil))
		}
		return nil, nil
	})
	_, err := m.try()
	m.store.SetHook(nil)
	if !errors.Is(err, fault.Unavailable) || number < 3 {
		t.Errorf("after %d rounds: %v", number, err)
	}
	m.backup()
	if left := m.names("intents/"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	m.whole()
}

// What a collector condemned and then kept, because a point names it, is
// usable again: `dropped` counts in place of `condemned`.
func TestDroppedInPlaceOfCondemned(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	var all, pages []live.Need
	for _, p := range m.packs() {
		all = append(all, wholePack(p))
		if p.Kind == pack.Pages {
			pages = append(pages, wholePack(p))
		}
	}
	m.round(1, false, all)
	m.round(1, true, pages)
	m.forget("copies")
	if s := m.backup(); s.BytesNew != 0 {
		t.Errorf("%d bytes are new", s.BytesNew)
	}
	m.avoids(pages)
	m.whole()
}

// A live page that a round names is written again under another name.
func TestAbsentLivePage(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	first := m.points()[0]
	m.round(1, false, nil, first.Live)
	m.nothingNew("after the round")
	second := m.points()[1]
	if second.Live == first.Live {
		t.Fatal("the new point relies on a live page that a round names")
	}
	m.round(1, true, nil, first.Live)
	m.delete(live.Name(first.Live))
	bury(m.t, m.store, m.open().ID, point.Name(1))
	m.nothingNew("after the page was deleted")
	if third := m.points()[1]; third.Live != second.Live {
		t.Error("another salt than the run before")
	}
	m.whole()
	// And once more: the salt goes on.
	m.round(2, false, nil, second.Live)
	m.nothingNew("after another round")
	if p := m.points(); p[2].Live == second.Live || p[2].Live == first.Live {
		t.Error("a name that was dropped is used again")
	}
	m.whole()
}

// A machine that slept between its claim and its point, so that the claim fell
// and the collector dropped what it needs, says that its point is not whole.
func TestClaimThatFell(t *testing.T) {
	for _, harmful := range []bool{true, false} {
		t.Run(fmt.Sprint(harmful), func(t *testing.T) {
			m := newMachine(t)
			m.sources()
			m.store.SetHook(func(op mem.Op) (error, error) {
				if op.Verb == mem.Put && strings.HasPrefix(op.Name, "points/") {
					for _, name := range m.names("intents/") {
						m.delete(name)
					}
					if harmful {
						m.round(1, false, m.named("new", nil))
					}
				}
				return nil, nil
			})
			_, err := m.try()
			m.store.SetHook(nil)
			if harmful && (err == nil || !errors.Is(err, fault.Corrupt)) || !harmful && err != nil {
				t.Errorf("%v", err)
			}
			m.backup()
			m.whole()
		})
	}
}
