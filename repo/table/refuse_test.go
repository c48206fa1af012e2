package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

func TestKeys(t *testing.T) {
	for path, want := range map[string]string{
		"/": "\x00", "/etc": "\x00etc", "/etc/ssh/a": "etc\x00ssh\x00\x00a",
	} {
		if got := Key(path); string(got) != want || Path(got) != path || ValidKey(got) != nil {
			t.Errorf("Key(%q) = %q, which is the path of %q: %v", path, got, Path(got), ValidKey(got))
		}
	}
	for _, bad := range []string{"", "a", "\x00\x00", "a\x00", "a\x00b", "a\x00\x00", "\x00a\x00", "\x00a/b", "a/b\x00\x00c", "\x00.", "\x00..",
		"..\x00\x00a", "a\x00\x00b\x00\x00c", "\x00" + strings.Repeat("n", MaxName+1), strings.Repeat("n\x00", MaxPath/2) + "\x00n"} {
		if err := ValidKey([]byte(bad)); !errors.Is(err, fault.Invalid) {
			t.Errorf("ValidKey(%.20q) = %v", bad, err)
		}
	}
	first, end := SubtreeBounds(Key("/etc"))
	for path, in := range map[string]bool{"/etc": false, "/etc/a": true, "/etc/a/b": true, "/etc\x01/b": false, "/etc-/b": false, "/f": false} {
		k := Key(path)
		if got := bytes.Compare(first, k) <= 0 && bytes.Compare(k, end) < 0; got != in {
			t.Errorf("%q below /etc: %v", path, got)
		}
		own := bytes.Compare(ChildrenPrefix(Key("/etc")), k) <= 0 && bytes.Compare(k, ChildrenEnd(Key("/etc"))) < 0
		if own != (path == "/etc/a") {
			t.Errorf("%q in /etc: %v", path, own)
		}
	}
}

// Add refuses what breaks a rule, and goes on as if it had not been asked.
func TestAddRefuses(t *testing.T) {
	m := newMemory()
	want := build(t, m, small, samples())
	data := func(n uint64) []Extent { return []Extent{{Pack: [16]byte{1}, Length: n}} }
	long := make([]Extent, MaxExtents+2)
	for i := range long {
		long[i] = Extent{Pack: [16]byte{1}, Offset: uint32(2 * i), Length: 1}
	}
	bad := map[string]*Entry{
		"key":             {Key: []byte("x")},
		"order":           {Key: Key("/")},
		"kind":            {Kind: numKinds},
		"mode":            {Mode: 0o10000},
		"nanoseconds":     {MTime: Time{0, 1e9}},
		"target":          {Target: "x"},
		"long target":     {Kind: Symlink, Target: strings.Repeat("x", MaxPath+1)},
		"device":          {Kind: FIFO, Minor: 1},
		"linked folder":   {Kind: Folder, Link: &Link{}},
		"no content":      {Size: 1},
		"no size":         {Extents: data(1)},
		"two contents":    {Size: 1, Inline: []byte("x"), Extents: data(1)},
		"folder content":  {Kind: Folder, Size: 1, Inline: []byte("x")},
		"inline size":     {Size: 2, Inline: []byte("x")},
		"long inline":     {Size: MaxInline + 1, Inline: make([]byte, MaxInline+1)},
		"extents size":    {Size: 2, Extents: data(1)},
		"address":         {Size: pack.MaxRaw + 1, Extents: data(pack.MaxRaw + 1)},
		"address end":     {Size: 2, Extents: []Extent{{Offset: pack.MaxRaw - 1, Length: 2}}},
		"hole in pack":    {Size: 2, Extents: []Extent{{Hole: true, Offset: 1, Length: 2}}},
		"too many":        {Size: MaxExtents + 2, Extents: long},
		"one run":         {Size: 2, Extents: []Extent{{Length: 1}, {Offset: 1, Length: 1}}},
		"two holes":       {Size: 2, Extents: []Extent{{Hole: true, Length: 1}, {Hole: true, Length: 1}}},
		"huge":            {Size: 1 << 63, Extents: []Extent{{Hole: true, Length: 1 << 63}}},
		"tree size":       {Size: 2, Tree: &Subtree{Ref: Ref{Count: 1, Address: Address{Length: 9}}}},
		"tree hint":       {Size: 2, Tree: &Subtree{Ref: Ref{Count: 2, Address: Address{Length: 9}, HintLength: 1}}},
		"tree level":      {Size: 2, Tree: &Subtree{Level: MaxLevels, Ref: Ref{Count: 2, Address: Address{Length: 9}}}},
		"attribute order": {Xattrs: []Xattr{{"b", nil}, {"a", nil}}},
		"attribute twice": {Xattrs: []Xattr{{"a", nil}, {"a", nil}}},
		"no name":         {Xattrs: []Xattr{{"", nil}}},
		"attributes":      {Xattrs: []Xattr{{"a", make([]byte, MaxXattrs)}}},
		"extension":       {Extension: []byte{1}},
		"extension order": {Extension: []byte{2, 0, 1, 0}},
	}
	b, err := NewBuilder(m, small)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), &Entry{Key: Key("/a")}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a table without a root: %v", err)
	}
	for _, e := range samples() {
		if err := b.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		for name, e := range bad {
			if e.Key == nil {
				e.Key = Key("/zzz/zzz")
			}
			if err := b.Add(t.Context(), e); !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.TooLarge) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	got, err := b.Finish(t.Context())
	if err != nil || !bytes.Equal(got.Page, want.Page) {
		t.Errorf("what was refused has left a trace: %v", err)
	}
	for _, p := range []Params{{}, {Min: 255, Average: 512}, {Min: 512, Average: 511}, {Min: 256, Average: 32<<10 + 1}} {
		if _, err := NewBuilder(m, p); !errors.Is(err, fault.Invalid) {
			t.Errorf("params %d, %d: %v", p.Min, p.Average, err)
		}
		if _, err := NewExtentBuilder(m, p); !errors.Is(err, fault.Invalid) {
			t.Errorf("params %d, %d: %v", p.Min, p.Average, err)
		}
	}
	if b, _ := NewBuilder(m, small); b != nil {
		if _, err := b.Finish(t.Context()); !errors.Is(err, fault.Invalid) {
			t.Errorf("empty table: %v", err)
		}
	}
}

