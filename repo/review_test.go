package repo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// newTest makes a repository in memory, and a Writer for it.
func newTest(t *testing.T) (*mem.Store, *Repository, *Writer) {
	t.Helper()
	s := mem.New()
	o := CreateOptions{Passphrase: []byte("correct horse battery staple"), Cost: seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}, Now: time.Now()}
	r, err := Create(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.NewWriter(t.Context(), r.Local(t.TempDir()), WriterOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, r, w
}

// store stores n bytes that are all new, as what no other call has stored.
func (w *Writer) store(t *testing.T, kind pack.Kind, n int) table.Address {
	t.Helper()
	data := make([]byte, n)
	random := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(data[i:], random.Uint64())
	}
	key := w.r.ChunkKey()
	a, _, err := w.Store(kind, key.Sum(data), data)
	if err != nil {
		t.Fatal(err)
	}
	w.UseStored(a)
	return a
}

// commit commits a point of an empty folder that needs what was stored.
func (w *Writer) commit(t *testing.T) *Point {
	t.Helper()
	b, err := table.NewBuilder(w.Pages(func(chunk.ID, []byte) error { return nil }), w.r.PageParams())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), &table.Entry{Key: table.Key("/"), Kind: table.Folder}); err != nil {
		t.Fatal(err)
	}
	root, err := b.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Commit(t.Context(), root, Details{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a Writer remembers of packs that are durable does not grow with the
// run, whose end may be a million packs away.
func TestWriterForgetsStoredPacks(t *testing.T) {
	s, _, w := newTest(t)
	kinds := []pack.Kind{pack.Small, pack.Large, pack.Blocks}
	for i := range 600 { // some 150 MiB: files of three kinds in turns
		w.store(t, kinds[i%3], 256<<10)
	}
	if n := len(w.closed); n > 4 {
		t.Errorf("%d packs are remembered as on their way", n)
	}
	if n := len(w.later); n > 400 {
		t.Errorf("%d addresses wait to be used", n)
	}
	p := w.commit(t)
	packs := 0
	for _, err := range s.List(t.Context(), pack.Prefix) {
		if packs++; err != nil {
			t.Fatal(err)
		}
	}
	if packs < 9 || w.live.Len() != packs || len(w.later) != 0 {
		t.Errorf("point %d needs %d of %d packs", p.Sequence, w.live.Len(), packs)
	}
}

// One object among the points that is damaged in whatever way hides no other.
func TestDamagedPointHidesNoOther(t *testing.T) {
	s, r, w := newTest(t)
	w.commit(t)
	first, err := s.Get(t.Context(), point.Name(1), 0, make([]byte, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string]func(b []byte) []byte{
		"another flag":   func(b []byte) []byte { b[113] ^= 1; return b },
		"another magic":  func(b []byte) []byte { b[7]++; return b },
		"cut short":      func(b []byte) []byte { return b[:first/2] },
		"empty":          func([]byte) []byte { return nil },
		"much too large": func([]byte) []byte { return make([]byte, point.MaxObject+1) },
		"signed by somebody": func(b []byte) []byte {
			h, sealed, err := point.Parse(bytes.Clone(b))
			if err != nil {
				t.Fatal(err)
			}
			h.Flags = 1 << 9
			device := w.device.Key
			return append(h.Sign(h.MAC, device), sealed...)
		},
	}
	for name, change := range damage {
		t.Run(name, func(t *testing.T) {
			c := s.Clone()
			b := make([]byte, first)
			if _, err := c.Get(t.Context(), point.Name(1), 0, b); err != nil {
				t.Fatal(err)
			}
			if err := c.Put(t.Context(), point.Name(2), change(b)); err != nil {
				t.Fatal(err)
			}
			again, err := Open(t.Context(), c, Options{})
			if err != nil {
				t.Fatal(err)
			}
			again.take(r.keys, r.epoch, r.private)
			points, err := again.Points(t.Context())
			if len(points) != 1 || err == nil {
				t.Errorf("%d points, %v", len(points), err)
			}
			if last, err := newestOf(t, again); last != 2 || err != nil {
				t.Errorf("after %d: %v", last, err)
			}
		})
	}
}

// Lengths of frames stand in the clear: those that no span allows are refused
// before memory is taken for them.
func TestFramesLongerThanTheirSpan(t *testing.T) {
	s, r, w := newTest(t)
	a := w.store(t, pack.Small, 5000)
	w.commit(t)
	s.Tamper(a.Pack.Name(), func(b []byte) []byte {
		h, err := pack.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		frames := b[h.Size():]
		h.Lengths[0] += 40 << 20
		return append(append(h.Marshal(), frames...), make([]byte, 40<<20)...)
	})
	if err := r.ReadRaw(t.Context(), a.Pack, a.Offset, make([]byte, a.Length)); !errors.Is(err, fault.Corrupt) {
		t.Errorf("%v", err)
	}
}

// newestOf returns the number that the next point's follows.
func newestOf(t *testing.T, r *Repository) (uint64, error) {
	t.Helper()
	listed, err := r.listed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, n, err := r.newest(t.Context(), listed)
	return n, err
}

// Numbers of points end at the bound of the format, for readers and writers.
func TestLastNumber(t *testing.T) {
	s, _, w := newTest(t)
	for name, last := range map[string]uint64{"points/ffffffffffffffff": 0, "points/0001000000000000": 0, "points/0000fffffffffffe": point.MaxSequence - 1} {
		if err := s.Put(t.Context(), name, []byte("no point")); err != nil {
			t.Fatal(err)
		}
		if n, err := newestOf(t, w.r); err != nil || last != 0 && n != last {
			t.Errorf("with %s: %x, %v", name, n, err)
		}
	}
	if p := w.commit(t); p.Sequence != point.MaxSequence {
		t.Errorf("%x", p.Sequence)
	}
	if _, err := newestOf(t, w.r); err != nil && !errors.Is(err, fault.Corrupt) {
		t.Error(err)
	}
}

// A server in sealed use writes and opens nothing; its file holds neither the
// private key nor what makes epochs; and it serves one repository only.
func TestSealedUse(t *testing.T) {
	s, r, w := newTest(t)
	w.commit(t)
	l := r.Local(t.TempDir())
	if err := r.Keep(l, Sealed); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.Dir, "access")
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(kept, r.private[0].Key) || bytes.Contains(kept, r.keys.RepMAC[:]) || !bytes.Contains(kept, r.keys.Seal[:]) {
		t.Error("the file holds other keys than it should")
	}
	open := func() *Repository {
		again, err := Open(t.Context(), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	again := open()
	if use, err := again.Grant(t.Context(), l); use != Sealed || err != nil || !again.CanWrite() || again.CanRead() {
		t.Fatalf("%v, %v", use, err)
	}
	sealed, err := again.NewWriter(t.Context(), l, WriterOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	a := sealed.store(t, pack.Small, 5000)
	if p := sealed.commit(t); p.Sequence != 2 {
		t.Errorf("point %d", p.Sequence)
	}
	if err := sealed.Close(); err != nil {
		t.Error(err)
	}
	if err := again.ReadRaw(t.Context(), a.Pack, a.Offset, make([]byte, a.Length)); !errors.Is(err, fault.Locked) {
		t.Errorf("read what it wrote: %v", err)
	}
	if _, err := again.Points(t.Context()); !errors.Is(err, fault.Locked) {
		t.Error(err)
	}
	if err := again.Keep(l, Unattended); !errors.Is(err, fault.Locked) {
		t.Error(err)
	}
	if points, err := r.Points(t.Context()); len(points) != 2 || err != nil {
		t.Errorf("%d points, %v", len(points), err)
	}
	if err := s.Tamper("repository", func(b []byte) []byte { b = bytes.Clone(b); b[26]++; return b }); err != nil {
		t.Fatal(err)
	}
	if _, err := open().Grant(t.Context(), l); !errors.Is(err, fault.Corrupt) {
		t.Errorf("another object repository: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := open().Grant(t.Context(), l); err == nil {
		t.Error("a file of keys that others may read was taken")
	}
}
