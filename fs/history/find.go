package history

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Found is an entry that was searched for, with the points that have it one
// after the other.
type Found struct {
	First, Last *repo.Point
	Points      int
	Entry       *table.Entry // as Last has it
}

// Find yields what matches in points, which are in ascending order: each
// version once, sorted by path, then by time. match says of an entry whether it
// is wanted; it looks at nothing but path and kind, and is asked by several
// goroutines at a time.
//
// First the pages that names does not know are read, each once and in the order
// in which they were stored, and names learns them. Then the points are gone
// through in order, and only pages with a match are opened, of each point those
// that the one before has not. names may be nil. workers parts of the table are
// searched at a time. Memory is that of names and of some ten thousand matches:
// where there are more, the table is gone through in smaller parts, one after the
// other.
func Find(ctx context.Context, src Source, points []*repo.Point, match func(*table.Entry) bool, names *Names, workers int) iter.Seq2[*Found, error] {
	return func(yield func(*Found, error) bool) {
		if names == nil {
			names = newNames()
		}
		f := finder{match: match, search: &search{Names: names, match: match}}
		if err := f.open(ctx, src, points); err != nil {
			yield(nil, err)
			return
		}
		if len(f.tables) == 0 {
			return
		}
		if err := names.survey(ctx, f.tables, max(workers, 1)); err != nil {
			yield(nil, err)
			return
		}
		ctx, stop := context.WithCancel(ctx)
		var wait sync.WaitGroup
		defer wait.Wait()
		defer stop()
		for part := range f.parts(ctx, max(workers, 1), &wait) {
			for i := range part.found {
				if !yield(part.found[i], nil) {
					return
				}
			}
			if part.err != nil {
				yield(nil, part.err)
				return
			}
		}
	}
}

// finder searches points.
type finder struct {
	match  func(*table.Entry) bool
	search *search
	points []*repo.Point
	tables []*table.Tree
}

func (f *finder) open(ctx context.Context, src Source, points []*repo.Point) error {
	cache := table.NewCache(cacheBytes)
	for o := range inOrder(ctx, points, func(ctx context.Context, p *repo.Point) (*table.Tree, error) {
		return src.Tree(ctx, p, table.Options{Cache: cache})
	}) {
		if errors.Is(o.err, fault.Stale) {
			continue
		}
		if o.err != nil {
			return fmt.Errorf("search point %s: %w", o.point.ID.Short(), o.err)
		}
		f.points, f.tables = append(f.points, o.point), append(f.tables, o.value)
	}
	return nil
}

// part is a range of keys.
type part struct {
	bounds [][]byte      // where it and the smaller parts in it begin, and the last ends; nil is the table's
	done   chan struct{} // closed when found and err stand
	found  []*Found
	err    error
}

// maxMatches bounds the matches of a part that has smaller ones.
const maxMatches = 20_000

var errMatches = fmt.Errorf("too many matches at a time: %w", fault.TooLarge)

// parts yields the parts in order, when they have been searched.
func (f *finder) parts(ctx context.Context, workers int, wait *sync.WaitGroup) iter.Seq[*part] {
	return func(yield func(*part) bool) {
		whole := slices.Concat([][]byte{nil}, f.tables[len(f.tables)-1].Cuts(), [][]byte{nil})
		begin := func(bounds [][]byte) *part {
			p := &part{bounds: bounds, done: make(chan struct{})}
			wait.Go(func() {
				defer close(p.done)
				p.found, p.err = f.through(ctx, p)
			})
			return p
		}
		var ahead []*part
		for n := range workers {
			from, to := n*(len(whole)-1)/workers, (n+1)*(len(whole)-1)/workers
			if from < to {
				ahead = append(ahead, begin(whole[from:to+1]))
			}
		}
		for len(ahead) > 0 {
			p := ahead[0]
			<-p.done
			if half := len(p.bounds) / 2; errors.Is(p.err, errMatches) {
				ahead = slices.Concat([]*part{begin(p.bounds[:half+1]), begin(p.bounds[half:])}, ahead[1:])
				continue
			}
			if ahead = ahead[1:]; !yield(p) {
				return
			}
		}
	}
}

// standing is a match that the points looked at last have.
type standing struct {
	first int // its first point
	entry *table.Entry
}

// through goes through all points in one part.
func (f *finder) through(ctx context.Context, p *part) ([]*Found, error) {
	open := map[string]standing{}
	var all []*Found
	end := func(key string, last int) {
		s := open[key]
		delete(open, key)
		all = append(all, &Found{First: f.points[s.first], Last: f.points[last], Points: last - s.first + 1, Entry: s.entry})
	}
	for i, t := range f.tables {
		err := f.changes(ctx, p, i, t, func(c table.Change) bool {
			e := cmp.Or(c.B, c.A)
			if !f.match(e) && (c.A == nil || c.B == nil || c.A.Kind == c.B.Kind || !f.match(c.A)) {
				return true
			}
			key := string(e.Key)
			s, stands := open[key]
			if stands && (c.B == nil || !Same(s.entry, c.B)) {
				end(key, i-1)
				stands = false
			}
			if c.B != nil && f.match(c.B) {
				if !stands {
					s.first = i
				}
				s.entry = c.B.Clone()
				open[key] = s
			}
			return len(p.bounds) == 2 || len(open)+len(all) <= maxMatches
		})
		if err != nil {
			return nil, fmt.Errorf("search point %s: %w", f.points[i].ID.Short(), err)
		}
	}
	for key := range open {
		end(key, len(f.tables)-1)
	}
	slices.SortFunc(all, func(a, b *Found) int {
		return cmp.Or(bytes.Compare(a.Entry.Key, b.Entry.Key), cmp.Compare(a.First.Sequence, b.First.Sequence))
	})
	return all, nil
}

// changes tells what a point has otherwise than the one before; of the first,
// all that it has. errMatches if no more is wanted.
func (f *finder) changes(ctx context.Context, p *part, i int, t *table.Tree, each func(table.Change) bool) error {
	var before *table.Tree
	if i > 0 {
		before = f.tables[i-1]
	}
	for c, err := range table.DiffSkipping(ctx, before, t, p.bounds[0], p.bounds[len(p.bounds)-1], f.search.skip) {
		if err != nil {
			return err
		}
		if !each(c) {
			return errMatches
		}
	}
	return nil
}
