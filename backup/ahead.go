package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/tidemark-backup/tidemark/platform/direct"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/platform/walk"
)

// ahead reads one large file ahead of who cuts it.
type ahead struct {
	run   *run
	ctx   context.Context
	out   chan<- part
	f     *os.File
	in    *direct.Reader
	block int // bytes of a fixed block, or 0
}

// part is what was read: data, or a hole if buf is nil.
type part struct {
	buf  []byte // data begin at run.front()
	n    int64
	last bool // a hole or the end follows
	err  error
}

// read sends data and holes in order, up to the size that the file had.
func (a *ahead) read(st *walk.Stat) error {
	if st.Blocks*512 >= st.Size {
		return a.data(0, st.Size)
	}
	at := int64(0)
	for x, err := range a.extents(st.Size) {
		if err != nil {
			return fmt.Errorf("find holes: %w", err)
		}
		start, end := x.Offset, x.Offset+x.Length
		if a.block > 0 { // blocks begin at multiples of their size
			start, end = start/int64(a.block)*int64(a.block), min((end+int64(a.block)-1)/int64(a.block)*int64(a.block), st.Size)
		}
		if start = max(start, at); start >= end {
			continue
		}
		if err := a.hole(start - at); err != nil {
			return err
		}
		if err := a.data(start, end); err != nil {
			return err
		}
		at = end
	}
	return a.hole(st.Size - at)
}

const (
	shortExtent = 256 << 10 // less than this is too little for a disk to read at a time
	announced   = 32        // extents that are known before they are read
)

// extents yields the file's runs of data. Short ones are announced to the
// system some time before they are read, so that it reads several at a time.
func (a *ahead) extents(size int64) iter.Seq2[meta.Extent, error] {
	return func(yield func(meta.Extent, error) bool) {
		var queue []meta.Extent
		for x, err := range meta.Extents(a.f, size) {
			if err != nil {
				yield(x, err)
				return
			}
			if x.Length < shortExtent {
				meta.WillNeed(a.f, x.Offset, x.Length)
			}
			if queue = append(queue, x); len(queue) < announced {
				continue
			}
			if !yield(queue[0], nil) {
				return
			}
			queue = queue[:copy(queue, queue[1:])]
		}
		for _, x := range queue {
			if !yield(x, nil) {
				return
			}
		}
	}
}

func (a *ahead) hole(n int64) error {
	if n <= 0 {
		return nil
	}
	return a.send(part{n: n})
}

// data reads and sends the bytes [start, end) of the file.
func (a *ahead) data(start, end int64) error {
	for at := start; at < end; {
		buf := a.run.takePiece()
		into := buf[a.run.front():]
		want := min(int64(len(into)), end-at)
		// To a whole block, as reading past the cache goes by blocks.
		n, err := a.in.ReadAt(into[:(want+direct.Align-1)/direct.Align*direct.Align], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		got := min(int64(n), want)
		short := got < want // it was cut short meanwhile: what is there is the end
		at += got
		if err := a.send(part{buf: buf, n: got, last: short || at == end}); err != nil {
			return err
		}
		if short {
			return fault.Changed
		}
	}
	return nil
}

func (a *ahead) send(p part) error {
	select {
	case a.out <- p:
		return nil
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
}
