package repo

import (
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
	h, sealed, err := r.readOwnPoint(ctx, sequence)
	if r.asksReplicas(ctx, err) {
		return r.pointElsewhere(ctx, sequence, err)
	}
	return h, sealed, err
}

func (r *Repository) readOwnPoint(ctx context.Context, sequence uint64) (*point.Header, []byte, error) {
	name := point.Name(sequence)
	b, err := store.ReadAll(ctx, r.store, name, point.MaxObject)
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
	mac := seal.MAC(r.keys.PointMAC, h.MACInput())
	if !seal.Equal(mac[:], h.MAC[:]) {
		return nil, nil, fmt.Errorf("%s has a wrong MAC, so nobody with this repository's keys wrote it: %w", name, fault.Corrupt)
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
	var out []uint64
	for object, err := range r.store.List(ctx, point.Prefix) {
		if err != nil {
			return nil, fmt.Errorf("list points: %w", err)
		}
		if n, err := point.ParseName(object.Name); err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Points returns the points that can be opened, the oldest first, and an error
// that joins the reasons of those that cannot. Only points that were not seen
// before are read. One that was deleted is gone from the list.
func (r *Repository) Points(ctx context.Context) ([]*Point, error) {
	if !r.CanRead() {
		_, err := r.privateOf(0)
		return nil, fmt.Errorf("list points: %w", err)
	}
	sequences, err := r.sequences(ctx)
	if err != nil {
		return nil, err
	}
	r.pointsMu.Lock()
	defer r.pointsMu.Unlock()
	known := make(map[uint64]*Point, len(r.points))
	for _, p := range r.points {
		known[p.Sequence] = p
	}
	var points []*Point
	var bad []error
	for _, n := range sequences {
		p := known[n]
		if p == nil {
			h, sealed, err := r.readPoint(ctx, n)
			var b *body
			if err == nil {
				if b, err = r.openBody(h, sealed); err != nil {
					err = fmt.Errorf("open %s: %w", point.Name(n), err)
				}
			}
			switch {
			case errors.Is(err, fault.NotExist):
				continue // deleted since it was listed
			case damaged(err):
				bad = append(bad, err)
				continue
			case err != nil:
				return nil, err
			}
			p = &Point{ID: h.ID, Sequence: n, Flags: h.Flags, Server: h.Server, Previous: h.Previous, Live: h.Live, Entries: b.entries, Details: b.Details}
		}
		points = append(points, p)
	}
	r.points = points
	return slices.Clone(points), errors.Join(bad...)
}

// Tree opens a point's table. Root pages are read again each time: a mount of
// thousands of points keeps those it uses in its own cache.
func (r *Repository) Tree(ctx context.Context, p *Point, o table.Options) (*table.Tree, error) {
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
	return r.tree(b, o)
}

func (r *Repository) tree(b *body, o table.Options) (*table.Tree, error) {
	return table.New(r, table.Root{Page: b.root, Level: b.level, Count: b.entries, ID: r.pageIDs.Sum(b.root)}, o)
}
