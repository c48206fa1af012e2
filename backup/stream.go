package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/platform/walk"
)

// pieceSize is how much of a large file is handed over at a time. It is more
// than two of the longest chunks of new repositories, and a multiple of every
// block. With chunks longer than this none would ever be certain.
const pieceSize = 1280 << 10

// streamer reads one large file piece by piece.
type streamer struct {
	r     *reader
	ctx   context.Context
	out   chan<- piece
	f     *os.File
	block int   // bytes of a fixed block; 0: cut by content
	end   int64 // bytes of the file handed over so far
}

// stream hands over a large file. The batch is done, for the one who saves,
// when the first stat is known; content follows in pieces.
func (r *reader) stream(ctx context.Context, b *batch, it *item) {
	var announce = true
	ready := func() {
		if announce {
			announce = false
			close(b.done)
		}
	}
	defer ready()
	f, st, err := open(b.folder, it)
	if err != nil {
		it.fail(err)
		return
	}
	defer f.Close()
	fill(&it.entry, st, it.side.device)
	it.note(st, r.run.started)
	r.attributes(b.folder, it)
	s := &streamer{r: r, ctx: ctx, out: b.stream, f: f, block: blockSize(it.name, st, f)}
	it.blocks = s.block > 0
	meta.Sequential(f)
	ready()
	if err = s.content(st); err == nil && hasChanged(f, st) {
		err = fault.Changed
	}
	// The one who saves reads late only after the stream is closed.
	it.late = err
	it.size = s.end
	r.run.bytesRead.Add(s.end)
}

// content sends data and holes in order, up to the size that the file had.
func (s *streamer) content(st *walk.Stat) error {
	if st.Blocks*512 >= st.Size {
		return s.data(0, st.Size)
	}
	at := int64(0)
	for x, err := range meta.Extents(s.f, st.Size) {
		if err != nil {
			return fmt.Errorf("find holes: %w", err)
		}
		start, end := x.Offset, x.Offset+x.Length
		if s.block > 0 { // blocks begin at multiples of their size
			start, end = start/int64(s.block)*int64(s.block), min((end+int64(s.block)-1)/int64(s.block)*int64(s.block), st.Size)
		}
		if start = max(start, at); start >= end {
			continue
		}
		if err := s.hole(start - at); err != nil {
			return err
		}
		if err := s.data(start, end); err != nil {
			return err
		}
		at = end
	}
	return s.hole(st.Size - at)
}

func (s *streamer) hole(n int64) error {
	if n <= 0 {
		return nil
	}
	s.end += n
	return s.send(piece{parts: []piecePart{{hole: uint64(n)}}})
}

func (s *streamer) send(p piece) error {
	select {
	case s.out <- p:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// data reads, cuts, hashes and sends the bytes [start, end) of the file.
func (s *streamer) data(start, end int64) error {
	buf := s.r.run.takePiece()
	held := 0 // bytes in buf that are not cut yet
	for at := start; at < end || held > 0; {
		want := int(min(int64(len(buf)-held), end-at))
		n, err := io.ReadFull(io.NewSectionReader(s.f, at, int64(want)), buf[held:held+want])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		short := n < want // it was cut short meanwhile: what is there is the end
		if short {
			end = at + int64(n)
		}
		at += int64(n)
		held += n
		p, used := s.cut(buf[:held], at == end)
		next := s.r.run.takePiece()
		held = copy(next, buf[used:held])
		s.end += int64(used)
		if err := s.send(p); err != nil {
			return err
		}
		if buf = next; short {
			return fault.Changed
		}
	}
	s.r.run.givePiece(buf)
	return nil
}

// cut cuts what is certain of b: all of it if last.
func (s *streamer) cut(b []byte, last bool) (piece, int) {
	p := piece{buf: b}
	used := 0
	for used < len(b) {
		rest := b[used:]
		n := len(rest)
		switch {
		case s.block > 0:
			if n < s.block && !last {
				return p, used
			}
			n = min(n, s.block)
		default:
			if n < s.r.run.cutter.Max() && !last {
				return p, used
			}
			n = s.r.run.cutter.Cut(rest)
		}
		p.parts = append(p.parts, piecePart{id: s.r.hasher.Sum(rest[:n]), data: rest[:n]})
		used += n
	}
	return p, used
}

// images are names of files that are rewritten in place.
var images = map[string]bool{
	".img": true, ".raw": true, ".qcow2": true, ".qcow": true, ".vmdk": true, ".vdi": true, ".vhd": true, ".vhdx": true,
	".ibd": true, ".mdf": true, ".ldf": true, ".edb": true, ".sqlite": true, ".sqlite3": true, ".db": true, ".dbf": true,
}

// blockSize returns the size of the fixed blocks that a file is cut into, or
// 0 if it is cut by content. A change in the middle of an image moves nothing
// behind it, so that a small block around it is all that is new.
func blockSize(name string, st *walk.Stat, f *os.File) int {
	if !images[strings.ToLower(path.Ext(name))] && !looksLikeImage(st, f) {
		return 0
	}
	switch {
	case st.Size <= 16<<30:
		return 16 << 10
	case st.Size <= 256<<30:
		return 32 << 10
	}
	return 64 << 10
}

// looksLikeImage looks for what images of disks and databases begin with.
func looksLikeImage(st *walk.Stat, f *os.File) bool {
	head := make([]byte, 2048)
	n, err := f.ReadAt(head, 0)
	if n < len(head) || err != nil {
		return false
	}
	for _, magic := range []string{"QFI\xfb", "KDMV", "vhdxfile", "conectix", "SQLite format 3\x00"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	switch {
	case head[0x438] == 0x53 && head[0x439] == 0xef: // ext2, 3, 4
		return true
	case bytes.HasPrefix(head, []byte("XFSB")):
		return true
	case st.Size%512 == 0 && st.Size >= 16<<20 && head[510] == 0x55 && head[511] == 0xaa: // partitions, FAT, NTFS
		return true
	}
	// Whoever leaves large holes writes at random places.
	return st.Size >= 64<<20 && st.Blocks*512 < st.Size/2
}
