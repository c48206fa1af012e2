// Package history looks along time instead of into a point: which versions of
// a file the recovery points hold.
//
// A Version is one content of a path, from the point that brought it to the
// last one that still has it. Two points have the same version if content,
// kind and target are the same; that a mode or an owner changed makes none.
//
// Points share the pages of their tables as far as nothing changed, so that a
// path is looked up in a thousand points at the cost of what changed on the
// way to it, within a fixed memory.
package history

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Source is what history needs of a repository.
type Source interface {
	// Tree opens the table of a point.
	Tree(ctx context.Context, p *repo.Point, o table.Options) (*table.Tree, error)
}

var _ Source = (*repo.Repository)(nil)

// Version is one content of a path.
type Version struct {
	First, Last *repo.Point // the points that have it, and all between them
	Points      int         // how many these are
	Entry       *table.Entry
}

// cacheBytes is the memory for pages that points share.
const cacheBytes = 32 << 20

// Versions yields the versions of a path in points, which are in ascending
// order, the oldest version first. A file that went and came back the same is
// two versions, with a gap between their points. A point that has been
// removed meanwhile is passed over. After an error nothing follows.
func Versions(ctx context.Context, src Source, points []*repo.Point, path string) iter.Seq2[*Version, error] {
	return func(yield func(*Version, error) bool) {
		key := table.Key(path)
		cache := table.NewCache(cacheBytes)
		var open *Version
		for g := range inOrder(ctx, points, func(ctx context.Context, p *repo.Point) (*table.Entry, error) { return lookUp(ctx, src, p, key, cache) }) {
			p, e := g.point, g.value
			if errors.Is(g.err, fault.Stale) {
				continue
			}
			if g.err != nil {
				yield(nil, fmt.Errorf("look for %s in point %s: %w", path, p.ID.Short(), g.err))
				return
			}
			if open != nil && e != nil && Same(open.Entry, e) {
				// What it is now, should its owner or mode have changed.
				open.Entry, open.Last = e, p
				open.Points++
				continue
			}
			if open != nil && !yield(open, nil) {
				return
			}
			if open = nil; e != nil {
				open = &Version{First: p, Last: p, Points: 1, Entry: e}
			}
		}
		if open != nil {
			yield(open, nil)
		}
	}
}

// lookUp returns the entry of a key in a point, nil if it has none.
func lookUp(ctx context.Context, src Source, p *repo.Point, key []byte, cache table.Cache) (*table.Entry, error) {
	t, err := src.Tree(ctx, p, table.Options{Cache: cache})
	if err != nil {
		return nil, err
	}
	item, err := t.Lookup(ctx, key)
	if errors.Is(err, fault.NotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return item.Entry.Clone(), nil // the cache may drop its page
}

// Same says whether two entries of one path are one version. Content may have
// been stored again in another place, so where places differ size and time
// decide, as they do for backups.
func Same(a, b *table.Entry) bool {
	if a.Kind != b.Kind || a.Size != b.Size || a.Target != b.Target || a.Major != b.Major || a.Minor != b.Minor {
		return false
	}
	return a.Kind != table.File || a.SameContent(b) || a.MTime == b.MTime
}
