package repo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// stored is content and where it is.
type stored struct {
	table.Address
	data []byte
}

// storeMixed stores n bytes in chunks, half of which shrink, and commits.
func storeMixed(t *testing.T, w *Writer, kind pack.Kind, n int) (all []stored) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, uint64(kind)))
	key := w.r.ChunkKey()
	for n > 0 {
		size := 1 + r.IntN(200<<10)
		if kind == pack.Blocks {
			size = 16 << 10
		}
		var data []byte
		for compressible := r.IntN(2) == 0; len(data) < size; {
			if compressible {
				data = fmt.Appendf(data, "line %d of %x\n", r.IntN(100), r.IntN(1<<20))
			} else {
				data = binary.LittleEndian.AppendUint64(data, r.Uint64())
			}
		}
		data = data[:size]
		a, _, err := w.Store(kind, key.Sum(data), data)
		if err != nil {
			t.Fatal(err)
		}
		w.UseStored(a)
		all = append(all, stored{a, data})
		n -= size
	}
	w.commit(t)
	return all
}

// Many readers with a cache that is too small, and frames opened ahead for
// them, get what was stored: no buffer is used again while somebody reads it.
func TestReadersAtOnce(t *testing.T) {
	s, _, w := newTest(t)
	var all []stored
	for _, kind := range []pack.Kind{pack.Small, pack.Large, pack.Blocks} {
		all = append(all, storeMixed(t, w, kind, 6<<20)...)
	}
	r := reopen(t, s, w.r, Options{FrameCache: 2 << 20, Workers: 3})
	v := r.NewVerifier()
	var group sync.WaitGroup
	for reader := range 6 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(reader), 5))
			for range 150 {
				c := &all[random.IntN(len(all))]
				if random.IntN(3) == 0 {
					r.Prefetch(t.Context(), c.Pack, c.Offset, random.IntN(4<<20))
				}
				var got []byte
				var err error
				from := random.IntN(len(c.data))
				to := from + 1 + random.IntN(len(c.data)-from)
				if random.IntN(2) == 0 {
					from, to = 0, len(c.data)
					err = v.Read(t.Context(), c.Pack, c.Offset, uint32(to), func(b []byte) error {
						got = append(got, b...)
						return nil
					})
				} else {
					got = make([]byte, to-from)
					err = r.ReadRaw(t.Context(), c.Pack, c.Offset+uint32(from), got)
				}
				if err != nil || !bytes.Equal(got, c.data[from:to]) {
					t.Errorf("%s at %d, %d to %d: other bytes, or %v", c.Pack, c.Offset, from, to, err)
					return
				}
			}
		})
	}
	group.Wait()
	rd := &r.reader
	rd.mu.Lock()
	defer rd.mu.Unlock()
	used := 0
	for _, f := range rd.frames {
		if f.users != 0 && f.done {
			t.Errorf("frame %d of %s has %d users", f.key.number, f.key.pack, f.users)
		}
		if f.place != nil {
			used += len(f.buffer.all)
		}
	}
	if used != rd.used || used > rd.budget+4<<20 {
		t.Errorf("%d bytes counted, %d there, budget %d", rd.used, used, rd.budget)
	}
}

