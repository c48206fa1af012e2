package scrub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Source is where bytes may come from that stand in for damaged ones. What it
// gives is proven before it is used, so that it may guess. What it has not is
// fault.NotExist; other errors are told to people.
type Source interface {
	// Name says in a few words what it is.
	Name() string
	// Object returns what an object was. own is what is left of it, which may
	// be nothing.
	Object(ctx context.Context, name string, own []byte) ([]byte, error)
	// Frame returns what a stored frame was. own is what is left of it, of the
	// frame's length or shorter.
	Frame(ctx context.Context, f pack.Stored, own []byte) ([]byte, error)
}

// Rebuilt is an object as it once was.
type Rebuilt struct {
	Data []byte
	From []string // names of the sources that helped; none: nothing was wrong
}

// Rebuild puts together what an object was, from what is left of it and from
// sources, asked in this order. If that cannot be done the error says what the
// sources said.
func Rebuild(ctx context.Context, s store.Store, repository [16]byte, name string, sources []Source) (*Rebuilt, error) {
	own, err := Salvage(ctx, s, name)
	if err != nil {
		return nil, fmt.Errorf("rebuild %s: %w", name, err)
	}
	return RebuildFrom(ctx, own, repository, name, sources)
}

// RebuildFrom is Rebuild for who has salvaged what is left of the object, or does
// not trust it: own is nil then.
func RebuildFrom(ctx context.Context, own []byte, repository [16]byte, name string, sources []Source) (*Rebuilt, error) {
	b := &rebuilding{repository: repository, name: name, sources: sources, own: own}
	if b.right(b.own) {
		return &Rebuilt{Data: b.own}, nil
	}
	data, err := b.frames(ctx)
	if err == nil && data == nil {
		data, err = b.object(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("rebuild %s: %w", name, err)
	}
	return &Rebuilt{Data: data, From: b.from}, nil
}

// rebuilding is an object that is put together.
type rebuilding struct {
	repository [16]byte
	name       string
	sources    []Source
	own        []byte
	from       []string
	said       []string // why sources could not help
}

// right says whether bytes are the object. Where nothing proves them, only a
// source's are: those that are left were found damaged.
func (b *rebuilding) right(data []byte) bool {
	return data != nil && !shapeOf(b.name).unproven && len(check(b.name, data, b.repository)) == 0
}

// Salvage reads what can be read of an object; zeros stand for what cannot, nil
// for an object that is missing, and nothing for one larger than any may be.
func Salvage(ctx context.Context, s store.Store, name string) ([]byte, error) {
	limit := shapeOf(name).limit
	own, err := store.ReadAll(ctx, s, name, limit)
	switch {
	case err == nil:
		return own, nil
	case errors.Is(err, fault.NotExist):
		return nil, nil
	case errors.Is(err, fault.TooLarge):
		return []byte{}, nil
	case ctx.Err() != nil || away(err):
		return nil, err
	}
	const part = 64 << 10 // around a bad sector
	// Only as far as it goes: a disk that reads nothing may take seconds for each
	// part, and an object may be small where others are large.
	size, err := listedSize(ctx, s, name)
	if ctx.Err() != nil || away(err) {
		return nil, err
	}
	own = make([]byte, 0, min(size, limit)+part)
	for at := int64(0); at < min(size, limit); at += part {
		own = own[:at+part]
		n, err := s.Get(ctx, name, at, own[at:])
		if err == nil && n < part {
			return own[:at+int64(n)], nil
		}
		if err != nil {
			if ctx.Err() != nil || away(err) {
				return nil, err
			}
			clear(own[at:])
		}
	}
	return own[:min(size, int64(len(own)))], nil
}

// listedSize returns how long a listing says that an object is; 0 if it does
// not say.
func listedSize(ctx context.Context, s store.Store, name string) (int64, error) {
	for o, err := range s.List(ctx, name) {
		if err != nil {
			return 0, err
		}
		if o.Name == name {
			return o.Size, nil
		}
	}
	return 0, nil
}

// object asks for the whole object.
func (b *rebuilding) object(ctx context.Context) ([]byte, error) {
	for _, s := range b.sources {
		data, err := s.Object(ctx, b.name, bytes.Clone(b.own))
		if err == nil && len(check(b.name, data, b.repository)) > 0 {
			err = fmt.Errorf("what it has is not right: %w", fault.Corrupt)
		}
		if err == nil {
			b.helped(s)
			return data, nil
		}
		if err := b.heard(ctx, s, err); err != nil {
			return nil, err
		}
	}
	return nil, b.nobody()
}

func (b *rebuilding) helped(s Source) {
	if !slices.Contains(b.from, s.Name()) {
		b.from = append(b.from, s.Name())
	}
}

// heard notes why a source could not help; an error ends it all.
func (b *rebuilding) heard(ctx context.Context, s Source, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if said := fmt.Sprintf("%s: %v", s.Name(), err); !errors.Is(err, fault.NotExist) && !slices.Contains(b.said, said) && len(b.said) < 10 {
		b.said = append(b.said, said)
	}
	return nil
}

func (b *rebuilding) nobody() error {
	if len(b.said) == 0 {
		return fmt.Errorf("nothing has it: %w", fault.Corrupt)
	}
	return fmt.Errorf("nothing has it (%s): %w", strings.Join(b.said, "; "), fault.Corrupt)
}

// frames puts an object of frames together whose head is right; nil if there is
// no such head.
func (b *rebuilding) frames(ctx context.Context) ([]byte, error) {
	if shapeOf(b.name).frames(b.name, nil) == nil {
		return nil, nil
	}
	head, frames := b.head()
	if head == nil && len(b.own) > 0 && slices.ContainsFunc(b.sources, func(s Source) bool { return s == Itself() }) &&
		unflipHead(ctx, b.own, func() bool { head, frames = b.head(); return head != nil }) {
		b.helped(Itself())
	}
	if head == nil {
		return nil, ctx.Err()
	}
	size := len(head)
	for i := range frames {
		size += int(frames[i].Length)
	}
	data := append(make([]byte, 0, size), head...)
	for _, f := range frames {
		at := len(data)
		own := b.own[min(at, len(b.own)):min(at+int(f.Length), len(b.own))]
		if len(own) == int(f.Length) && sha256.Sum256(own) == f.Hash {
			data = append(data, own...)
			continue
		}
		frame, err := b.frame(ctx, f, own)
		if err != nil {
			// A source may have the whole object, though not the frame.
			if whole, err2 := b.object(ctx); err2 == nil {
				return whole, nil
			}
			return nil, fmt.Errorf("frame %d of pack %s: %w", f.Frame, f.Pack, err)
		}
		data = append(data, frame...)
	}
	if len(b.from) == 0 { // garbage that followed the end
		b.from = []string{"itself"}
	}
	return data, nil
}

// head returns what stands before the frames, and the frames.
func (b *rebuilding) head() ([]byte, []pack.Stored) {
	if h, err := pack.Parse(b.own); err == nil && h.ID.Name() == b.name && h.Repository == b.repository {
		frames := make([]pack.Stored, h.Frames())
		for i := range frames {
			frames[i] = pack.Stored{Pack: h.ID, Frame: uint32(i), Length: h.Lengths[i], Hash: h.Hashes[i]}
		}
		return h.Marshal(), frames
	}
	if c, err := pack.ParseContainer(b.own); err == nil && pack.ContainerName(c.ID) == b.name && c.Repository == b.repository {
		return c.Marshal(), c.Frames
	}
	return nil, nil
}

func (b *rebuilding) frame(ctx context.Context, f pack.Stored, own []byte) ([]byte, error) {
	for _, s := range b.sources {
		data, err := s.Frame(ctx, f, bytes.Clone(own))
		if err == nil && (len(data) != int(f.Length) || sha256.Sum256(data) != f.Hash) {
			err = fmt.Errorf("what it has is not right: %w", fault.Corrupt)
		}
		if err == nil {
			b.helped(s)
			return data, nil
		}
		if err := b.heard(ctx, s, err); err != nil {
			return nil, err
		}
	}
	return nil, b.nobody()
}

// Replica returns a place that keeps the same repository as a Source. Packs may
// lie there in other objects.
func Replica(name string, s store.Store, repository [16]byte) Source {
	return replica{name, s, repository}
}

type replica struct {
	name       string
	store      store.Store
	repository [16]byte
}

// Name implements Source.
func (r replica) Name() string { return r.name }

// Object implements Source.
func (r replica) Object(ctx context.Context, name string, _ []byte) ([]byte, error) {
	if strings.HasPrefix(name, "ledger/") || strings.HasPrefix(name, "gc/") || strings.HasPrefix(name, "intents/") {
		return nil, fault.NotExist // it has its own, of the same names; see Ledgers
	}
	data, err := store.ReadAll(ctx, r.store, name, shapeOf(name).limit)
	if id, bad := pack.ParseName(name); bad == nil && errors.Is(err, fault.NotExist) {
		return r.pack(ctx, id)
	}
	return data, err
}

// pack puts the own object of a pack together that was moved there.
func (r replica) pack(ctx context.Context, id pack.ID) ([]byte, error) {
	p, err := place.Find(ctx, r.store, r.repository, id)
	if err != nil {
		return nil, err
	}
	data := p.Head.Marshal()
	for i := range p.Head.Frames() {
		frame, err := r.at(ctx, p, i)
		if err != nil {
			return nil, err
		}
		data = append(data, frame...)
	}
	return data, nil
}

// Frame implements Source.
func (r replica) Frame(ctx context.Context, f pack.Stored, _ []byte) ([]byte, error) {
	p, err := place.Find(ctx, r.store, r.repository, f.Pack)
	if err != nil {
		return nil, err
	}
	if int(f.Frame) >= p.Head.Frames() {
		return nil, bad("its pack has %d frames", p.Head.Frames())
	}
	return r.at(ctx, p, int(f.Frame))
}

func (r replica) at(ctx context.Context, p *place.Place, i int) ([]byte, error) {
	object, offset, length, ok := p.Frame(i)
	if !ok {
		return nil, fault.NotExist
	}
	data := make([]byte, length)
	n, err := place.Get(ctx, r.store, object, int64(offset), data)
	return data[:n], err
}
