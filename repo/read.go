package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
)

// ReadRaw fills dst with the raw bytes of a pack from offset on. Every frame
// that it touches is checked whole.
func (r *Repository) ReadRaw(ctx context.Context, id pack.ID, offset uint32, dst []byte) error {
	o, err := r.openPack(ctx, id)
	if err != nil {
		return err
	}
	return r.readRuns(ctx, o, offset, uint32(len(dst)), false, func(b []byte, zeros int) error {
		n := copy(dst, b)
		clear(dst[n : n+zeros])
		dst = dst[n+zeros:]
		return nil
	})
}

// readRuns hands the raw bytes of a pack to use, frame by frame in order: some
// bytes, which must not be kept, and the number of zeros behind them. whole
// tells that all of each frame will be wanted.
func (r *Repository) readRuns(ctx context.Context, o *opened, offset, length uint32, whole bool, use func(b []byte, zeros int) error) error {
	if uint64(offset)+uint64(length) > uint64(o.Total) {
		return fmt.Errorf("read pack %s: bytes %d to %d of %d: %w", o.id, offset, uint64(offset)+uint64(length), o.Total, fault.Corrupt)
	}
	for length > 0 {
		i := o.FrameOf(offset)
		start, end := o.Span(i)
		size := min(end-offset, length)
		want := int(offset - start + size)
		if whole {
			want = int(end - start)
		}
		f, err := r.hold(ctx, o, i, want)
		if err != nil {
			return err
		}
		b := f.bytes[min(int(offset-start), len(f.bytes)):min(int(offset-start+size), len(f.bytes))]
		err = use(b, int(size)-len(b))
		r.reader.release(f)
		if err != nil {
			return err
		}
		offset, length = offset+size, length-size
	}
	return nil
}

// content is the raw bytes of a frame, from its beginning on.
type content struct {
	bytes  []byte
	whole  bool    // zeros follow, up to the span's end; else there are more bytes
	buffer *buffer // that bytes lie in
}

// openFrame reads and opens one frame and decompresses what is wanted of it,
// or a little more.
func (r *Repository) openFrame(ctx context.Context, o *opened, i, want int) (content, error) {
	r.reader.workers <- struct{}{}
	defer func() { <-r.reader.workers }()
	c, err := r.openStored(ctx, o, i, want)
	if r.asksReplicas(ctx, err) {
		return r.frameElsewhere(ctx, o, i, want, err)
	}
	return c, err
}

// openStored is openFrame from the place that the pack was opened in.
func (r *Repository) openStored(ctx context.Context, o *opened, i, want int) (content, error) {
	buf := freeBuffers.take(int(o.frames[i+1] - o.frames[i]))
	sealed, err := o.from.readFrame(ctx, o, i, &buf.all)
	if err != nil {
		freeBuffers.give(buf)
		return content{}, err
	}
	if o.from == r && r.mender.away.Load() && r.present(ctx) { // not just what is still open of it
		r.tellBack()
	}
	c, err := r.openSealed(o, i, sealed, buf, want)
	if err != nil {
		freeBuffers.give(buf)
		return content{}, fmt.Errorf("frame %d of pack %s: %w", i, o.id, err)
	}
	if c.buffer != buf {
		freeBuffers.give(buf)
	}
	return c, nil
}

// maxMoves bounds how often one reading runs after a pack that is moved.
const maxMoves = 4

