package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
)

// maxHeads bounds the heads in memory: about 2 KiB each.
const maxHeads = 4096

// opened is what reading a pack takes: where its frames are, and the box that
// opens them (nil where only a head was asked for, in sealed use).
type opened struct {
	pack.Geometry
	id     pack.ID
	frames []uint32 // offset of each stored frame, and the object's end
	box    *seal.Box
}

// frame returns where stored frame i is in the object.
func (o *opened) frame(i int) (offset, length uint32) {
	return o.frames[i], o.frames[i+1] - o.frames[i]
}

// heads keeps opened heads and session keys. A run seals one session key and
// repeats it in every head, so that few are opened with the private key.
type heads struct {
	mu       sync.Mutex
	packs    map[pack.ID]*opened
	sessions map[string]seal.Key
}

// getPack reads bytes of a pack's object. One that is missing may be on its
// way back: a store that cannot replace an object in one step has none for a
// moment while it is healed, but a copy.
func (r *Repository) getPack(ctx context.Context, id pack.ID, offset int64, dst []byte) (int, error) {
	n, err := r.store.Get(ctx, id.Name(), offset, dst)
	if !errors.Is(err, fault.NotExist) {
		return n, err
	}
	if n, healing := r.store.Get(ctx, scrub.HealedName(id.Name()), offset, dst); healing == nil {
		return n, nil
	}
	return r.store.Get(ctx, id.Name(), offset, dst) // it may be done by now
}

// readPackObject reads the whole object of a pack, which has that many bytes.
func (r *Repository) readPackObject(ctx context.Context, id pack.ID, size int64) ([]byte, error) {
	b := make([]byte, size+1) // one more tells whether it is longer
	n, err := r.getPack(ctx, id, 0, b)
	if err == nil && int64(n) != size {
		err = fmt.Errorf("pack %s has not %d bytes: %w", id, size, fault.Corrupt)
	}
	return b[:n], err
}

// readHead reads what comes before the frames of a pack.
func (r *Repository) readHead(ctx context.Context, id pack.ID) (*pack.Head, error) {
	buf := make([]byte, pack.HeadRead)
	n, err := r.getPack(ctx, id, 0, buf)
	if errors.Is(err, fault.NotExist) {
		return nil, fmt.Errorf("pack %s is missing from the vault: %w", id, fault.Corrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("read pack %s: %w", id, err)
	}
	need, err := pack.Need(buf[:n])
	if err != nil {
		return nil, fmt.Errorf("read pack %s: %w", id, err)
	}
	if need > n && n == len(buf) {
		buf = append(make([]byte, 0, need), buf...)[:need]
		more, err := r.getPack(ctx, id, int64(n), buf[n:])
		if err != nil {
			return nil, fmt.Errorf("read pack %s: %w", id, err)
		}
		n += more
	}
	h, err := pack.Parse(buf[:n])
	if err != nil {
		return nil, fmt.Errorf("read pack %s: %w", id, err)
	}
	if h.ID != id || seal.RepositoryID(h.Repository) != r.ID {
		return nil, fmt.Errorf("object of pack %s holds pack %s of repository %x: %w", id, h.ID, h.Repository, fault.Corrupt)
	}
	return h, nil
}

// geometry opens the sealed geometry of a head, and checks that no frame is
// longer than its span allows: lengths stand in the clear, and a vault that
// made them up could take much memory of whoever reads.
func (r *Repository) geometry(h *pack.Head) (pack.Geometry, error) {
	plain, err := r.keys.Index().Open(nil, h.Geometry[:], seal.AD{Pack: h.ID, Kind: seal.Geometry, Raw: pack.GeometrySize})
	if err != nil {
		return pack.Geometry{}, fmt.Errorf("geometry of pack %s: %w", h.ID, err)
	}
	g, err := pack.ParseGeometry(plain)
	if err == nil {
		err = g.Validate(h.Frames())
	}
	if err != nil {
		return pack.Geometry{}, fmt.Errorf("geometry of pack %s: %w", h.ID, err)
	}
	for i, length := range h.Lengths {
		start, end := g.Span(i)
		if int(length) > seal.MaxSealed(int(end-start)) {
			return pack.Geometry{}, fmt.Errorf("frame %d of pack %s: %d bytes for %d: %w", i, h.ID, length, end-start, fault.Corrupt)
		}
	}
	return g, nil
}

// session opens a sealed session key, or remembers it.
func (r *Repository) session(epoch uint32, sealed []byte) (seal.Key, error) {
	h := &r.reader.heads
	h.mu.Lock()
	key, ok := h.sessions[string(sealed)]
	h.mu.Unlock()
	if ok {
		return key, nil
	}
	private, err := r.privateOf(epoch)
	if err != nil {
		return seal.Key{}, err
	}
	if key, err = private.OpenSession(r.ID, sealed); err != nil {
		return seal.Key{}, err
	}
	h.mu.Lock()
	if len(h.sessions) >= maxHeads {
		clear(h.sessions)
	}
	h.sessions[string(sealed)] = key
	h.mu.Unlock()
	return key, nil
}

// openPack returns the opened head of a pack.
func (r *Repository) openPack(ctx context.Context, id pack.ID) (*opened, error) {
	hs := &r.reader.heads
	hs.mu.Lock()
	o := hs.packs[id]
	hs.mu.Unlock()
	if o != nil {
		return o, nil
	}
	if r.keys == nil {
		return nil, fmt.Errorf("open pack: the repository is locked: %w", fault.Locked)
	}
	h, err := r.readHead(ctx, id)
	if err != nil {
		return nil, err
	}
	if o, err = r.openHead(h); err != nil {
		return nil, err
	}
	hs.mu.Lock()
	if len(hs.packs) >= maxHeads {
		// Any victim will do: one head costs one read.
		for victim := range hs.packs {
			delete(hs.packs, victim)
			break
		}
	}
	hs.packs[id] = o
	hs.mu.Unlock()
	return o, nil
}

// OpenPack makes sure that a pack's head is read and right, so that Prefetch
// can work on it.
func (r *Repository) OpenPack(ctx context.Context, id pack.ID) error {
	_, err := r.openPack(ctx, id)
	return err
}

func (r *Repository) openHead(h *pack.Head) (*opened, error) {
	g, err := r.geometry(h)
	if err != nil {
		return nil, err
	}
	session, err := r.session(h.Epoch, h.Session)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", h.ID, err)
	}
	box, commitment := r.keys.Pack(session, h.ID)
	if commitment != h.Commitment {
		return nil, fmt.Errorf("pack %s was sealed with other keys: damaged or forged: %w", h.ID, fault.Corrupt)
	}
	o := &opened{Geometry: g, id: h.ID, box: box, frames: make([]uint32, h.Frames()+1)}
	for i := range h.Frames() {
		o.frames[i], _ = h.Frame(i)
	}
	o.frames[h.Frames()] = uint32(h.ObjectSize())
	return o, nil
}

// packObjects lists the packs in the store with the sizes of their objects.
// Those that are being healed count, too, and are listed first: so one is seen
// as its copy or, once that is gone, as itself.
func (r *Repository) packObjects(ctx context.Context) (map[pack.ID]int64, error) {
	packs := make(map[pack.ID]int64)
	for _, prefix := range []string{scrub.HealedName(pack.Prefix), pack.Prefix} {
		for object, err := range r.store.List(ctx, prefix) {
			if err != nil {
				return nil, fmt.Errorf("list packs: %w", err)
			}
			if id, err := pack.ParseName(strings.TrimPrefix(object.Name, scrub.Healed)); err == nil {
				packs[id] = object.Size
			}
		}
	}
	return packs, nil
}
