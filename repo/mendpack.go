package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// mendPack puts what a pack is stored in together again, from its good frames
// and those of the replicas, byte by byte as it was, and puts it back: its own
// object, or the containers to which its frames were moved.
func (r *Repository) mendPack(ctx context.Context, id pack.ID, cause error) Notice {
	own, missing, err := r.readDamaged(ctx, id.Name())
	if err == nil && missing {
		m, found := place.Newest(ctx, r.store, r.ID, id)
		if found == nil {
			return r.mendContainers(ctx, m, cause)
		}
		err = r.wasLost(ctx, id)
	}
	b := &rebuilding{r: r, own: own, notice: Notice{Outcome: Healed, Object: id.Name(), Frame: -1, Cause: cause}}
	if err == nil {
		err = b.pack(ctx, id)
	}
	if err == nil && b.notice.Outcome == Healed {
		err = r.heal(ctx, id.Name(), b.object)
	}
	if err != nil {
		b.notice.Outcome, b.notice.Err = Served, err
		return b.notice
	}
	r.reader.heads.forget(id)
	b.notice.size = int64(len(b.object))
	return b.notice
}

// wasLost fails for a pack that is missing because a collector has removed it,
// with the last point that needed it, while somebody still looked at that: it
// stays removed. A pack that was moved, and of which no record can be used any
// more, is lost.
func (r *Repository) wasLost(ctx context.Context, id pack.ID) error {
	for _, err := range r.store.List(ctx, pack.MovedOf(id)) {
		return err
	}
	absent, err := r.readRounds(ctx)
	if err == nil && absent.Any(id) {
		err = fmt.Errorf("a collector has removed it: %w", fault.Stale)
	}
	return err
}

// mendContainers is mendPack for one whose frames were moved.
func (r *Repository) mendContainers(ctx context.Context, m *pack.Moved, cause error) Notice {
	n := Notice{Outcome: Right, Object: m.Pack.Name(), Frame: -1, Cause: cause}
	for _, id := range m.Containers {
		name := pack.ContainerName(id)
		own, _, err := r.readDamaged(ctx, name)
		b := &rebuilding{r: r, own: own, notice: Notice{Outcome: Healed, Object: name, Frame: -1, Cause: cause}}
		if err == nil {
			err = b.container(ctx, id)
		}
		if err == nil && b.notice.Outcome == Healed {
			err = r.heal(ctx, name, b.object)
		}
		if err != nil {
			b.notice.Outcome, b.notice.Err = Served, err
			return b.notice
		}
		if b.notice.Outcome == Healed {
			n = b.notice
		}
	}
	r.reader.heads.forget(m.Pack)
	return n
}

// readDamaged reads what can be read of an object: where a part cannot be, zeros
// stand for it.
func (r *Repository) readDamaged(ctx context.Context, name string) (own []byte, missing bool, err error) {
	own, err = store.ReadAll(ctx, r.store, name, pack.MaxObject)
	switch {
	case err == nil:
		return own, false, nil
	case errors.Is(err, fault.NotExist):
		return nil, true, nil
	case errors.Is(err, fault.TooLarge):
		return nil, false, nil
	case ctx.Err() != nil || errors.Is(err, fault.Unavailable):
		return nil, false, err
	}
	// A bad sector: what lies around it is still there.
	const part = 256 << 10
	for at := int64(0); at < pack.MaxObject; at += part {
		own = append(own, make([]byte, part)...)
		n, err := r.store.Get(ctx, name, at, own[at:])
		if err == nil && n < part {
			return own[:at+int64(n)], false, nil
		}
		if err != nil {
			clear(own[at:])
		}
	}
	return own, false, nil
}

// rebuilding is an object of frames that is put together again.
type rebuilding struct {
	r       *Repository
	own     []byte // what the store has of it
	object  []byte // what it should have
	notice  Notice
	scratch []byte
}