// A tree of folders whose paths are as long as paths can be does not outgrow
// the levels, the pages or the memory of a reader.
func TestDeepPaths(t *testing.T) {
	name := strings.Repeat("d", 250)
	folder := ""
	entries := []*Entry{{Key: Key("/"), Kind: Folder}}
	for len(folder)+3*len(name) < MaxPath {
		entries = append(entries, &Entry{Key: AppendKey(nil, folder, name), Kind: Folder})
		folder = strings.TrimPrefix(folder+"/"+name, "/")
	}
	for i := range 500 {
		entries = append(entries, &Entry{Key: AppendKey(nil, folder, fmt.Sprint(1_000_000+i))})
	}
	m := newMemory()
	root := build(t, m, testParams, entries)
	tree := open(t, m, root, Options{})
	pages, memory := 0, 0
	for p, err := range tree.Pages(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if pages++; p.Leaf != nil {
			memory = max(memory, p.Leaf.Memory())
		}
	}
	if got := collect(t, tree); len(got) != len(entries) || root.Level > 4 || memory > 6<<20 || m.stored > 12<<20 {
		t.Errorf("%d entries of %d, level %d, %d pages, a leaf of %d bytes", len(got), len(entries), root.Level, pages, memory)
	}
	t.Logf("%d entries: level %d, %d pages, %d MB; largest leaf takes %d bytes", len(entries), root.Level, pages, m.stored>>20, memory)
}

