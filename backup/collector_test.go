package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// collector does the other half of FORMAT.md, section 9, as hastily as that
// allows: it condemns whatever no point names, also what has just been stored.
type collector struct {
	t          testing.TB
	store      *mem.Store
	repository [16]byte
	random     *rand.Rand
	number     uint64
	deleted    int
}

// named is what points and intents need.
type named struct {
	frames map[pack.ID][]uint8
	pages  map[live.Hash]bool
}

func (c *collector) list(prefix string) []string {
	var names []string
	for o, err := range c.store.List(context.Background(), prefix) {
		if err != nil {
			c.t.Error(err)
		}
		names = append(names, o.Name)
	}
	return names
}

// read returns an object, or nil if it has been deleted.
func (c *collector) read(name string) []byte {
	b, err := store.ReadAll(context.Background(), c.store, name, 64<<20)
	if err != nil && !errors.Is(err, fault.NotExist) {
		c.t.Error(err)
	}
	return b
}

// look reads the intents, then the points, and returns what they need. An intent
// that vanishes before it is read has its point before the points are listed,
// or none at all: so it must be read before.
func (c *collector) look() *named {
	n := &named{frames: map[pack.ID][]uint8{}, pages: map[live.Hash]bool{}}
	var claims []live.Hash
	for _, name := range c.list("intents/") {
		if b := c.read(name); b != nil {
			i, err := keep.ParseIntent(b)
			if err != nil {
				c.t.Error(err)
				continue
			}
			claims = append(claims, i.Live)
		}
	}
	for _, name := range c.list("points/") {
		h, _, err := point.Parse(c.read(name))
		if err != nil {
			c.t.Error(err)
			continue
		}
		c.walk(n, h.Live, false)
	}
	// A claim on what has been deleted already fails: that was in a round
	// before, which the writer reads after its claim.
	for _, root := range claims {
		c.walk(n, root, true)
	}
	return n
}

func (c *collector) walk(n *named, root live.Hash, mayBeGone bool) {
	visited := func(h live.Hash) bool {
		seen := n.pages[h]
		n.pages[h] = true
		return seen
	}
	for need, err := range live.Walk(context.Background(), c.store, root, visited) {
		if err != nil {
			if !mayBeGone {
				c.t.Errorf("a live set that somebody names: %v", err)
			}
			return
		}
		masks := need.Masks()
		for i, m := range n.frames[need.Pack] {
			masks[i] |= m
		}
		n.frames[need.Pack] = masks
	}
}

// collect is one round.
func (c *collector) collect() {
	points := c.list("points/")
	for len(points) > 3 { // retention
		c.deleted++
		bury(c.t, c.store, c.repository, points[0])
		points = points[1:]
	}
	round := c.condemn(c.look())
	c.number++
	round.Repository, round.Number = c.repository, c.number
	c.put(round)
	time.Sleep(time.Duration(c.random.IntN(15)) * time.Millisecond)
	n := c.look()
	gone := release(round, n)
	gone.Dropped = true
	c.put(gone)
	for i := range gone.Frames {
		f := &gone.Frames[i]
		if !slices.Contains(f.Masks(), 0) {
			c.delete(f.Pack.Name())
		}
	}
	for _, p := range gone.Pages {
		c.delete(live.Name(p))
	}
}

func (c *collector) put(r *keep.Round) {
	if err := c.store.Put(context.Background(), r.Name(), r.Marshal()); err != nil {
		c.t.Error(err)
	}
}

func (c *collector) delete(name string) {
	c.deleted++
	if err := c.store.Delete(context.Background(), name); err != nil {
		c.t.Error(err)
	}
}

// condemn returns a round of all that is stored and not named.
func (c *collector) condemn(n *named) *keep.Round {
	round := &keep.Round{}
	for _, name := range c.list("packs/") {
		b := c.read(name)
		h, err := pack.Parse(b)
		if err != nil {
			c.t.Errorf("%s: %v", name, err)
			continue
		}
		masks := make([]uint8, h.Frames())
		for i := range masks {
			masks[i] = 255
		}
		for i, m := range n.frames[h.ID] {
			if m != 0 {
				masks[i] = 0
			}
		}
		round.Frames = appendNeed(round.Frames, h.ID, masks)
	}
	for _, name := range c.list("live/") {
		if h, err := live.ParseName(name); err == nil && !n.pages[h] {
			round.Pages = append(round.Pages, h)
		}
	}
	slices.SortFunc(round.Frames, func(a, b live.Need) int { return bytes.Compare(a.Pack[:], b.Pack[:]) })
	slices.SortFunc(round.Pages, func(a, b live.Hash) int { return bytes.Compare(a[:], b[:]) })
	return round
}

