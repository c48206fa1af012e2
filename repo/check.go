package repo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// CheckOptions say how thorough a check is.
type CheckOptions struct {
	// ReadData is the share of packs, 0 to 1, of which every frame is read,
	// opened and compared with its chunk IDs. Which ones is drawn anew each time.
	ReadData float64
	// Progress, if set, is told of packs read, of how many. It is called by
	// several goroutines.
	Progress func(done, total int)
	// Local, if set, is where this machine remembers what is damaged, so that
	// its next run stores it again.
	Local *Local

	// For a repair:
	known    map[pack.ID]*badPack           // damage that was found before
	whole    map[pack.ID]bool               // packs that were just put back
	allFiles bool                           // every file is named
	walked   func(*point.Header, *live.Set) // is told what each point needs
}

// CheckReport tells what a check saw.
type CheckReport struct {
	Points, Pages, Packs, PacksRead, Frames int
	Bytes                                   int64 // of packs read
	Dropped                                 int   // frames that are damaged, and that a collection has dropped: no fault
	Faults                                  []Fault
}

// Fault is a damaged object, and what it hurts.
type Fault struct {
	Object string // its name in the store
	Err    error
	Files  []string // POINT:PATH, the first 100
	Count  int      // of all files
}

const maxFaultFiles = 100

// checker is one check.
type checker struct {
	r       *Repository
	o       CheckOptions
	objects map[pack.ID]packObject

	mu      sync.Mutex
	report  *CheckReport
	bad     map[pack.ID]*badPack
	heads   map[pack.ID]*checkedPack // nil: cannot be opened
	pages   map[chunk.ID]*pageNeeds
	read    map[pack.ID]bool // every frame was
	badLive map[live.Hash]bool

	compacted bool // some pack was moved, and may lack frames
}

// badPack is what is wrong with a pack.
type badPack struct {
	err    error
	whole  bool // every frame
	frames map[int]bool
	files  []string
	count  int
}

// checkedPack is a pack whose head is right. All packs' are in memory, so that
// of their chunks only where they begin is kept: 4 bytes for each.
type checkedPack struct {
	*opened
	starts []uint32 // of chunks, ascending
	gaps   []gap    // ascending
}

// gap is raw bytes [from, to) that no chunk has.
type gap struct{ from, to uint32 }

// Check verifies a repository as one who can read it: every key object, point,
// page and live set, that all content is there, and as much of the data as the
// options say. What is damaged is in the report, with the files it hurts; an
// error means that the check itself could not go on, or, beside a report, that
// Local could not be written.
func Check(ctx context.Context, r *Repository, o CheckOptions) (*CheckReport, error) {
	if !r.CanRead() {
		_, err := r.privateOf(0)
		return nil, fmt.Errorf("check: %w", err)
	}
	c := &checker{
		r: r, o: o, report: &CheckReport{}, bad: make(map[pack.ID]*badPack),
		heads: make(map[pack.ID]*checkedPack), pages: make(map[chunk.ID]*pageNeeds), read: make(map[pack.ID]bool), badLive: make(map[live.Hash]bool),
	}
	var err error
	if c.objects, err = r.packObjects(ctx); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	c.report.Packs = len(c.objects)
	steps := []func(context.Context) error{c.keys, c.rounds, c.openPacks, c.recall, c.readData, c.points}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
	}
	if err := c.passDropped(ctx); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	c.finish()
	if o.Local != nil {
		if err := c.remember(); err != nil {
			return c.report, fmt.Errorf("check: %w", err)
		}
	}
	return c.report, nil
}

func (c *checker) fault(object string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Faults = append(c.report.Faults, Fault{Object: object, Err: err})
}

// damaged says whether an error is about what is stored, and not about
// reaching it.
func damaged(err error) bool {
	return errors.Is(err, fault.Corrupt) || errors.Is(err, fault.NotExist) || errors.Is(err, fault.TooLarge) || errors.Is(err, fault.Unsupported)
}

// keys checks slots and epochs. The object `repository` was checked when keys
// were taken.
func (c *checker) keys(ctx context.Context) error {
	_, bad, err := c.r.slots(ctx)
	if err != nil {
		return err
	}
	if bad != nil {
		c.fault(prefixSlots, bad)
	}
	epochs := 0
	for object, err := range c.r.store.List(ctx, prefixEpochs) {
		if err != nil {
			return err
		}
		epochs++
		b, err := c.r.readEpoch(ctx, object.Name)
		var e *seal.Epoch
		if err == nil && c.r.keys.RepMAC != (seal.Key{}) {
			e, err = seal.ParseEpoch(b, c.r.keys.RepMAC)
		}
		if err == nil && e != nil && (e.Repository != c.r.ID || epochName(e.Number) != object.Name || e.Number == c.r.epoch.Number && !bytes.Equal(e.Public, c.r.epoch.Public)) {
			err = fmt.Errorf("another key than the one in the key slots: %w", fault.Corrupt)
		}
		if err != nil {
			c.fault(object.Name, err)
		}
	}
	if epochs == 0 {
		c.fault(prefixEpochs, fmt.Errorf("there is none: %w", fault.Corrupt))
	}
	return nil
}

func (c *checker) rounds(ctx context.Context) error {
	absent, err := keep.ReadRounds(ctx, c.r.store, c.r.ID)
	if err != nil {
		return err
	}
	for _, u := range absent.Damaged() {
		c.fault(u.Name, fmt.Errorf("%w; backups go on, and rely only on what points need: what runs that were cut short have stored is sent again. Put the object back from a copy of the repository, if there is one", u.Err))
	}
	return nil
}

