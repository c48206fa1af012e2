package table

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
)

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		entries := genEntries(150).Draw(rt, "entries")
		m := newMemory()
		root := build(t, m, small, entries)
		tree := open(t, m, root, Options{ReadAhead: rapid.IntRange(0, 4).Draw(rt, "ahead")})
		got := collect(t, tree)
		if len(got) != len(entries) || root.Count != uint64(len(entries)) {
			rt.Fatalf("%d entries in, %d out, count %d", len(entries), len(got), root.Count)
		}
		for i := range got {
			if !got[i].Equal(entries[i]) || !got[i].Clone().Equal(entries[i]) {
				rt.Fatalf("entry %d\nin  %+v\nout %+v", i, entries[i], got[i])
			}
		}
		i := rapid.IntRange(0, len(entries)-1).Draw(rt, "at")
		e, err := tree.At(t.Context(), uint64(i))
		if err != nil || !e.Equal(entries[i]) {
			rt.Fatalf("At(%d) = %+v, %v", i, e, err)
		}
		probe := entries[i].Key
		if rapid.Bool().Draw(rt, "beside") {
			probe = append(bytes.Clone(probe), 1)
		}
		want, exact := slices.BinarySearchFunc(entries, probe, func(e *Entry, k []byte) int { return bytes.Compare(e.Key, k) })
		at, ok, err := tree.Seek(t.Context(), probe)
		if at != uint64(want) || ok != exact || err != nil {
			rt.Fatalf("Seek(%q) = %d, %v, %v, want %d, %v", probe, at, ok, err, want, exact)
		}
		if it, err := tree.Lookup(t.Context(), probe); exact && (err != nil || !it.Entry.Equal(entries[want])) || !exact && !errors.Is(err, fault.NotExist) {
			rt.Fatalf("Lookup(%q) = %+v, %v", probe, it, err)
		}
		j := rapid.IntRange(0, len(entries)).Draw(rt, "to")
		next := i
		for it, err := range tree.Range(t.Context(), uint64(i), uint64(j)) {
			if err != nil || it.Ordinal != uint64(next) || !it.Entry.Equal(entries[next]) {
				rt.Fatalf("Range(%d, %d) yields %+v, %v", i, j, it, err)
			}
			next++
		}
		if next != max(i, j) {
			rt.Fatalf("Range(%d, %d) ends before %d", i, j, next)
		}
	})
}

// mutate draws the entries of the next point.
func mutate(rt *rapid.T, old []*Entry, changes int) []*Entry {
	byKey := map[string]*Entry{}
	for _, e := range old {
		byKey[string(e.Key)] = e
	}
	for range rapid.IntRange(0, changes).Draw(rt, "changes") {
		e := rapid.SampledFrom(old).Draw(rt, "changed")
		switch rapid.IntRange(0, 2).Draw(rt, "how") {
		case 0:
			if len(e.Key) > 1 {
				delete(byKey, string(e.Key))
			}
		case 1:
			c := e.Clone() // of the root, too
			c.MTime.Sec++
			byKey[string(c.Key)] = c
		case 2:
			c := genEntry.Draw(rt, "added")
			c.Key = append(bytes.Clone(e.Key), "-new"...)
			if ValidKey(c.Key) == nil {
				byKey[string(c.Key)] = c
			}
		}
	}
	return sorted(byKey)
}

// Equal entries make equal pages, whatever was taken over from which tree.
func TestKeepIsAdd(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		entries := genEntries(60).Draw(rt, "entries")
		if rapid.Bool().Draw(rt, "many") {
			entries = plain(rapid.IntRange(100, 400).Draw(rt, "n"))
		}
		if rapid.Bool().Draw(rt, "one page of many") {
			entries = entries[:rapid.IntRange(1, len(entries)).Draw(rt, "first")]
		}
		m := newMemory()
		root := build(t, m, small, entries)
		for range 3 {
			after := mutate(rt, entries, 3)
			if rapid.IntRange(0, 3).Draw(rt, "cut") == 0 {
				after = after[:rapid.IntRange(1, len(after)).Draw(rt, "cut at")]
			}
			want := build(t, m, small, after)
			tree := open(t, m, root, Options{})
			got := keepOrAdd(t, m, tree, after)
			if !bytes.Equal(got.Page, want.Page) || got.Level != want.Level || got.Count != want.Count {
				rt.Fatalf("kept: level %d, %d entries, root %x\nadded: level %d, %d entries, root %x",
					got.Level, got.Count, got.Page, want.Level, want.Count, want.Page)
			}
			entries, root = after, got
		}
	})
}

