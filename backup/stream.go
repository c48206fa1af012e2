package backup

import (
	"bytes"
	"context"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/direct"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/walk"
)

// pieceSize is how much of a large file is read at a time, and handed over. It
// is more than two of the longest chunks of new repositories, and a multiple of
// every block. Longer chunks than this would need longer buffers.
const pieceSize = 1536 << 10

// streamer cuts one large file that is read ahead of it.
type streamer struct {
	r     *reader
	ctx   context.Context
	out   chan<- piece
	block int   // bytes of a fixed block; 0: cut by content
	end   int64 // bytes of the file handed over so far

	pieces chan piece // cut, to be hashed
	last   piece      // not handed over yet: rest lies in it
	rest   []byte     // what of it is not cut, as the chunk may go on
}

// stream hands over a large file. The batch is done, for the one who saves,
// when the first stat is known; content follows in pieces.
func (r *reader) stream(ctx context.Context, b *batch, it *item) {
	if it.from != nil {
		r.follow(ctx, b, it)
		return
	}
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
	s := &streamer{r: r, ctx: ctx, out: b.stream, block: blockSize(it.name, st, f)}
	it.blocks = s.block > 0
	it.side.odd = looks(it.name, f)
	ready()
	if err = s.content(readFile(f, st)); err == nil && hasChanged(f, st) {
		err = fault.Changed
	}
	// The one who saves reads late only after the stream is closed.
	it.late = err
	it.size = s.end
	r.run.bytesRead.Add(s.end)
}

// readFile reads up to the size that the file had.
func readFile(f *os.File, st *walk.Stat) func(*ahead) error {
	return func(a *ahead) error {
		a.f, a.in = f, direct.NewReader(f)
		return a.read(st)
	}
}

// content sends the data and holes that read reads.
// Reading, cutting and hashing have a goroutine each: past the page cache
// nobody else reads ahead, and the one who saves takes files in order, so that
// a large file would wait for a single processor.
func (s *streamer) content(read func(*ahead) error) error {
	ctx, stop := context.WithCancel(s.ctx)
	parts := make(chan part)
	s.pieces = make(chan piece)
	a := &ahead{run: s.r.run, ctx: ctx, out: parts, block: s.block}
	var done sync.WaitGroup
	defer done.Wait()
	done.Go(s.hash)
	defer close(s.pieces)
	done.Go(func() {
		defer close(parts)
		if err := read(a); err != nil {
			_ = a.send(part{err: err}) // fails only if nobody waits for it any more
		}
	})
	defer stop()
	for p := range parts {
		var err error
		switch {
		case p.err != nil:
			err = p.err
		case p.buf == nil:
			err = s.send(piece{parts: []piecePart{{hole: uint64(p.n)}}}, p.n)
		default:
			err = s.data(p)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// hash names the chunks of pieces and hands them over. It always takes what is
// cut, so that cutting never waits for it in vain.
func (s *streamer) hash() {
	for p := range s.pieces {
		for i := range p.parts {
			if c := &p.parts[i]; c.data != nil {
				c.id = s.r.hasher.Sum(c.data)
			}
		}
		select {
		case s.out <- p:
		case <-s.ctx.Done():
		}
	}
}

// send hands over n bytes of the file.
func (s *streamer) send(p piece, n int64) error {
	s.end += n
	s.pieces <- p
	return s.ctx.Err()
}

// data cuts and sends what was read. The beginning of a chunk that goes
// on in the next part is moved there, into the room that is kept in front.
func (s *streamer) data(p part) error {
	front := s.r.run.front()
	b := p.buf[front-len(s.rest) : front+int(p.n)]
	copy(b, s.rest)
	if err := s.flush(); err != nil {
		return err
	}
	cut, used := s.cut(b, p.last)
	cut.buf = p.buf
	s.last, s.rest = cut, b[used:]
	if p.last {
		return s.flush()
	}
	return nil
}

// flush sends the piece that was kept for its rest, which is not in it.
func (s *streamer) flush() error {
	p := s.last
	s.last, s.rest = piece{}, nil
	if p.buf == nil {
		return nil
	}
	n := 0
	for _, c := range p.parts {
		n += len(c.data)
	}
	return s.send(p, int64(n))
}

// cut cuts what is certain of b: all of it if last.
func (s *streamer) cut(b []byte, last bool) (piece, int) {
	p := piece{parts: make([]piecePart, 0, len(b)/max(s.block, s.r.run.params.Min)+1)}
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
		p.parts = append(p.parts, piecePart{data: rest[:n]})
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
