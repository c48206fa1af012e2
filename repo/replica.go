package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Replica is another place that keeps the same repository, under an
// administrator and a collector of its own: packs may lie there in other
// objects, and points may be there that the repository has removed.
type Replica struct {
	Name  string // as people are told
	Store store.Store
}

// replica is a Replica in use. It is read through a Repository of its own,
// which finds frames by its own packs and shares the keys.
type replica struct {
	Replica
	mu     sync.Mutex
	opened *Repository // nil: not so far
	wrong  error       // why it is never asked again
}

func newReplica(p Replica) *replica { return &replica{Replica: p} }

// of returns the replica as a Repository with the keys of r.
func (p *replica) of(ctx context.Context, r *Repository) (*Repository, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wrong != nil || p.opened != nil {
		return p.opened, p.wrong
	}
	id, err := readIdentity(ctx, p.Store)
	if err != nil {
		return nil, fmt.Errorf("replica %s: %w", p.Name, err)
	}
	if !bytes.Equal(id.raw, r.raw) {
		p.wrong = fmt.Errorf("replica %s holds another repository: %w", p.Name, fault.Invalid)
		return nil, p.wrong
	}
	o := newRepository(p.Store, id, Options{FrameCache: 1, Workers: cap(r.reader.workers)})
	o.reader.decoder = r.reader.decoder
	o.take(r.keys, r.epoch, r.private)
	p.opened = o
	return o, nil
}

// asksReplicas says whether an error is one that a replica may help with: any
// but that somebody gave up or that a key is missing.
func (r *Repository) asksReplicas(ctx context.Context, err error) bool {
	if err == nil || len(r.replicas) == 0 || ctx.Err() != nil {
		return false
	}
	kind := fault.KindOf(err)
	return kind != fault.Locked && kind != fault.Canceled
}