// release returns a round without what is named.
func release(r *keep.Round, n *named) *keep.Round {
	out := &keep.Round{Repository: r.Repository, Number: r.Number}
	for i := range r.Frames {
		masks := r.Frames[i].Masks()
		for k, m := range n.frames[r.Frames[i].Pack] {
			if m != 0 {
				masks[k] = 0
			}
		}
		out.Frames = appendNeed(out.Frames, r.Frames[i].Pack, masks)
	}
	for _, p := range r.Pages {
		if !n.pages[p] {
			out.Pages = append(out.Pages, p)
		}
	}
	return out
}

func appendNeed(needs []live.Need, id pack.ID, masks []uint8) []live.Need {
	n := live.Need{Pack: id, Frames: uint32(len(masks))}
	some := false
	for _, m := range masks {
		some = some || m != 0
		if k := len(n.Runs); k > 0 && n.Runs[k-1].Need == m {
			n.Runs[k-1].Length++
		} else {
			n.Runs = append(n.Runs, live.Run{Need: m, Length: 1})
		}
	}
	if !some {
		return needs
	}
	return append(needs, n)
}

// turns are runs that writers may begin. A collector's round allows a few: what
// writers who are faster leave makes each round longer than the one before, and
// a test of twelve rounds has no end.
type turns chan struct{}

func (t turns) allow() {
	for range cap(t) {
		select {
		case t <- struct{}{}:
		default:
		}
	}
}

// wait returns false if there is no more to come.
func (t turns) wait(ctx context.Context) bool {
	select {
	case <-t:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Writers and a collector at work on one store, without lock or clock: every
// point that is there at the end is whole.
func TestWritersBesideACollector(t *testing.T) {
	rounds := 12
	if os.Getenv("TIDEMARK_LONG") != "" {
		rounds = 150
	}
	m := newMachine(t)
	m.sources()
	m.backup()
	c := &collector{t: t, store: m.store, repository: m.open().ID, random: rand.New(rand.NewPCG(1, 1))}
	m.store.SetLatency(200 * time.Microsecond)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var mu sync.Mutex
	points, failed := 0, map[string]int{}
	turns := make(turns, 6)
	for w := range 3 {
		other := *m
		other.src = filepath.Join(t.TempDir(), "src")
		copyTree(t, m.src, other.src)
		if w < 2 {
			other.state = t.TempDir()
		}
		group.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(w)))
			for n := 0; turns.wait(ctx); n++ {
				err := other.work(ctx, random, n)
				mu.Lock()
				if points++; err != nil {
					points--
					failed[fault.KindOf(err).Error()]++
				}
				mu.Unlock()
			}
		})
	}
	for range rounds {
		turns.allow()
		c.collect()
		time.Sleep(time.Duration(c.random.IntN(150)) * time.Millisecond)
	}
	stop()
	group.Wait()
	m.store.SetLatency(0)
	t.Logf("%d points, failed %v, %d objects deleted", points, failed, c.deleted)
	if points < rounds/2 || c.deleted < rounds {
		t.Error("too little was done")
	}
	report, err := repo.Check(t.Context(), m.open(), repo.CheckOptions{ReadData: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Faults {
		t.Errorf("check: %s: %v %v", f.Object, f.Err, f.Files)
	}
	m.backup()
	m.whole()
}

// work changes a few files and backs up; now and then it is stopped, or loses
// its local state.
func (m *machine) work(ctx context.Context, random *rand.Rand, n int) error {
	for range random.IntN(4) {
		m.write(fmt.Sprintf("text/%03d", random.IntN(60)), noise(random.Uint64N(40), 2000+random.IntN(5)))
	}
	if random.IntN(3) == 0 {
		m.write("large", noise(random.Uint64N(4), 3<<20))
	}
	r, err := reopen(m.t, m.store)
	if err != nil {
		return err
	}
	if random.IntN(6) == 0 {
		part := []string{"copies", "index"}[random.IntN(2)]
		if err := os.RemoveAll(filepath.Join(r.Local(m.state).Dir, part)); err != nil {
			m.t.Error(err)
		}
	}
	if random.IntN(4) == 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(60))*time.Millisecond)
		defer cancel()
		ctx = limited
	}
	_, err = backup.Run(ctx, r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: later})
	// Too many rounds, or stopped: both happen.
	if err != nil && ctx.Err() == nil && !errors.Is(err, fault.Unavailable) {
		m.t.Errorf("run %d: %v", n, err)
	}
	return err
}