// keepOrAdd makes a table of entries, and keeps what is in tree.
func keepOrAdd(t testing.TB, m *memory, tree *Tree, entries []*Entry) *Root {
	t.Helper()
	b, err := NewBuilder(m, small)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	add := func() {
		if err := b.Add(t.Context(), entries[i]); err != nil {
			t.Fatal(err)
		}
		i++
	}
	for it, err := range tree.From(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for i < len(entries) && bytes.Compare(entries[i].Key, it.Entry.Key) < 0 {
			add()
		}
		if i == len(entries) || !bytes.Equal(entries[i].Key, it.Entry.Key) {
			continue
		}
		if !entries[i].Equal(it.Entry) {
			add()
			continue
		}
		if err := b.Keep(t.Context(), it); err != nil {
			t.Fatal(err)
		}
		i++
	}
	for i < len(entries) {
		add()
	}
	root, err := b.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestKeepDoesNotStorePages(t *testing.T) {
	m := newMemory()
	entries := plain(20000)
	root := build(t, m, testParams, entries)
	stored, puts := m.stored, m.puts
	b, err := NewBuilder(m, testParams)
	if err != nil {
		t.Fatal(err)
	}
	for it, err := range open(t, m, root, Options{}).From(t.Context(), 0) {
		if err == nil {
			err = b.Keep(t.Context(), it)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	again, err := b.Finish(t.Context())
	if err != nil || !bytes.Equal(root.Page, again.Page) {
		t.Fatalf("another root, or %v", err)
	}
	if m.stored != stored || m.puts-puts > 10 {
		t.Errorf("%d bytes in %d pages stored where nothing changed", m.stored-stored, m.puts-puts)
	}
}

func TestOneChangeTouchesFewPages(t *testing.T) {
	m := newMemory()
	entries := plain(20000)
	old := open(t, m, build(t, m, testParams, entries), Options{})
	for _, at := range []int{1, 777, 10000, 20999} {
		puts, stored := len(m.known), m.stored
		added := entries[at].Clone()
		added.Key = append(added.Key, '~')
		after := slices.Insert(slices.Clone(entries), at+1, added)
		root := build(t, m, testParams, after)
		// A leaf changes, or two if the cut moves; and the path above.
		if n := len(m.known) - puts; n > 2*root.Level+2 {
			t.Errorf("an entry inserted after %d: %d pages of %d bytes are new", at, n, m.stored-stored)
		}
		reads := m.reads.Load()
		var changes []Change
		for c, err := range Diff(t.Context(), open(t, m, old.rootOf(), Options{}), open(t, m, root, Options{})) {
			if err != nil {
				t.Fatal(err)
			}
			changes = append(changes, c)
		}
		if len(changes) != 1 || changes[0].A != nil || !changes[0].B.Equal(added) {
			t.Errorf("an entry inserted after %d: Diff yields %d changes", at, len(changes))
		}
		if n := m.reads.Load() - reads; n > 14 {
			t.Errorf("an entry inserted after %d: Diff reads %d pages", at, n)
		}
	}
}

func (t *Tree) rootOf() *Root { return &t.root }

func TestDiff(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory()
		before := plain(rapid.IntRange(1, 600).Draw(rt, "n"))
		after := mutate(rt, before, 12)
		if rapid.IntRange(0, 3).Draw(rt, "range") == 0 { // a run of entries is gone
			i := rapid.IntRange(1, len(after)).Draw(rt, "from")
			after = slices.Delete(slices.Clone(after), i, rapid.IntRange(i, len(after)).Draw(rt, "to"))
		}
		a, b := open(t, m, build(t, m, small, before), Options{}), open(t, m, build(t, m, small, after), Options{})
		var want []string
		i, j := 0, 0
		for i < len(before) || j < len(after) {
			switch {
			case j == len(after) || i < len(before) && bytes.Compare(before[i].Key, after[j].Key) < 0:
				want = append(want, fmt.Sprintf("- %q", before[i].Key))
				i++
			case i == len(before) || bytes.Compare(before[i].Key, after[j].Key) > 0:
				want = append(want, fmt.Sprintf("+ %q", after[j].Key))
				j++
			default:
				if !before[i].Equal(after[j]) {
					want = append(want, fmt.Sprintf("M %q", after[j].Key))
				}
				i, j = i+1, j+1
			}
		}
		var got []string
		for c, err := range Diff(t.Context(), a, b) {
			switch {
			case err != nil:
				rt.Fatal(err)
			case c.A == nil:
				got = append(got, fmt.Sprintf("+ %q", c.B.Key))
			case c.B == nil:
				got = append(got, fmt.Sprintf("- %q", c.A.Key))
			default:
				got = append(got, fmt.Sprintf("M %q", c.B.Key))
			}
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("Diff yields %q\nwant %q", got, want)
		}
	})
}

func TestExtents(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory()
		b, err := NewExtentBuilder(m, small)
		if err != nil {
			t.Fatal(err)
		}
		list := genExtents(rt, rapid.SampledFrom([]int{1, 60, 70, 2000}).Draw(rt, "most"))
		for _, x := range list {
			// In pieces, which are one extent again.
			for x.Length > 1 && rapid.IntRange(0, 9).Draw(rt, "split") == 0 {
				piece := x
				piece.Length = x.Length / 2
				if err := b.Add(t.Context(), piece); err != nil {
					rt.Fatal(err)
				}
				x.Length -= piece.Length
				if !x.Hole {
					x.Offset += uint32(piece.Length)
				}
			}
			if err := b.Add(t.Context(), x); err != nil {
				rt.Fatal(err)
			}
		}
		e := &Entry{Key: Key("/f")}
		if err := b.Finish(t.Context(), e); err != nil {
			rt.Fatal(err)
		}
		if err := validate(e); err != nil || e.Size != size(list) || (e.Tree != nil) != (len(list) > MaxExtents) || m.flushes > 0 {
			rt.Fatalf("%d extents: %v, tree %v, %d flushes", len(list), err, e.Tree, m.flushes)
		}
		x := OpenExtents(m, e, Options{})
		var got []Extent
		at := uint64(0)
		for l, err := range x.From(t.Context(), 0) {
			if err != nil || l.Start != at {
				rt.Fatalf("extent at %d, want %d: %v", l.Start, at, err)
			}
			got = append(got, l.Extent)
			at += l.Length
		}
		if !slices.Equal(got, list) {
			rt.Fatalf("%d extents in, %d out", len(list), len(got))
		}
		offset := rapid.Uint64Range(0, e.Size-1).Draw(rt, "offset")
		l, err := x.At(t.Context(), offset)
		if err != nil || l.Start > offset || offset >= l.Start+l.Length {
			rt.Fatalf("At(%d) = %+v, %v", offset, l, err)
		}
		if _, err := x.At(t.Context(), e.Size); !errors.Is(err, fault.NotExist) {
			rt.Fatalf("At the end: %v", err)
		}
	})
}

