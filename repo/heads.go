package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
)

// maxHeads bounds the heads in memory: about 2 KiB each.
const maxHeads = 4096

// opened is what reading a pack takes: where its frames are, and the box that
// opens them (nil where only a head was asked for, in sealed use).
type opened struct {
	pack.Geometry
	id     pack.ID
	frames []uint32 // offset of each stored frame in the pack's own object, and that object's end
	moved  *moved   // nil: the frames are there
	box    *seal.Box
	from   *Repository // where the object is: the repository itself, or a replica of it
}

// moved is where a compaction has put the frames of a pack.
type moved struct {
	containers []pack.ID
	places     []pack.Place // ascending frames; those that are not here are gone
}

// frame returns where stored frame i is. One that a compaction did not keep is
// nowhere: fault.Corrupt, for whoever asks for it has a point that needs it.
func (o *opened) frame(i int) (object string, offset, length uint32, err error) {
	length = o.frames[i+1] - o.frames[i]
	if o.moved == nil {
		return o.id.Name(), o.frames[i], length, nil
	}
	k, ok := slices.BinarySearchFunc(o.moved.places, uint32(i), func(p pack.Place, frame uint32) int { return cmp.Compare(p.Frame, frame) })
	if !ok {
		return "", 0, 0, fmt.Errorf("frame %d of pack %s is gone, a collector found that no recovery point needs it: %w", i, o.id, fault.Corrupt)
	}
	p := o.moved.places[k]
	return pack.ContainerName(o.moved.containers[p.Container]), p.Offset, length, nil
}

// heads keeps opened heads and session keys. A run seals one session key and
// repeats it in every head, so that few are opened with the private key.
type heads struct {
	mu       sync.Mutex
	packs    map[pack.ID]*opened
	sessions map[string]seal.Key
}

// readPlace finds a pack and reads what comes before its frames.
func (r *Repository) readPlace(ctx context.Context, id pack.ID) (*place.Place, error) {
	p, err := place.Find(ctx, r.store, r.ID, id)
	if errors.Is(err, fault.NotExist) {
		return nil, fmt.Errorf("pack %s is missing from the vault: %w", id, fault.Corrupt)
	}
	return p, err
}

// readHead reads what comes before the frames of a pack.
func (r *Repository) readHead(ctx context.Context, id pack.ID) (*pack.Head, error) {
	p, err := r.readPlace(ctx, id)
	if err != nil {
		return nil, err
	}
	return p.Head, nil
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
	o, err := r.loadPack(ctx, id)
	if r.asksReplicas(ctx, err) {
		o, err = r.packElsewhere(ctx, id, err)
	}
	if err != nil {
		return nil, err
	}
	hs.keep(o)
	return o, nil
}

func (hs *heads) keep(o *opened) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(hs.packs) >= maxHeads {
		// Any victim will do: one head costs one read.
		for victim := range hs.packs {
			delete(hs.packs, victim)
			break
		}
	}
	hs.packs[o.id] = o
}

func (hs *heads) forget(id pack.ID) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	delete(hs.packs, id)
}

// loadPack opens the head that is in the repository's own store.
func (r *Repository) loadPack(ctx context.Context, id pack.ID) (*opened, error) {
	p, err := r.readPlace(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.openPlace(p)
}

// reopenPack returns the opened head of a pack of which a known frame was not
// where o says: it was moved since.
func (r *Repository) reopenPack(ctx context.Context, o *opened) (*opened, error) {
	again, err := r.loadPack(ctx, o.id)
	if err != nil {
		return nil, err
	}
	r.reader.heads.keep(again)
	return again, nil
}

func (r *Repository) openPlace(p *place.Place) (*opened, error) {
	h := p.Head
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
	o := &opened{Geometry: g, id: h.ID, box: box, from: r, frames: make([]uint32, h.Frames()+1)}
	for i := range h.Frames() {
		o.frames[i], _ = h.Frame(i)
	}
	o.frames[h.Frames()] = uint32(h.ObjectSize())
	if p.Moved != nil {
		o.moved = &moved{p.Moved.Containers, p.Moved.Places}
	}
	return o, nil
}

// packObject is how a pack is stored.
type packObject struct {
	size       int64  // of the pack's own object; 0: there is none
	generation uint32 // of its newest moved record; 0: there is none
}

// stamp tells one way of storing a pack from another, as the index remembers
// it. No object has 2^31 bytes.
func (p packObject) stamp() uint32 {
	if p.generation > 0 {
		return 1<<31 | p.generation
	}
	return uint32(p.size)
}

// packObjects lists the packs in the store. Those that are being healed count,
// too, and are listed first: so one is seen as its copy or, once that is gone,
// as itself. Moved records come last, since they are put long before the pack's
// own object is deleted.
func (r *Repository) packObjects(ctx context.Context) (map[pack.ID]packObject, error) {
	packs := make(map[pack.ID]packObject)
	for _, prefix := range []string{place.HealedName(pack.Prefix), pack.Prefix} {
		for object, err := range r.store.List(ctx, prefix) {
			if err != nil {
				return nil, fmt.Errorf("list packs: %w", err)
			}
			if id, err := pack.ParseName(strings.TrimPrefix(object.Name, place.Healed)); err == nil {
				packs[id] = packObject{size: object.Size}
			}
		}
	}
	generations, err := place.Generations(ctx, r.store)
	if err != nil {
		return nil, err
	}
	for id, g := range generations {
		packs[id] = packObject{packs[id].size, g}
	}
	return packs, nil
}
