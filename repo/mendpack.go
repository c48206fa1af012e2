package repo

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
)

// mendPack puts what a pack is stored in together again, from its good frames
// and those of the replicas, byte by byte as it was, and puts it back: its own
// object, or the containers to which its frames were moved.
func (r *Repository) mendPack(ctx context.Context, id pack.ID, cause error) Notice {
	n := Notice{Outcome: Healed, Object: id.Name(), Frame: -1, Cause: cause}
	own, err := scrub.Salvage(ctx, r.store, id.Name())
	if err == nil && own == nil {
		m, found := place.Newest(ctx, r.store, r.ID, id)
		if found == nil {
			return r.mendContainers(ctx, m, cause)
		}
		err = r.wasLost(ctx, id)
	}
	if h, bad := pack.Parse(own); bad == nil && r.opens(id, h) != nil {
		own = nil // its hashes say that it is right, and the keys that it is not
	}
	if err == nil {
		err = r.mendFrames(ctx, own, &n)
	}
	if err != nil {
		n.Outcome, n.Err = Served, err
		return n
	}
	r.reader.heads.forget(id)
	return n
}

// mendFrames rebuilds an object of frames, and puts it back if anything was
// wrong.
func (r *Repository) mendFrames(ctx context.Context, own []byte, n *Notice) error {
	b, err := scrub.RebuildFrom(ctx, own, r.ID, n.Object, []scrub.Source{&proven{r, n}})
	if err != nil {
		return err
	}
	n.size = int64(len(b.Data))
	if len(b.From) == 0 {
		n.Outcome = Right
		return nil
	}
	return r.heal(ctx, n.Object, b.Data)
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
		one := Notice{Outcome: Healed, Object: pack.ContainerName(id), Frame: -1, Cause: cause}
		own, err := scrub.Salvage(ctx, r.store, one.Object)
		if err == nil {
			err = r.mendFrames(ctx, own, &one)
		}
		if err != nil {
			one.Outcome, one.Err = Served, err
			return one
		}
		if one.Outcome == Healed {
			n = one
		}
	}
	r.reader.heads.forget(m.Pack)
	return n
}

// opens fails unless the head is that pack's, which the keys tell.
func (r *Repository) opens(id pack.ID, h *pack.Head) error {
	if h.ID != id || h.Repository != [16]byte(r.ID) {
		return fmt.Errorf("head of another pack: %w", fault.Corrupt)
	}
	o, err := r.openPlace(&place.Place{Head: h})
	if err == nil {
		_, err = r.chunkList(h, o.Geometry)
	}
	return err
}

// proven is what the replicas have, as a Source of a repair: heads and frames
// that the keys have opened. It notes in a Notice what was wrong and who helped.
type proven struct {
	r      *Repository
	notice *Notice
}

// Name implements scrub.Source.
func (*proven) Name() string { return "the replicas" }

// Object implements scrub.Source: a pack whose own head is of no use. A replica
// need not have a container.
func (p *proven) Object(ctx context.Context, name string, own []byte) ([]byte, error) {
	id, err := pack.ParseName(name)
	if err != nil {
		return nil, fault.NotExist
	}
	var head *pack.Head
	from, err := p.r.elsewhere(ctx, fmt.Errorf("head of pack %s: %w", id, fault.Corrupt), func(other *Repository) error {
		h, err := other.readHead(ctx, id)
		if err == nil {
			err = p.r.opens(id, h)
		}
		head = h
		return err
	})
	if err != nil {
		return nil, err
	}
	p.notice.Replica, p.notice.Frame, p.notice.Frames = from.Name, -1, 0
	object := append(make([]byte, 0, head.ObjectSize()), head.Marshal()...)
	for i := range head.Frames() {
		offset, length := head.Frame(i)
		if end := uint64(offset) + uint64(length); end <= uint64(len(own)) && sha256.Sum256(own[offset:end]) == head.Hashes[i] {
			object = append(object, own[offset:end]...)
			continue
		}
		f, err := p.Frame(ctx, pack.Stored{Pack: id, Frame: uint32(i), Length: length, Hash: head.Hashes[i]}, nil)
		if err != nil {
			return nil, err
		}
		object = append(object, f...)
	}
	return object, nil
}

// Frame implements scrub.Source.
func (p *proven) Frame(ctx context.Context, f pack.Stored, _ []byte) ([]byte, error) {
	if p.notice.Frames++; p.notice.Frames == 1 {
		p.notice.Frame = int(f.Frame)
	}
	i := int(f.Frame)
	var frame []byte
	from, err := p.r.elsewhere(ctx, fmt.Errorf("frame %d of pack %s: %w", i, f.Pack, fault.Corrupt), func(other *Repository) error {
		o, err := other.openPack(ctx, f.Pack)
		if err != nil {
			return err
		}
		var scratch []byte
		sealed, err := other.readFrame(ctx, o, i, &scratch)
		if err != nil {
			return err
		}
		if len(sealed) != int(f.Length) || sha256.Sum256(sealed) != f.Hash {
			return fmt.Errorf("frame %d is damaged there, too: %w", i, fault.Corrupt)
		}
		frame = append([]byte(nil), sealed...)
		_, err = p.r.unsealFrame(nil, o, i, sealed) // in place, so after it was copied
		return err
	})
	if err != nil {
		return nil, err
	}
	p.notice.Replica = from.Name
	return frame, nil
}
