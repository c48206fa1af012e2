package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

const (
	// pointReaders bounds the points that are read at a time.
	pointReaders = 16
	// smallPoint bounds, stored and opened, those of which several are read at a
	// time. One that is larger has the memory to itself.
	smallPoint = 1 << 20
)

// opening opens the points of a list.
type opening struct {
	r      *Repository
	known  map[uint64]*Point // that need not be read
	named  map[uint64]point.ID
	sole   sync.Mutex // held for a large point
	mu     sync.Mutex
	share  sharing
	opened int // how many were read of those that the ledger names
	newest newestBody
}

// points returns points that are not known yet, too, and why some of them
// cannot be opened.
func (o *opening) points(ctx context.Context, sequences []uint64) (points []*Point, _, _ error) {
	found := make([]*Point, len(sequences))
	bad := make([]error, len(sequences))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(pointReaders)
	for i, n := range sequences {
		if found[i] = o.known[n]; found[i] != nil {
			continue
		}
		group.Go(func() (err error) {
			found[i], err = o.open(gctx, n)
			switch {
			case errors.Is(err, fault.NotExist): // deleted since it was listed
			case damaged(err):
				bad[i] = err
			case err != nil:
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for _, p := range found {
		if p != nil {
			points = append(points, p)
		}
	}
	return points, errors.Join(bad...), nil
}

// open reads and opens a point.
func (o *opening) open(ctx context.Context, n uint64) (*Point, error) {
	r := o.r
	h, sealed, err := r.readOwnPoint(ctx, n, smallPoint)
	if errors.Is(err, fault.TooLarge) || err == nil && h.BodyRaw > smallPoint {
		o.sole.Lock()
		defer o.sole.Unlock()
		h, sealed, err = r.readOwnPoint(ctx, n, point.MaxObject)
	}
	if r.asksReplicas(ctx, err) {
		h, sealed, err = r.pointElsewhere(ctx, n, err)
	}
	if err != nil {
		return nil, err
	}
	id, named := o.named[n]
	if named && id != h.ID {
		return nil, fmt.Errorf("%s is not the point %s that the ledger has a receipt of: %w", point.Name(n), id.Short(), fault.Corrupt)
	}
	b, err := r.openBody(h, sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", point.Name(n), err)
	}
	p := &Point{ID: h.ID, Sequence: n, Flags: h.Flags, Server: h.Server, Previous: h.Previous, Live: h.Live, Entries: b.entries, Details: b.Details}
	p.Details.Warnings = nil
	o.mu.Lock()
	defer o.mu.Unlock()
	o.share.take(&p.Details)
	if named {
		o.opened++
	}
	if n >= o.newest.sequence {
		o.newest = newestBody{n, h.ID, b}
	}
	return p, nil
}

// sharing lets points share what is the same in them: paths, names and users
// are, in thousands of points of one server.
type sharing struct {
	last     Details
	sections [numTags][]byte // of last, as marshalled
}

// take makes details share what they have in common with those before, and
// returns which sections that are.
func (s *sharing) take(d *Details) (same [numTags]bool) {
	before := s.sections
	s.sections = [numTags][]byte{}
	(&body{Details: *d}).sections(func(tag byte, content []byte) {
		if tag == tagRoot || tag == tagWarnings {
			return
		}
		s.sections[tag] = content
		if before[tag] != nil && bytes.Equal(before[tag], content) {
			same[tag] = true
			d.copySection(tag, &s.last)
		}
	})
	s.last = *d
	return same
}

// copySection takes a section from other details, which may share its memory.
func (d *Details) copySection(tag byte, from *Details) {
	switch tag {
	case tagTimes:
		d.Started, d.Finished = from.Started, from.Finished
	case tagStatistics:
		d.Statistics = from.Statistics
	case tagOrigin:
		d.Host, d.User, d.OS, d.Program, d.Version = from.Host, from.User, from.OS, from.Program, from.Version
	case tagPaths:
		d.Paths = from.Paths
	case tagTags:
		d.Tags = from.Tags
	case tagUsers:
		d.Users = from.Users
	case tagGroups:
		d.Groups = from.Groups
	case tagDevices:
		d.Devices = from.Devices
	case tagServerUsers:
		d.ServerUsers = from.ServerUsers
	case tagConsistency:
		d.Consistency = from.Consistency
	case tagSuspect:
		d.Suspect = from.Suspect
	}
}