// Pages that stand for others are found by whoever reads them.
func TestPagesThatDoNotBelong(t *testing.T) {
	m := newMemory()
	entries := plain(3000)
	root := build(t, m, small, entries)
	tree := open(t, m, root, Options{})
	if root.Level < 2 {
		t.Fatalf("level %d", root.Level)
	}
	refs := tree.top.refs
	write := func(change func(refs []Ref)) Root {
		changed := append([]Ref(nil), refs...)
		change(changed)
		var w refWriter
		total := uint64(0)
		for i := range changed {
			w.add(&changed[i])
			total += changed[i].Count
		}
		return Root{Page: w.appendPage(nil, refPage), Level: root.Level, Count: total}
	}
	for name, bad := range map[string]Root{
		"count":  write(func(r []Ref) { r[1].Count++ }),
		"length": write(func(r []Ref) { r[1].Length-- }),
		"twice":  write(func(r []Ref) { s := r[1].Separator; r[1] = r[0]; r[1].Separator = s }),
		"level":  {Page: root.Page, Level: root.Level - 1, Count: root.Count},
		"higher": {Page: root.Page, Level: root.Level + 1, Count: root.Count},
		"total":  {Page: root.Page, Level: root.Level, Count: root.Count + 1},
		"leaf":   {Page: root.Page, Level: 0, Count: root.Count},
		"levels": {Page: root.Page, Level: MaxLevels, Count: root.Count},
	} {
		tree, err := New(m, bad, Options{})
		if err == nil {
			for _, err = range tree.Pages(t.Context(), nil) {
				if err != nil {
					break
				}
			}
			streamed := error(nil)
			for _, streamed = range tree.From(t.Context(), 0) {
				if streamed != nil {
					break
				}
			}
			if !errors.Is(streamed, fault.Corrupt) {
				t.Errorf("%s: the stream ends with %v", name, streamed)
			}
		}
		if !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tree.At(t.Context(), root.Count); !errors.Is(err, fault.NotExist) {
		t.Errorf("At(Count): %v", err)
	}
}

// A stream asks ahead, stops when its consumer does, and reports what fails
// in its place.
func TestReadAhead(t *testing.T) {
	m := newMemory()
	entries := plain(5000)
	root := build(t, m, small, entries)
	before := runtime.NumGoroutine()
	var running, most atomic.Int64
	m.fail = func(*Ref) error {
		most.Store(max(most.Load(), running.Add(1)))
		time.Sleep(200 * time.Microsecond)
		running.Add(-1)
		return nil
	}
	tree := open(t, m, root, Options{ReadAhead: 8})
	if got := collect(t, tree); len(got) != len(entries) {
		t.Fatalf("%d entries of %d", len(got), len(entries))
	}
	if n := most.Load(); n < 4 || n > 9 {
		t.Errorf("%d pages asked for at a time", n)
	}
	for stop := range 40 {
		n := 0
		for _, err := range open(t, m, root, Options{ReadAhead: 8}).From(t.Context(), uint64(stop*50)) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > stop {
				break
			}
		}
		if running.Load() != 0 {
			t.Fatal("a stream that ended still reads")
		}
	}
	reads := m.reads.Load()
	for _, err := range open(t, m, root, Options{ReadAhead: 8}).Range(t.Context(), 100, 101) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := m.reads.Load() - reads; n != int64(root.Level) {
		t.Errorf("%d pages read for one entry in a tree of level %d", n, root.Level)
	}
	var count atomic.Int64
	m.fail = func(*Ref) error {
		if count.Add(1) == 30 {
			return fault.Unavailable
		}
		return nil
	}
	n, last := 0, error(nil)
	for it, err := range open(t, m, root, Options{ReadAhead: 8}).From(t.Context(), 0) {
		if last != nil {
			t.Fatal("something follows an error")
		}
		if last = err; err == nil {
			if it.Ordinal != uint64(n) {
				t.Fatalf("ordinal %d of entry %d", it.Ordinal, n)
			}
			n++
		}
	}
	if !errors.Is(last, fault.Unavailable) || n == 0 {
		t.Errorf("%d entries, then %v", n, last)
	}
	if err := streamCanceled(t, open(t, m, root, Options{ReadAhead: -1, Cache: NewCache(1 << 30)})); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled stream: %v", err)
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// streamCanceled reads all, and again until it is canceled.
func streamCanceled(t *testing.T, tree *Tree) error {
	if n := len(collect(t, tree)); uint64(n) != tree.Count() {
		t.Errorf("%d entries of %d", n, tree.Count())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range tree.From(ctx, 0) {
		if err != nil {
			return err
		}
		cancel()
	}
	return nil
}

func TestCacheForgets(t *testing.T) {
	c := NewCache(10_000)
	for i := range 100 {
		c.Put([16]byte{byte(i)}, i, 1000)
		c.Get([16]byte{0}) // stays in use
	}
	c.Put([16]byte{200}, "too large", 10_000)
	have := 0
	for i := range 256 {
		if v, ok := c.Get([16]byte{byte(i)}); ok {
			if v != i {
				t.Errorf("%v under %d", v, i)
			}
			have++
		}
	}
	if _, ok := c.Get([16]byte{0}); !ok || have != 8 || c.(*lru).used > 10_000 {
		t.Errorf("%d of 8 pages, %d bytes", have, c.(*lru).used)
	}
}

// A reused page must not be one that ended because its table did.
func TestAddPageRefuses(t *testing.T) {
	m := newMemory()
	tree := open(t, m, build(t, m, small, plain(500)), Options{})
	b, err := NewBuilder(m, small)
	if err != nil {
		t.Fatal(err)
	}
	first, err := tree.Lookup(t.Context(), Key("/"))
	if err != nil {
		t.Fatal(err)
	}
	bad := *first.Page()
	bad.Count++
	if err := b.AddPage(t.Context(), &bad, first.page.leaf); !errors.Is(err, fault.Invalid) {
		t.Errorf("another count: %v", err)
	}
	if err := b.AddPage(t.Context(), first.Page(), first.page.leaf); err != nil {
		t.Fatal(err)
	}
	if err := b.AddPage(t.Context(), first.Page(), first.page.leaf); !errors.Is(err, fault.Invalid) {
		t.Errorf("twice: %v", err)
	}
	if err := b.Add(t.Context(), &Entry{Key: Key("/zzz/zzz")}); err != nil {
		t.Fatal(err)
	}
	if b.AtBoundary() {
		t.Error("at a boundary after an entry")
	}
	if err := b.AddPage(t.Context(), first.Page(), first.page.leaf); !errors.Is(err, fault.Invalid) {
		t.Errorf("within a page: %v", err)
	}
}
