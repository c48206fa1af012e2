package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// keySource is what the sources share that a repository's keys make possible.
type keySource struct {
	r      *Repository
	local  Local
	damage map[pack.ID]*badPack // found so far

	list    []index.Chunk // of the pack asked for last
	listOf  pack.ID
	encoder *seal.Encoder

	index *index.Index // of chunks in frames that are not damaged; nil: not yet
	dir   string       // its folder, to be removed
	sets  map[string][]byte
}

func (k *keySource) found(f scrub.Finding) { k.r.addBad(context.Background(), k.damage, f) }

// frame returns the pack of a frame, and what the frame is bound to.
func (k *keySource) frame(ctx context.Context, f pack.Stored) (*opened, seal.AD, error) {
	o, err := k.r.loadPack(ctx, f.Pack)
	if err != nil {
		return nil, seal.AD{}, err
	}
	if int(f.Frame) >= o.Frames() {
		return nil, seal.AD{}, fmt.Errorf("pack %s has %d frames: %w", f.Pack, o.Frames(), fault.Corrupt)
	}
	start, end := o.Span(int(f.Frame))
	ad := seal.AD{Pack: f.Pack, Number: f.Frame, Kind: seal.DataFrame, Raw: end - start}
	if o.Kind == pack.Pages {
		ad.Kind = seal.PageFrame
	}
	return o, ad, nil
}

// undoSource undoes small damage to a frame with the keys alone.
type undoSource struct{ *keySource }

// Name implements scrub.Source.
func (undoSource) Name() string { return "itself, by its authentication tag" }

// Object implements scrub.Source.
func (undoSource) Object(context.Context, string, []byte) ([]byte, error) { return nil, fault.NotExist }

// Frame implements scrub.Source.
func (u undoSource) Frame(ctx context.Context, f pack.Stored, own []byte) ([]byte, error) {
	o, ad, err := u.frame(ctx, f)
	if err != nil || len(own) != int(f.Length) {
		return nil, fault.NotExist
	}
	if right := o.box.Undo(own, ad, f.Hash); right != nil {
		return right, nil
	}
	return nil, fault.NotExist
}

// contentSource rebuilds a frame from chunks that are stored elsewhere, too.
type contentSource struct{ *keySource }

// Name implements scrub.Source.
func (contentSource) Name() string { return "the same content elsewhere" }

// Object implements scrub.Source.
func (contentSource) Object(context.Context, string, []byte) ([]byte, error) {
	return nil, fault.NotExist
}

// Frame implements scrub.Source.
func (c contentSource) Frame(ctx context.Context, f pack.Stored, _ []byte) ([]byte, error) {
	o, ad, err := c.frame(ctx, f)
	if err != nil {
		return nil, fault.NotExist
	}
	raw, err := c.raw(ctx, o, int(f.Frame))
	if err != nil {
		return nil, err
	}
	// A frame's bytes follow from what it holds, the keys, and how hard the
	// encoder tried: the nonce is a hash.
	efforts := []seal.Effort{shapes[o.Kind].effort, seal.Fast, seal.Careful, seal.Store}
	if c.encoder == nil {
		c.encoder = seal.NewEncoder()
	}
	sealer := o.box.Sealer()
	for _, effort := range efforts {
		plain := c.encoder.Encode(nil, raw, effort, int(o.Step))
		sealed := sealer.Seal(nil, plain, ad)
		if sha256.Sum256(sealed) == f.Hash {
			return sealed, nil
		}
	}
	return nil, fmt.Errorf("all content of frame %d is known, but this version of Tidemark compresses it to other bytes: %w", f.Frame, fault.Unsupported)
}

// raw puts together what a frame holds.
func (c contentSource) raw(ctx context.Context, o *opened, frame int) ([]byte, error) {
	if err := c.chunks(ctx, o); err != nil {
		return nil, err
	}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	key := c.r.ChunkKey()
	if o.Kind == pack.Pages {
		key = c.r.PageKey()
	}
	hasher := chunk.NewHasher(&key)
	start, end := o.Span(frame)
	raw := make([]byte, 0, end-start)
	missing, total := 0, 0
	for _, ch := range c.list {
		if ch.Offset+ch.Length <= start || ch.Offset >= end {
			continue
		}
		total++
		data, err := c.chunk(ctx, ch, hasher)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			missing++
			continue
		}
		from, to := max(ch.Offset, start), min(ch.Offset+ch.Length, end)
		raw = append(raw, make([]byte, int(from-start)-len(raw))...)
		raw = append(raw, data[from-ch.Offset:to-ch.Offset]...)
	}
	if missing > 0 {
		return nil, fmt.Errorf("%d of %d chunks in frame %d are stored nowhere else: %w", missing, total, frame, fault.Corrupt)
	}
	return raw, nil
}