// elsewhere tries f on one replica after the other, until one can do it. If
// none can, the error is cause, with what the replicas say.
func (r *Repository) elsewhere(ctx context.Context, cause error, f func(*Repository) error) (*replica, error) {
	for _, p := range r.replicas {
		o, err := p.of(ctx, r)
		if err == nil {
			err = f(o)
		}
		if err == nil {
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// Not %w: what kind of failure this is, the repository's own place says.
		cause = fmt.Errorf("%w (and from replica %s: %v)", cause, p.Name, err)
	}
	return nil, cause
}

// frameElsewhere opens a frame that could not be opened where it should be.
func (r *Repository) frameElsewhere(ctx context.Context, o *opened, i, want int, cause error) (c content, err error) {
	p, err := r.elsewhere(ctx, cause, func(other *Repository) error {
		there, err := other.openPack(ctx, o.id)
		if err != nil {
			return err
		}
		if there.Geometry != o.Geometry {
			return fmt.Errorf("pack %s of another shape: %w", o.id, fault.Corrupt)
		}
		c, err = other.openStored(ctx, there, i, want)
		return err
	})
	if err != nil {
		return content{}, err
	}
	r.servedPack(ctx, o.id, p, cause)
	return c, nil
}

// packElsewhere opens a pack whose head could not be opened where it should be.
func (r *Repository) packElsewhere(ctx context.Context, id pack.ID, cause error) (o *opened, err error) {
	p, err := r.elsewhere(ctx, cause, func(other *Repository) (err error) {
		o, err = other.openPack(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.servedPack(ctx, id, p, cause)
	return o, nil
}

// servedPack notes that a replica stood in for a pack.
func (r *Repository) servedPack(ctx context.Context, id pack.ID, p *replica, cause error) {
	if r.isAway(ctx, p, cause) {
		return
	}
	r.mend(ctx, id.Name(), func(ctx context.Context) Notice {
		n := r.mendPack(ctx, id, cause)
		if n.Outcome == Served && n.Replica == "" {
			n.Replica = p.Name
		}
		return n
	})
}

// pointElsewhere reads a point that could not be read where it should be. One
// that is not there at all has been removed, unless all has.
func (r *Repository) pointElsewhere(ctx context.Context, sequence uint64, cause error) (h *point.Header, sealed []byte, err error) {
	if errors.Is(cause, fault.NotExist) && r.present(ctx) {
		return nil, nil, cause
	}
	_, err = r.object(ctx, point.Name(sequence), point.MaxObject, func(b []byte) (err error) {
		h, sealed, err = r.parsePoint(sequence, b)
		return err
	})
	return h, sealed, err
}

// sequencesElsewhere lists a replica's points if the repository's own place is
// away. One that only has none yet is not away.
func (r *Repository) sequencesElsewhere(ctx context.Context, own []uint64, cause error) (out []uint64, err error) {
	if cause == nil {
		if r.present(ctx) {
			return own, nil
		}
		cause = fmt.Errorf("list points: there is no repository in its place: %w", fault.Unavailable)
	}
	p, err := r.elsewhere(ctx, cause, func(other *Repository) (err error) {
		out, err = other.ownSequences(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.tellAway(p, cause)
	return out, nil
}

// openElsewhere opens a repository whose own place does not say what it is, as
// a replica says.
func openElsewhere(ctx context.Context, s store.Store, o Options, cause error) (*Repository, error) {
	for _, p := range o.Replicas {
		id, err := readIdentity(ctx, p.Store)
		if err == nil {
			return newRepository(s, id, o), nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		cause = fmt.Errorf("%w (and replica %s: %v)", cause, p.Name, err)
	}
	return nil, fmt.Errorf("open repository: %w", cause)
}

// slotsElsewhere returns a replica's key slots: those that the own place has
// damaged, or all of them while it is away. One that has been removed there is
// not among them: its passphrase shall open nothing any more.
func (r *Repository) slotsElsewhere(ctx context.Context) (slots []*seal.Slot) {
	away := !r.present(ctx)
	for _, p := range r.replicas {
		theirs, _, err := slotsIn(ctx, p.Store, r.ID)
		if err != nil {
			continue
		}
		for _, s := range theirs {
			own, err := store.ReadAll(ctx, r.store, prefixSlots+s.ID.String(), 1<<20)
			gone := errors.Is(err, fault.NotExist) && !away
			if !gone && !bytes.Equal(own, s.Marshal()) {
				slots = append(slots, s)
			}
		}
	}
	return slots
}

// mendSlot puts a key slot, which has just opened, in the place of a damaged one.
func (r *Repository) mendSlot(ctx context.Context, s *seal.Slot) {
	if len(r.replicas) == 0 {
		return
	}
	name, object := prefixSlots+s.ID.String(), s.Marshal()
	own, err := store.ReadAll(ctx, r.store, name, 1<<20)
	if err != nil && !errors.Is(err, fault.TooLarge) || bytes.Equal(own, object) {
		return
	}
	n := Notice{Outcome: Healed, Object: name, Frame: -1, Replica: r.replicas[0].Name, Cause: fmt.Errorf("read %s: %w", name, fault.Corrupt)}
	if err := r.heal(ctx, name, object); err != nil {
		n.Outcome, n.Err = Served, err
	}
	r.mender.tell(n)
}

// prove lets check, which has keys, look whether the identity is right. A bit of
// it that flipped was not seen before: then a replica's is taken.
func (r *Repository) prove(ctx context.Context, check func(*Identity) error) error {
	err := check(&r.Identity)
	if !r.asksReplicas(ctx, err) {
		return err
	}
	for _, p := range r.replicas {
		if id, bad := readIdentity(ctx, p.Store); bad == nil && check(&id) == nil {
			r.Identity = id
			return nil
		}
	}
	return err
}

// agrees looks whether the place's first epoch has the repository's ID, too. A
// bit that flipped in the ID would look like another repository.
func (id *Identity) agrees(ctx context.Context, s store.Store) error {
	b, err := store.ReadAll(ctx, s, epochName(1), 1<<16)
	if err == nil && len(b) >= 24 && seal.RepositoryID(b[8:24]) != id.ID {
		return fmt.Errorf("its key is of another repository: %w", fault.Corrupt)
	}
	return nil // the epoch itself may be damaged
}

// mendIdentity puts the object `repository`, which keys have proven by now, in
// the place of a damaged one. Where there is none nothing is put: something
// else may be missing, such as a disk.
func (r *Repository) mendIdentity(ctx context.Context) {
	if len(r.replicas) == 0 {
		return
	}
	raw, err := store.ReadAll(ctx, r.store, nameRepository, 4096)
	if err != nil && !errors.Is(err, fault.TooLarge) || bytes.Equal(raw, r.raw) {
		return
	}
	n := Notice{Outcome: Healed, Object: nameRepository, Frame: -1, Replica: r.replicas[0].Name, Cause: fmt.Errorf("read %s: %w", nameRepository, fault.Corrupt)}
	if id, err := parseIdentity(raw); err == nil && id.ID != r.ID && id.agrees(ctx, r.store) == nil {
		return // another repository lies here
	}
	if err := r.putBack(ctx, nameRepository, r.raw); err != nil {
		n.Outcome, n.Err = Served, err
	}
	r.mender.tell(n)
}

// present says whether the repository is in its own place: a folder on which
// nothing is mounted is there, too, and is empty. The listing is asked as well,
// since a folder that was unmounted under us still reads what is open.
func (r *Repository) present(ctx context.Context) bool {
	listed := false
	for o, err := range r.store.List(ctx, nameRepository) {
		if err != nil {
			return false
		}
		listed = listed || o.Name == nameRepository
	}
	if !listed {
		return false
	}
	raw, err := store.ReadAll(ctx, r.store, nameRepository, sizeRepository)
	return err == nil && bytes.Equal(raw, r.raw)
}

// isAway says whether the place as a whole is what failed, and tells it. Then
// nothing is damaged, and nothing must be put there.
func (r *Repository) isAway(ctx context.Context, p *replica, cause error) bool {
	if fault.KindOf(cause) != fault.Unavailable && r.present(ctx) {
		return false
	}
	r.tellAway(p, cause)
	return true
}

// tellAway tells once that a replica stands in for the place.
func (r *Repository) tellAway(p *replica, cause error) {
	if r.mender.away.CompareAndSwap(false, true) {
		r.mender.tell(Notice{Outcome: Away, Frame: -1, Replica: p.Name, Err: cause})
	}
}

// tellBack ends that: heads of the replica are forgotten.
func (r *Repository) tellBack() {
	if !r.mender.away.CompareAndSwap(true, false) {
		return
	}
	h := &r.reader.heads
	h.mu.Lock()
	for id, o := range h.packs {
		if o.from != r {
			delete(h.packs, id)
		}
	}
	h.mu.Unlock()
	r.mender.tell(Notice{Outcome: Back, Frame: -1})
}

// readEpoch reads a public key's object. One whose MAC is wrong, as far as there
// is the key for it, comes from a replica.
func (r *Repository) readEpoch(ctx context.Context, name string) ([]byte, error) {
	right := func(b []byte) error {
		if r.keys == nil || r.keys.RepMAC == (seal.Key{}) {
			return nil
		}
		e, err := seal.ParseEpoch(b, r.keys.RepMAC)
		if err == nil && epochName(e.Number) != name {
			err = fmt.Errorf("epoch %d: %w", e.Number, fault.Corrupt)
		}
		return err
	}
	return r.object(ctx, name, 1<<16, right)
}

// object reads a whole object. One that right refuses, or that cannot be read,
// comes from a replica and is put back.
func (r *Repository) object(ctx context.Context, name string, limit int64, right func([]byte) error) ([]byte, error) {
	b, err := store.ReadAll(ctx, r.store, name, limit)
	if err == nil {
		err = right(b)
	}
	if !r.asksReplicas(ctx, err) {
		return b, err
	}
	cause := err
	p, err := r.elsewhere(ctx, cause, func(other *Repository) (err error) {
		if b, err = store.ReadAll(ctx, other.store, name, limit); err == nil {
			err = right(b)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if !r.isAway(ctx, p, cause) {
		r.mend(ctx, name, func(ctx context.Context) Notice { return r.mendObject(ctx, name, b, p, cause) })
	}
	return b, nil
}

// livePages reads pages of live sets, which a replica can help with.
type livePages struct {
	store.Store
	r *Repository
}

// Get implements store.Store.
func (l livePages) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	if len(l.r.replicas) == 0 {
		return l.r.store.Get(ctx, name, offset, dst)
	}
	b, err := l.r.object(ctx, name, 1<<20, func(b []byte) error { return scrub.Verify(name, b) })
	if err != nil {
		return 0, err
	}
	return copy(dst, b[min(int64(len(b)), offset):]), nil
}
