package retain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// readers bounds the points that are read at a time.
const readers = 16

// Strangers reads those of listed points that never had a receipt, ascending:
// an older version wrote them, or a run that was cut short right after. One
// that is damaged, gone or another repository's is passed over, and so is one
// that check, if it is set, refuses: it may know that nobody with the keys
// wrote it.
func (b *Book) Strangers(ctx context.Context, listed []store.Object, check func(*point.Header) error) ([]Arrival, error) {
	var unknown []store.Object
	b.View(func(s *State) {
		for _, o := range listed {
			if n, err := point.ParseName(o.Name); err == nil && !s.Known(n) {
				unknown = append(unknown, o)
			}
		}
	})
	var mu sync.Mutex
	var out []Arrival
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for _, o := range unknown {
		group.Go(func() error {
			h, err := b.header(ctx, o.Name)
			if err == nil && check != nil {
				err = check(h)
			}
			switch kind := fault.KindOf(err); {
			case err == nil:
			case errors.Is(err, fault.NotExist), kind == fault.Corrupt, kind == fault.TooLarge, kind == fault.Unsupported:
				return nil
			default:
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			// One that has no time at all came now.
			out = append(out, Arrival{Sequence: h.Sequence, ID: h.ID, Live: h.Live, Stored: max(o.Modified.Unix(), 0)})
			return nil
		})
	}
	err := group.Wait()
	slices.SortFunc(out, func(a, b Arrival) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return out, err
}

func (b *Book) header(ctx context.Context, name string) (*point.Header, error) {
	object, err := store.ReadAll(ctx, b.store, name, point.MaxObject)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	h, _, err := point.Parse(object)
	if err == nil && (h.Repository != b.repository || point.Name(h.Sequence) != name) {
		err = fmt.Errorf("another point's or repository's: %w", fault.Corrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return h, nil
}
