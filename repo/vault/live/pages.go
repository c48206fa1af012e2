package live

import (
	"context"
	"fmt"
	"iter"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Stored is a page of a live set as it lies in a store.
type Stored struct {
	Page  Hash
	Bytes []byte
	Needs []Need // of a leaf
}

// Pages yields the pages of a live set, each after all that are below it: so
// who puts them elsewhere in this order never has a page without those that it
// names. skip is that of Walk; so are the errors.
func Pages(ctx context.Context, s store.Store, root Hash, skip func(Hash) bool) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		w := walker{store: s, skip: skip}
		w.stored(ctx, &ref{page: root}, -1, yield)
	}
}

func (w *walker) stored(ctx context.Context, r *ref, level int, yield func(Stored, error) bool) bool {
	if w.skip != nil && w.skip(r.page) {
		return true
	}
	p, err := w.read(ctx, r, level)
	if err != nil {
		return yield(Stored{}, fmt.Errorf("read live page %s: %w", r.page, err)) && false
	}
	for i := range p.needs {
		if id := p.needs[i].Pack; w.any && compareIDs(w.last, id) >= 0 {
			return yield(Stored{}, fmt.Errorf("read live page %s: packs are not in order: %w", r.page, fault.Corrupt)) && false
		}
		w.any, w.last = true, p.needs[i].Pack
	}
	for i := range p.refs {
		if !w.stored(ctx, &p.refs[i], p.level-1, yield) {
			return false
		}
	}
	return yield(Stored{r.page, p.encode(), p.needs}, nil)
}
