package replicate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// packs makes every frame of needs readable in the replica.
func (r *run) packs(ctx context.Context, sequence uint64, needs []live.Need, absent *keep.Absent) error {
	if err := r.findRevived(ctx, needs, absent); err != nil {
		return err
	}
	var mu sync.Mutex // guards what follows, the report and the inventory
	var parts []part  // frames that must go into containers
	bad := false
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(r.o.Workers)
	for _, n := range needs {
		again := absent.NeedsAny(&n)
		mu.Lock()
		there := r.have.packs[n.Pack]
		mu.Unlock()
		if there && !again {
			continue
		}
		group.Go(func() error {
			p, err := r.pack(inner, &n, again, &mu)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				if p != nil {
					parts = append(parts, *p)
				}
			case isReplicas(err) || !damaged(inner, err):
				return err
			default:
				bad = true
				r.problem(n.Pack.Name(), sequence, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if bad {
		return errNamed
	}
	slices.SortFunc(parts, func(a, b part) int { return slices.Compare(a.head.ID[:], b.head.ID[:]) })
	return r.move(ctx, sequence, parts)
}

// part is frames of a pack that the replica shall have without the whole pack.
type part struct {
	head   *pack.Head
	source *place.Place
	frames []int        // ascending
	own    *place.Place // in the replica, for frames that the source may not have any more
}

// pack makes the frames of one pack readable, or returns which of them are to
// be put into a container. again: the replica's collector has condemned some,
// so that nothing that is there can be relied on.
func (r *run) pack(ctx context.Context, n *live.Need, again bool, mu *sync.Mutex) (*part, error) {
	want := frames(n)
	if again {
		if want = slices.DeleteFunc(want, func(i int) bool { return r.revived.has(n.Pack, i) }); len(want) == 0 {
			return nil, nil
		}
	}
	mu.Lock()
	generation := r.have.moved[n.Pack]
	whole := r.have.packs[n.Pack]
	mu.Unlock()
	if generation > 0 && !again && !whole {
		m, err := place.Newest(ctx, r.to, r.id, n.Pack)
		if err == nil {
			want = slices.DeleteFunc(want, func(i int) bool { _, _, _, ok := m.Find(i); return ok })
		} else if fault.KindOf(err) == fault.Unavailable || ctx.Err() != nil {
			return nil, atReplica(err)
		}
		if len(want) == 0 {
			return nil, nil
		}
	}
	source, err := place.Find(ctx, r.from, r.id, n.Pack)
	if err != nil {
		return nil, err
	}
	if int(n.Frames) != source.Head.Frames() {
		return nil, fmt.Errorf("%d frames, and %d in the live set: %w", source.Head.Frames(), n.Frames, fault.Corrupt)
	}
	if again && whole && generation == 0 {
		return r.besides(ctx, source, want)
	}
	if source.Moved != nil || again || generation > 0 {
		return &part{head: source.Head, source: source, frames: want}, nil
	}
	object, bad, err := r.readPack(ctx, source.Head)
	if err != nil {
		return nil, err
	}
	if len(bad) == 0 {
		if err := r.put(ctx, n.Pack.Name(), object); err != nil {
			return nil, err
		}
		mu.Lock()
		r.have.packs[n.Pack] = true
		r.report.Packs++
		mu.Unlock()
		return nil, nil
	}
	for _, i := range want {
		if bad[i] {
			return nil, fmt.Errorf("frame %d of %d does not match its SHA-256: %w", i, source.Head.Frames(), fault.Corrupt)
		}
	}
	mu.Lock()
	r.problem(n.Pack.Name(), 0, fmt.Errorf("%d frames that this point does not need do not match their SHA-256; the others were copied: %w", len(bad), fault.Corrupt))
	mu.Unlock()
	return &part{head: source.Head, source: source, frames: want}, nil
}

// besides is a part of a pack that the replica has whole, with some of its
// frames condemned. A record of it must name all the others, too: from then on
// what it does not name counts as gone. Those that are condemned and not dropped
// are among them: a point that came before the round may need one, and the
// collector then releases it.
func (r *run) besides(ctx context.Context, source *place.Place, want []int) (*part, error) {
	own, err := place.Find(ctx, r.to, r.id, source.Head.ID)
	if err != nil {
		return nil, atReplica(err)
	}
	dropped, err := keep.ReadDropped(ctx, r.to, r.id)
	if err != nil {
		return nil, atReplica(err)
	}
	for i := range source.Head.Frames() {
		if !dropped.Has(source.Head.ID, i) && !slices.Contains(want, i) {
			want = append(want, i)
		}
	}
	slices.Sort(want)
	return &part{head: source.Head, source: source, frames: want, own: own}, nil
}

// revived are frames that rounds of the replica name as absent and that can be
// relied on all the same: this run has put them into containers, or an earlier
// one has, for the replica's newest point, which nothing removes.
type revived map[pack.ID]map[int]bool

func (v revived) has(id pack.ID, frame int) bool { return v[id][frame] }

func (v revived) add(id pack.ID, frame int) {
	if v[id] == nil {
		v[id] = map[int]bool{}
	}
	v[id][frame] = true
}

// findRevived learns, when it first matters, what earlier runs have revived.
// Without it each new point would have all of that put again.
func (r *run) findRevived(ctx context.Context, needs []live.Need, absent *keep.Absent) error {
	if r.revived != nil || !slices.ContainsFunc(needs, func(n live.Need) bool { return absent.NeedsAny(&n) }) {
		return nil
	}
	r.revived = revived{}
	b, err := store.ReadAll(ctx, r.to, point.Name(r.have.newest), point.MaxObject)
	if err != nil {
		return r.unless(ctx, err)
	}
	h, _, err := point.Parse(b)
	if err != nil {
		return nil
	}
	for n, err := range live.Walk(ctx, r.to, h.Live, nil) {
		if err != nil {
			return r.unless(ctx, err)
		}
		if !absent.NeedsAny(&n) {
			continue
		}
		m, err := place.Newest(ctx, r.to, r.id, n.Pack)
		if err != nil {
			if err := r.unless(ctx, err); err != nil {
				return err
			}
			continue
		}
		for _, i := range frames(&n) {
			if _, _, _, ok := m.Find(i); ok {
				r.revived.add(n.Pack, i)
			}
		}
	}
	return nil
}

// unless returns an error of the replica, unless it says that something is
// damaged or missing there: then it is put again.
func (r *run) unless(ctx context.Context, err error) error {
	if ctx.Err() != nil || fault.KindOf(err) == fault.Unavailable {
		return atReplica(err)
	}
	return nil
}

// readPack reads a pack's own object, and says which of its frames are damaged.
func (r *run) readPack(ctx context.Context, h *pack.Head) (object []byte, bad map[int]bool, err error) {
	object = make([]byte, h.ObjectSize()+1) // one more tells whether it is longer
	n, err := place.Get(ctx, r.from, h.ID.Name(), 0, object)
	if err != nil {
		return nil, nil, err
	}
	if int64(n) > h.ObjectSize() {
		return nil, nil, fmt.Errorf("it is longer than the %d bytes that it says: %w", h.ObjectSize(), fault.Corrupt)
	}
	object = object[:n]
	bad = map[int]bool{}
	for i := range h.Frames() {
		at, length := h.Frame(i)
		if end := int(at) + int(length); end > n || sha256.Sum256(object[at:end]) != h.Hashes[i] {
			bad[i] = true
		}
	}
	if now, err := pack.Parse(object); err != nil || now.ID != h.ID {
		return nil, nil, fmt.Errorf("its head does not match its hash: %w", fault.Corrupt)
	}
	return object, bad, nil
}

// target is how many bytes a container gets.
const target = 16 << 20

// move puts frames into containers, and then records of where they are.
func (r *run) move(ctx context.Context, sequence uint64, parts []part) error {
	if len(parts) == 0 {
		return nil
	}
	if err := r.put(ctx, place.Feature, place.FeatureBytes(r.id)); err != nil {
		return err
	}
	bad := false
	m := &mover{r: r}
	for i := range parts {
		p := &parts[i]
		err := m.addAll(ctx, p)
		switch {
		case err == nil:
		case isReplicas(err) || !damaged(ctx, err):
			return err
		default:
			bad = true
			r.problem(p.head.ID.Name(), sequence, err)
		}
	}
	if err := m.flush(ctx); err != nil {
		return err
	}
	if bad {
		return errNamed // what went well need not be done again
	}
	return nil
}

// mover gathers frames of packs into containers.
type mover struct {
	r      *run
	frames []pack.Stored
	data   []byte
	done   []movedPart // whose frames are all gathered
}

// movedPart is a pack whose frames are in the container that is gathered, or in
// ones before it.
type movedPart struct {
	head   *pack.Head
	places []spot
}

type spot struct {
	frame     int
	container pack.ID // zero: the one that is gathered
	index     int     // in it
	offset    uint32  // once it is put
}

// addAll gathers the frames of a pack, those of a large one in several steps.
func (m *mover) addAll(ctx context.Context, p *part) error {
	for rest := p.frames; len(rest) > 0; {
		n, size := 0, 0
		for n < len(rest) && (n == 0 || size+int(p.head.Lengths[rest[n]]) <= target) {
			size += int(p.head.Lengths[rest[n]])
			n++
		}
		if err := m.add(ctx, &part{p.head, p.source, rest[:n], p.own}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// add gathers the frames of a pack, each of which is proven by the directory.
func (m *mover) add(ctx context.Context, p *part) error {
	total := 0
	for _, i := range p.frames {
		total += int(p.head.Lengths[i])
	}
	if len(m.data) > 0 && (len(m.data)+total > target || len(m.frames)+len(p.frames) > pack.MaxStored) {
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
	before, stored := len(m.data), len(m.frames)
	mp := movedPart{head: p.head}
	for _, i := range p.frames {
		b, err := m.r.frame(ctx, m.r.from, p.source, i)
		if err != nil && p.own != nil && ctx.Err() == nil {
			b, err = m.r.frame(ctx, m.r.to, p.own, i)
		}
		if err != nil {
			m.data, m.frames = m.data[:before], m.frames[:stored]
			return err
		}
		mp.places = append(mp.places, spot{frame: i, index: len(m.frames)})
		m.frames = append(m.frames, pack.Stored{Pack: p.head.ID, Frame: uint32(i), Length: uint32(len(b)), Hash: p.head.Hashes[i]})
		m.data = append(m.data, b...)
	}
	m.done = append(m.done, mp)
	return nil
}

// frame reads a stored frame, wherever it is by now.
func (r *run) frame(ctx context.Context, s store.Store, at *place.Place, i int) ([]byte, error) {
	for tries := 0; ; tries++ {
		object, offset, length, ok := at.Frame(i)
		if !ok {
			return nil, fmt.Errorf("frame %d is gone: %w", i, fault.Corrupt)
		}
		b := make([]byte, length)
		n, err := place.Get(ctx, s, object, int64(offset), b)
		if errors.Is(err, fault.NotExist) && tries < 3 {
			var now *place.Place
			if now, err = place.Find(ctx, s, r.id, at.Head.ID); err == nil {
				*at = *now
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if n < len(b) || sha256.Sum256(b) != at.Head.Hashes[i] {
			return nil, fmt.Errorf("frame %d, in %s, does not match its SHA-256: %w", i, object, fault.Corrupt)
		}
		return b, nil
	}
}

// flush puts the container and the records of the packs in it.
func (m *mover) flush(ctx context.Context) error {
	if len(m.frames) == 0 {
		return nil
	}
	c := &pack.Container{Repository: m.r.id, ID: pack.NewID(m.r.intent), Frames: m.frames}
	head := c.Marshal()
	parsed, err := pack.ParseContainer(head)
	if err != nil {
		return err
	}
	if err := m.r.put(ctx, pack.ContainerName(c.ID), append(head, m.data...)); err != nil {
		return err
	}
	m.r.report.Packs++
	for i := range m.done {
		p := &m.done[i]
		for k := range p.places {
			s := &p.places[k]
			s.container = c.ID
			s.offset, _ = parsed.Frame(s.index)
		}
		if err := m.r.record(ctx, p); err != nil {
			return err
		}
	}
	m.frames, m.data, m.done = nil, m.data[:0], nil
	return nil
}

// record puts a moved record by which, beside the frames of the newest one, new
// ones are found. If somebody else was faster it is made anew on top of theirs.
func (r *run) record(ctx context.Context, p *movedPart) error {
	id := p.head.ID
	for range 100 {
		spots := map[int]spot{}
		old, err := place.Newest(ctx, r.to, r.id, id)
		if err != nil && !errors.Is(err, fault.NotExist) && !errors.Is(err, fault.Corrupt) {
			return atReplica(err)
		}
		if err == nil {
			for _, at := range old.Places {
				spots[int(at.Frame)] = spot{frame: int(at.Frame), container: old.Containers[at.Container], offset: at.Offset}
			}
		}
		for _, s := range p.places {
			spots[s.frame] = s
		}
		generation, err := r.highest(ctx, id)
		if err != nil {
			return err
		}
		m := movedOf(r.id, p.head, generation+1, r.o.Now().Unix(), spots)
		err = r.put(ctx, pack.MovedName(id, m.Generation), m.Marshal())
		if errors.Is(err, fault.Exist) {
			continue
		}
		if err == nil {
			r.have.moved[id] = m.Generation
			for _, s := range p.places {
				if r.revived != nil {
					r.revived.add(id, s.frame)
				}
			}
		}
		return err
	}
	return atReplica(fmt.Errorf("pack %s is moved again and again: %w", id, fault.Unavailable))
}

// highest returns the highest generation of a pack's moved records.
func (r *run) highest(ctx context.Context, id pack.ID) (highest uint32, err error) {
	for o, err := range r.to.List(ctx, pack.MovedOf(id)) {
		if err != nil {
			return 0, atReplica(err)
		}
		if _, g, err := pack.ParseMovedName(o.Name); err == nil {
			highest = max(highest, g)
		}
	}
	if highest >= pack.MaxGeneration {
		return 0, atReplica(fmt.Errorf("pack %s was moved %d times: %w", id, highest, fault.TooLarge))
	}
	return highest, nil
}

// movedOf makes a moved record.
func movedOf(repository [16]byte, h *pack.Head, generation uint32, now int64, spots map[int]spot) *pack.Moved {
	m := &pack.Moved{Repository: repository, Pack: h.ID, Generation: generation, Arrival: now, Head: h}
	index := map[pack.ID]int{}
	for i := range h.Frames() {
		s, ok := spots[i]
		if !ok {
			continue
		}
		k, known := index[s.container]
		if !known {
			k = len(m.Containers)
			index[s.container] = k
			m.Containers = append(m.Containers, s.container)
		}
		m.Places = append(m.Places, pack.Place{Frame: uint32(i), Container: uint16(k), Offset: s.offset})
	}
	return m
}
