package table

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// memory is a Sink and Pages in memory: pages go to packs of at most full
// bytes, and a page that is there is not stored again.
type memory struct {
	full int

	mu      sync.Mutex
	data    map[pack.ID][]byte
	known   map[chunk.ID]Address
	open    pack.ID
	puts    int
	stored  int // bytes of pages that were new
	flushes int

	reads atomic.Int64
	fail  func(*Ref) error // before a read, if not nil
}

func newMemory() *memory {
	return &memory{full: 1 << 20, data: map[pack.ID][]byte{}, known: map[chunk.ID]Address{}}
}

func (m *memory) next() {
	m.open = pack.ID{}
	binary.BigEndian.PutUint64(m.open[:], uint64(len(m.data)+1))
	m.data[m.open] = nil
}

func (m *memory) Put(_ context.Context, page []byte, id chunk.ID) (Address, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	if a, ok := m.known[id]; ok {
		return a, nil
	}
	if m.open == (pack.ID{}) || len(m.data[m.open]) > m.full {
		m.next()
	}
	a := Address{Pack: m.open, Offset: uint32(len(m.data[m.open])), Length: uint32(len(page))}
	m.data[m.open] = append(m.data[m.open], page...)
	m.known[id] = a
	m.stored += len(page)
	return a, nil
}

func (m *memory) Flush(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = pack.ID{}
	m.flushes++
	return nil
}

func (m *memory) Hint(a Address) (uint32, uint32) { return a.Offset/65536*30000 + 1000, 30000 }

func (m *memory) Page(_ context.Context, ref *Ref) ([]byte, error) {
	m.reads.Add(1)
	if m.fail != nil {
		if err := m.fail(ref); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.data[ref.Pack]
	if uint64(ref.Offset)+uint64(ref.Length) > uint64(len(p)) {
		return nil, fmt.Errorf("read page: %w", fault.Corrupt)
	}
	page := p[ref.Offset : ref.Offset+ref.Length]
	if chunk.NewHasher(&testParams.Page).Sum(page) != ref.ID {
		return nil, fmt.Errorf("page has another ID: %w", fault.Corrupt)
	}
	return bytes.Clone(page), nil
}

var testParams = Params{Min: 4096, Average: 8192, Table: chunk.Key{1}, Page: chunk.Key{2}}

// small makes trees of several levels of few entries.
var small = Params{Min: 256, Average: 512, Table: chunk.Key{1}, Page: chunk.Key{2}}

// build makes a table of entries by Add.
func build(t testing.TB, m *memory, p Params, entries []*Entry) *Root {
	t.Helper()
	b, err := NewBuilder(m, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := b.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if b.Count() != uint64(len(entries)) {
		t.Fatalf("Count() = %d after %d entries", b.Count(), len(entries))
	}
	root, err := b.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// open reads the table back, without a cache that outlives a page.
func open(t testing.TB, m *memory, root *Root, o Options) *Tree {
	t.Helper()
	tree, err := New(m, *root, o)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// collect reads all entries.
func collect(t testing.TB, tree *Tree) []*Entry {
	t.Helper()
	var all []*Entry
	for it, err := range tree.From(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if it.Ordinal != uint64(len(all)) {
			t.Fatalf("ordinal %d of entry %d", it.Ordinal, len(all))
		}
		all = append(all, it.Entry)
	}
	return all
}
