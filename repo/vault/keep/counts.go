package keep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// counts says how often everything is needed: each live page by how many
// roots and other pages that are needed, each frame by how many leaf pages.
// What has no count is garbage. Points share most of their pages, so that a
// point that comes or goes costs its own pages only; and as a page is named by
// its hash, counts are right whatever else happened to the repository since.
//
// A collector keeps them in a file between runs (see stored.go). Memory: some
// 60 bytes for each live page, 4 for each frame.
type counts struct {
	repository [16]byte
	roots      map[uint64]live.Hash // of the points that are counted, by sequence
	pages      map[live.Hash]pageCount
	frames     map[pack.ID][]uint32

	// What follows is no count; it spares looking at what has not changed.
	judged map[pack.ID]uint64    // pack or container: what its last look was at
	moved  map[pack.ID]movedPack // of each moved pack what its newest records say
}

// pageCount is how often a page is needed, times two, plus one if the page was
// not there when it was counted, so that nothing below it is.
type pageCount uint32

// movedPack is where a pack's records of its newest generation put it.
type movedPack struct {
	generation uint32
	containers []pack.ID
}

func newCounts(repository [16]byte) *counts {
	return &counts{
		repository: repository, roots: map[uint64]live.Hash{}, pages: map[live.Hash]pageCount{}, frames: map[pack.ID][]uint32{},
		judged: map[pack.ID]uint64{}, moved: map[pack.ID]movedPack{},
	}
}

// errMiscount says that counts do not fit what is stored: they must be made
// anew.
var errMiscount = errors.New("counts of live pages do not fit the repository")

// update makes the counts those of other points. lost says whether a page that
// is not there was dropped by a collection: then the point that names it was
// written after its writer's claim had fallen, and is not whole. Any other page
// that is missing is an error, since nobody knows what was below it.
func (c *counts) update(ctx context.Context, s store.Store, roots map[uint64]live.Hash, lost func(live.Hash) bool) error {
	// First what comes, so that what it shares with what goes is not read twice.
	for _, n := range slices.Sorted(maps.Keys(roots)) {
		root := roots[n]
		if old, ok := c.roots[n]; ok && old == root {
			continue
		}
		if err := c.addRoot(ctx, s, root, lost); err != nil {
			return fmt.Errorf("live set of point %d: %w", n, err)
		}
		if old, ok := c.roots[n]; ok {
			if err := c.dropRoot(ctx, s, old); err != nil {
				return err
			}
		}
		c.roots[n] = root
	}
	for _, n := range slices.Sorted(maps.Keys(c.roots)) {
		root := c.roots[n]
		if _, ok := roots[n]; ok {
			continue
		}
		if err := c.dropRoot(ctx, s, root); err != nil {
			return err
		}
		delete(c.roots, n)
	}
	return nil
}

func (c *counts) addRoot(ctx context.Context, s store.Store, root live.Hash, lost func(live.Hash) bool) error {
	todo := []live.Hash{root}
	for len(todo) > 0 {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		n := c.pages[h]
		c.pages[h] = n + 2
		if n > 1 {
			continue
		}
		p, err := live.Read(ctx, s, h)
		if errors.Is(err, fault.NotExist) && lost(h) {
			c.pages[h] |= 1
			continue
		}
		if err != nil {
			return err
		}
		for i := range p.Needs {
			c.addNeed(&p.Needs[i])
		}
		todo = append(todo, p.Below...)
	}
	return nil
}

func (c *counts) addNeed(n *live.Need) {
	frames := c.frames[n.Pack]
	if len(frames) < int(n.Frames) { // else points disagree; the longer list has all
		frames = append(frames, make([]uint32, int(n.Frames)-len(frames))...)
		c.frames[n.Pack] = frames
	}
	at := 0
	for _, r := range n.Runs {
		if r.Need != 0 {
			for i := at; i < at+int(r.Length); i++ {
				frames[i]++
			}
		}
		at += int(r.Length)
	}
}

// dropRoot takes back what addRoot did. A page that is gone by now is
// errMiscount: another collector was further.
func (c *counts) dropRoot(ctx context.Context, s store.Store, root live.Hash) error {
	todo := []live.Hash{root}
	for len(todo) > 0 {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		n := c.pages[h]
		if n < 2 {
			return errMiscount
		}
		if n > 3 {
			c.pages[h] = n - 2
			continue
		}
		delete(c.pages, h)
		if n == 3 {
			continue // it was not there
		}
		p, err := live.Read(ctx, s, h)
		if errors.Is(err, fault.NotExist) || errors.Is(err, fault.Corrupt) {
			return errMiscount
		}
		if err != nil {
			return err
		}
		for i := range p.Needs {
			if err := c.dropNeed(&p.Needs[i]); err != nil {
				return err
			}
		}
		todo = append(todo, p.Below...)
	}
	return nil
}

func (c *counts) dropNeed(n *live.Need) error {
	frames := c.frames[n.Pack]
	if len(frames) < int(n.Frames) {
		return errMiscount
	}
	at := 0
	for _, r := range n.Runs {
		if r.Need != 0 {
			for i := at; i < at+int(r.Length); i++ {
				if frames[i] == 0 {
					return errMiscount
				}
				frames[i]--
			}
		}
		at += int(r.Length)
	}
	for _, k := range frames {
		if k > 0 {
			return nil
		}
	}
	delete(c.frames, n.Pack)
	return nil
}

// needs says whether any counted point needs a frame.
func (c *counts) needs(id pack.ID, frame int) bool {
	frames := c.frames[id]
	return frame < len(frames) && frames[frame] > 0
}

// needsPage says whether any counted point needs a live page.
func (c *counts) needsPage(h live.Hash) bool { return c.pages[h] > 1 }