// pack puts a pack's own object together.
func (b *rebuilding) pack(ctx context.Context, id pack.ID) error {
	h, own, err := b.head(ctx, id)
	if err != nil {
		return err
	}
	b.object = append(make([]byte, 0, h.ObjectSize()), h.Marshal()...)
	for i := range h.Frames() {
		offset, length := h.Frame(i)
		if err := b.frame(ctx, id, i, offset, length, h.Hashes[i]); err != nil {
			return err
		}
	}
	b.right(own)
	return nil
}

// right notes that there was nothing to do.
func (b *rebuilding) right(head bool) {
	if head && b.notice.Frames == 0 && len(b.own) == len(b.object) {
		b.notice.Outcome, b.notice.Replica = Right, ""
	}
}

// container puts a container together, whose own head must be right: a replica
// need not have it.
func (b *rebuilding) container(ctx context.Context, id pack.ID) error {
	c, err := pack.ParseContainer(b.own)
	if err == nil && (c.ID != id || c.Repository != [16]byte(b.r.ID)) {
		err = fmt.Errorf("head of another container: %w", fault.Corrupt)
	}
	if err != nil {
		return err
	}
	b.object = append(make([]byte, 0, c.ObjectSize()), c.Marshal()...)
	for i := range c.Frames {
		f := &c.Frames[i]
		offset, length := c.Frame(i)
		if err := b.frame(ctx, f.Pack, int(f.Frame), offset, length, f.Hash); err != nil {
			return err
		}
	}
	b.right(true)
	return nil
}

// head takes the pack's own head if it is right, else a replica's.
func (b *rebuilding) head(ctx context.Context, id pack.ID) (head *pack.Head, own bool, err error) {
	use := func(h *pack.Head) error {
		if h.ID != id || h.Repository != [16]byte(b.r.ID) {
			return fmt.Errorf("head of another pack: %w", fault.Corrupt)
		}
		o, err := b.r.openPlace(&place.Place{Head: h})
		if err == nil {
			_, err = b.r.chunkList(h, o.Geometry)
		}
		if err == nil {
			head = h
		}
		return err
	}
	h, err := pack.Parse(b.own)
	if err == nil {
		err = use(h)
	}
	if err == nil {
		return head, true, nil
	}
	p, err := b.r.elsewhere(ctx, err, func(other *Repository) error {
		h, err := other.readHead(ctx, id)
		if err != nil {
			return err
		}
		return use(h)
	})
	if err == nil {
		b.notice.Replica = p.Name
	}
	return head, false, err
}

// frame appends a frame that lies at offset: the own one if it has the hash,
// else a replica's, which must open, too.
func (b *rebuilding) frame(ctx context.Context, id pack.ID, i int, offset, length uint32, hash [32]byte) error {
	if end := uint64(offset) + uint64(length); end <= uint64(len(b.own)) {
		if f := b.own[offset:end]; sha256.Sum256(f) == hash {
			b.object = append(b.object, f...)
			return nil
		}
	}
	if b.notice.Frames++; b.notice.Frames == 1 {
		b.notice.Frame = i
	}
	p, err := b.r.elsewhere(ctx, fmt.Errorf("frame %d of pack %s: %w", i, id, fault.Corrupt), func(other *Repository) error {
		o, err := other.openPack(ctx, id)
		if err != nil {
			return err
		}
		sealed, err := other.readFrame(ctx, o, i, &b.scratch)
		if err != nil {
			return err
		}
		if len(sealed) != int(length) || sha256.Sum256(sealed) != hash {
			return fmt.Errorf("frame %d is damaged there, too: %w", i, fault.Corrupt)
		}
		b.object = append(b.object, sealed...)
		_, err = b.r.unsealFrame(nil, o, i, sealed) // in place, so after it was copied
		if err != nil {
			b.object = b.object[:offset]
		}
		return err
	})
	if err != nil {
		return err
	}
	b.notice.Replica = p.Name
	return nil
}
