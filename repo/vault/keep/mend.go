package keep

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// mend ends rounds that are damaged. Until then writers rely on nothing but
// what points need. The damage was seen before intents were listed, so that
// whoever may have read the round before it was damaged has been seen, too.
//
//   - What was condemned cannot be read, and nothing was dropped: nothing is.
//   - What was dropped cannot be read: it was a part of what was condemned, or
//     if that cannot be read either, of all that nobody needs. All of that is
//     dropped; what of it is there is garbage in any case.
//   - A fold: in the same way, all that nobody needs.
//
// Then the plan is made again.
func (c *collector) mend(ctx context.Context, v *view, p *Plan) error {
	for _, n := range v.damaged {
		if err := c.mendRound(ctx, v, n); err != nil {
			return fmt.Errorf("end round %d, which is damaged: %w", n, err)
		}
	}
	if v.damagedFold {
		all := v.unneeded()
		f := &Fold{Repository: c.o.Repository, Number: v.rounds.fold}
		if !all.empty() {
			f.Rounds = []Folded{{Number: f.Number, Time: v.now, Frames: all.Frames, Pages: all.Pages}}
		}
		if err := c.putAnew(ctx, f.Name(), f.Marshal()); err != nil {
			return fmt.Errorf("make the fold of rounds up to %d anew: %w", f.Number, err)
		}
	}
	if len(v.damaged) == 0 && !v.damagedFold {
		return nil
	}
	c.warned = append(c.warned, p.Warnings...)
	return errAgain
}

func (c *collector) mendRound(ctx context.Context, v *view, n uint64) error {
	if !v.rounds.dropped[n] {
		r := &Round{Repository: c.o.Repository, Number: n, Dropped: true}
		if err := c.store.Put(ctx, r.Name(), r.Marshal()); err != nil && !errors.Is(err, fault.Exist) {
			return err
		}
		return nil
	}
	r := v.unneeded()
	condemned, err := readRound(ctx, c.store, c.o.Repository, n, false)
	if err == nil {
		r = v.release(condemned)
	} else if !errors.Is(err, fault.Corrupt) && !errors.Is(err, fault.NotExist) && !errors.Is(err, fault.TooLarge) {
		return err
	}
	r.Repository, r.Number, r.Dropped = c.o.Repository, n, true
	return c.putAnew(ctx, r.Name(), r.Marshal())
}

// putAnew puts an object in the place of a damaged one.
func (c *collector) putAnew(ctx context.Context, name string, b []byte) error {
	if len(b) > maxRound {
		return fmt.Errorf("%d bytes: %w", len(b), fault.TooLarge)
	}
	if err := c.store.Delete(ctx, name); err != nil {
		return err
	}
	if err := c.store.Put(ctx, name, b); err != nil && !errors.Is(err, fault.Exist) {
		return err
	}
	return nil
}

// unneeded names all that is there and that nobody needs.
func (v *view) unneeded() *Round {
	r := &Round{}
	for id := range v.packs {
		v.addUnneeded(r, id)
	}
	for id := range v.moved {
		if _, both := v.packs[id]; !both {
			v.addUnneeded(r, id)
		}
	}
	for id := range v.containers {
		if !v.namesContainer(id) {
			r.Frames = append(r.Frames, allOf(id, 1))
		}
	}
	for h := range v.pages {
		if !v.claims.pages[h] {
			r.Pages = append(r.Pages, h)
		}
	}
	slices.SortFunc(r.Frames, func(a, b live.Need) int { return compareIDs(a.Pack, b.Pack) })
	slices.SortFunc(r.Pages, compareHashes)
	return r
}

func (v *view) addUnneeded(r *Round, id pack.ID) {
	n := max(len(v.counts.frames[id]), len(v.claims.frames[id]))
	if n == 0 {
		r.Frames = append(r.Frames, allOf(id, 1))
		return
	}
	masks := make([]uint8, n)
	some := false
	for i := range masks {
		if !v.needs(id, i) {
			masks[i], some = 255, true
		}
	}
	if some {
		r.Frames = append(r.Frames, live.Need{Pack: id, Frames: uint32(n), Runs: runsOf(masks)})
	}
}
