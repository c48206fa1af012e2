package backup

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/backup/exclude"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
	"github.com/tidemark-backup/tidemark/platform/snapshot"
	"github.com/tidemark-backup/tidemark/platform/walk"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// comparer walks the host and compares it with the copy of the last table.
type comparer struct {
	job   *Job
	run   *run
	next  func() (table.Item, error, bool) // of the old table
	stop  func()
	old   table.Item
	have  bool
	sides *sides

	key     []byte
	batch   *batch
	devices *devices
	streams []*Stream // yet to come, by name
	gone    []byte    // key of the file that was found last to be gone
}

// compare sends every entry, in table order, to out: as it was, or to be read.
func (r *run) compare(ctx context.Context, out chan<- *batch) error {
	c := &comparer{job: r.job, run: r, devices: &r.devices, streams: r.job.streams()}
	if r.old != nil {
		c.next, c.stop = iter.Pull2(r.old.From(ctx, 0))
		defer c.stop()
		c.sides = r.copies.old.sides()
		if err := c.advance(); err != nil {
			return err
		}
	}
	lost := 0 // roots that cannot be walked
	for f, err := range walk.Walk(ctx, c.options()) {
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if lost++; lost == len(r.job.Paths) {
				return fmt.Errorf("none of the paths is there: %w", err)
			}
			r.warn("", err.Error())
			continue
		}
		if err := c.folder(ctx, f, out); err != nil {
			return err
		}
	}
	for c.have {
		c.remove()
		if err := c.advance(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (c *comparer) options() walk.Options {
	if len(c.job.Paths) == 0 {
		return walk.Options{Roots: []string{"/"}, Select: func(*walk.Folder, *walk.Entry) walk.Verdict { return walk.Skip }}
	}
	o := walk.Options{Roots: c.job.Paths, OneFileSystem: c.job.OneFileSystem, Elsewhere: c.job.Elsewhere}
	if c.job.ExcludeCaches {
		o.Enter = func(f *walk.Folder, _ any) any { return isCache(f) }
	}
	o.Select = func(f *walk.Folder, e *walk.Entry) walk.Verdict {
		if cache, _ := f.Note.(bool); cache && e.Name != exclude.CacheTag {
			return walk.Skip
		}
		if e.Stat.IsFolder() && strings.HasPrefix(e.Name, snapshot.Prefix) { // another run's
			return walk.Skip
		}
		if c.job.Exclude != nil && c.job.Exclude.Excluded(f.Join(e.Name), e.Stat.IsFolder()) {
			return walk.Skip
		}
		return walk.Keep
	}
	return o
}

// isCache says whether a folder says of itself that it holds a cache.
func isCache(f *walk.Folder) bool {
	if !f.Has(exclude.CacheTag) {
		return false
	}
	if s, err := f.Lstat(exclude.CacheTag); err != nil || !s.IsFile() {
		return false
	}
	tag, err := f.Open(exclude.CacheTag)
	if err != nil {
		return false
	}
	defer tag.Close()
	ok, err := exclude.IsCacheTag(tag)
	return ok && err == nil
}

// advance goes on to the next entry of the old table.
func (c *comparer) advance() error {
	it, err, ok := c.next()
	if err != nil {
		return fmt.Errorf("%w: %w", errCopy, err)
	}
	c.old, c.have = it, ok
	return nil
}

// folder sends the entries of one listing.
func (c *comparer) folder(ctx context.Context, f *walk.Folder, out chan<- *batch) error {
	if f.Err != nil {
		c.run.warn(f.Path, fault.Reason(f.Err))
		c.run.unlisted(f.Path)
	}
	c.run.at(f.Path)
	if f.Path == "/" && c.run.first() {
		if err := c.entry(ctx, f, "", &f.Stat, out); err != nil {
			return err
		}
	}
	for i := range f.Entries {
		e := &f.Entries[i]
		if f.Path == "/" && len(c.streams) > 0 && c.streams[0].Name <= e.Name {
			taken := slices.ContainsFunc(c.streams, func(s *Stream) bool { return s.Name == e.Name })
			if err := c.stream(ctx, f, e.Name, out); err != nil {
				return err
			}
			if taken {
				c.run.warn(f.Join(e.Name), "left out: what a command prints has its name")
				continue
			}
		}
		if e.Err != nil {
			c.run.warn(f.Join(e.Name), fault.Reason(e.Err))
			continue
		}
		if e.Stat.Type() == walk.TypeSocket {
			c.run.skip(f.Join(e.Name))
			continue
		}
		if err := c.entry(ctx, f, e.Name, &e.Stat, out); err != nil {
			return err
		}
	}
	if f.Path == "/" && !f.More {
		if err := c.stream(ctx, f, "", out); err != nil {
			return err
		}
	}
	return c.send(ctx, out)
}

// entry puts one entry into the batch.
func (c *comparer) entry(ctx context.Context, f *walk.Folder, name string, st *walk.Stat, out chan<- *batch) error {
	c.key = table.AppendKey(c.key[:0], strings.TrimPrefix(f.Path, "/"), name)
	var old *table.Entry
	var side sideRecord
	for c.have {
		order := bytes.Compare(c.old.Entry.Key, c.key)
		if order > 0 {
			break
		}
		if order == 0 {
			old = c.old.Entry
			break
		}
		c.remove()
		if err := c.advance(); err != nil {
			return err
		}
	}
	if old != nil {
		var err error
		if side, err = c.sides.at(c.old.Ordinal); err != nil {
			return err
		}
	}
	if c.batch == nil {
		c.batch = &batch{folder: f, items: make([]item, 0, min(batchItems, len(f.Entries)+1))}
	}
	b := c.batch
	b.items = append(b.items, item{})
	it := &b.items[len(b.items)-1]
	it.side = sideRecord{ctimeSec: st.CTime.Sec, ctimeNsec: uint32(st.CTime.Nsec), device: c.devices.slot(st.Dev, old, &side), inode: st.Ino, odd: side.odd}
	same := old != nil && unchanged(old, &side, st, it.side.device) && c.run.takeOver(old)
	if same && !c.run.stale(ctx, old) {
		it.kept = c.old
	} else {
		if same {
			it.spare = spare{c.old, it.side}
		}
		it.name, it.stat, it.isNew = name, *st, old == nil
		if f.Path == "/" && len(c.streams) > 0 && c.streams[0].Name == name {
			it.from = c.streams[0]
		}
		it.entry.Key = bytes.Clone(c.key)
		it.was = c.before(old, &side)
		it.guess(old)
		c.work(b, it)
	}
	if old != nil {
		if err := c.advance(); err != nil {
			return err
		}
	}
	if b.full() || b.stream != nil {
		return c.send(ctx, out)
	}
	return nil
}

// work marks a batch as one that readers must see.
func (c *comparer) work(b *batch, it *item) {
	if b.done == nil {
		b.done = make(chan struct{})
	}
	switch {
	case !it.stat.IsFile():
	case it.stat.Size <= streamed:
		b.bytes += it.stat.Size
	default:
		// Only the last item of a batch is streamed, so that the others of the
		// batch need not wait for it.
		b.stream = make(chan piece, 1)
	}
}

func (c *comparer) send(ctx context.Context, out chan<- *batch) error {
	b := c.batch
	if b == nil {
		return nil
	}
	c.batch = nil
	if b.done != nil && !c.job.DryRun {
		if err := c.run.reserve(ctx, b); err != nil {
			return err
		}
		// Tokens for streams are taken here, in order. If readers took them,
		// a later file could get one that the file at the head waits for,
		// while nobody saves the later one: a deadlock.
		if b.stream != nil {
			select {
			case c.run.streams <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		// For the reader who takes it, and releases it whatever comes.
		b.folder.Retain()
		select {
		case c.run.work <- b:
		case <-ctx.Done():
			b.folder.Release()
			return ctx.Err()
		}
	}
	select {
	case out <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unchanged compares an entry with the host's. The inode's change time moves
// with every write, and with every change of mode, owner and attributes.
// A hard link whose device has got another slot is made anew, or its names
// would not be told as one file's.
func unchanged(old *table.Entry, side *sideRecord, st *walk.Stat, slot uint32) bool {
	return !side.again && !old.Incomplete &&
		side.ctimeSec == st.CTime.Sec && side.ctimeNsec == uint32(st.CTime.Nsec) && side.inode == st.Ino &&
		old.MTime.Sec == st.MTime.Sec && old.MTime.Nsec == uint32(st.MTime.Nsec) &&
		(old.Kind != table.File || old.Size == uint64(st.Size)) &&
		typeOf(old.Kind) == st.Type() && old.Mode == st.Mode&0o7777 && old.UID == st.UID && old.GID == st.GID &&
		(old.Link == nil) == (st.IsFolder() || st.Nlink <= 1) && (old.Link == nil || old.Link.Count == st.Nlink && old.Link.Device == slot)
}

func typeOf(k table.Kind) uint32 {
	return [...]uint32{
		table.File: walk.TypeFile, table.Folder: walk.TypeFolder, table.Symlink: walk.TypeLink,
		table.FIFO: walk.TypeFIFO, table.CharDevice: walk.TypeChar, table.BlockDevice: walk.TypeBlock,
	}[k]
}

// fill sets what a stat tells of an entry.
func fill(e *table.Entry, st *walk.Stat, slot uint32) {
	switch st.Type() {
	case walk.TypeFolder:
		e.Kind = table.Folder
	case walk.TypeLink:
		e.Kind = table.Symlink
	case walk.TypeFIFO:
		e.Kind = table.FIFO
	case walk.TypeChar:
		e.Kind = table.CharDevice
	case walk.TypeBlock:
		e.Kind = table.BlockDevice
	default:
		e.Kind = table.File
	}
	e.Mode, e.UID, e.GID = st.Mode&0o7777, st.UID, st.GID
	e.MTime = table.Time{Sec: st.MTime.Sec, Nsec: uint32(st.MTime.Nsec)}
	e.Link = nil
	if !st.IsFolder() && st.Nlink > 1 {
		e.Link = &table.Link{Device: slot, Inode: st.Ino, Count: st.Nlink}
	}
	if e.Kind == table.CharDevice || e.Kind == table.BlockDevice {
		e.Major, e.Minor = meta.DeviceNumbers(st.Rdev)
	}
}

// devices gives each device of the source a small stable number. A file
// system that comes back with another number after a restart is known again by
// an entry that is otherwise unchanged.
type devices struct {
	numbers []uint64 // by slot
	seen    []bool   // in this run
	last    uint32
}

func (d *devices) slot(dev uint64, old *table.Entry, side *sideRecord) uint32 {
	if int(d.last) < len(d.numbers) && d.numbers[d.last] == dev {
		d.seen[d.last] = true
		return d.last
	}
	i := slices.Index(d.numbers, dev)
	if i < 0 && old != nil && int(side.device) < len(d.numbers) && !d.seen[side.device] {
		i = int(side.device)
		d.numbers[i] = dev
	}
	if i < 0 {
		i = len(d.numbers)
		d.numbers, d.seen = append(d.numbers, dev), append(d.seen, false)
	}
	d.seen[i] = true
	d.last = uint32(i)
	return d.last
}
