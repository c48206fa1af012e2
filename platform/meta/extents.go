package meta

import (
	"fmt"
	"iter"
	"os"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Extent is a run of data in a file. What lies between extents, and after the
// last, is holes: zeros that take no room.
type Extent struct {
	Offset int64
	Length int64
}

// Extents yields the runs of data of a file of that size, in order. Where the
// file system cannot tell, the whole file is one extent. The file's offset is
// undefined afterwards. An error ends the sequence.
func Extents(f *os.File, size int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for at := int64(0); at < size; {
			data, hole, err := nextData(f, at, size)
			if err != nil {
				yield(Extent{}, fmt.Errorf("find holes of %s: %w", f.Name(), err))
				return
			}
			if data >= size {
				return
			}
			if data < at || hole <= data {
				yield(Extent{}, fmt.Errorf("find holes of %s: data at %d-%d after %d: %w", f.Name(), data, hole, at, fault.Corrupt))
				return
			}
			hole = min(hole, size)
			if !yield(Extent{data, hole - data}, nil) {
				return
			}
			at = hole
		}
	}
}
