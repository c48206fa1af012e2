package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// What decodes has exactly one encoding, the one that a Builder writes.

func FuzzDecodeLeaf(f *testing.F) {
	for _, page := range seedPages(f, entryPage) {
		f.Add(page)
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		leaf, err := DecodeLeaf(page)
		var names []Name
		n, nameErr := EachName(page, func(n Name) {
			n.Key = bytes.Clone(n.Key)
			names = append(names, n)
		})
		if (err == nil) != (nameErr == nil) || err == nil && (n != leaf.Len() || n != len(names)) {
			t.Fatalf("entries: %v; %d names: %v", err, n, nameErr)
		}
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		var w entryWriter
		var prev []byte
		for i := range leaf.Len() {
			e := leaf.Entry(i)
			if err := ValidKey(e.Key); err != nil {
				t.Fatal(err)
			}
			if err := validate(e); err != nil {
				t.Fatal(err)
			}
			if n := names[i]; !bytes.Equal(n.Key, e.Key) || n.Kind != e.Kind || n.Shared != commonPrefix(prev, e.Key) {
				t.Fatalf("entry %q has the name %+v", e.Key, n)
			}
			w.add(e, commonPrefix(prev, e.Key))
			prev = e.Key
		}
		if again := w.appendPage(nil, entryPage); !bytes.Equal(again, page) {
			t.Errorf("% x\ndecodes and encodes to\n% x", page, again)
		}
	})
}

func FuzzDecodeRefs(f *testing.F) {
	for _, page := range seedPages(f, refPage) {
		f.Add(page, false)
		f.Add(page, true)
	}
	f.Fuzz(func(t *testing.T, page []byte, extents bool) {
		refs, err := DecodeRefs(page, extents)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		var w refWriter
		for i := range refs {
			if !validRef(&refs[i]) {
				t.Fatalf("bad reference %+v", refs[i])
			}
			w.add(&refs[i])
		}
		if again := w.appendPage(nil, refPage); !bytes.Equal(again, page) {
			t.Errorf("% x\ndecodes and encodes to\n% x", page, again)
		}
	})
}

func FuzzDecodeExtents(f *testing.F) {
	for _, page := range seedPages(f, extentPage) {
		f.Add(page)
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		list, err := DecodeExtents(page)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		var w pageWriter
		for i := range list {
			if !validExtent(&list[i]) {
				t.Fatalf("bad extent %+v", list[i])
			}
			w.extent(&list[i])
			w.n++
		}
		if again := w.appendPage(nil, extentPage); !bytes.Equal(again, page) {
			t.Errorf("% x\ndecodes and encodes to\n% x", page, again)
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add([]byte("/etc/ssh/a"))
	f.Add([]byte("/"))
	f.Add([]byte("\x00etc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if ValidKey(b) == nil {
			if got := Key(Path(b)); !bytes.Equal(got, b) {
				t.Errorf("key %q has the path %q, whose key is %q", b, Path(b), got)
			}
			folder, name := Split(b)
			if joined := append(append(bytes.Clone(folder), 0), name...); !bytes.Equal(joined, b) {
				t.Errorf("key %q splits into %q and %q", b, folder, name)
			}
		}
	})
}

// Every byte of every sort of page matters: changed, the page is refused, or
// is another page in its only encoding.
func TestEveryByte(t *testing.T) {
	for _, page := range seedPages(t, entryPage) {
		for i := range page {
			for _, flip := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
				changed := bytes.Clone(page)
				changed[i] ^= flip
				leaf, err := DecodeLeaf(changed)
				if err != nil {
					continue
				}
				var w entryWriter
				var prev []byte
				for i := range leaf.Len() {
					w.add(leaf.Entry(i), commonPrefix(prev, leaf.Entry(i).Key))
					prev = leaf.Entry(i).Key
				}
				if again := w.appendPage(nil, entryPage); !bytes.Equal(again, changed) {
					t.Fatalf("byte %d changed by %#x: decodes and encodes to another page", i, flip)
				}
			}
			if _, err := DecodeLeaf(page[:i]); !errors.Is(err, fault.Corrupt) {
				t.Fatalf("the first %d of %d bytes: %v", i, len(page), err)
			}
		}
	}
}

