package repo

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// The share of a frame follows from the bytes that were named in it and from
// the eighths that were touched, whichever is less.
func TestShareOfFrames(t *testing.T) {
	g := pack.Geometry{First: 100_000, Step: 1 << 20, Total: 100_000 + 1<<20 + 5000}
	for name, c := range map[string]struct {
		kind  pack.Kind
		uses  [][2]uint32 // offset, length
		masks []uint8
		want  []uint8
	}{
		"whole":              {pack.Small, [][2]uint32{{0, g.Total}}, []uint8{255, 255, 255}, []uint8{255, 255, 255}},
		"scattered":          {pack.Small, [][2]uint32{{100_000, 1000}, {700_000, 1000}}, []uint8{0, 17, 0}, []uint8{0, 1, 0}},
		"named often":        {pack.Small, [][2]uint32{{100_000, 131072}, {100_000, 131072}, {100_000, 131072}}, []uint8{0, 1, 0}, []uint8{0, 32, 0}},
		"over an end":        {pack.Small, [][2]uint32{{90_000, 20_000}}, []uint8{128, 1, 0}, []uint8{26, 3, 0}},
		"of a block":         {pack.Blocks, [][2]uint32{{100_000, 131072}}, []uint8{0, 1, 0}, []uint8{0, 32, 0}},
		"the least there is": {pack.Small, [][2]uint32{{100_000 + 1<<20, 1}}, []uint8{0, 0, 1}, []uint8{0, 0, 1}},
	} {
		g.Kind = c.kind
		u := newUsed(g)
		for _, use := range c.uses {
			u.count(use[0], use[1])
		}
		if got := u.shares(c.masks); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
}

// What several jobs of a machine need of a frame adds up; files of other
// repositories, damaged ones and strange ones count for nothing.
func TestNeededOfAllJobs(t *testing.T) {
	l := Local{Dir: t.TempDir()}
	id := seal.RepositoryID{1}
	put := func(job string, b []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(l.neededPath(job)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(l.neededPath(job), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x, y := pack.ID{1}, pack.ID{2}
	a := &needed{fresh: 77, shares: map[pack.ID][]uint8{x: {10, 200, 0, 1}, y: {3}}}
	b := &needed{fresh: 5, shares: map[pack.ID][]uint8{x: {10, 100, 1, 0}}}
	put("a", a.marshal(id))
	put("b", b.marshal(id))
	put("other", b.marshal(seal.RepositoryID{2}))
	damaged := b.marshal(id)
	damaged[50]++
	put("damaged", damaged)
	put("short", damaged[:20])
	if err := os.Mkdir(l.neededPath("folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	got := l.needed(id, "a")
	want := map[pack.ID][]uint8{x: {20, 255, 1, 1}, y: {3}}
	if got.fresh != 77 || !maps.EqualFunc(got.shares, want, slices.Equal) {
		t.Errorf("%+v", got)
	}
	if got := (Local{Dir: t.TempDir()}).needed(id, "a"); got.fresh != 0 || len(got.shares) != 0 {
		t.Errorf("of an empty folder: %+v", got)
	}
}

// What parses has one form, and nothing else than Corrupt is said of the rest.
func FuzzNeeded(f *testing.F) {
	id := seal.RepositoryID{1}
	f.Add((&needed{fresh: 9, shares: map[pack.ID][]uint8{{1}: {1, 0, 0, 255}, {2}: {7}}, pages: map[live.Hash]bool{{3}: true, {4}: true}}).marshal(id))
	f.Add([]byte(magicNeeded))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseNeeded(b, id)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		if again := n.marshal(id); !bytes.Equal(again, b) {
			t.Errorf("% x parses and marshals to % x", b, again)
		}
	})
}