// reopen opens what is in s once more, with the same keys.
func reopen(t *testing.T, s *mem.Store, keyed *Repository, o Options) *Repository {
	t.Helper()
	r, err := Open(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	r.take(keyed.keys, keyed.epoch, keyed.private)
	return r
}

// A read of a few bytes opens little of a frame, and one that wants more of it
// gets all.
func TestRandomReadOpensLittle(t *testing.T) {
	s, _, w := newTest(t)
	var data []byte
	for i := 0; len(data) < 3<<20; i++ {
		data = fmt.Appendf(data, "line %d of %x\n", i, i*i)
	}
	data = data[:3<<20]
	key := w.r.ChunkKey()
	a, _, err := w.Store(pack.Small, key.Sum(data), data)
	if err != nil {
		t.Fatal(err)
	}
	w.UseStored(a)
	w.commit(t)
	r := reopen(t, s, w.r, Options{})
	o, err := r.openPack(t.Context(), a.Pack)
	if err != nil {
		t.Fatal(err)
	}
	first := o.FrameOf(a.Offset)
	start, end := o.Span(first)
	if end-a.Offset < 400<<10 { // the pack's first frame has a random length
		first, start = first+1, end
	}
	at := max(a.Offset, start)
	for i, want := range []uint32{4 << 10, 100 << 10, 300 << 10} {
		got := make([]byte, want)
		if err := r.ReadRaw(t.Context(), a.Pack, at, got); err != nil || !bytes.HasPrefix(data[at-a.Offset:], got) {
			t.Fatalf("%d bytes: others, or %v", want, err)
		}
		f := r.reader.frames[frameKey{a.Pack, int32(first)}]
		if f.whole != (i == 2) {
			t.Errorf("%d bytes wanted: %d opened, which is all: %v", want, len(f.bytes), f.whole)
		}
	}
}

// However much is asked for, few goroutines open it, and what has no room in
// the line is read when it is wanted.
func TestPrefetchIsBounded(t *testing.T) {
	s, _, w := newTest(t)
	all := storeMixed(t, w, pack.Large, 40<<20)
	const workers = 3
	r := reopen(t, s, w.r, Options{FrameCache: 8 << 20, Workers: workers})
	for _, c := range all {
		if _, err := r.openPack(t.Context(), c.Pack); err != nil {
			t.Fatal(err)
		}
	}
	var now, most atomic.Int64
	gate := make(chan struct{})
	s.SetHook(func(op mem.Op) (before, after error) {
		if op.Verb == mem.Get {
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			<-gate
			now.Add(-1)
		}
		return nil, nil
	})
	before := runtime.NumGoroutine()
	for _, c := range all {
		r.Prefetch(t.Context(), c.Pack, c.Offset, len(c.data))
	}
	for now.Load() < workers {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine() - before; n > workers {
		t.Errorf("%d goroutines", n)
	}
	r.reader.mu.Lock()
	if r.reader.ahead.bytes > 4<<20 || len(r.reader.ahead.line) == 0 {
		t.Errorf("%d tasks and %d bytes wait", len(r.reader.ahead.line), r.reader.ahead.bytes)
	}
	r.reader.mu.Unlock()
	close(gate)
	for _, c := range all {
		got := make([]byte, len(c.data))
		if err := r.ReadRaw(t.Context(), c.Pack, c.Offset, got); err != nil || !bytes.Equal(got, c.data) {
			t.Fatalf("%s at %d: other bytes, or %v", c.Pack, c.Offset, err)
		}
	}
	if most.Load() > workers {
		t.Errorf("%d frames were opened at once", most.Load())
	}
}

// Who waits for a frame or a chunk list that another one reads does not get
// the other one's cancellation.
func TestWaitersOutliveTheLoader(t *testing.T) {
	s, _, w := newTest(t)
	c := storeMixed(t, w, pack.Small, 1<<20)[0]
	r := reopen(t, s, w.r, Options{})
	verifier := r.NewVerifier()
	reads := map[string]func(ctx context.Context) error{
		"frame": func(ctx context.Context) error {
			return r.ReadRaw(ctx, c.Pack, c.Offset, make([]byte, len(c.data)))
		},
		"chunk list": func(ctx context.Context) error {
			_, err := verifier.pack(ctx, c.Pack)
			return err
		},
	}
	for name, read := range reads {
		if _, err := r.openPack(t.Context(), c.Pack); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		began := make(chan struct{})
		var once sync.Once
		s.SetHook(func(op mem.Op) (before, after error) {
			if op.Verb == mem.Get && strings.HasPrefix(op.Name, pack.Prefix) {
				once.Do(func() {
					close(began)
					<-ctx.Done()
					before = ctx.Err()
				})
			}
			return before, nil
		})
		loader, waiter := make(chan error), make(chan error)
		go func() { loader <- read(ctx) }()
		<-began
		go func() { waiter <- read(t.Context()) }()
		time.Sleep(20 * time.Millisecond) // it comes to wait
		cancel()
		if err := <-loader; !errors.Is(err, context.Canceled) && fault.KindOf(err) != fault.Canceled {
			t.Errorf("%s: who was called off got %v", name, err)
		}
		if err := <-waiter; err != nil {
			t.Errorf("%s: who waited got %v", name, err)
		}
	}
}
