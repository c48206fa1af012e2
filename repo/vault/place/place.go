// Package place finds the frames of packs, with no key: in the object in which
// a pack was written, in its copy while that is healed, or in the containers
// to which a compaction has moved them. Whoever reads a frame, keyed or not,
// asks here.
//
// Nouns: a Place is a pack as it can be read now: its head, and for each frame
// an object and an offset in it. A generation is one moved record of a pack.
//
// A Place is good for the moment. Objects that it names may be deleted at any
// time, after what they held was put elsewhere; so whoever meets
// fault.NotExist in one asks again. The order of a compaction (containers, then
// the moved record, and long after that the deletion; FORMAT.md, 9.3) makes
// sure that the answer then is another one.
package place

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Feature is the object that a repository has before its first pack is moved,
// so that readers which know nothing of moved records refuse it.
const Feature = "keys/feature-0001"

// FeatureBytes returns that object.
func FeatureBytes(repository [16]byte) []byte {
	return append(append([]byte("tidmFEA\x01"), repository[:]...), 1, 0)
}

// Healed is where copies of objects lie while they are put back.
const Healed = "healed/"

// HealedName returns where the copy of an object lies while it is healed.
func HealedName(name string) string { return Healed + name }

// Get reads bytes of an object as store.Store.Get does. One that is missing may
// be on its way back: a store that cannot replace an object in one step has
// none for a moment while it is healed, but a copy.
func Get(ctx context.Context, s store.Store, name string, offset int64, dst []byte) (int, error) {
	n, err := s.Get(ctx, name, offset, dst)
	if !errors.Is(err, fault.NotExist) {
		return n, err
	}
	if n, healing := s.Get(ctx, HealedName(name), offset, dst); healing == nil {
		return n, nil
	}
	return s.Get(ctx, name, offset, dst) // it may be done by now
}

// Place is a pack as it can be read now.
type Place struct {
	Head  *pack.Head
	Moved *pack.Moved // nil: every frame is in the pack's own object
}

// Frame returns where stored frame i is. ok is false if a compaction did not
// keep it, because nothing that is kept needs it.
func (p *Place) Frame(i int) (object string, offset, length uint32, ok bool) {
	if p.Moved == nil {
		offset, length = p.Head.Frame(i)
		return p.Head.ID.Name(), offset, length, true
	}
	container, offset, length, ok := p.Moved.Find(i)
	return pack.ContainerName(container), offset, length, ok
}

// Find returns where a pack is. A pack that is nowhere is fault.NotExist, one
// whose head is damaged fault.Corrupt.
func Find(ctx context.Context, s store.Store, repository [16]byte, id pack.ID) (*Place, error) {
	var err error
	for range 3 { // it may be moved, and again, just now
		var h *pack.Head
		if h, err = Head(ctx, s, repository, id); !errors.Is(err, fault.NotExist) {
			return &Place{Head: h}, err
		}
		var m *pack.Moved
		if m, err = Newest(ctx, s, repository, id); err == nil {
			return &Place{Head: m.Head, Moved: m}, nil
		}
		if !errors.Is(err, fault.NotExist) {
			return nil, err
		}
	}
	return nil, err
}

// heads are buffers of Head: a head has some hundred bytes, and is kept.
var heads = sync.Pool{New: func() any { return new([pack.HeadRead]byte) }}

// Head reads what stands before the frames in a pack's own object.
func Head(ctx context.Context, s store.Store, repository [16]byte, id pack.ID) (*pack.Head, error) {
	first := heads.Get().(*[pack.HeadRead]byte)
	n, err := Get(ctx, s, id.Name(), 0, first[:])
	if err != nil { // and whoever was given first may still write to it
		return nil, fmt.Errorf("read pack %s: %w", id, err)
	}
	need, err := pack.Need(first[:n])
	if err != nil {
		return nil, fmt.Errorf("read pack %s: %w", id, err)
	}
	short := need > n && n == len(first)
	n = min(n, need)
	buf := append(make([]byte, 0, need), first[:n]...)
	heads.Put(first)
	if short {
		buf = buf[:need]
		more, err := Get(ctx, s, id.Name(), int64(n), buf[n:])
		if err != nil {
			return nil, fmt.Errorf("read pack %s: %w", id, err)
		}
		n += more
	}
	h, err := pack.Parse(buf[:n])
	if err != nil {
		return nil, fmt.Errorf("read pack %s: %w", id, err)
	}
	if h.ID != id || h.Repository != repository {
		return nil, fmt.Errorf("object of pack %s holds pack %s of repository %x: %w", id, h.ID, h.Repository, fault.Corrupt)
	}
	return h, nil
}