// chunks reads the chunk list of a pack.
func (c contentSource) chunks(ctx context.Context, o *opened) error {
	if c.listOf == o.id {
		return nil
	}
	h, err := c.r.readHead(ctx, o.id)
	if err != nil {
		return err
	}
	c.list, err = c.r.chunkList(h, o.Geometry)
	if err == nil {
		c.listOf = o.id
	}
	return err
}

// chunk reads a chunk where the index finds it, which is in no damaged frame.
func (c contentSource) chunk(ctx context.Context, ch index.Chunk, hasher *chunk.Hasher) ([]byte, error) {
	at, ok := c.index.Lookup(ch.ID)
	if !ok || at.Length != ch.Length {
		return nil, fault.NotExist
	}
	p, ok := c.index.Pack(at.Pack)
	if !ok {
		return nil, fault.NotExist
	}
	data := make([]byte, at.Length)
	if err := c.r.ReadRaw(ctx, p.ID, at.Offset, data); err != nil {
		return nil, err
	}
	if hasher.Sum(data) != ch.ID {
		return nil, fault.Corrupt
	}
	return data, nil
}

// open makes an index of all that is not damaged, in a folder of its own: the
// machine's may be in use, and is rebuilt when all is healed.
func (c contentSource) open(ctx context.Context) error {
	if c.index != nil {
		return nil
	}
	absent, err := c.r.absentWith(ctx, c.damage)
	if err != nil {
		return err
	}
	if c.local.Dir != "" {
		if err := os.MkdirAll(c.local.Dir, 0o700); err != nil {
			return fmt.Errorf("make an index for the repair: %w", err)
		}
	}
	if c.dir, err = os.MkdirTemp(c.local.Dir, "repair-"); err != nil {
		return fmt.Errorf("make an index for the repair: %w", err)
	}
	ix, err := index.Open(c.dir, index.Options{Repository: c.r.ID})
	if err != nil {
		return err
	}
	if err := c.r.fillIndex(ctx, ix, absent); err != nil {
		return errors.Join(err, ix.Close())
	}
	c.index = ix
	return nil
}

// close removes what was made for the repair.
func (k *keySource) close() error {
	var err error
	if k.index != nil {
		err = k.index.Close()
	}
	if k.dir != "" {
		err = errors.Join(err, os.RemoveAll(k.dir))
	}
	return err
}

// tableSource rebuilds pages of live sets from the tables of the points.
type tableSource struct{ *keySource }

// Name implements scrub.Source.
func (*tableSource) Name() string { return "the points' tables" }

// Frame implements scrub.Source.
func (*tableSource) Frame(context.Context, pack.Stored, []byte) ([]byte, error) {
	return nil, fault.NotExist
}

// Object implements scrub.Source.
func (t *tableSource) Object(ctx context.Context, name string, _ []byte) ([]byte, error) {
	if !strings.HasPrefix(name, live.Prefix) {
		return nil, fault.NotExist
	}
	if t.sets == nil {
		if err := t.walk(ctx); err != nil {
			return nil, err
		}
	}
	b := t.sets[name]
	if b == nil {
		return nil, fmt.Errorf("no table that can be read makes it: %w", fault.Corrupt)
	}
	return b, nil
}

// walk writes the live sets of all points anew, where they change nothing.
func (t *tableSource) walk(ctx context.Context) error {
	t.sets = map[string][]byte{}
	var failed error
	walked := func(_ *point.Header, set *live.Set) {
		_, err := live.Write(ctx, catcher{objects: t.sets}, set, live.WriteOptions{})
		failed = errors.Join(failed, err)
	}
	if _, err := Check(ctx, t.r, CheckOptions{walked: walked}); err != nil {
		return err
	}
	return failed
}

// catcher is a store that keeps what is put, and has nothing.
type catcher struct {
	store.Store
	objects map[string][]byte
}

// Put implements store.Store.
func (c catcher) Put(_ context.Context, name string, data []byte) error {
	c.objects[name] = bytes.Clone(data)
	return nil
}

// List implements store.Store.
func (catcher) List(context.Context, string) iter.Seq2[store.Object, error] {
	return func(func(store.Object, error) bool) {}
}