// openPacks opens the head and chunk list of every pack.
func (c *checker) openPacks(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for id, object := range c.objects {
		group.Go(func() error {
			p, err := c.openPack(ctx, id, object.size)
			if damaged(err) {
				if size, healed := c.healed(ctx, id, err); healed {
					p, err = c.openPack(ctx, id, cmp.Or(size, object.size)) // 0: it was moved
				}
			}
			if err != nil && !damaged(err) {
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if err != nil {
				c.bad[id] = &badPack{err: err, whole: true}
				return nil
			}
			c.heads[id] = p
			c.compacted = c.compacted || p.moved != nil
			c.report.Frames += p.Frames()
			return nil
		})
	}
	return group.Wait()
}

func (c *checker) openPack(ctx context.Context, id pack.ID, size int64) (*checkedPack, error) {
	at, err := c.r.readPlace(ctx, id)
	if err != nil {
		return nil, err
	}
	if at.Moved == nil && at.Head.ObjectSize() != size {
		return nil, fmt.Errorf("%d bytes instead of %d: %w", size, at.Head.ObjectSize(), fault.Corrupt)
	}
	o, err := c.r.openPlace(at)
	if err != nil {
		return nil, err
	}
	list, err := c.r.chunkList(at.Head, o.Geometry)
	if err != nil {
		return nil, err
	}
	p := &checkedPack{opened: o, starts: make([]uint32, len(list))}
	end := uint32(0)
	for i := range list {
		p.starts[i] = list[i].Offset
		if end < list[i].Offset {
			p.gaps = append(p.gaps, gap{end, list[i].Offset})
		}
		end = list[i].Offset + list[i].Length
	}
	return p, nil
}

// recall takes over what is known of packs.
func (c *checker) recall(context.Context) error {
	for id, b := range c.o.known {
		if c.bad[id] == nil {
			c.bad[id] = &badPack{err: b.err, whole: b.whole, frames: b.frames}
		}
	}
	for id := range c.o.whole {
		c.read[id] = true
	}
	return nil
}

// covers says whether raw bytes of the pack are whole chunks without a gap.
func (p *checkedPack) covers(offset, length uint32) bool {
	end := offset + length
	_, begins := slices.BinarySearch(p.starts, offset)
	g, ends := slices.BinarySearchFunc(p.gaps, offset, func(g gap, at uint32) int { return cmp.Compare(g.from, at) })
	if ends || g < len(p.gaps) && p.gaps[g].from < end { // a gap at the beginning, or further on
		return false
	}
	_, ends = slices.BinarySearch(p.starts, end)
	return begins && (ends || end == p.Total || g < len(p.gaps) && p.gaps[g].from == end)
}

// breakPack notes that a frame, or with -1 the whole pack, is damaged.
func (c *checker) breakPack(id pack.ID, err error, frame int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.bad[id]
	if b == nil {
		b = &badPack{err: err, frames: make(map[int]bool)}
		c.bad[id] = b
	}
	if frame < 0 {
		b.whole = true
	} else if b.frames != nil {
		b.frames[frame] = true
	}
}

// passDropped forgets damage in frames that a collection has dropped, as nothing
// needs them, and nothing that was found hurts: see package scrub.
func (c *checker) passDropped(ctx context.Context) error {
	if len(c.bad) == 0 {
		return nil
	}
	dropped, err := keep.ReadDropped(ctx, c.r.store, c.r.ID)
	if err != nil {
		return err
	}
	for id, b := range c.bad {
		if b.whole || b.count > 0 || len(b.frames) == 0 {
			continue
		}
		needed := 0
		for i := range b.frames {
			if !dropped.Has(id, i) {
				needed++
			}
		}
		if needed == 0 {
			c.report.Dropped += len(b.frames)
			delete(c.bad, id)
		}
	}
	return nil
}

// finish turns what is wrong with packs into faults.
func (c *checker) finish() {
	for id, b := range c.bad {
		err := b.err
		if n := len(b.frames); n > 1 {
			err = fmt.Errorf("%d frames are damaged, among them: %w", n, b.err)
		}
		slices.Sort(b.files)
		c.report.Faults = append(c.report.Faults, Fault{Object: id.Name(), Err: err, Files: b.files, Count: b.count})
	}
	slices.SortFunc(c.report.Faults, func(a, b Fault) int { return strings.Compare(a.Object, b.Object) })
}

// points checks every point and what it holds.
func (c *checker) points(ctx context.Context) error {
	if c.r.book == nil {
		if err := c.r.OpenLedger(ctx, Local{}, LedgerOptions{}); damaged(err) {
			c.fault(ledger.Prefix, err)
		} else if err != nil {
			return err
		}
	}
	s, bad, err := c.r.current(ctx)
	if err != nil {
		return err
	}
	if bad != nil {
		c.fault(ledger.Prefix, bad)
	}
	sequences := slices.Sorted(slices.Values(slices.Concat(s.shown, s.deleted)))
	var before *point.Header
	for _, n := range sequences {
		h, sealed, err := c.r.readPoint(ctx, n)
		if errors.Is(err, fault.NotExist) {
			if p := s.lacks(n); p != nil {
				c.fault(point.Name(n), missingPoint(p))
			} // else it was removed since
			before = nil
			continue
		}
		// One with no predecessor was written while the point before it could not
		// be read, which may have been healed since.
		if err == nil && before != nil && before.Sequence == n-1 && h.Previous != before.ID && h.Previous != (point.ID{}) {
			err = fmt.Errorf("it does not follow the point before it: one of the two was replaced: %w", fault.Corrupt)
		}
		var b *body
		if err == nil {
			b, err = c.r.openBody(h, sealed)
		}
		before = h
		if err != nil {
			if !damaged(err) {
				return err
			}
			c.fault(point.Name(n), err)
			before = nil
			continue
		}
		c.report.Points++
		if err := c.table(ctx, h, b); err != nil {
			return err
		}
	}
	return nil
}
