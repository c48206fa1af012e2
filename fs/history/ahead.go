package history

import (
	"context"
	"iter"
	"sync"

	"github.com/tidemark-backup/tidemark/repo"
)

// pointsAhead is how many points are looked into at a time: enough to keep two
// processors busy while others wait for a disk.
const pointsAhead = 8

// got is what was found in a point.
type got[T any] struct {
	point *repo.Point
	value T
	err   error
	done  chan struct{} // closed when value and err stand
}

// inOrder looks into points, some at a time, and yields what it found in their
// order. All has ended when it returns.
func inOrder[T any](ctx context.Context, points []*repo.Point, look func(context.Context, *repo.Point) (T, error)) iter.Seq[*got[T]] {
	return func(yield func(*got[T]) bool) {
		ctx, stop := context.WithCancel(ctx)
		var wait sync.WaitGroup
		defer wait.Wait()
		defer stop()
		var ahead []*got[T]
		for next := 0; next < len(points) || len(ahead) > 0; {
			for next < len(points) && len(ahead) < pointsAhead {
				g := &got[T]{point: points[next], done: make(chan struct{})}
				next++
				ahead = append(ahead, g)
				wait.Go(func() {
					defer close(g.done)
					g.value, g.err = look(ctx, g.point)
				})
			}
			g := ahead[0]
			ahead = ahead[1:]
			<-g.done
			if !yield(g) {
				return
			}
		}
	}
}
