package backup_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// pages returns every page of a point's table, the root page under the zero ID.
func (m *machine) pages(r *repo.Repository, p *repo.Point) map[chunk.ID][]byte {
	m.t.Helper()
	tree, err := r.Tree(m.t.Context(), p, table.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	pages := map[chunk.ID][]byte{}
	for info, err := range tree.Pages(m.t.Context(), nil) {
		switch {
		case err != nil:
			m.t.Fatal(err)
		case info.Ref == nil:
			pages[chunk.ID{}] = info.Raw
		default:
			pages[info.Ref.ID] = info.Raw
		}
	}
	return pages
}

// A second run over the same files makes the same bytes, whatever it has lost.
func TestUnchangedTreesMakeTheSamePages(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	for _, lost := range [][]string{{}, {"copies"}, {"index"}, {"copies", "index"}, {"copies", "index", "device"}} {
		for try := 0; ; try++ {
			m.forget(lost...)
			if m.nothingNew(fmt.Sprint(lost, " lost")) {
				break
			}
			if try == 100 {
				t.Fatal("somebody changes the folders above the source all the time")
			}
		}
		points := m.points()
		m.samePages(points[len(points)-2], points[len(points)-1])
	}
}

func (m *machine) samePages(a, b *repo.Point) {
	m.t.Helper()
	r := m.open()
	want, got := m.pages(r, a), m.pages(r, b)
	if len(got) != len(want) {
		m.t.Errorf("point %d has %d pages instead of %d", b.Sequence, len(got), len(want))
	}
	for id, page := range want {
		if !bytes.Equal(got[id], page) {
			m.t.Errorf("point %d has another page %s", b.Sequence, id)
		}
	}
	if a.Live != b.Live {
		m.t.Errorf("point %d has another live set", b.Sequence)
	}
}

// needs walks all that a reader of a point would open, and returns the need of
// each frame: FORMAT.md, section 7, byte by byte.
func (m *machine) needs(r *repo.Repository, p *repo.Point, packs map[pack.ID]pack.Geometry) map[pack.ID][]uint8 {
	m.t.Helper()
	ctx := m.t.Context()
	tree, err := r.Tree(ctx, p, table.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	needs := map[pack.ID][]uint8{}
	mark := func(id pack.ID, offset uint32, length uint64) {
		g, ok := packs[id]
		if !ok {
			m.t.Fatalf("pack %s is named, and not known", id)
		}
		if needs[id] == nil {
			needs[id] = make([]uint8, g.Frames())
		}
		for b := uint64(offset); b < uint64(offset)+length; b++ {
			i := g.FrameOf(uint32(b))
			first, end := g.Span(i)
			needs[id][i] |= 1 << (8 * (b - uint64(first)) / uint64(end-first))
		}
	}
	for info, err := range tree.Pages(ctx, nil) {
		if err != nil {
			m.t.Fatal(err)
		}
		if info.Ref != nil {
			mark(info.Ref.Pack, info.Ref.Offset, uint64(info.Ref.Length))
		}
	}
	for it, err := range tree.From(ctx, 0) {
		if err != nil {
			m.t.Fatal(err)
		}
		for x, err := range table.OpenExtents(r, it.Entry, table.Options{}).From(ctx, 0) {
			if err != nil {
				m.t.Fatal(err)
			}
			if !x.Hole {
				mark(x.Pack, x.Offset, x.Length)
			}
		}
	}
	return needs
}

// The live set, which is plain and lets a vault delete, names what a reader
// with keys opens: not less, and not more.
func TestLiveSetIsWhatAReaderOpens(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	m.write("large", append(noise(5000, 90_000), noise(1000, 3<<20)...))
	m.write("text/007", []byte("short now"))
	m.write("new/file", noise(5001, 40_000))
	if err := os.Remove(filepath.Join(m.src, "text/030")); err != nil {
		t.Fatal(err)
	}
	m.backup()
	m.forget("copies")
	m.write("many/001", noise(5002, 700))
	m.backup()
	packs := map[pack.ID]pack.Geometry{}
	for _, p := range m.packs() {
		packs[p.ID] = p.Geometry
	}
	r := m.open()
	for _, p := range m.points() {
		want := m.needs(r, p, packs)
		n := 0
		for need, err := range live.Walk(t.Context(), m.store, p.Live, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; !bytes.Equal(need.Masks(), want[need.Pack]) {
				t.Errorf("point %d, pack %s (kind %d): the live set says %x, a reader opens %x", p.Sequence, need.Pack, packs[need.Pack].Kind, need.Masks(), want[need.Pack])
			}
		}
		if n != len(want) {
			t.Errorf("point %d: the live set names %d packs, a reader opens %d", p.Sequence, n, len(want))
		}
	}
}
