package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tidemark-backup/tidemark/backup/triage"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/platform/walk"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// readers is how many batches of small files are read at a time: sixteen read
// cold files from a disk 2.7 times faster than one does.
const readers = 16

// racy is how long before the run the last change must have been for the
// change time to tell of the next one: file systems count in ticks of up to
// 2 s (FAT), and clocks differ over a network. It counts from the beginning of
// the run: a walk is seconds ahead of the readers, and what changes between
// stat and read, within the tick of the change before, is never told.
const racy = 2 * time.Second

// reader reads the content and attributes of batches.
type reader struct {
	run    *run
	hasher *chunk.Hasher
}

// read works on batches until there are no more.
func (r *reader) read(ctx context.Context) error {
	for {
		select {
		case b, ok := <-r.run.work:
			if !ok {
				return nil
			}
			r.batch(ctx, b)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *reader) batch(ctx context.Context, b *batch) {
	defer b.folder.Release()
	b.arena = r.run.takeArena(b)
	var last *item
	if b.stream != nil {
		last = &b.items[len(b.items)-1]
	}
	for i := range b.items {
		if it := &b.items[i]; it.kept.Entry == nil && it != last {
			r.item(b, it)
		}
	}
	if last != nil {
		// The stream is begun before the batch is done, so that its entry's
		// attributes are there; its content follows.
		defer func() { <-r.run.streams }()
		defer close(b.stream)
		r.stream(ctx, b, last)
		return
	}
	close(b.done)
}

// item fills one entry.
func (r *reader) item(b *batch, it *item) {
	fill(&it.entry, &it.stat, it.side.device)
	it.note(&it.stat, r.run.started)
	if it.entry.Kind == table.Symlink {
		target, err := b.folder.Readlink(it.name)
		if err != nil {
			it.fail(err)
			return
		}
		it.entry.Target = target
	}
	if it.entry.Kind == table.File {
		if err := r.small(b, it); err != nil {
			it.fail(err)
			return
		}
	}
	r.attributes(b.folder, it)
}

// fail leaves the entry out, or as it was, and says why.
func (it *item) fail(err error) {
	if it.fall(fault.Reason(err)) {
		return
	}
	it.drop = true
	it.warning = fault.Reason(err)
}

// note sets the side record of what is read in a run that began at started.
func (it *item) note(st *walk.Stat, started time.Time) {
	it.side.ctimeSec, it.side.ctimeNsec, it.side.inode = st.CTime.Sec, uint32(st.CTime.Nsec), st.Ino
	it.side.again = started.Sub(st.CTime.Time()) < racy
}

// attributes reads the extended attributes of an entry. One that lacks some is
// read again by the next run: taken over as unchanged, it would lack them for
// ever, and nobody would be told again.
func (r *reader) attributes(f *walk.Folder, it *item) {
	fd, err := f.Pin()
	if err != nil {
		it.warning = "extended attributes: " + fault.Reason(err)
		it.side.again = true
		return
	}
	defer f.Unpin()
	at := meta.At{FD: fd, Dir: f.Path, Name: it.name}
	list, err := r.run.attributes.Xattrs(at, it.stat.Dev)
	if err != nil {
		it.warning = err.Error()
		it.side.again = true
	}
	for _, x := range list {
		it.entry.Xattrs = append(it.entry.Xattrs, table.Xattr{Name: x.Name, Value: x.Value})
	}
}

// maxSmall bounds what is read of a file that was small when it was listed,
// which may be minutes ago. One that has grown beyond is saved up to there,
// and the next run streams it.
const maxSmall = 4 * streamed

// patience is how long a read may wait for somebody to write. Files of the
// kernel (/proc/kmsg) wait so, and would hold up the whole run for ever.
const patience = 2 * time.Second

// small reads a file of up to streamed bytes into the batch's arena. One that
// changes meanwhile is read again, up to three times.
func (r *reader) small(b *batch, it *item) error {
	start := len(b.arena)
	var data []meta.Extent
	for try := 0; ; try++ {
		b.arena = b.arena[:start]
		f, st, err := open(b.folder, it)
		if err != nil {
			return err
		}
		err = r.smallContent(b, it, f, st)
		grown := it.size >= maxSmall
		data = dataOf(f, st, it.size)
		changed := err == nil && (grown || hasChanged(f, st))
		_ = f.Close() // only read
		if err != nil {
			return err
		}
		fill(&it.entry, st, it.side.device)
		it.note(st, r.run.started)
		if !changed {
			break
		}
		if try == 2 || grown {
			it.entry.Incomplete = true
			it.warning = fault.Changed.Error()
			break
		}
	}
	r.run.bytesRead.Add(it.size)
	r.cutSmall(it, b.arena[start:], data)
	return nil
}

// open opens the file of an item and makes sure that it is a file still.
func open(f *walk.Folder, it *item) (*os.File, *walk.Stat, error) {
	file, err := f.Open(it.name)
	if err != nil {
		return nil, nil, err
	}
	st, err := walk.StatOf(file)
	if err == nil && !st.IsFile() {
		err = fmt.Errorf("it was a file and is none any more: %w", fault.Changed)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, &st, nil
}

func hasChanged(f *os.File, before *walk.Stat) bool {
	after, err := walk.StatOf(f)
	return err != nil || after.Size != before.Size || after.MTime != before.MTime || after.CTime != before.CTime
}

// smallContent appends what the file holds now to the arena.
func (r *reader) smallContent(b *batch, it *item, f *os.File, st *walk.Stat) error {
	start := len(b.arena)
	// One byte more than stat announced, so that the end is seen without
	// another call.
	end := start + int(min(st.Size, maxSmall)) + 1
	for {
		if cap(b.arena) < end || len(b.arena) == cap(b.arena) {
			b.arena = growArena(b.arena, max(end-len(b.arena), 64<<10))
		}
		_ = f.SetReadDeadline(time.Now().Add(patience)) // most files have none: they never wait
		n, err := f.Read(b.arena[len(b.arena):cap(b.arena)])
		b.arena = b.arena[:len(b.arena)+n]
		it.size = int64(len(b.arena) - start)
		switch {
		case err == io.EOF || err == nil && it.size == st.Size && n < cap(b.arena[len(b.arena)-n:]):
			return nil
		case err != nil:
			return err
		case it.size >= maxSmall:
			return nil
		}
	}
}

// growArena moves to a larger arena. Chunks cut before stay in the old one.
func growArena(b []byte, n int) []byte {
	bigger := make([]byte, len(b), max(2*cap(b), len(b)+n))
	copy(bigger, b)
	return bigger
}

// maxInline is the size up to which a file's content stands in its entry.
const maxInline = 512

// dataOf returns where a file has data, if it may have holes: that it takes less
// room than its size tells, and costs two system calls to find out.
func dataOf(f *os.File, st *walk.Stat, size int64) []meta.Extent {
	if size <= maxInline || st.Blocks*512 >= size {
		return nil
	}
	data := []meta.Extent{}
	for x, err := range meta.Extents(f, size) {
		if err != nil {
			return nil // then its holes are zeros
		}
		data = append(data, x)
	}
	return data
}

// cutSmall cuts and hashes the content of a small file: of what has data; all of
// it if that is nil.
func (r *reader) cutSmall(it *item, content []byte, data []meta.Extent) {
	it.entry.Size = uint64(len(content))
	it.side.odd = triage.Looks(it.name, content)
	if len(content) <= maxInline {
		it.entry.Inline = content
		return
	}
	it.chunks = make([]piecePart, 0, 1+len(content)/r.run.params.Avg)
	if data == nil {
		r.cut(it, content)
		return
	}
	at := int64(0)
	for _, x := range data {
		it.hole(x.Offset - at)
		at = x.Offset + x.Length
		r.cut(it, content[x.Offset:at])
	}
	it.hole(int64(len(content)) - at)
}

func (it *item) hole(n int64) {
	if n > 0 {
		it.chunks = append(it.chunks, piecePart{hole: uint64(n)})
	}
}

func (r *reader) cut(it *item, content []byte) {
	for len(content) > 0 {
		n := len(content)
		if n >= 2*r.run.params.Min {
			n = r.run.cutter.Cut(content)
		}
		it.chunks = append(it.chunks, piecePart{id: r.hasher.Sum(content[:n]), data: content[:n]})
		content = content[n:]
	}
}
