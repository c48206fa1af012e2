// Package fsconform is one suite for the tree of package fs and for every
// front end that shows it, and the parts to build such trees from: a Source
// in memory, filled from literals.
package fsconform

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// File describes one entry of a tree of Source. Parents that are missing are
// added as folders of root with mode 0755.
type File struct {
	Path  string
	Entry table.Entry // Key, Size and content are set from here
	Data  []Piece     // content of a file
}

// Piece is a run of content: bytes, or a hole.
type Piece struct {
	Bytes []byte
	Hole  uint64 // length, if Bytes is nil
}

// Bytes is content without holes.
func Bytes(b []byte) []Piece {
	if len(b) == 0 {
		return nil
	}
	return []Piece{{Bytes: b}}
}

const (
	pageSize    = 1 << 20  // raw bytes after which a pack of pages is ended
	packSize    = 16 << 20 // the same for content
	inlineLimit = 512
)

// Source holds points in memory. Its pages are real, sealed by nobody.
type Source struct {
	mu     sync.Mutex
	points []*repo.Point
	last   uint64 // sequence of the newest point
	roots  map[point.ID]table.Root
	packs  map[pack.ID][]byte
	open   pack.ID // the pack that is being filled with content
	pages  pack.ID // the same with pages
	known  map[chunk.ID]table.Address
	key    chunk.Key

	// Broken, if set, is asked before each read of a pack.
	Broken func(pack.ID, uint32) error

	// Stored, if set, is given each page that is put, new or not.
	Stored func(chunk.ID, []byte)

	prefetched uint64 // bytes asked for ahead
}

var _ fs.Source = (*Source)(nil)

// NewSource returns a Source without points.
func NewSource() *Source {
	return &Source{roots: map[point.ID]table.Root{}, packs: map[pack.ID][]byte{},
		known: map[chunk.ID]table.Address{}, key: chunk.Key{1, 2, 3}}
}

