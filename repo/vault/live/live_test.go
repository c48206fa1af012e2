package live

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// id returns a pack ID that is random in its last half, as real ones are.
func id(n uint64) pack.ID {
	var p pack.ID
	binary.BigEndian.PutUint64(p[:], n/8)
	binary.BigEndian.PutUint64(p[8:], (n+1)*0x9e3779b97f4a7c15)
	return p
}

var genGeometry = rapid.Custom(func(t *rapid.T) pack.Geometry {
	step := rapid.Uint32Range(pack.MinStep, 3*pack.MinStep).Draw(t, "step")
	total := rapid.Uint32Range(1, 20*step).Draw(t, "total")
	return pack.Geometry{First: rapid.Uint32Range(1, min(step, total)).Draw(t, "first"), Step: step, Total: total}
})

// naive marks byte by byte, as FORMAT.md puts it.
func naive(masks []uint8, g pack.Geometry, offset, length uint32) {
	for b := offset; b < offset+length; b++ {
		i := g.FrameOf(b)
		first, end := g.Span(i)
		masks[i] |= 1 << (8 * uint64(b-first) / uint64(end-first))
	}
}

func TestSetIsTheNaiveMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		packs := rapid.SliceOfN(genGeometry, 1, 4).Draw(rt, "packs")
		want := map[pack.ID][]uint8{}
		sets := []*Set{NewSet(), NewSet()}
		for range rapid.IntRange(0, 12).Draw(rt, "adds") {
			k := rapid.IntRange(0, len(packs)-1).Draw(rt, "pack")
			g := packs[k]
			offset := rapid.Uint32Range(0, g.Total-1).Draw(rt, "offset")
			length := rapid.Uint32Range(1, g.Total-offset).Draw(rt, "length")
			if err := sets[rapid.IntRange(0, 1).Draw(rt, "set")].Add(id(uint64(k)), g, offset, length); err != nil {
				rt.Fatal(err)
			}
			if want[id(uint64(k))] == nil {
				want[id(uint64(k))] = make([]uint8, g.Frames())
			}
			naive(want[id(uint64(k))], g, offset, length)
		}
		if err := sets[0].Merge(sets[1]); err != nil {
			rt.Fatal(err)
		}
		s := mem.New()
		w, err := Write(t.Context(), s, sets[0], WriteOptions{})
		if err != nil {
			rt.Fatal(err)
		}
		got := map[pack.ID][]uint8{}
		for n, err := range Walk(t.Context(), s, w.Root, nil) {
			if err != nil {
				rt.Fatal(err)
			}
			got[n.Pack] = n.Masks()
		}
		if !maps.EqualFunc(got, want, slices.Equal) {
			rt.Fatalf("got %v\nwant %v", got, want)
		}
	})
}

func TestSetRefuses(t *testing.T) {
	s := NewSet()
	g := pack.Geometry{First: 4096, Step: 4096, Total: 10000}
	if err := s.Add(id(1), g, 0, 1); err != nil {
		t.Fatal(err)
	}
	other := NewSet()
	if err := other.Add(id(1), pack.Geometry{First: 4096, Step: 4096, Total: 90000}, 0, 1); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"nothing":         s.Add(id(2), g, 5, 0),
		"beyond":          s.Add(id(2), g, 9999, 2),
		"overflow":        s.Add(id(2), g, 9999, 1<<32-1),
		"other frames":    s.Add(id(1), pack.Geometry{First: 4096, Step: 4096, Total: 20000}, 0, 1),
		"other set":       s.Merge(other),
		"empty need":      s.AddNeed(Need{Pack: id(2), Frames: 3, Runs: []Run{{0, 3}}}),
		"short need":      s.AddNeed(Need{Pack: id(2), Frames: 3, Runs: []Run{{1, 2}}}),
		"equal runs":      s.AddNeed(Need{Pack: id(2), Frames: 3, Runs: []Run{{1, 1}, {1, 2}}}),
		"too many frames": s.AddNeed(Need{Pack: id(2), Frames: 1 << 20, Runs: []Run{{1, 1 << 20}}}),
	} {
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, _ := s.Get(id(1)); s.Len() != 1 || !slices.Equal(n.Runs, []Run{{1, 1}, {0, 2}}) {
		t.Errorf("the set changed: %v", n)
	}
}

