package backup

import (
	"context"

	"github.com/tidemark-backup/tidemark/repo/table"
)

// worthReading is the part of a large file's content that must lie in hollow
// frames for the whole of it to be read again: one sixteenth.
const worthReading = 16

// stale says whether an unchanged file should be read again all the same, as
// enough of its content lies in frames that the writer wants to die. The answer
// is the same for all names of a file with hard links. The pages of its extents
// do not count: for one of those nobody reads a large file again.
func (r *run) stale(ctx context.Context, e *table.Entry) bool {
	if r.writer == nil || !r.writer.Renews() || len(e.Extents) == 0 && e.Tree == nil {
		return false
	}
	bytes := uint64(0)
	add := func(x *table.Extent) {
		if !x.Hole && r.writer.Hollow(table.Address{Pack: x.Pack, Offset: x.Offset, Length: uint32(x.Length)}) {
			bytes += x.Length
		}
	}
	for i := range e.Extents {
		add(&e.Extents[i])
	}
	if e.Tree != nil {
		for p, err := range table.ExtentPages(ctx, r.copies.old, e) {
			if err != nil {
				return false
			}
			for i := range p.Runs {
				add(&p.Runs[i])
			}
		}
	}
	return bytes > 0 && (e.Size <= streamed || bytes >= e.Size/worthReading)
}

// spare is the old entry of a file that did not change and is read again: if
// it cannot be read, the point gets what the last one had.
type spare struct {
	table.Item
	side sideRecord
}

// fall goes back to the old entry, if there is one, and says whether it did.
func (it *item) fall(reason string) bool {
	if it.spare.Entry == nil {
		return false
	}
	it.kept, it.side, it.chunks = it.spare.Item, it.spare.side, nil
	it.warning = "it could not be read again, and is kept as it was: " + reason
	return true
}
