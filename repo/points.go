package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Point is a recovery point, opened. It never changes.
type Point struct {
	ID       point.ID
	Sequence uint64
	Flags    uint16
	Server   [16]byte
	Previous point.ID
	Live     [32]byte // root of its live set
	Entries  uint64   // entries of its table
	Details
}

// readPoint reads a point's object and checks everything that keys can check.
// One that is damaged comes from a replica.
func (r *Repository) readPoint(ctx context.Context, sequence uint64) (*point.Header, []byte, error) {
	h, sealed, err := r.readOwnPoint(ctx, sequence, point.MaxObject)
	if r.asksReplicas(ctx, err) {
		return r.pointElsewhere(ctx, sequence, err)
	}
	return h, sealed, err
}

func (r *Repository) readOwnPoint(ctx context.Context, sequence uint64, limit int64) (*point.Header, []byte, error) {
	name := point.Name(sequence)
	b, err := store.ReadAll(ctx, r.store, name, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	return r.parsePoint(sequence, b)
}

func (r *Repository) parsePoint(sequence uint64, b []byte) (*point.Header, []byte, error) {
	name := point.Name(sequence)
	h, sealed, err := point.Parse(b)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	if h.Sequence != sequence || seal.RepositoryID(h.Repository) != r.ID {
		return nil, nil, fmt.Errorf("%s holds point %d of repository %x: %w", name, h.Sequence, h.Repository, fault.Corrupt)
	}
	if err := r.checkMember(h); err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	return h, sealed, nil
}

func (r *Repository) openBody(h *point.Header, sealed []byte) (*body, error) {
	session, err := r.session(h.Epoch, h.Session)
	if err != nil {
		return nil, err
	}
	box, commitment := r.keys.Pack(session, h.BodyID)
	if commitment != h.Commitment {
		return nil, fmt.Errorf("sealed with other keys: %w", fault.Corrupt)
	}
	plain, err := box.Open(nil, sealed, seal.AD{Pack: h.BodyID, Kind: seal.Body, Raw: h.BodyRaw})
	if err != nil {
		return nil, err
	}
	raw, err := r.reader.decoder.Decode(nil, plain, int(h.BodyRaw), true)
	if err != nil {
		return nil, err
	}
	return parseBody(raw)
}

// sequences lists the points' numbers, ascending. While the repository's own
// place is away they are those of a replica.
func (r *Repository) sequences(ctx context.Context) ([]uint64, error) {
	out, err := r.ownSequences(ctx)
	if len(r.replicas) > 0 && (r.asksReplicas(ctx, err) || err == nil && len(out) == 0) {
		return r.sequencesElsewhere(ctx, out, err)
	}
	if err == nil {
		r.tellBack()
	}
	return out, err
}

func (r *Repository) ownSequences(ctx context.Context) ([]uint64, error) {
	objects, err := r.listed(ctx)
	out := make([]uint64, 0, len(objects))
	for _, o := range objects {
		n, _ := point.ParseName(o.Name) // listed has asked
		out = append(out, n)
	}
	return out, err
}

// Points returns the points that can be opened, the oldest first, and an error
// that joins the reasons of those that cannot, and names those that the ledger
// has and the store has not. Only points that neither this Repository nor, by
// the machine's cache of them, another one has opened are read. One that was
// removed is gone from the list, one that was deleted hidden.
func (r *Repository) Points(ctx context.Context) ([]*Point, error) {
	points, _, err := r.allPoints(ctx)
	return points, err
}

// DeletedPoints returns the points that are deleted and can be had back, the
// oldest first. Errors are as those of Points.
func (r *Repository) DeletedPoints(ctx context.Context) ([]*Point, error) {
	_, deleted, err := r.allPoints(ctx)
	return deleted, err
}

// allPoints returns the points that are shown, and those that are deleted.
func (r *Repository) allPoints(ctx context.Context) (shown, deleted []*Point, err error) {
	if !r.CanRead() {
		_, err := r.privateOf(0)
		return nil, nil, fmt.Errorf("list points: %w", err)
	}
	s, bad, err := r.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	r.pointsMu.Lock()
	defer r.pointsMu.Unlock()
	known, more := r.loadPoints(s)
	for _, p := range r.points {
		known[p.Sequence] = p
	}
	o := &opening{r: r, known: known, named: s.named}
	shown, bad1, err := o.points(ctx, s.shown)
	if err != nil {
		return nil, nil, err
	}
	deleted, bad2, err := o.points(ctx, s.deleted)
	if err != nil {
		return nil, nil, err
	}
	r.points = slices.Concat(shown, deleted)
	slices.SortFunc(r.points, func(a, b *Point) int { return cmp.Compare(a.Sequence, b.Sequence) })
	if o.opened > 0 || more {
		r.savePoints(r.points, s.named)
	}
	if o.newest.body != nil {
		r.recent = o.newest
	}
	if len(shown) == 0 || shown[len(shown)-1].ID != r.recent.id {
		r.recent = newestBody{} // for once it has gone, its table is not to be opened
	}
	for _, p := range s.missing {
		if _, there := slices.BinarySearchFunc(r.points, p.Sequence, func(q *Point, n uint64) int { return cmp.Compare(q.Sequence, n) }); !there {
			bad = errors.Join(bad, missingPoint(p))
		}
	}
	return shown, deleted, errors.Join(bad1, bad2, bad)
}

// Warnings returns the warnings that a point was written with.
func (r *Repository) Warnings(ctx context.Context, p *Point) ([]Warning, error) {
	b, err := r.bodyOf(ctx, p)
	if err != nil {
		return nil, err
	}
	return b.Warnings, nil
}

// newestBody is the body of the newest point, as Points has read it.
type newestBody struct {
	sequence uint64
	id       point.ID
	body     *body
}

// takeNewest returns the body of a point if Points has just read it, once.
func (r *Repository) takeNewest(id point.ID) *body {
	r.pointsMu.Lock()
	defer r.pointsMu.Unlock()
	if r.recent.id != id {
		return nil
	}
	b := r.recent.body
	r.recent = newestBody{}
	return b
}

// Tree opens a point's table. Root pages are read again each time: a mount of
// thousands of points keeps those it uses in its own cache. But the newest
// point, which most who list points look at next, is not read twice for that.
func (r *Repository) Tree(ctx context.Context, p *Point, o table.Options) (*table.Tree, error) {
	b := r.takeNewest(p.ID)
	if b == nil {
		var err error
		if b, err = r.bodyOf(ctx, p); err != nil {
			return nil, err
		}
	}
	return r.tree(b, o)
}

func (r *Repository) tree(b *body, o table.Options) (*table.Tree, error) {
	return table.New(r, table.Root{Page: b.root, Level: b.level, Count: b.entries, ID: r.pageIDs.Sum(b.root)}, o)
}

// bodyOf reads the body of a point.
func (r *Repository) bodyOf(ctx context.Context, p *Point) (*body, error) {
	h, sealed, err := r.readPoint(ctx, p.Sequence)
	if errors.Is(err, fault.NotExist) {
		return nil, fmt.Errorf("point %s has been removed: %w", p.ID.Short(), fault.Stale)
	}
	if err != nil {
		return nil, err
	}
	if h.ID != p.ID {
		return nil, fmt.Errorf("point %s was replaced by another one: %w", p.ID.Short(), fault.Rollback)
	}
	b, err := r.openBody(h, sealed)
	if err != nil {
		return nil, fmt.Errorf("open point %s: %w", p.ID.Short(), err)
	}
	return b, nil
}