// seedPages returns pages of one kind with every sort of record.
func seedPages(t testing.TB, kind byte) [][]byte {
	m := newMemory()
	entries := samples()
	big := &Entry{Key: Key("/zz/zz"), Mode: 0o600}
	x, err := NewExtentBuilder(m, small)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		if err := x.Add(t.Context(), Extent{Pack: [16]byte{byte(i % 3)}, Offset: uint32(i) * 8192, Length: 4096}); err != nil {
			t.Fatal(err)
		}
		if err := x.Add(t.Context(), Extent{Hole: true, Length: 1 << 40}); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Finish(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	root := build(t, m, small, append(entries, big))
	pages := [][]byte{}
	for p, err := range open(t, m, root, Options{}).Pages(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Raw[0] == kind {
			pages = append(pages, p.Raw)
		}
	}
	if len(pages) == 0 {
		t.Fatalf("no pages of kind %d", kind)
	}
	return pages
}

// samples returns entries of every sort.
func samples() []*Entry {
	key := func(path string) []byte { return Key(path) }
	run := func(p byte, offset uint32, n uint64) Extent {
		return Extent{Pack: [16]byte{p}, Offset: offset, Length: n}
	}
	list := []*Entry{
		{Key: key("/"), Kind: Folder, Mode: 0o755, Incomplete: true},
		{Key: key("/dev"), Kind: Folder, Mode: 0o755},
		{Key: key("/empty"), Mode: 0o644, UID: 1000, GID: 100, MTime: Time{-1, 999_999_999}},
		{Key: key("/inline"), Mode: 0o644, Size: 5, Inline: []byte("hello"), UID: 1000, GID: 100},
		{Key: key("/link"), Kind: Symlink, Mode: 0o777, Target: "dev/\xff\n"},
		{Key: key("/list"), Mode: 0o4755, Size: 1<<40 + 12, Extents: []Extent{run(1, 9, 5), {Hole: true, Length: 1 << 40}, run(1, 20, 7)}},
		{Key: key("/one"), Mode: 0o4755, Size: 77, Extents: []Extent{run(2, 1<<27, 77)}, Link: &Link{3, 1 << 60, 2}},
		{Key: key("/two"), Mode: 0o4755, Size: 1, Extents: []Extent{{Hole: true, Length: 1}}, Extension: []byte{1, 0, 5, 1, 'v'},
			Xattrs: []Xattr{{"security.capability", []byte{1, 0}}, {"user.empty", nil}}},
		{Key: key("/dev/block"), Kind: BlockDevice, Mode: 0o660, Major: 8, Minor: 1<<20 - 1},
		{Key: key("/dev/char"), Kind: CharDevice, Mode: 0o660, Major: 1},
		{Key: key("/dev/fifo"), Kind: FIFO, Mode: 0o600, MTime: Time{1 << 62, 0}},
	}
	byKey := map[string]*Entry{}
	for _, e := range list {
		byKey[string(e.Key)] = e
	}
	return sorted(byKey)
}

// Numbers have one encoding, wherever the page ends behind them.
func FuzzUvarint(f *testing.F) {
	for i := range 64 {
		f.Add(binary.AppendUvarint(nil, 1<<i))
		f.Add(binary.AppendUvarint(binary.AppendUvarint(nil, 1<<i-1), 1<<63))
	}
	f.Add([]byte{0x80, 0, 1, 1, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		want, n := binary.Uvarint(b)
		right := n > 0 && len(binary.AppendUvarint(nil, want)) == n
		r := pageReader{b: b}
		if got := r.uvarint(); (r.why == "") != right || right && (got != want || len(r.b) != len(b)-n) {
			t.Errorf("% x is %d, %q and leaves %d bytes; it should be %d of %d bytes", b, got, r.why, len(r.b), want, n)
		}
	})
}
