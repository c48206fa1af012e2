package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

const (
	chunkSize = 3 << 10 // two do not fit into a frame
	frameSize = 4 << 10
	contents  = 24 // different chunks of the whole world
	names     = 6  // files of a server

	// packSize is so much that no pack is full before its run is over: when it
	// would be depends on how fast frames are sealed.
	packSize = 64 << 10
)

// tree is what a server's files hold: a content for each name.
type tree map[string]int

// server is a protected server: its files and its local state.
type server struct {
	*world
	name  string
	files tree
	last  map[string]table.Extent // of its last point, as the copy of the table tells
	was   tree
	ahead time.Duration
}

// change changes some files.
func (v *server) change() {
	for range 1 + v.random.IntN(3) {
		name := fmt.Sprint("file", v.random.IntN(names))
		if v.random.IntN(6) == 0 {
			delete(v.files, name)
		} else {
			v.files[name] = v.random.IntN(contents)
		}
	}
}

// open opens the repository on a wire, as a new process does.
func (v *server) open(ctx context.Context, a *actor) (*repo.Repository, repo.Local, error) {
	l := repo.Local{Dir: filepath.Join(v.dir, v.name)}
	if a.name == v.name { // and no reader beside it
		a.dir = l.Dir
	}
	r, err := repo.Open(ctx, v.mutant.writer(&wire{v.primary, a}), repo.Options{Workers: 1})
	if err != nil {
		return nil, repo.Local{}, err
	}
	use, err := r.Grant(ctx, l)
	if err == nil && use != repo.Unattended {
		err = fmt.Errorf("%s has no keys: %w", v.name, fault.Locked)
	}
	if err == nil {
		err = r.OpenLedger(ctx, l, repo.LedgerOptions{})
	}
	return r, l, err
}

// backup writes a point. What is acknowledged goes into the model.
func (v *server) backup(ctx context.Context, a *actor) error {
	r, l, err := v.open(ctx, a)
	if err != nil {
		return err
	}
	for range 4 {
		placed, err := v.pass(ctx, r, l)
		if errors.Is(err, repo.ErrCondemned) {
			continue
		}
		if err != nil {
			return err
		}
		v.last, v.was = placed, maps.Clone(v.files)
		return nil
	}
	return fmt.Errorf("condemned again and again: %w", fault.Unavailable)
}

// pass is one go at a point.
func (v *server) pass(ctx context.Context, r *repo.Repository, l repo.Local) (placed map[string]table.Extent, err error) {
	v.runs++
	begin := v.truth
	now := v.now().Add(v.ahead).Add(time.Duration(v.runs) * time.Microsecond)
	w, err := r.NewWriter(ctx, l, repo.WriterOptions{Workers: 1, Uploaders: 1, PackSize: packSize, FrameSize: frameSize, Now: now})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	pages := pageMap{}
	b, err := table.NewBuilder(w.Pages(pages.keep), r.PageParams())
	if err != nil {
		return nil, err
	}
	if err := b.Add(ctx, &table.Entry{Key: table.Key("/"), Kind: table.Folder, Mode: 0o755}); err != nil {
		return nil, err
	}
	placed = map[string]table.Extent{}
	for _, name := range slices.Sorted(maps.Keys(v.files)) {
		x, err := v.store(w, name)
		if err != nil {
			return nil, err
		}
		placed[name] = x
		// The attribute makes a few entries fill more than one page.
		e := &table.Entry{Key: table.Key("/" + name), Mode: 0o644, Size: chunkSize, Extents: []table.Extent{x}}
		e.Xattrs = []table.Xattr{{Name: "user.noise", Value: noise(name, 900)}}
		if err := b.Add(ctx, e); err != nil {
			return nil, err
		}
	}
	root, err := b.Finish(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if err := pages.use(ctx, w, root); err != nil {
		return nil, err
	}
	p, err := w.Commit(ctx, root, repo.Details{Started: now, Finished: now, Host: v.name, Paths: []string{"/"}})
	if err != nil {
		return nil, err
	}
	receipt, err := w.Receipt()
	v.acknowledged(p, v.files, begin, receipt, err)
	return placed, nil
}

// store takes over what the last point has, or stores it.
func (v *server) store(w *repo.Writer, name string) (table.Extent, error) {
	n := v.files[name]
	if x, ok := v.last[name]; ok && v.was[name] == n && w.Use(x.Pack, x.Offset, uint32(x.Length)) {
		return x, nil
	}
	a, _, err := w.Store(pack.Blocks, v.chunks.id(n), v.chunks.data(n))
	if err != nil {
		return table.Extent{}, err
	}
	w.UseStored(a)
	return table.Extent{Pack: a.Pack, Offset: a.Offset, Length: uint64(a.Length)}, nil
}

// pageMap holds the pages of a table that is made.
type pageMap map[chunk.ID][]byte

func (m pageMap) keep(id chunk.ID, page []byte) error {
	m[id] = slices.Clone(page)
	return nil
}

// Page implements table.Pages.
func (m pageMap) Page(_ context.Context, ref *table.Ref) ([]byte, error) {
	if b, ok := m[ref.ID]; ok {
		return b, nil
	}
	return nil, fault.NotExist
}

// use adds the pages to the live set.
func (m pageMap) use(ctx context.Context, w *repo.Writer, root *table.Root) error {
	t, err := table.New(m, *root, table.Options{})
	if err != nil {
		return err
	}
	for p, err := range t.Pages(ctx, func(chunk.ID) bool { return false }) {
		if err != nil {
			return err
		}
		for i := range p.Refs {
			if ref := &p.Refs[i]; !w.Use(ref.Pack, ref.Offset, ref.Length) {
				return fmt.Errorf("page %s is gone: %w", ref.ID, fault.Changed)
			}
		}
	}
	return nil
}

// look reads a random point, all of it, and takes its time: who has a file open
// can read it for a day after its point was removed.
func (v *server) look(ctx context.Context, a *actor) error {
	r, _, err := v.open(ctx, a)
	if err != nil {
		return err
	}
	points, err := r.Points(ctx)
	if err != nil || len(points) == 0 {
		return err
	}
	p := points[v.random.IntN(len(points))]
	t, err := r.Tree(ctx, p, table.Options{})
	if errors.Is(err, fault.Stale) {
		return nil // it was removed just now
	}
	if err != nil {
		return err
	}
	got, err := v.read(ctx, r, t)
	if err != nil {
		if v.longGone(p.ID) {
			return nil
		}
		return fmt.Errorf("read point %d: %w", p.Sequence, err)
	}
	return v.same(p.ID, got)
}

// read reads a whole point.
func (w *world) read(ctx context.Context, r *repo.Repository, t *table.Tree) (tree, error) {
	got := tree{}
	b := make([]byte, chunkSize)
	for it, err := range t.From(ctx, 0) {
		if err != nil {
			return nil, err
		}
		if it.Entry.Kind != table.File {
			continue
		}
		x := it.Entry.Extents[0]
		b = b[:min(x.Length, chunkSize)]
		if err := r.ReadRaw(ctx, x.Pack, x.Offset, b); err != nil {
			return nil, err
		}
		got[table.Path(it.Entry.Key)[1:]] = w.chunks.which(b)
	}
	return got, nil
}

// same compares with what was acknowledged.
func (w *world) same(id point.ID, got tree) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	want, ok := w.points[id]
	if ok && !maps.Equal(want.files, got) {
		return fmt.Errorf("point %s holds %v and not %v: %w", id.Short(), got, want.files, fault.Corrupt)
	}
	return nil
}
