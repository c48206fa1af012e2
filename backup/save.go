package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/backup/triage"
	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// saver takes batches in order, stores what is new in them, and builds the
// table.
type saver struct {
	run      *run
	builder  *table.Builder
	extents  *table.ExtentBuilder
	stats    repo.Statistics
	changed  bool // the new table differs from the old one
	whole    bool // pages of the old table may be kept as they are
	sink     table.Sink
	seen     triage.Counts
	suffixes map[string]uint64 // that files which are gone were given
	fresh    bool              // the item has content that no point had

	names *history.Recorder // nil: names are not to be remembered

	incomplete map[string]bool // keys of folders that the new table calls so

	users, groups       map[uint32]string
	lastUser, lastGroup uint32
}

func (s *saver) begin() error {
	r := s.run
	s.suffixes = make(map[string]uint64)
	s.users, s.groups = make(map[uint32]string), make(map[uint32]string)
	if r.writer == nil {
		return nil
	}
	s.whole = r.oldPagesUsable()
	p := r.repo.PageParams()
	s.incomplete = make(map[string]bool)
	if r.repo.CanRead() { // a machine that opens nothing remembers no names
		s.names = history.NewRecorder(r.local.Names(), r.repo.NamesKey())
	}
	s.sink = r.writer.Pages(func(id chunk.ID, page []byte) error {
		r.copies.used[id] = true
		if s.names != nil {
			s.names.Page(id, page)
		}
		return r.copies.put(id, page)
	})
	var err error
	if s.builder, err = table.NewBuilder(s.sink, p); err != nil {
		return err
	}
	if s.extents, err = table.NewExtentBuilder(s.sink, p); err != nil {
		return err
	}
	return nil
}

// takeOver says whether an unchanged entry can go into the new table as it
// is: everything that it names can be relied on. It is called by the comparer,
// while the saver works; both go through the writer's index only.
func (r *run) takeOver(e *table.Entry) bool {
	if r.writer == nil {
		return true
	}
	for i := range e.Extents {
		if x := &e.Extents[i]; !x.Hole && !r.writer.Usable(x.Pack, x.Offset, uint32(x.Length)) {
			return false
		}
	}
	if e.Tree == nil {
		return true
	}
	for p, err := range table.ExtentPages(context.Background(), r.copies.old, e) {
		if err != nil || !r.writer.Usable(p.Ref.Pack, p.Ref.Offset, p.Ref.Length) {
			return false
		}
		for i := range p.Runs {
			if x := &p.Runs[i]; !x.Hole && !r.writer.Usable(x.Pack, x.Offset, uint32(x.Length)) {
				return false
			}
		}
	}
	return true
}

// oldPagesUsable says whether every leaf page of the old table can be relied
// on, so that pages may be taken over whole. If one cannot, none is: then all
// are made again, which stores just those that are missing.
func (r *run) oldPagesUsable() bool {
	if r.old == nil {
		return false
	}
	leaves := make(map[chunk.ID]bool)
	for p, err := range r.old.Pages(context.Background(), func(id chunk.ID) bool { return leaves[id] }) {
		if err != nil {
			return false
		}
		for i := range p.Refs {
			ref := &p.Refs[i]
			if !r.writer.Usable(ref.Pack, ref.Offset, ref.Length) || r.writer.Hollow(ref.Address) {
				return false
			}
			if p.Level == 1 {
				leaves[ref.ID] = true
			}
		}
	}
	return true
}