// Pages visits each page once, and the addresses that it shows are those of
// the entries.
func TestPages(t *testing.T) {
	m := newMemory()
	x, err := NewExtentBuilder(m, small)
	if err != nil {
		t.Fatal(err)
	}
	big := &Entry{Key: Key("/big"), Mode: 0o600}
	for i := range 3000 {
		if err := x.Add(t.Context(), Extent{Pack: [16]byte{1}, Offset: uint32(i) * 8192, Length: 4096}); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Finish(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	entries := append(plain(2000), big)
	slices.SortFunc(entries, func(a, b *Entry) int { return bytes.Compare(a.Key, b.Key) })
	tree := open(t, m, build(t, m, small, entries), Options{})
	seen := map[chunk.ID]bool{}
	extents, n := 0, 0
	for p, err := range tree.Pages(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Ref != nil {
			if seen[p.Ref.ID] {
				t.Fatalf("page %s twice", p.Ref.ID)
			}
			seen[p.Ref.ID] = true
		}
		extents += len(p.Runs)
		if p.Leaf != nil {
			n += p.Leaf.Len()
		}
	}
	if n != len(entries) || extents != 3000 || len(seen) != len(m.known) {
		t.Errorf("%d entries, %d extents, %d pages of %d", n, extents, len(seen), len(m.known))
	}
	visited := 0
	for _, err := range tree.Pages(t.Context(), func(id chunk.ID) bool { return seen[id] }) {
		if err != nil {
			t.Fatal(err)
		}
		visited++
	}
	if visited != 1 {
		t.Errorf("%d pages where all but the root are skipped", visited)
	}
}
