package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
)

// syncIndex opens the local index and makes it agree with the packs in the
// store: packs that are gone or of another size are dropped, packs that it does
// not know are read (head and chunk list only). That is how a run finds what an earlier one, or
// another machine's, left; a lost index comes back the same way.
func (r *Repository) syncIndex(ctx context.Context, l Local, absent *keep.Absent) (*index.Index, error) {
	ix, err := index.Open(filepath.Join(l.Dir, "index"), index.Options{Repository: r.ID})
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	if err := r.fillIndex(ctx, ix, absent); err != nil {
		return nil, errors.Join(err, ix.Close())
	}
	return ix, nil
}

func (r *Repository) fillIndex(ctx context.Context, ix *index.Index, absent *keep.Absent) error {
	objects, err := r.packObjects(ctx)
	if err != nil {
		return err
	}
	gone := make(map[pack.ID]bool)
	for _, p := range ix.Packs() {
		// One of another size was cut short, swapped, or moved since. As it is not
		// known any more its head is read, which says so, too.
		if o, there := objects[p.ID]; !there || o.stamp() != p.Size {
			gone[p.ID] = true
		}
	}
	ix.Drop(func(id pack.ID) bool { return gone[id] })
	var unknown []pack.ID
	for id := range objects {
		if _, known := ix.PackNumber(id); !known {
			unknown = append(unknown, id)
		}
	}
	// In the order in which they were written, which their IDs tell: of two
	// packs with one chunk the index answers with the one added last, and what
	// a collector has condemned is stored again later.
	slices.SortFunc(unknown, func(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) })
	for some := range slices.Chunk(unknown, 16) {
		if err := r.addPacks(ctx, ix, some, objects, absent); err != nil {
			return err
		}
	}
	return nil
}

// addPacks reads the chunk lists of packs side by side, and enters them into
// the index in order.
func (r *Repository) addPacks(ctx context.Context, ix *index.Index, ids []pack.ID, objects map[pack.ID]packObject, absent *keep.Absent) error {
	packs := make([]index.Pack, len(ids))
	lists := make([][]index.Chunk, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, id := range ids {
		group.Go(func() (err error) {
			packs[i], lists[i], err = r.readChunks(ctx, id, objects[id])
			if errors.Is(err, fault.Corrupt) {
				// A damaged pack is for `check` to report. Here its chunks
				// count as not there, so that they are stored again.
				lists[i] = nil
				return nil
			}
			// What a collector has condemned is no hit, and must not hide a
			// newer copy of the same chunk.
			g := packs[i].Geometry
			lists[i] = slices.DeleteFunc(lists[i], func(c index.Chunk) bool {
				return absent.Needs(packs[i].ID, g, c.Offset, c.Length)
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, chunks := range lists {
		if chunks == nil {
			continue
		}
		if _, err := ix.Add(packs[i], chunks); err != nil {
			return err
		}
	}
	return nil
}

// readChunks reads a pack's geometry and chunk list. Of a pack that has been
// moved only those chunks count whose frames were kept, even while its own
// object is still there: that will be deleted.
func (r *Repository) readChunks(ctx context.Context, id pack.ID, object packObject) (index.Pack, []index.Chunk, error) {
	h, kept, err := r.readStored(ctx, id, object)
	if err != nil {
		return index.Pack{}, nil, err
	}
	g, err := r.geometry(h)
	if err != nil {
		return index.Pack{}, nil, err
	}
	chunks, err := r.chunkList(h, g)
	chunks = slices.DeleteFunc(chunks, func(c index.Chunk) bool {
		for i := g.FrameOf(c.Offset); i <= g.FrameOf(c.Offset+c.Length-1); i++ {
			if !kept(i) {
				return true
			}
		}
		return false
	})
	return index.Pack{ID: id, Geometry: g, Size: object.stamp()}, chunks, err
}

// readStored reads the head of a pack that was listed, and says which of its
// frames count.
func (r *Repository) readStored(ctx context.Context, id pack.ID, object packObject) (h *pack.Head, kept func(int) bool, err error) {
	if object.generation > 0 {
		m, err := place.Read(ctx, r.store, r.ID, id, object.generation)
		if errors.Is(err, fault.NotExist) {
			err = fmt.Errorf("moved once more since it was listed: %w", fault.Corrupt) // the next run counts it
		}
		if err != nil {
			return nil, nil, err
		}
		return m.Head, func(i int) bool { _, _, _, ok := m.Find(i); return ok }, nil
	}
	if h, err = r.readHead(ctx, id); err != nil {
		return nil, nil, err
	}
	if object.size != h.ObjectSize() {
		return nil, nil, fmt.Errorf("pack %s has %d bytes instead of %d: %w", id, object.size, h.ObjectSize(), fault.Corrupt)
	}
	return h, func(int) bool { return true }, nil
}

// chunkList opens the chunk list of a head.
func (r *Repository) chunkList(h *pack.Head, g pack.Geometry) ([]index.Chunk, error) {
	plain, err := r.keys.Index().Open(nil, h.ChunkList, seal.AD{Pack: h.ID, Kind: seal.ChunkList, Raw: g.List})
	if err != nil {
		return nil, fmt.Errorf("chunk list of pack %s: %w", h.ID, err)
	}
	raw, err := r.reader.decoder.Decode(nil, plain, int(g.List), true)
	if err != nil {
		return nil, fmt.Errorf("chunk list of pack %s: %w", h.ID, err)
	}
	chunks, err := parseChunks(raw, g.Total)
	if err != nil {
		return nil, fmt.Errorf("chunk list of pack %s: %w", h.ID, err)
	}
	return chunks, nil
}

// maxChunk bounds a chunk in bytes, FORMAT.md section 1.
const maxChunk = 16 << 20

// parseChunks reads what marshalChunks wrote; the last chunk must end at total.
func parseChunks(b []byte, total uint32) ([]index.Chunk, error) {
	r := bodyReader{b: b}
	n := r.uvarint()
	if n == 0 || n > uint64(len(b))/18 {
		return nil, fmt.Errorf("%d chunks in %d bytes: %w", n, len(b), fault.Corrupt)
	}
	chunks := make([]index.Chunk, n)
	end := uint64(0)
	for i := range chunks {
		gap, length := r.uvarint(), r.uvarint()
		id := r.take(16)
		if r.err != nil {
			return nil, r.err
		}
		if length == 0 || length > maxChunk || gap > uint64(total) || end+gap+length > uint64(total) {
			return nil, fmt.Errorf("chunk of %d bytes %d after %d of %d: %w", length, gap, end, total, fault.Corrupt)
		}
		start := end + gap
		copy(chunks[i].ID[:], id)
		chunks[i].Offset, chunks[i].Length = uint32(start), uint32(length)
		end = start + length
	}
	if end != uint64(total) || len(r.b) != 0 {
		return nil, fmt.Errorf("chunks end at %d of %d: %w", end, total, fault.Corrupt)
	}
	return chunks, nil
}