// readFrame reads a stored frame into buf, wherever it is by now: an object
// that was there when the pack was opened may have been compacted since.
func (r *Repository) readFrame(ctx context.Context, o *opened, i int, buf *[]byte) ([]byte, error) {
	for moves := 0; ; moves++ {
		object, offset, length, err := o.frame(i)
		if err != nil {
			return nil, err
		}
		if cap(*buf) < int(length) {
			*buf = make([]byte, length)
		}
		sealed := (*buf)[:length]
		n, err := place.Get(ctx, r.store, object, int64(offset), sealed)
		if errors.Is(err, fault.NotExist) && moves < maxMoves {
			var again *opened
			if again, err = r.reopenPack(ctx, o); err == nil {
				o = again
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read frame %d of pack %s: %w", i, o.id, err)
		}
		if n < len(sealed) {
			return nil, fmt.Errorf("%s ends within frame %d of pack %s: %w", object, i, o.id, fault.Corrupt)
		}
		return sealed, nil
	}
}

// openSealed opens a stored frame, which lies in buf, and returns the first want
// bytes of it. What is stored as it is stays where it is: of incompressible
// files, each copy costs a fifth of the time.
func (r *Repository) openSealed(o *opened, i int, sealed []byte, buf *buffer, want int) (content, error) {
	plain, err := o.unseal(i, sealed)
	if err != nil {
		return content{}, err
	}
	payload, stored, err := seal.Payload(plain)
	if err != nil {
		return content{}, err
	}
	rd, raw := &r.reader, span(o, i)
	if stored {
		if len(payload) > raw {
			return content{}, fmt.Errorf("%d bytes where at most %d belong: %w", len(payload), raw, fault.Corrupt)
		}
		return content{payload, true, buf}, nil
	}
	if room := seal.PrefixRoom(payload, want, raw); room < raw {
		out := freeBuffers.take(room + seal.Slack)
		b, err := rd.decoder.InflatePrefix(out.all[:0], payload, want, raw)
		if err == nil && len(b) >= want {
			return content{b, false, out}, nil
		}
		freeBuffers.give(out) // damaged, or of another writer
	}
	out := freeBuffers.take(raw + seal.Slack)
	b, err := rd.decoder.Inflate(out.all[:0], payload, raw)
	if err != nil {
		freeBuffers.give(out)
		return content{}, err
	}
	return content{b, true, out}, nil
}

// unseal opens a stored frame in place and returns its plain text.
func (o *opened) unseal(i int, sealed []byte) ([]byte, error) {
	kind := seal.DataFrame
	if o.Kind == pack.Pages {
		kind = seal.PageFrame
	}
	start, end := o.Span(i)
	if len(sealed) < seal.Overhead {
		return nil, fmt.Errorf("%d bytes: %w", len(sealed), fault.Corrupt)
	}
	return o.box.Open(sealed[12:12], sealed, seal.AD{Pack: o.id, Number: uint32(i), Kind: kind, Raw: end - start})
}

// unsealFrame opens a stored frame in place, decompresses it and appends it to
// dst.
func (r *Repository) unsealFrame(dst []byte, o *opened, i int, sealed []byte) ([]byte, error) {
	start, end := o.Span(i)
	plain, err := o.unseal(i, sealed)
	if err == nil {
		dst, err = r.reader.decoder.Decode(dst, plain, int(end-start), false)
	}
	if err != nil {
		return nil, fmt.Errorf("frame %d of pack %s: %w", i, o.id, err)
	}
	return dst, nil
}

// Page implements table.Pages: it reads a page and checks its ID.
func (r *Repository) Page(ctx context.Context, ref *table.Ref) ([]byte, error) {
	if ref.Length > table.MaxPage {
		return nil, fmt.Errorf("page of %d bytes in pack %s: %w", ref.Length, ref.Pack, fault.Corrupt)
	}
	page := make([]byte, ref.Length)
	if err := r.ReadRaw(ctx, ref.Pack, ref.Offset, page); err != nil {
		return nil, fmt.Errorf("read page %s: %w", ref.ID, err)
	}
	if id := r.pageIDs.Sum(page); id != ref.ID {
		return nil, fmt.Errorf("page at byte %d of pack %s is %s and not %s: %w", ref.Offset, ref.Pack, id, ref.ID, fault.Corrupt)
	}
	return page, nil
}

var _ table.Pages = (*Repository)(nil)