// Add makes a point of files and returns it.
func (s *Source) Add(ctx context.Context, at time.Time, files []File) (*repo.Point, error) {
	files = withParents(files)
	params := table.Params{Min: 4096, Average: 8192, Table: s.key, Page: s.key}
	b, err := table.NewBuilder(s, params)
	if err != nil {
		return nil, err
	}
	x, err := table.NewExtentBuilder(s, params)
	if err != nil {
		return nil, err
	}
	p := &repo.Point{Details: repo.Details{Started: at}}
	for i := range files {
		f := &files[i]
		e := f.Entry
		e.Key = table.Key(f.Path)
		if e.Kind == table.File {
			if err := s.store(ctx, x, f, &e); err != nil {
				return nil, err
			}
			p.Statistics.Bytes += e.Size
		}
		if err := b.Add(ctx, &e); err != nil {
			return nil, fmt.Errorf("add %q: %w", f.Path, err)
		}
	}
	root, err := b.Finish(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Entries = root.Count
	s.last++
	p.Sequence = s.last
	p.ID = sha256.Sum256(binary.LittleEndian.AppendUint64(nil, p.Sequence))
	s.points = append(s.points, p)
	s.roots[p.ID] = *root
	return p, nil
}

// withParents sorts files by key and adds the folders that are missing.
func withParents(files []File) []File {
	there := make(map[string]bool, len(files))
	for i := range files {
		there[files[i].Path] = true
	}
	all := slices.Clone(files)
	for i := range files {
		for path := files[i].Path; path != "/"; {
			path = path[:max(bytes.LastIndexByte([]byte(path), '/'), 0)]
			if path == "" {
				path = "/"
			}
			if there[path] {
				break
			}
			there[path] = true
			all = append(all, File{Path: path, Entry: table.Entry{Kind: table.Folder, Mode: 0o755}})
		}
	}
	slices.SortFunc(all, func(a, b File) int { return bytes.Compare(table.Key(a.Path), table.Key(b.Path)) })
	return all
}

// store puts a file's content into packs.
func (s *Source) store(ctx context.Context, x *table.ExtentBuilder, f *File, e *table.Entry) error {
	if len(f.Data) == 1 && len(f.Data[0].Bytes) > 0 && len(f.Data[0].Bytes) <= inlineLimit {
		e.Inline, e.Size = f.Data[0].Bytes, uint64(len(f.Data[0].Bytes))
		return nil
	}
	for _, r := range f.Data {
		if r.Bytes == nil {
			if err := x.Add(ctx, table.Extent{Hole: true, Length: r.Hole}); err != nil {
				return err
			}
			continue
		}
		for rest := r.Bytes; len(rest) > 0; {
			n := min(len(rest), packSize)
			a := s.append(&s.open, rest[:n], packSize)
			if err := x.Add(ctx, table.Extent{Pack: a.Pack, Offset: a.Offset, Length: uint64(n)}); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return x.Finish(ctx, e)
}

// append puts bytes into the pack at which in points, or into a new one.
func (s *Source) append(in *pack.ID, b []byte, limit int) table.Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.packs[*in]; !ok || len(s.packs[*in])+len(b) > limit {
		binary.BigEndian.PutUint64(in[:], uint64(len(s.packs)+1))
		s.packs[*in] = nil
	}
	a := table.Address{Pack: *in, Offset: uint32(len(s.packs[*in])), Length: uint32(len(b))}
	s.packs[*in] = append(s.packs[*in], b...)
	return a
}

// Put implements table.Sink.
func (s *Source) Put(_ context.Context, page []byte, id chunk.ID) (table.Address, error) {
	if s.Stored != nil {
		s.Stored(id, page)
	}
	if a, ok := s.known[id]; ok {
		return a, nil
	}
	a := s.append(&s.pages, page, pageSize)
	s.known[id] = a
	return a, nil
}

// Flush implements table.Sink.
func (s *Source) Flush(context.Context) error { return nil }

// Hint implements table.Sink.
func (s *Source) Hint(table.Address) (offset, length uint32) { return 0, 0 }

// Remove takes a point away.
func (s *Source) Remove(p *repo.Point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.points = slices.DeleteFunc(slices.Clone(s.points), func(q *repo.Point) bool { return q == p })
	delete(s.roots, p.ID)
}

// Points implements fs.Source.
func (s *Source) Points(context.Context) ([]*repo.Point, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.points), nil
}

// Tree implements fs.Source.
func (s *Source) Tree(_ context.Context, p *repo.Point, o table.Options) (*table.Tree, error) {
	s.mu.Lock()
	root, ok := s.roots[p.ID]
	s.mu.Unlock()
	if !ok {
		return nil, fault.NotExist
	}
	return table.New(s, root, o)
}

// Page implements table.Pages.
func (s *Source) Page(ctx context.Context, ref *table.Ref) ([]byte, error) {
	page := make([]byte, ref.Length)
	return page, s.ReadRaw(ctx, ref.Pack, ref.Offset, page)
}

// ReadRaw implements fs.Source.
func (s *Source) ReadRaw(_ context.Context, id pack.ID, offset uint32, dst []byte) error {
	if s.Broken != nil {
		if err := s.Broken(id, offset); err != nil {
			return err
		}
	}
	s.mu.Lock()
	raw := s.packs[id]
	s.mu.Unlock()
	if uint64(offset)+uint64(len(dst)) > uint64(len(raw)) {
		return fmt.Errorf("read pack %s: %w", id, fault.Corrupt)
	}
	copy(dst, raw[offset:])
	return nil
}

// Prefetch implements fs.Source: it counts.
func (s *Source) Prefetch(_ context.Context, _ pack.ID, _ uint32, length int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefetched += uint64(length)
}

// Prefetched returns how many bytes have been asked for ahead.
func (s *Source) Prefetched() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prefetched
}
