package table

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	iofs "io/fs"

	"github.com/klauspost/compress/zstd"

	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// hostTree makes entries of the tree at TIDEMARK_BENCH_TREE (default: /usr),
// as a backup would: content of up to 512
// bytes inline, the rest at addresses one after the other, larger files in
// some extents.
func hostTree(b testing.TB) []*Entry {
	b.Helper()
	root := os.Getenv("TIDEMARK_BENCH_TREE")
	if root == "" {
		root = "/usr"
	}
	byKey := map[string]*Entry{"\x00": {Key: Key("/"), Kind: Folder, Mode: 0o755}}
	var at uint64
	err := filepath.WalkDir(root, func(path string, d iofs.DirEntry, err error) error {
		if err != nil {
			return nil // a benchmark reads what it may
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		key := Key(filepath.ToSlash(path))
		if ValidKey(key) != nil {
			return nil // a path with a volume: no benchmark there
		}
		e := &Entry{Key: key, Mode: uint32(info.Mode().Perm()), MTime: Time{info.ModTime().Unix(), uint32(info.ModTime().Nanosecond())}}
		switch {
		case d.IsDir():
			e.Kind = Folder
		case info.Mode()&iofs.ModeSymlink != 0:
			e.Kind = Symlink
			e.Target, _ = os.Readlink(path)
		case info.Mode().IsRegular():
			if e.Size = uint64(info.Size()); e.Size > 0 {
				e.Inline, e.Extents = content(path, e.Size, &at)
			}
		default:
			return nil
		}
		if validate(e) == nil {
			byKey[string(e.Key)] = e
		}
		return nil
	})
	if err != nil || len(byKey) < 1000 {
		b.Skipf("no tree at %s to take entries from: %v", root, err)
	}
	return sorted(byKey)
}

// content gives a file its place.
func content(path string, size uint64, at *uint64) ([]byte, []Extent) {
	if size <= 512 {
		if data, err := os.ReadFile(path); err == nil && uint64(len(data)) == size {
			return data, nil
		}
	}
	const full = 32 << 20
	var list []Extent
	for size > 0 {
		n := min(size, full-*at%full)
		p := *at / full
		list = append(list, Extent{Pack: pack.ID{1, 2, 3, 4, 5, 6, 7, byte(p), byte(p * 77), byte(p * 31), byte(p * 13), byte(p * 7)}, Offset: uint32(*at % full), Length: n})
		size, *at = size-n, *at+n
	}
	return nil, list
}

// pagesOf returns the pages of a table by ID, with their bytes.
func pagesOf(b testing.TB, m *memory, root *Root) map[chunk.ID][]byte {
	all := map[chunk.ID][]byte{}
	tree, err := New(m, *root, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for p, err := range tree.Pages(b.Context(), nil) {
		if err != nil {
			b.Fatal(err)
		}
		if p.Ref != nil {
			all[p.Ref.ID] = p.Raw
		}
	}
	return all
}

// compressed returns what pages take in frames of 64 KiB.
func compressed(b testing.TB, pages [][]byte) int {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	total := 0
	var frame []byte
	for _, p := range pages {
		if len(frame)+len(p) > 64<<10 && len(frame) > 0 {
			total += len(enc.EncodeAll(frame, nil))
			frame = frame[:0]
		}
		frame = append(frame, p...)
	}
	return total + len(enc.EncodeAll(frame, nil))
}

func BenchmarkEncode(b *testing.B) {
	entries := hostTree(b)
	b.ReportAllocs()
	for b.Loop() {
		build(b, newMemory(), testParams, entries)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
	b.ReportMetric(float64(len(entries)), "entries")
}

func BenchmarkAdd(b *testing.B) {
	entries := hostTree(b)
	m := newMemory()
	build(b, m, testParams, entries) // all pages are known from here on
	b.ReportAllocs()
	for b.Loop() {
		build(b, m, testParams, entries)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
}

func BenchmarkKeep(b *testing.B) {
	entries := hostTree(b)
	m := newMemory()
	tree := open(b, m, build(b, m, testParams, entries), Options{Cache: NewCache(1 << 30)})
	items := make([]Item, 0, len(entries))
	for it, err := range tree.From(b.Context(), 0) {
		if err != nil {
			b.Fatal(err)
		}
		items = append(items, it)
	}
	b.ReportAllocs()
	for b.Loop() {
		w, err := NewBuilder(m, testParams)
		if err != nil {
			b.Fatal(err)
		}
		for _, it := range items {
			if err := w.Keep(b.Context(), it); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Finish(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
}

func BenchmarkDecode(b *testing.B) {
	entries := hostTree(b)
	m := newMemory()
	var leaves [][]byte
	memory := 0
	for _, p := range pagesOf(b, m, build(b, m, testParams, entries)) {
		if p[0] == entryPage {
			leaves = append(leaves, p)
		}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n, memory = 0, 0
		for _, p := range leaves {
			l, err := DecodeLeaf(p)
			if err != nil {
				b.Fatal(err)
			}
			n += l.Len()
			memory += l.Memory()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(leaves)), "ns/page")
	b.ReportMetric(float64(memory)/float64(n), "mem-B/entry")
}

func BenchmarkAt(b *testing.B) {
	entries := hostTree(b)
	m := newMemory()
	tree := open(b, m, build(b, m, testParams, entries), Options{Cache: NewCache(1 << 30)})
	r := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		if _, err := tree.At(b.Context(), r.Uint64N(tree.Count())); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrom(b *testing.B) {
	entries := hostTree(b)
	m := newMemory()
	root := build(b, m, testParams, entries)
	for _, cache := range []int64{0, 1 << 30} {
		c := NewCache(cache)
		b.Run(fmt.Sprintf("cache=%d", cache), func(b *testing.B) {
			for b.Loop() {
				n := 0
				for _, err := range open(b, m, root, Options{Cache: c}).From(b.Context(), 0) {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
		})
	}
}

// BenchmarkSize tells what an average page size costs: bytes for each entry,
// and the growth of the repository's pages when 1 % of the files change, at
// random places or in one run, for each changed file.
func BenchmarkSize(b *testing.B) {
	entries := hostTree(b)
	for _, average := range []int{2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10} {
		b.Run(strconv.Itoa(average>>10)+"KiB", func(b *testing.B) {
			for b.Loop() {
				measureSize(b, entries, Params{Min: average / 2, Average: average, Table: chunk.Key{1}, Page: chunk.Key{2}})
			}
		})
	}
}

func measureSize(b *testing.B, entries []*Entry, p Params) {
	m := newMemory()
	before := pagesOf(b, m, build(b, m, p, entries))
	report := func(name string, pages map[chunk.ID][]byte, n int) {
		var list [][]byte
		raw := 0
		for id, page := range pages {
			if _, old := before[id]; !old || name == "all" {
				list = append(list, page)
				raw += len(page)
			}
		}
		// In order of their first bytes: neighbours in the table are close.
		slices.SortFunc(list, func(a, b []byte) int { return slices.Compare(a, b) })
		b.ReportMetric(float64(raw)/float64(n), name+"-B")
		b.ReportMetric(float64(compressed(b, list))/float64(n), name+"-zstd-B")
		b.ReportMetric(float64(len(list)), name+"-pages")
	}
	report("all", before, len(entries))
	r := rand.New(rand.NewPCG(3, 4))
	change := func(e *Entry, i int) *Entry {
		c := e.Clone()
		c.MTime = Time{1_790_000_000 + int64(i), uint32(r.IntN(1e9))}
		if len(c.Extents) == 1 && c.Size < 4<<20 {
			c.Size++
			c.Extents[0] = Extent{Pack: pack.ID{9, 9, 9, 9}, Offset: uint32(i%50000) * 5000, Length: c.Size}
		}
		return c
	}
	random, run := slices.Clone(entries), slices.Clone(entries)
	n := 0
	for i, e := range entries {
		if e.Kind != File {
			continue
		}
		if r.IntN(100) == 0 {
			random[i] = change(e, i)
			n++
		}
	}
	report("random", pagesOf(b, m, build(b, m, p, random)), n)
	for i := len(run) / 2; i < len(run)/2+n; i++ {
		run[i] = change(run[i], i)
	}
	report("run", pagesOf(b, m, build(b, m, p, run)), n)
}
