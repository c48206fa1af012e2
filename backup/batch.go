package backup

import (
	"github.com/tidemark-backup/tidemark/platform/walk"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Bounds of a batch: enough to make its hand-over cheap. How far reading is
// ahead of saving is bounded in bytes and in batches. It must be far: from a
// cold disk some files take a hundred times as long as others, and those behind
// a slow one should be there when their turn comes.
const (
	batchItems   = 64
	batchBytes   = 512 << 10
	aheadBytes   = 16 << 20
	aheadBatches = 256

	// streamed is the size from which a file is a batch of its own and is
	// handed over piece by piece.
	streamed = 1 << 20
)

// batch is a run of entries in table order.
type batch struct {
	folder *walk.Folder // retained if there is work
	items  []item
	bytes  int64 // of small files to be read, as far as stat tells

	done   chan struct{} // closed once the readers are through; nil: no work
	stream chan piece    // of a batch of one large file; closed at its end

	arena []byte // content of small files
	held  int64  // bytes reserved for it
}

// item is one entry on its way into the new table.
type item struct {
	kept  table.Item // Entry is set: the old entry goes in as it is
	spare spare      // Entry is set: it would do, too
	side  sideRecord
	entry table.Entry // otherwise: the new one

	name    string
	stat    walk.Stat
	from    *Stream // of its content; nil: the file itself
	isNew   bool    // not in the last table
	size    int64
	chunks  []piecePart // content of a small file, in the batch's arena
	was     was         // in the last table
	warning string      // something was not saved as it is
	drop    bool        // the entry is not saved at all

	// Of a streamed file:
	blocks bool  // cut into fixed blocks
	late   error // it could not be read to its end, or changed; set before the stream is closed
}

// was is what the last table had of a file.
type was struct {
	odd    bool
	inline []byte
	suffix string // of a new file: the rest of its name behind that of one that is gone
}

// piece is a part of a streamed file.
type piece struct {
	parts []piecePart
	buf   []byte // that parts lie in; given back after use
}

// piecePart is a chunk, or a hole if data is nil.
type piecePart struct {
	id   chunk.ID
	data []byte
	hole uint64 // bytes
}

// kindOf says which packs a file's chunks go into.
func kindOf(size int64, blocks bool) pack.Kind {
	switch {
	case blocks:
		return pack.Blocks
	case size > streamed:
		return pack.Large
	}
	return pack.Small
}

func (b *batch) full() bool { return len(b.items) >= batchItems || b.bytes >= batchBytes }