// save takes batches until there are no more.
func (s *saver) save(ctx context.Context, queue <-chan *batch) error {
	for {
		select {
		case b, ok := <-queue:
			if !ok {
				return nil
			}
			if err := s.batch(ctx, b); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *saver) batch(ctx context.Context, b *batch) error {
	if b.done != nil && s.builder != nil {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for i := range b.items {
		if err := s.item(ctx, b, &b.items[i]); err != nil {
			return err
		}
	}
	if b.arena != nil {
		s.run.giveArena(b)
	}
	return s.checkpoint(ctx)
}

// checkpoint claims what is stored so far, now and then.
func (s *saver) checkpoint(ctx context.Context) error {
	if s.run.writer == nil {
		return nil
	}
	return s.run.writer.Checkpoint(ctx, s.run.now())
}

func (s *saver) item(ctx context.Context, b *batch, it *item) error {
	s.fresh = false
	e := it.kept.Entry
	if e == nil {
		e = &it.entry
		s.changed = s.changed || !it.drop || !it.isNew
	}
	if it.drop {
		s.run.warn(b.folder.Join(it.name), it.warning)
		return nil
	}
	if s.builder == nil { // a dry run
		if it.kept.Entry == nil {
			fill(e, &it.stat, 0)
			e.Size = uint64(max(it.stat.Size, 0))
		}
		if it.from != nil { // nobody knows what it will be
			e.Size = 0
		}
		s.count(it, e)
		if it.kept.Entry == nil && it.from == nil && it.stat.IsFile() {
			s.stats.BytesRead += uint64(it.stat.Size)
		}
		return nil
	}
	if err := s.content(ctx, b, it, e); err != nil {
		return err
	}
	if it.drop { // a stream that could not be read
		s.run.warn(b.folder.Join(it.name), it.warning)
		return nil
	}
	if it.kept.Entry != nil && e != it.kept.Entry { // one that is kept as it was
		e = it.kept.Entry
		if err := s.use(ctx, e); err != nil {
			return err
		}
	}
	if err := s.add(ctx, it, e); err != nil {
		if k := fault.KindOf(err); k == fault.Invalid || k == fault.TooLarge {
			s.run.warn(b.folder.Join(it.name), err.Error())
			return nil
		}
		return err
	}
	if it.warning != "" {
		s.run.warn(b.folder.Join(it.name), it.warning)
	}
	s.count(it, e)
	s.guessed(e)
	if b.stream == nil || it != &b.items[len(b.items)-1] {
		s.run.job.Progress.Bytes.Add(int64(e.Size))
	}
	s.run.copies.note(&it.side)
	return nil
}

func (s *saver) add(ctx context.Context, it *item, e *table.Entry) error {
	if it.kept.Entry != nil && s.whole {
		return s.builder.Keep(ctx, it.kept)
	}
	return s.builder.Add(ctx, e)
}

// content stores an entry's content, and adds it to the live set.
func (s *saver) content(ctx context.Context, b *batch, it *item, e *table.Entry) error {
	switch {
	case it.kept.Entry != nil:
		return s.use(ctx, e)
	case b.stream != nil && it == &b.items[len(b.items)-1]:
		return s.stream(ctx, b, it)
	case len(it.chunks) > 0:
		for _, c := range it.chunks {
			if err := s.chunk(ctx, kindOf(it.size, false), c); err != nil {
				return err
			}
		}
		return s.settle(ctx, e)
	}
	return nil
}

// settle ends the content of a new entry.
func (s *saver) settle(ctx context.Context, e *table.Entry) error {
	if err := s.extents.Finish(ctx, e); err != nil {
		return err
	}
	for p, err := range table.ExtentPages(ctx, s.run.copies, e) {
		if err != nil {
			return fmt.Errorf("read back the extents of %q: %w", table.Path(e.Key), err)
		}
		s.run.writer.UseStored(p.Ref.Address)
	}
	return nil
}

// stream stores a file that comes in pieces.
func (s *saver) stream(ctx context.Context, b *batch, it *item) error {
	kind := kindOf(it.stat.Size, it.blocks)
	for {
		var p piece
		var ok bool
		select {
		case p, ok = <-b.stream:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !ok {
			return s.streamed(ctx, it)
		}
		for _, c := range p.parts {
			if err := s.chunk(ctx, kind, c); err != nil {
				return err
			}
			s.run.job.Progress.Bytes.Add(int64(len(c.data)) + int64(c.hole))
		}
		s.run.givePiece(p.buf)
		if err := s.checkpoint(ctx); err != nil {
			return err
		}
	}
}

// streamed ends a file that came in pieces.
func (s *saver) streamed(ctx context.Context, it *item) error {
	if err := s.broken(it); err != nil {
		return err
	}
	if it.drop {
		return nil
	}
	// It also clears what was collected, so it comes before the error.
	if err := s.settle(ctx, &it.entry); err != nil {
		return err
	}
	switch {
	case errors.Is(it.late, fault.Changed):
		it.entry.Incomplete = true
		it.warning = fault.Changed.Error()
	case it.late != nil:
		if it.from != nil {
			s.run.unprinted = append(s.run.unprinted, it.from.Name)
		}
		it.fail(it.late)
	}
	return nil
}

// chunk stores one chunk, or a hole, of the file that extents is at.
func (s *saver) chunk(ctx context.Context, kind pack.Kind, c piecePart) error {
	if c.data == nil {
		return s.extents.Add(ctx, table.Extent{Hole: true, Length: c.hole})
	}
	a, fresh, err := s.run.writer.Store(kind, c.id, c.data)
	if err != nil {
		return err
	}
	s.fresh = s.fresh || fresh
	s.run.writer.UseStored(a)
	return s.extents.Add(ctx, table.Extent{Pack: a.Pack, Offset: a.Offset, Length: uint64(a.Length)})
}

// use adds an old entry's content to the live set.
func (s *saver) use(ctx context.Context, e *table.Entry) error {
	w := s.run.writer
	for i := range e.Extents {
		if x := &e.Extents[i]; !x.Hole && !w.Use(x.Pack, x.Offset, uint32(x.Length)) {
			return lost(e)
		}
	}
	if e.Tree == nil {
		return nil
	}
	for p, err := range table.ExtentPages(ctx, s.run.copies.old, e) {
		if err != nil {
			return fmt.Errorf("%w: %w", errCopy, err)
		}
		if !w.Use(p.Ref.Pack, p.Ref.Offset, p.Ref.Length) {
			return lost(e)
		}
		if err := s.run.copies.use(p.Ref.ID); err != nil {
			return err
		}
		for i := range p.Runs {
			if x := &p.Runs[i]; !x.Hole && !w.Use(x.Pack, x.Offset, uint32(x.Length)) {
				return lost(e)
			}
		}
	}
	return nil
}

func lost(e *table.Entry) error {
	return fmt.Errorf("content of %q was in the vault a moment ago and is gone: %w", table.Path(e.Key), fault.Changed)
}

// count adds an entry to the statistics, and remembers its owner's names.
func (s *saver) count(it *item, e *table.Entry) {
	switch {
	case it.kept.Entry != nil || it.spare.Entry != nil && !e.Incomplete:
		s.stats.Unchanged++
	case it.isNew:
		s.stats.New++
	default:
		s.stats.Changed++
	}
	switch e.Kind {
	case table.File:
		s.stats.Files++
		s.stats.Bytes += e.Size
		s.spot(it, e)
	case table.Folder:
		s.stats.Folders++
	case table.Symlink:
		s.stats.Links++
	default:
		s.stats.Others++
	}
	p := s.run.job.Progress
	p.Files.Add(1)
	s.owner(e)
}

// finish commits the point.
func (s *saver) finish(ctx context.Context) (*Summary, error) {
	r := s.run
	s.stats.Removed = uint64(r.removed.Load())
	s.stats.Warnings = r.warned
	slices.SortFunc(r.warnings, func(a, b repo.Warning) int { return strings.Compare(a.Path, b.Path) })
	sum := &Summary{Started: r.started, Statistics: s.stats, Warned: r.warnings, Skipped: r.skipped}
	if r.writer == nil {
		sum.Finished = r.now()
		return sum, nil
	}
	root, err := s.builder.Finish(ctx)
	if err == nil {
		root, err = s.correct(ctx, root)
	}
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	// First of all, as pages can be used only when their pack is closed: those
	// of extents may lie in an open one, if the table is a root page alone.
	if err := r.writer.Flush(); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if err := s.usePages(ctx, root); err != nil {
		return nil, err
	}
	sum.BytesRead, sum.BytesNew, sum.BytesStored = uint64(r.bytesRead.Load()), uint64(r.writer.Fresh()), uint64(r.writer.Stored())
	sum.Finished, sum.Consistency = r.now(), r.consistency()
	watch := r.watch(s)
	sum.Suspect = watch.suspect()
	d := repo.Details{
		Suspect: sum.Suspect, Consistency: sum.Consistency, Started: r.started, Finished: sum.Finished, Statistics: sum.Statistics,
		Host: r.job.Host, User: r.job.User, OS: r.job.OS, Program: r.job.Program, Version: r.job.Version,
		Paths: r.job.protected(), Tags: r.job.Tags, Users: named(s.users), Groups: named(s.groups), Devices: r.devices.numbers, Warnings: r.warnings,
		ServerUsers: r.job.ServerUsers,
	}
	p, err := r.writer.Commit(ctx, root, d)
	if err != nil {
		return nil, err
	}
	sum.Point, sum.Sequence = p.ID, p.Sequence
	var unreceipted error
	if sum.Receipt, unreceipted = r.writer.Receipt(); unreceipted != nil {
		sum.warn(ledger.Prefix, fmt.Sprintf("point %s is written, and its receipt is not; the next run writes it: %v", p.ID.Short(), unreceipted))
	}
	sum.BytesStored = uint64(r.writer.Stored()) // with the point itself
	sum.Renewed = uint64(r.writer.Renewed())
	if err := r.writer.Remember(); err != nil {
		sum.slower(r.local.Dir, err)
	}
	if wentBack(r.copies.old, p) || s.changed || r.removed.Load() > 0 || !s.whole {
		err := r.copies.commit(r.repo.ID, state{
			point: p.ID, sequence: p.Sequence, entries: root.Count, level: root.Level, root: root.Page, devices: r.devices.numbers,
		})
		if err != nil {
			sum.slower(r.copies.dir, err)
		}
	}
	if s.names != nil {
		if err := s.names.Write(); err != nil {
			sum.warn(r.local.Names(), "the next search will take longer: "+err.Error())
		}
	}
	watch.after(ctx, sum)
	r.copies.removeUnused(r.now())
	return sum, nil
}

// wentBack says whether the copy's point is not the one before p in the vault:
// somebody accepted a vault that went back in time.
func wentBack(old *oldTable, p *repo.Point) bool {
	return old != nil && (p.Sequence <= old.sequence || p.Sequence == old.sequence+1 && p.Previous != old.point)
}

// usePages adds the table's own pages to the live set.
func (s *saver) usePages(ctx context.Context, root *table.Root) error {
	leaves := make(map[chunk.ID]bool)
	t, err := table.New(s.run.copies, *root, table.Options{})
	if err != nil {
		return fmt.Errorf("backup: read back the new table: %w", err)
	}
	for p, err := range t.Pages(ctx, func(id chunk.ID) bool { return leaves[id] }) {
		if err != nil {
			return fmt.Errorf("backup: read back the new table: %w", err)
		}
		for i := range p.Refs {
			ref := &p.Refs[i]
			if !s.run.writer.Use(ref.Pack, ref.Offset, ref.Length) {
				return fmt.Errorf("backup: page %s of the new table is not in the vault: %w", ref.ID, fault.Changed)
			}
			if p.Level == 1 {
				leaves[ref.ID] = true
			}
			if err := s.run.copies.use(ref.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
