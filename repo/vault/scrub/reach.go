package scrub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// reach gathers what points need, and finds what of it is missing. It reads
// points and live pages, and checks them on the way.
type reach struct {
	*run
	needed map[pack.ID]*need
	pages  map[live.Hash]bool   // walked, with all that is below them
	absent map[live.Hash]uint64 // cannot be read; a point that needs it
	again  bool                 // points and pages were checked by a reach before
}

// need is what points need of a pack.
type need struct {
	point  uint64 // the first one
	frames []bool
}

func (r *reach) need(n *live.Need, sequence uint64) {
	known := r.needed[n.Pack]
	if known == nil {
		known = &need{point: sequence}
		r.needed[n.Pack] = known
	}
	for i, mask := range n.Masks() {
		if i == len(known.frames) {
			known.frames = append(known.frames, false)
		}
		known.frames[i] = known.frames[i] || mask != 0
	}
}

func newReach(r *run) *reach {
	return &reach{run: r, needed: map[pack.ID]*need{}, pages: map[live.Hash]bool{}, absent: map[live.Hash]uint64{}}
}

// points reads all points and their live sets.
func (r *reach) points(ctx context.Context) error {
	var all []object
	for o, err := range r.store.List(ctx, point.Prefix) {
		if err != nil {
			return fmt.Errorf("list points: %w", err)
		}
		if _, err := point.ParseName(o.Name); err == nil {
			all = append(all, object{name: o.Name, size: o.Size})
		}
	}
	var buf []byte
	for _, o := range all {
		data, err := r.read(ctx, o.name, o.size, &buf)
		switch {
		case errors.Is(err, fault.NotExist):
			continue
		case errors.Is(err, fault.TooLarge):
			err = r.done(o, []Finding{{Object: o.name, Frame: -1, Kind: Damaged, Err: err}})
		case err != nil && !away(err):
			err = r.done(o, []Finding{{Object: o.name, Frame: -1, Kind: Unreadable, Err: err}})
		case err == nil:
			err = r.point(ctx, o, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// point checks one point and walks its live set.
func (r *reach) point(ctx context.Context, o object, data []byte) error {
	findings := r.check(o.name, data)
	if err := r.done(o, findings); err != nil || len(findings) > 0 {
		return err
	}
	h, _, err := point.Parse(data)
	if err != nil {
		return err // check has just parsed it
	}
	if !r.again {
		r.report.Points++
	}
	return r.walk(ctx, h.Sequence, live.Hash(h.Live))
}

// done is run.done, once for each object.
func (r *reach) done(o object, findings []Finding) error {
	if r.early[o.name] {
		return nil
	}
	r.early[o.name] = true
	return r.run.done(o, findings)
}

// walk walks a live set. A page that cannot be read hides none of the others:
// the walk begins again without it.
func (r *reach) walk(ctx context.Context, sequence uint64, root live.Hash) error {
	for {
		var asked []live.Hash
		skip := func(h live.Hash) bool {
			if r.pages[h] {
				return true
			}
			if _, absent := r.absent[h]; absent {
				r.absent[h] = sequence
				return true
			}
			asked = append(asked, h)
			return false
		}
		var failed error
		for n, err := range live.Walk(ctx, r.store, root, skip) {
			if failed = err; err == nil {
				r.need(&n, sequence)
			}
		}
		if failed != nil && (ctx.Err() != nil || away(failed)) {
			return fmt.Errorf("live set of point %d: %w", sequence, failed)
		}
		if failed != nil { // the page asked for last is the one
			r.absent[asked[len(asked)-1]] = sequence
			continue
		}
		for _, h := range asked {
			r.pages[h] = true
			if err := r.done(object{name: live.Name(h)}, nil); err != nil {
				return err
			}
		}
		return nil
	}
}

// lack is an object, or a frame of a pack, that is not listed, and a point that
// needs it.
type lack struct {
	name  string
	frame int // -1: the object
	point uint64
	why   error
}

// compare finds what is needed and not there. The listing is younger than the
// points, so that a collector may have removed what a point needed that is gone
// by now; and it may have moved a pack, or somebody may be healing it. Where the
// point that needs something is gone another may need it, too: settled says
// whether no such doubt is left.
func (r *reach) compare(ctx context.Context) (settled bool, err error) {
	settled = true
	lacks, err := r.lacks(ctx)
	if err != nil {
		return false, err
	}
	for _, l := range lacks {
		kept, err := exists(ctx, r.store, point.Name(l.point))
		if err != nil {
			return false, err
		}
		key := fmt.Sprint(l.name, " ", l.frame)
		if !kept {
			settled = false
		} else if !r.missing[key] {
			r.missing[key] = true
			r.add(Finding{Object: l.name, Frame: l.frame, Kind: Missing, Err: l.why, Point: l.point})
		}
	}
	return settled, nil
}

// lacks returns what is needed and cannot be found.
func (r *reach) lacks(ctx context.Context) ([]lack, error) {
	for _, o := range r.listed {
		if id, err := pack.ParseName(o.name); err == nil {
			delete(r.needed, id)
		}
		if h, err := live.ParseName(o.name); err == nil {
			delete(r.absent, h) // it is there, and is read and found damaged later
		}
	}
	var out []lack
	for h, sequence := range r.absent {
		name := live.Name(h)
		_, err := place.Get(ctx, r.store, name, 0, nil)
		switch {
		case errors.Is(err, fault.NotExist):
			out = append(out, lack{name, -1, sequence, bad("the live set of point %d needs it, and it is not there", sequence)})
		case err != nil && away(err):
			return nil, err
		}
	}
	for id, n := range r.needed {
		some, err := r.pack(ctx, id, n)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	slices.SortFunc(out, func(a, b lack) int { return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.frame, b.frame)) })
	return out, nil
}

// pack returns what lacks of a pack that has no object of its own: it may have
// been moved.
func (r *reach) pack(ctx context.Context, id pack.ID, n *need) ([]lack, error) {
	p, err := place.Find(ctx, r.store, r.o.Repository, id)
	switch {
	case errors.Is(err, fault.NotExist):
		return []lack{{id.Name(), -1, n.point, bad("point %d needs it, and it is not there", n.point)}}, nil
	case err != nil && away(err):
		return nil, err
	case err != nil:
		return nil, nil // what tells where it is now is damaged, which is found when all is read
	}
	var out []lack
	for i, needed := range n.frames {
		if !needed {
			continue
		}
		if i >= p.Head.Frames() {
			return append(out, lack{id.Name(), i, n.point, bad("point %d needs its frame %d, and it has %d", n.point, i, p.Head.Frames())}), nil
		}
		if _, _, _, ok := p.Frame(i); !ok {
			out = append(out, lack{id.Name(), i, n.point, bad("point %d needs its frame %d, which no compaction kept", n.point, i)})
		}
	}
	return out, nil
}

// exists says whether there is an object of that name, readable or not.
func exists(ctx context.Context, s store.Store, name string) (bool, error) {
	_, err := place.Get(ctx, s, name, 0, nil)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fault.NotExist):
		return false, nil
	case away(err) || ctx.Err() != nil:
		return false, err
	}
	return true, nil
}
