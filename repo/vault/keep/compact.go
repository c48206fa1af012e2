package keep

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
)

const (
	// containerTarget is how many bytes of frames close a container.
	containerTarget = 16 << 20
	// readAtOnce bounds what is read of an object in one go.
	readAtOnce = 8 << 20
	// perFrame and perRecord are what moving takes beside frames and heads.
	perFrame  = 66
	perRecord = 200
)

// movement is a pack some of whose frames are moved: all that are kept, out of
// its own object, or those that lie in containers which are compacted.
type movement struct {
	id         pack.ID
	generation uint32               // of the record to come
	arrival    int64                // of the pack
	from       map[pack.ID]bool     // containers that are compacted; nil: its own object
	dead       func(frame int) bool // dropped
}

// worth says whether moving so many bytes is worth freeing so many: what is
// written is at most twice what goes.
func worth(moved, dead int64) bool { return dead > 0 && moved <= 2*dead }

// stamp sums up what the dropped frames of a pack are, so that a pack is not
// looked at again before that changes. Frames are only ever dropped.
func stamp(id pack.ID, generation uint32, dropped int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(id[:])
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(generation)<<32|uint64(dropped)))
	return h.Sum64() | 1
}

func countDropped(masks []uint8) int {
	n := 0
	for _, m := range masks {
		if m != 0 {
			n++
		}
	}
	return n
}

// judge plans compactions: it looks at the heads of packs and containers of
// which more was dropped than when they were last looked at.
func (c *collector) judge(ctx context.Context, v *view, p *Plan) error {
	if p.Suspended != "" {
		return nil
	}
	marks := map[pack.ID]uint64{}
	for id, m := range v.counts.moved {
		n := countDropped(p.gone.frames[id])
		if p.gone.wholly(id) {
			n = pack.MaxFrames
		}
		for _, container := range m.containers {
			marks[container] += stamp(id, m.generation, n)
		}
	}
	for _, id := range sortedIDs(p.gone.frames) {
		if _, there := v.packs[id]; there && !p.gone.wholly(id) && !v.settled(id) {
			if err := c.judgePack(ctx, v, p, id); err != nil {
				return err
			}
		}
	}
	moves := map[pack.ID]*movement{}
	for _, id := range sortedIDs(marks) {
		if _, there := v.containers[id]; there && v.counts.judged[id] != marks[id] && !v.absent.Has(id, 0) && !v.shielded[id] {
			worthy, err := c.judgeContainer(ctx, v, p, id, moves)
			if err != nil {
				return err
			}
			if !worthy {
				v.counts.judged[id] = marks[id]
			}
		}
	}
	for _, id := range sortedIDs(moves) {
		p.moves = append(p.moves, moves[id])
	}
	for id := range v.counts.judged { // of what is not there any more
		_, a := v.packs[id]
		_, b := v.containers[id]
		if !a && !b {
			delete(v.counts.judged, id)
		}
	}
	return nil
}

