package scrub

import (
	"context"
	"slices"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// passDropped takes from the findings of an object of frames those that lie in
// frames which a collection has dropped. They are there only because others of
// their pack are needed, nobody reads them, no writer relies on them, and a
// replica need not have them: they go with their pack, or when it is compacted.
func (r *run) passDropped(ctx context.Context, name string, data []byte, findings []Finding) ([]Finding, error) {
	if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Kind == Damaged && f.Frame >= 0 }) {
		return findings, nil
	}
	dropped, err := r.readDropped(ctx)
	if err != nil {
		return nil, err
	}
	left := slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool {
		id, frame, ok := frameOf(name, data, f.Frame)
		return ok && f.Kind == Damaged && dropped.Has(id, frame)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Dropped += len(findings) - len(left)
	return left, nil
}

func (r *run) readDropped(ctx context.Context) (*keep.Absent, error) {
	r.droppedMu.Lock()
	defer r.droppedMu.Unlock()
	if r.dropped == nil {
		var err error
		if r.dropped, err = keep.ReadDropped(ctx, r.store, r.o.Repository); err != nil {
			return nil, err
		}
	}
	return r.dropped, nil
}

// frameOf returns which frame of which pack is the i-th of an object.
func frameOf(name string, data []byte, i int) (id pack.ID, frame int, ok bool) {
	if id, err := pack.ParseName(name); err == nil {
		return id, i, i >= 0
	}
	c, err := pack.ParseContainer(data)
	if err != nil || i < 0 || i >= len(c.Frames) {
		return id, 0, false
	}
	return c.Frames[i].Pack, int(c.Frames[i].Frame), true
}
