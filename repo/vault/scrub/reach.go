package scrub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// reach gathers what points need, and finds what of it is missing. It reads
// points and live pages, and checks them on the way.
type reach struct {
	*run
	needed map[pack.ID]uint64   // the first point that needs the pack
	pages  map[live.Hash]bool   // walked, with all that is below them
	absent map[live.Hash]uint64 // cannot be read; a point that needs it
	again  bool                 // points and pages were checked by a reach before
}

func newReach(r *run) *reach {
	return &reach{run: r, needed: map[pack.ID]uint64{}, pages: map[live.Hash]bool{}, absent: map[live.Hash]uint64{}}
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
				if _, known := r.needed[n.Pack]; !known {
					r.needed[n.Pack] = sequence
				}
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

// lack is an object that is not listed, and a point that needs it.
type lack struct {
	name  string
	point uint64
}

// compare finds what is needed and not there. The listing is younger than the
// points, so that a collector may have removed what a point needed that is gone
// by now; and it may have moved a pack, or somebody may be healing it. Where the
// point that needs something is gone another may need it, too: settled says
// whether no such doubt is left.
func (r *reach) compare(ctx context.Context) (settled bool, err error) {
	settled = true
	for _, l := range r.lacks() {
		there, err := r.there(ctx, l.name)
		if err != nil {
			return false, err
		}
		if there {
			continue
		}
		kept, err := exists(ctx, r.store, point.Name(l.point))
		if err != nil {
			return false, err
		}
		if !kept {
			settled = false
		} else if !r.missing[l.name] {
			r.missing[l.name] = true
			r.add(Finding{Object: l.name, Frame: -1, Kind: Missing, Err: bad("point %d needs it, and it is not there", l.point), Point: l.point})
		}
	}
	return settled, nil
}

func (r *reach) lacks() []lack {
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
		out = append(out, lack{live.Name(h), sequence})
	}
	for id, sequence := range r.needed {
		out = append(out, lack{id.Name(), sequence})
	}
	slices.SortFunc(out, func(a, b lack) int { return strings.Compare(a.name, b.name) })
	return out
}

// there says whether an object is there after all.
func (r *reach) there(ctx context.Context, name string) (bool, error) {
	for _, n := range []string{name, HealedName(name), name} {
		if ok, err := exists(ctx, r.store, n); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// exists says whether there is an object of that name, readable or not.
func exists(ctx context.Context, s store.Store, name string) (bool, error) {
	_, err := s.Get(ctx, name, 0, nil)
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
