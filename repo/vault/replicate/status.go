package replicate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Contents is what a place holds, by its listing and its ledger.
type Contents struct {
	Repository [16]byte
	Objects    int
	Bytes      int64
	Folders    map[string]Folder // by the first part of the names
	Ledger     error             // why it could not be read; nil: it could

	points map[uint64]time.Time // when they arrived
	gone   func(uint64) bool
}

// Folder is what lies in a folder of a place.
type Folder struct {
	Objects int
	Bytes   int64
}

// Points returns how many points there are.
func (c *Contents) Points() int { return len(c.points) }

// Newest returns when the newest point arrived; the zero Time if there is none.
func (c *Contents) Newest() time.Time {
	newest := uint64(0)
	for n := range c.points {
		newest = max(newest, n)
	}
	return c.points[newest]
}

// Look lists a place. memory is that of Options.
func Look(ctx context.Context, s store.Store, memory string) (*Contents, error) {
	id, _, err := Identify(ctx, s)
	if err != nil {
		return nil, err
	}
	c := &Contents{Repository: id, Folders: map[string]Folder{}, points: map[uint64]time.Time{}, gone: func(uint64) bool { return false }}
	for o, err := range s.List(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("list objects: %w", err)
		}
		c.Objects++
		c.Bytes += o.Size
		name, _, _ := strings.Cut(o.Name, "/")
		f := c.Folders[name]
		f.Objects++
		f.Bytes += o.Size
		c.Folders[name] = f
		if n, err := point.ParseName(o.Name); err == nil {
			c.points[n] = o.Modified
		}
	}
	book, err := retain.Open(ctx, s, retain.Options{Repository: id, Memory: memory})
	switch {
	case err != nil && (ctx.Err() != nil || errors.Is(err, fault.Unavailable)):
		return nil, err
	case err != nil:
		c.Ledger = err
		return c, nil
	}
	book.View(func(state *retain.State) {
		for n := range c.points {
			if p := state.Point(n); p != nil {
				c.points[n] = time.Unix(p.Arrival, 0)
			} else if _, gone := state.Gone(n); gone {
				delete(c.points, n) // its object is only still to be deleted
			}
		}
		removed := map[uint64]bool{}
		for _, r := range state.Removed(0) {
			removed[r.Sequence] = true
		}
		c.gone = func(n uint64) bool { return removed[n] }
	})
	return c, nil
}

// Lag is how far a replica is behind.
type Lag struct {
	Behind         int       // points that it lacks, and did not remove by its own rules
	Oldest, Newest time.Time // when the oldest and the newest of these arrived at the source
	More           int       // points that it has and the source has not
}

// LagOf compares a replica with its source.
func LagOf(source, replica *Contents) Lag {
	var l Lag
	oldest, newest := uint64(0), uint64(0)
	for n := range source.points {
		if _, have := replica.points[n]; have || replica.gone(n) {
			continue
		}
		l.Behind++
		newest = max(newest, n)
		if oldest == 0 || n < oldest {
			oldest = n
		}
	}
	for n := range replica.points {
		if _, have := source.points[n]; !have {
			l.More++
		}
	}
	l.Oldest, l.Newest = source.points[oldest], source.points[newest]
	return l
}

// Listed is a point as it can be told without keys.
type Listed struct {
	Sequence uint64
	ID       point.ID
	Arrival  time.Time
}

// List returns the points of a place, ascending. Those that the ledger says
// nothing of are read; one that is damaged is left out.
func List(ctx context.Context, s store.Store, memory string) ([]Listed, error) {
	id, _, err := Identify(ctx, s)
	if err != nil {
		return nil, err
	}
	there, err := sequences(ctx, s)
	if err != nil {
		return nil, err
	}
	known := map[uint64]Listed{}
	book, err := retain.Open(ctx, s, retain.Options{Repository: id, Memory: memory})
	if err != nil && !damaged(ctx, err) {
		return nil, err
	}
	if err == nil {
		book.View(func(state *retain.State) {
			for _, p := range state.Kept() {
				known[p.Sequence] = Listed{p.Sequence, p.ID, time.Unix(p.Arrival, 0)}
			}
		})
	}
	var out []Listed
	for _, n := range sorted(there) {
		l, ok := known[n]
		if !ok {
			b, err := store.ReadAll(ctx, s, point.Name(n), point.MaxObject)
			if err != nil && !damaged(ctx, err) {
				return nil, err
			}
			h, _, err := point.Parse(b)
			if err != nil {
				continue
			}
			l = Listed{n, h.ID, there[n].Modified}
		}
		out = append(out, l)
	}
	return out, nil
}
