package scale

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// churn is a server on which some small files are rewritten every day. Packs
// that none of the newest points needs are deleted, as if the older ones had
// been removed: their objects stay, and nobody reads them.
type churn struct {
	t      *testing.T
	files  int
	daily  int // files rewritten a day
	keep   int // points
	limits repo.HollowLimits

	dir     string
	store   *mem.Store
	repo    *repo.Repository
	random  *rand.Rand
	stored  uint64 // by all runs
	renewed uint64
	took    time.Duration
}

func newChurn(t *testing.T, files int, share float64, limits repo.HollowLimits) *churn {
	c := &churn{t: t, files: files, daily: int(float64(files) * share), keep: 7, limits: limits, dir: t.TempDir(), store: mem.New(), random: rand.New(rand.NewPCG(3, 4))}
	cost := seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}
	var err error
	if c.repo, err = repo.Create(t.Context(), c.store, repo.CreateOptions{Passphrase: []byte(passphrase), Cost: cost, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		c.write(i)
	}
	return c
}

// write gives a file new content, which does not shrink: 1 to 31 KiB.
func (c *churn) write(i int) {
	path := filepath.Join(c.dir, "src", fmt.Sprint(i%97), fmt.Sprint(i))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, 1<<10+c.random.IntN(30<<10))
	for k := range b {
		b[k] = byte(c.random.Uint32())
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *churn) day() {
	for range c.daily {
		c.write(c.random.IntN(c.files))
	}
	started := time.Now()
	s, err := backup.Run(context.Background(), c.repo, c.repo.Local(filepath.Join(c.dir, "state")), backup.Job{
		Paths: []string{filepath.Join(c.dir, "src")}, Renew: c.limits,
		Now: func() time.Time { return time.Now().Add(time.Hour) }, // no file counts as just changed
	})
	if err != nil || s.Statistics.Warnings > 0 {
		c.t.Fatal(err, s)
	}
	c.took += time.Since(started)
	c.stored += s.BytesStored
	c.renewed += s.Renewed
}

// use is raw bytes: needed by kept points, of the frames that hold them, and
// of the packs.
type use struct{ needed, frames, packs int64 }

func (u use) String() string {
	return fmt.Sprintf("%d KiB needed: %.0f %% of their frames, %.0f %% of their packs", u.needed>>10, 100*float64(u.needed)/float64(u.frames), 100*float64(u.needed)/float64(u.packs))
}

// collect deletes packs that no point needs, and says how well content and
// pages lie in those that stay.
func (c *churn) collect() (content, pages use) {
	ctx := c.t.Context()
	points, err := c.repo.Points(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	points = points[max(0, len(points)-c.keep):]
	union := live.NewSet()
	chunks := map[table.Address]bool{}
	for _, p := range points {
		for n, err := range live.Walk(ctx, c.store, p.Live, nil) {
			if err == nil {
				err = union.AddNeed(n)
			}
			if err != nil {
				c.t.Fatal(err)
			}
		}
		c.name(p, chunks)
	}
	packs := c.geometries()
	for id, g := range packs {
		need, ok := union.Get(id)
		if !ok {
			if err := c.store.Delete(ctx, id.Name()); err != nil {
				c.t.Fatal(err)
			}
			continue
		}
		u := &content
		if g.Kind == pack.Pages {
			u = &pages
		}
		u.packs += int64(g.Total)
		for i, m := range need.Masks() {
			if start, end := g.Span(i); m != 0 {
				u.frames += int64(end - start)
			}
		}
	}
	for a := range chunks {
		if packs[a.Pack].Kind == pack.Pages {
			pages.needed += int64(a.Length)
		} else {
			content.needed += int64(a.Length)
		}
	}
	return content, pages
}

// name adds what a point needs.
func (c *churn) name(p *repo.Point, chunks map[table.Address]bool) {
	tree, err := c.repo.Tree(c.t.Context(), p, table.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	for info, err := range tree.Pages(c.t.Context(), nil) {
		if err != nil {
			c.t.Fatal(err)
		}
		if info.Ref != nil {
			chunks[info.Ref.Address] = true
		}
		if info.Leaf == nil {
			continue
		}
		for i := range info.Leaf.Len() {
			for _, x := range info.Leaf.Entry(i).Extents {
				chunks[table.Address{Pack: x.Pack, Offset: x.Offset, Length: uint32(x.Length)}] = true
			}
		}
	}
}

// compare compares the newest point's files with those on disk.
func (c *churn) compare() {
	points, err := c.repo.Points(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	tree, err := c.repo.Tree(c.t.Context(), points[len(points)-1], table.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	files := 0
	for it, err := range tree.From(c.t.Context(), 0) {
		if err != nil {
			c.t.Fatal(err)
		}
		if it.Entry.Kind != table.File {
			continue
		}
		files++
		want, err := os.ReadFile(table.Path(it.Entry.Key))
		if err != nil {
			c.t.Fatal(err)
		}
		got := make([]byte, 0, len(want))
		for _, x := range it.Entry.Extents {
			part := make([]byte, x.Length)
			if err := c.repo.ReadRaw(c.t.Context(), x.Pack, x.Offset, part); err != nil {
				c.t.Fatal(err)
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, want) {
			c.t.Errorf("%s: other content", table.Path(it.Entry.Key))
		}
	}
	if files != c.files {
		c.t.Errorf("%d files of %d", files, c.files)
	}
}

func (c *churn) geometries() map[pack.ID]pack.Geometry {
	ix, err := index.Open(filepath.Join(c.repo.Local(filepath.Join(c.dir, "state")).Dir, "index"), index.Options{Repository: c.repo.ID})
	if err != nil {
		c.t.Fatal(err)
	}
	defer ix.Close()
	packs := map[pack.ID]pack.Geometry{}
	for _, p := range ix.Packs() {
		packs[p.ID] = p.Geometry
	}
	return packs
}

// Files that are rewritten here and there leave frames of which little is
// needed, and those go: of what is stored for the kept points most is needed.
func TestChurnLeavesLittleThatIsDead(t *testing.T) {
	files, days, share := pick(600, 8000), pick(90, 365), 0.03
	limits := repo.HollowLimits{Worth: 1 << 20, Floor: 1 << 20}
	if long() {
		share, limits = 0.01, repo.HollowLimits{}
	}
	results := map[string]use{}
	for name, limits := range map[string]repo.HollowLimits{"with": limits, "without": {Worth: 1 << 62}} {
		c := newChurn(t, files, share, limits)
		var content, pages use
		for d := range days {
			c.day()
			if d%5 == 4 || d == days-1 {
				content, pages = c.collect()
			}
			if d%60 == 59 {
				t.Logf("%s, day %d: content: %s", name, d+1, content)
			}
		}
		t.Logf("%s: content: %s; pages: %s; %d MiB stored in all, %d of them again, in %v", name, content, pages, c.stored>>20, c.renewed>>20, c.took.Round(time.Millisecond))
		results[name] = content
		c.compare()
	}
	if with, without := results["with"], results["without"]; with.frames >= without.frames*2/3 || with.needed < with.frames*2/5 {
		t.Errorf("with: %s; without: %s", with, without)
	}
}