func sortedIDs[T any](m map[pack.ID]T) []pack.ID {
	ids := make([]pack.ID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

func nextGeneration(records []record) uint32 {
	if len(records) == 0 {
		return 1
	}
	return records[len(records)-1].generation + 1
}

// judgePack looks at a pack that lies in its own object.
func (c *collector) judgePack(ctx context.Context, v *view, p *Plan, id pack.ID) error {
	masks := p.gone.frames[id]
	generation := nextGeneration(v.moved[id])
	mark := stamp(id, generation, countDropped(masks))
	if v.counts.judged[id] == mark {
		return nil
	}
	h, err := place.Head(ctx, c.store, c.o.Repository, id)
	if errors.Is(err, fault.NotExist) {
		return nil
	}
	if err == nil && len(masks) != h.Frames() {
		err = fmt.Errorf("pack %s has %d frames, rounds know %d: %w", id, h.Frames(), len(masks), fault.Corrupt)
	}
	if errors.Is(err, fault.Corrupt) {
		p.warn("%s is not compacted: %v", id.Name(), err)
		return nil
	}
	if err != nil {
		return err
	}
	var kept, dead, more int64
	for i, m := range masks {
		if n := int64(h.Lengths[i]); m != 0 {
			dead += n
		} else {
			kept, more = kept+n, more+perFrame
		}
	}
	if !worth(kept+more+int64(h.Size())+perRecord, dead) || generation > pack.MaxGeneration {
		v.counts.judged[id] = mark
		return nil
	}
	p.Compact = append(p.Compact, Compaction{id.Name(), kept, dead})
	p.moves = append(p.moves, &movement{id: id, generation: generation, arrival: v.packs[id].modified, dead: p.gone.in(id)})
	return nil
}

// in returns what says of a pack's frames whether they are absent.
func (a *Absent) in(id pack.ID) func(int) bool {
	masks := slices.Clone(a.frames[id])
	return func(i int) bool { return len(masks) > 0 && (i >= len(masks) || masks[i] != 0) }
}

// judgeContainer looks at a container, and says whether it is compacted.
func (c *collector) judgeContainer(ctx context.Context, v *view, p *Plan, id pack.ID, moves map[pack.ID]*movement) (bool, error) {
	head, err := place.Container(ctx, c.store, c.o.Repository, id)
	if errors.Is(err, fault.NotExist) {
		return false, nil
	}
	if errors.Is(err, fault.Corrupt) {
		p.warn("%s is not compacted: %v", pack.ContainerName(id), err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var kept, dead, records int64
	found := map[pack.ID]*movement{}
	for at := 0; at < len(head.Frames); {
		end := at
		for end < len(head.Frames) && head.Frames[end].Pack == head.Frames[at].Pack {
			end++
		}
		of := head.Frames[at].Pack
		m, err := c.newestRecord(ctx, v, p, of)
		if err != nil {
			return false, err
		}
		gone, any := p.gone.in(of), false
		for _, f := range head.Frames[at:end] {
			if n := int64(f.Length); m != nil && isIn(m, int(f.Frame), id) && !gone(int(f.Frame)) {
				kept, records, any = kept+n, records+perFrame, true
			} else {
				dead += n
			}
		}
		if at = end; any {
			records += int64(m.Head.Size()+16*len(m.Containers)+10*len(m.Places)) + perRecord
			found[of] = &movement{id: of, generation: m.Generation + 1, arrival: m.Arrival, dead: gone}
			if m.Generation >= pack.MaxGeneration {
				return false, nil
			}
		}
	}
	if len(found) == 0 || !worth(kept+records, dead) {
		return false, nil
	}
	p.Compact = append(p.Compact, Compaction{pack.ContainerName(id), kept, dead})
	for of, m := range found {
		if moves[of] == nil {
			moves[of] = m
			m.from = map[pack.ID]bool{}
		}
		moves[of].from[id] = true
	}
	return true, nil
}

// newestRecord returns the moved record of a pack that counts, nil if there is
// none, or nothing of the pack is kept.
func (c *collector) newestRecord(ctx context.Context, v *view, p *Plan, id pack.ID) (*pack.Moved, error) {
	if p.gone.wholly(id) || !v.settled(id) {
		return nil, nil
	}
	m, err := place.Read(ctx, c.store, c.o.Repository, id, v.counts.moved[id].generation)
	if errors.Is(err, fault.NotExist) {
		return nil, nil
	}
	return m, err
}

func isIn(m *pack.Moved, frame int, container pack.ID) bool {
	in, _, _, ok := m.Find(frame)
	return ok && in == container
}

// carrier fills containers, and puts moved records once all that they name is
// durable.
type carrier struct {
	*collector
	plan    *Plan
	open    *pack.Container
	frames  []byte
	offsets []uint32 // of open's frames in frames
	waiting []*half
	done    []pack.ID
}

// half is a moved record some of whose frames are still to be put.
type half struct {
	record *pack.Moved
	places []placed
	ready  bool // all of its frames were read
}

// placed is where a frame is, or will be once at is durable.
type placed struct {
	frame     uint32
	container pack.ID
	offset    uint32
	open      *pack.Container // not nil: the frame is in this one, which is open
	index     int             // in it
}

// compact moves frames: containers, then records. A pack that changes
// meanwhile is left alone; what was put for it is garbage.
func (c *collector) compact(ctx context.Context, p *Plan) error {
	if len(p.moves) == 0 {
		return nil
	}
	if err := c.store.Put(ctx, place.Feature, place.FeatureBytes(c.o.Repository)); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	k := &carrier{collector: c, plan: p}
	for i, m := range p.moves {
		if err := k.move(ctx, m); err != nil {
			return fmt.Errorf("compact pack %s: %w", m.id, err)
		}
		c.progress("moving", i+1, len(p.moves))
	}
	if err := k.close(ctx); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if len(k.done) == 0 {
		return nil
	}
	slices.SortFunc(k.done, compareIDs)
	for some := range slices.Chunk(k.done, 50_000) {
		if err := c.say(ctx, ledger.Compacted{Step: ledger.Moved, Packs: some}); err != nil {
			return err
		}
	}
	return nil
}

// move reads what is kept of one pack.
func (k *carrier) move(ctx context.Context, m *movement) error {
	at, err := k.source(ctx, m)
	if err == nil && at != nil {
		err = k.carry(ctx, m, at)
	}
	if errors.Is(err, fault.NotExist) {
		return nil // somebody else was faster, the next run sees what is there
	}
	if errors.Is(err, fault.Corrupt) {
		k.plan.warn("pack %s is not compacted: %v", m.id, err)
		return nil
	}
	return err
}

// source returns where the frames are now; nil if that is not as planned.
func (k *carrier) source(ctx context.Context, m *movement) (*place.Place, error) {
	if m.from == nil {
		h, err := place.Head(ctx, k.store, k.o.Repository, m.id)
		return &place.Place{Head: h}, err
	}
	r, err := place.Newest(ctx, k.store, k.o.Repository, m.id)
	if err != nil || r.Generation != m.generation-1 {
		return nil, err
	}
	return &place.Place{Head: r.Head, Moved: r}, nil
}

func (k *carrier) carry(ctx context.Context, m *movement, at *place.Place) error {
	h := &half{record: &pack.Moved{Repository: k.o.Repository, Pack: m.id, Generation: m.generation, Arrival: m.arrival, Head: at.Head}}
	var run []int // frames that lie back to back
	var size uint32
	flush := func() error {
		err := k.read(ctx, h, at, run)
		run, size = nil, 0
		return err
	}
	for i := range at.Head.Frames() {
		object, offset, length, ok := at.Frame(i)
		if !ok || m.dead(i) {
			continue
		}
		if at.Moved != nil {
			container, offset, _, _ := at.Moved.Find(i)
			if !m.from[container] {
				h.places = append(h.places, placed{frame: uint32(i), container: container, offset: offset})
				continue
			}
		}
		if len(run) > 0 {
			before, o, n, _ := at.Frame(run[len(run)-1])
			if before != object || o+n != offset || size+length > readAtOnce {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		run, size = append(run, i), size+length
	}
	if err := flush(); err != nil {
		return err
	}
	if len(h.places) == 0 {
		return nil
	}
	slices.SortFunc(h.places, func(a, b placed) int { return int(a.frame) - int(b.frame) })
	h.ready = true
	k.waiting = append(k.waiting, h)
	if len(k.frames) >= containerTarget || len(k.waiting) > 1000 {
		return k.close(ctx)
	}
	return nil
}

// read reads frames that lie back to back, checks them and adds them to the
// open container.
func (k *carrier) read(ctx context.Context, h *half, at *place.Place, run []int) error {
	if len(run) == 0 {
		return nil
	}
	object, first, _, _ := at.Frame(run[0])
	_, last, length, _ := at.Frame(run[len(run)-1])
	b := make([]byte, last+length-first)
	n, err := place.Get(ctx, k.store, object, int64(first), b)
	if err != nil {
		return err
	}
	if n < len(b) {
		return fmt.Errorf("%s ends within frame %d: %w", object, run[len(run)-1], fault.Corrupt)
	}
	for _, i := range run {
		_, offset, length, _ := at.Frame(i)
		stored := b[offset-first:][:length]
		if sha256.Sum256(stored) != at.Head.Hashes[i] {
			return fmt.Errorf("frame %d does not match its SHA-256: %w", i, fault.Corrupt)
		}
		k.add(h, uint32(i), at.Head.Hashes[i], stored)
		if len(k.frames) >= 2*containerTarget || len(k.open.Frames) == pack.MaxStored {
			if err := k.close(ctx, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *carrier) add(h *half, frame uint32, sum [32]byte, b []byte) {
	if k.open == nil {
		k.open = &pack.Container{Repository: k.o.Repository, ID: pack.NewID(uint64(k.now) * 1e6)}
	}
	h.places = append(h.places, placed{frame: frame, container: k.open.ID, open: k.open, index: len(k.open.Frames)})
	k.open.Frames = append(k.open.Frames, pack.Stored{Pack: h.record.Pack, Frame: frame, Length: uint32(len(b)), Hash: sum})
	k.offsets = append(k.offsets, uint32(len(k.frames)))
	k.frames = append(k.frames, b...)
}

// close puts the open container, and the records that wait for nothing else.
// unfinished are those that are still being filled.
func (k *carrier) close(ctx context.Context, unfinished ...*half) error {
	if k.open != nil {
		object := append(k.open.Marshal(), k.frames...)
		if err := k.store.Put(ctx, pack.ContainerName(k.open.ID), object); err != nil {
			return err
		}
		k.plan.Moved += int64(len(object))
		for _, h := range append(slices.Clone(k.waiting), unfinished...) {
			for i := range h.places {
				if p := &h.places[i]; p.open == k.open {
					p.offset, p.open = uint32(k.open.Size())+k.offsets[p.index], nil
				}
			}
		}
		k.open, k.frames, k.offsets = nil, k.frames[:0], k.offsets[:0]
	}
	for _, h := range k.waiting {
		if err := k.finish(ctx, h); err != nil {
			return err
		}
	}
	k.waiting = k.waiting[:0]
	return nil
}

// finish puts a moved record.
func (k *carrier) finish(ctx context.Context, h *half) error {
	r := h.record
	index := map[pack.ID]int{}
	for _, p := range h.places {
		n, ok := index[p.container]
		if !ok {
			n = len(r.Containers)
			index[p.container] = n
			r.Containers = append(r.Containers, p.container)
		}
		r.Places = append(r.Places, pack.Place{Frame: p.frame, Container: uint16(n), Offset: p.offset})
	}
	b := r.Marshal()
	err := k.store.Put(ctx, pack.MovedName(r.Pack, r.Generation), b)
	if errors.Is(err, fault.Exist) {
		return nil // another collector moved it; the next run sees
	}
	if err != nil {
		return err
	}
	k.plan.Moved += int64(len(b))
	k.done = append(k.done, r.Pack)
	return nil
}
