package table

import (
	"context"
	"iter"

	"github.com/tidemark-backup/tidemark/repo/chunk"
)

// ExtentPages visits the pages of an entry's extent tree, parents before
// children; there are none if e.Tree is nil. Counts are checked.
func ExtentPages(ctx context.Context, p Pages, e *Entry) iter.Seq2[PageInfo, error] {
	return func(yield func(PageInfo, error) bool) {
		if e.Tree == nil {
			return
		}
		v := visitor{pages: newPages(p, Options{}), skip: func(chunk.ID) bool { return false }, yield: yield}
		v.page(ctx, &e.Tree.Ref, e.Tree.Level, true)
	}
}