// many returns a live set of n packs of which parts are needed.
func many(t testing.TB, n int) *Set {
	s := NewSet()
	for i := range n {
		masks := make([]uint8, 200)
		for j := range masks {
			masks[j] = 255
			if (i+j)%41 == 0 {
				masks[j] = 15
			}
		}
		if err := s.AddNeed(Need{Pack: id(uint64(i)), Frames: 200, Runs: runsOf(masks)}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestSimilarSetsSharePages(t *testing.T) {
	s := mem.New()
	set := many(t, 40000) // about 1 TiB
	before, err := Write(t.Context(), s, set, WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	known := map[Hash]bool{}
	for _, h := range before.Pages {
		known[h] = true
	}
	// A run adds packs at the end, and one pack in the middle lost a part.
	for i := range 3 {
		if err := set.AddNeed(Need{Pack: id(uint64(50000 + i)), Frames: 100, Runs: []Run{{255, 100}}}); err != nil {
			t.Fatal(err)
		}
	}
	set.packs[id(20000)][7] = 1
	after, err := Write(t.Context(), s, set, WriteOptions{Known: func(h Hash) bool { return known[h] }})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pages of %d bytes; then %d pages of %d bytes", before.Put, before.Bytes, after.Put, after.Bytes)
	if before.Put < 50 || after.Put > 6 {
		t.Errorf("%d pages, then %d", before.Put, after.Put)
	}
	// A walk that skips what it has seen reads only what is new.
	reads := 0
	for _, err := range Walk(t.Context(), s, after.Root, func(h Hash) bool {
		if !known[h] {
			reads++
		}
		return known[h]
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if reads != after.Put {
		t.Errorf("%d pages read of %d that are new", reads, after.Put)
	}
	again, err := Load(t.Context(), s, after.Root)
	if err != nil || !maps.EqualFunc(again.packs, set.packs, slices.Equal) {
		t.Errorf("not the same set: %v", err)
	}
}

func TestAbsentPagesAreSalted(t *testing.T) {
	s := mem.New()
	set := many(t, 3000)
	first, err := Write(t.Context(), s, set, WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	absent := func(h Hash) bool { return slices.Contains(first.Pages, h) }
	second, err := Write(t.Context(), s, set, WriteOptions{Absent: absent})
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(second.Pages, absent) {
		t.Error("an absent page is used")
	}
	if again, err := Load(t.Context(), s, second.Root); err != nil || !maps.EqualFunc(again.packs, set.packs, slices.Equal) {
		t.Errorf("not the same set: %v", err)
	}
}

func TestEmpty(t *testing.T) {
	s := mem.New()
	w, err := Write(t.Context(), s, NewSet(), WriteOptions{})
	if err != nil || len(w.Pages) != 1 {
		t.Fatal(w, err)
	}
	for n, err := range Walk(t.Context(), s, w.Root, nil) {
		t.Fatal(n, err)
	}
}

// Every bit that flips, every page that goes and every page that stands for
// another is found.
func TestDamageIsFound(t *testing.T) {
	s := mem.New()
	w, err := Write(t.Context(), s, many(t, 1500), WriteOptions{})
	if err != nil || len(w.Pages) < 3 {
		t.Fatal(w, err)
	}
	walk := func(s store.Store, root Hash) error {
		_, err := Load(t.Context(), s, root)
		return err
	}
	for _, h := range w.Pages {
		c := s.Clone()
		if err := c.Tamper(Name(h), func(b []byte) []byte { b[len(b)/2] ^= 4; return b }); err != nil {
			t.Fatal(err)
		}
		if err := walk(c, w.Root); !errors.Is(err, fault.Corrupt) {
			t.Errorf("flipped bit: %v", err)
		}
		c = s.Clone()
		if err := c.Delete(t.Context(), Name(h)); err != nil {
			t.Fatal(err)
		}
		if err := walk(c, w.Root); !errors.Is(err, fault.NotExist) {
			t.Errorf("absent page: %v", err)
		}
	}
	b, err := store.ReadAll(t.Context(), s, Name(w.Root), maxPage)
	if err != nil {
		t.Fatal(err)
	}
	root, err := decodePage(b)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(p *page){
		"one record":   func(p *page) { p.refs = p.refs[:1] },
		"other page":   func(p *page) { p.refs[0].page = p.refs[1].page },
		"other count":  func(p *page) { p.refs[1].packs++ },
		"other first":  func(p *page) { p.refs[0].first = pack.ID{} },
		"other level":  func(p *page) { p.level++ },
		"out of order": func(p *page) { p.refs[0], p.refs[1] = p.refs[1], p.refs[0] },
	} {
		p := &page{level: root.level, refs: slices.Clone(root.refs)}
		change(p)
		b := p.encode()
		if err := s.Put(t.Context(), Name(hashOf(b)), b); err != nil {
			t.Fatal(err)
		}
		if err := walk(s, hashOf(b)); !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	h := hashOf([]byte("x"))
	got, err := ParseName(Name(h))
	if err != nil || got != h || store.ValidName(Name(h)) != nil {
		t.Errorf("ParseName(%q) = %s, %v", Name(h), got, err)
	}
	for _, bad := range []string{"", "live/", "live/00/" + h.String(), Name(h) + "0", "live/2D/" + h.String(), "packs/" + Name(h)[5:]} {
		if _, err := ParseName(bad); !errors.Is(err, fault.Invalid) {
			t.Errorf("ParseName(%q): %v", bad, err)
		}
	}
}

// What decodes has exactly one encoding.
func FuzzDecodePage(f *testing.F) {
	var p page
	for i := range 4 {
		p.needs = append(p.needs, Need{id(uint64(i)), 9, []Run{{255, 3}, {0, 5}, {1, 1}}})
	}
	f.Add(p.encode())
	f.Add((&page{level: 1, salt: 3, refs: []ref{{id(1), Hash{1}, 300}, {id(9), Hash{2}, 1}}}).encode())
	f.Add((&page{}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePage(b)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		if again := p.encode(); !bytes.Equal(again, b) {
			t.Errorf("% x decodes and encodes to % x", b, again)
		}
	})
}