// Newest returns the moved record of a pack that counts: that of the highest
// generation whose containers are all there. None is fault.NotExist, and
// fault.Corrupt if the only ones are damaged.
func Newest(ctx context.Context, s store.Store, repository [16]byte, id pack.ID) (*pack.Moved, error) {
	var generations []uint32
	for o, err := range s.List(ctx, pack.MovedOf(id)) {
		if err != nil {
			return nil, fmt.Errorf("look where pack %s was moved: %w", id, err)
		}
		if _, g, err := pack.ParseMovedName(o.Name); err == nil {
			generations = append(generations, g)
		}
	}
	result := fmt.Errorf("pack %s is missing from the vault: %w", id, fault.NotExist)
	slices.Sort(generations)
	for _, g := range slices.Backward(generations) {
		m, err := Read(ctx, s, repository, id, g)
		if err == nil {
			err = hasContainers(ctx, s, m)
		}
		switch {
		case err == nil:
			return m, nil
		case errors.Is(err, fault.Corrupt):
			result = err
		case !errors.Is(err, fault.NotExist):
			return nil, err
		}
	}
	return nil, result
}

func hasContainers(ctx context.Context, s store.Store, m *pack.Moved) error {
	for _, c := range m.Containers {
		if _, err := Get(ctx, s, pack.ContainerName(c), 0, nil); err != nil {
			return fmt.Errorf("container %s, to which pack %s was moved: %w", c, m.Pack, err)
		}
	}
	return nil
}

// Read reads one moved record.
func Read(ctx context.Context, s store.Store, repository [16]byte, id pack.ID, generation uint32) (*pack.Moved, error) {
	name := pack.MovedName(id, generation)
	b, err := store.ReadAll(ctx, s, name, pack.MaxMoved)
	if errors.Is(err, fault.NotExist) {
		b, err = store.ReadAll(ctx, s, HealedName(name), pack.MaxMoved)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	m, err := pack.ParseMoved(b)
	if err == nil && (m.Pack != id || m.Generation != generation || m.Repository != repository) {
		err = fmt.Errorf("it is that of pack %s, generation %d: %w", m.Pack, m.Generation, fault.Corrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return m, nil
}

// Container reads what stands before the frames of a container.
func Container(ctx context.Context, s store.Store, repository [16]byte, id pack.ID) (*pack.Container, error) {
	name := pack.ContainerName(id)
	buf := make([]byte, pack.HeadRead)
	n, err := Get(ctx, s, name, 0, buf)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	need, err := pack.ContainerNeed(buf[:n])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if need > n && n == len(buf) {
		buf = append(make([]byte, 0, need), buf...)[:need]
		more, err := Get(ctx, s, name, int64(n), buf[n:])
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		n += more
	}
	c, err := pack.ParseContainer(buf[:n])
	if err == nil && (c.ID != id || c.Repository != repository) {
		err = fmt.Errorf("it holds container %s of repository %x: %w", c.ID, c.Repository, fault.Corrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return c, nil
}

// Generations lists the moved records: of each pack the highest generation.
func Generations(ctx context.Context, s store.Store) (map[pack.ID]uint32, error) {
	newest := make(map[pack.ID]uint32)
	for o, err := range s.List(ctx, pack.MovedPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list moved packs: %w", err)
		}
		if id, g, err := pack.ParseMovedName(o.Name); err == nil {
			newest[id] = max(newest[id], g)
		}
	}
	return newest, nil
}
