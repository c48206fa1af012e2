package local

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

func newDir(t testing.TB) *Dir {
	d, err := Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func put(t testing.TB, s store.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return newDir(t) })
}

// TestContractWithFewDescriptors runs the suite where nearly every read evicts
// a descriptor that another reader may be using.
func TestContractWithFewDescriptors(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		d := newDir(t)
		d.reads = newHandles(1)
		return d
	})
}

func TestOpenWhatIsNoFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); fault.KindOf(err) != fault.NotExist {
		t.Errorf("absent: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		for _, open := range []func(string) (*Dir, error){Open, Create} {
			if _, err := open(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: error %v does not name it", path, err)
			}
		}
	}
	if _, err := Create(file); fault.KindOf(err) != fault.NotDir {
		t.Errorf("create over a file: %v", err)
	}
}

// TestOpeningWritesNothing opens and reads without a trace, so that a folder
// on a read-only medium works.
func TestOpeningWritesNothing(t *testing.T) {
	d := newDir(t)
	r, err := Open(d.Root())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), "a", 0, nil); fault.KindOf(err) != fault.NotExist {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
	for range r.List(t.Context(), "packs/") {
		t.Error("an empty folder lists something")
	}
	if left, err := os.ReadDir(d.Root()); err != nil || len(left) != 0 {
		t.Errorf("made %v, %v", left, err)
	}
}

func TestPutLeavesNothingInTmp(t *testing.T) {
	d := newDir(t)
	put(t, d, "a", []byte("x"))
	put(t, d, "a", []byte("x"))
	if err := d.Put(t.Context(), "a", []byte("y")); fault.KindOf(err) != fault.Exist {
		t.Error(err)
	}
	if err := d.Put(t.Context(), "a/b", []byte("y")); fault.KindOf(err) != fault.Invalid {
		t.Errorf("put below an object: %v", err)
	}
	put(t, d, "b/c", nil)
	if err := d.Put(t.Context(), "b", []byte("y")); fault.KindOf(err) != fault.Invalid {
		t.Errorf("put over a folder: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(d.Root(), store.Scratch)); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestLeftoversAreRemovedAfterADay(t *testing.T) {
	d := newDir(t)
	put(t, d, "a", []byte("x"))
	now := time.Now()
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "fresh": 23 * time.Hour} {
		path := filepath.Join(d.Root(), store.Scratch, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(d.Root()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(d.Root(), store.Scratch))
	if err != nil || len(left) != 1 || left[0].Name() != "fresh" {
		t.Errorf("left %v, %v", left, err)
	}
	for o := range d.List(t.Context(), "") {
		if o.Name != "a" {
			t.Errorf("listed %s", o.Name)
		}
	}
}

// TestForeignFilesAreNoObjects lists only what a store can have put.
func TestForeignFilesAreNoObjects(t *testing.T) {
	d := newDir(t)
	put(t, d, "packs/aa", []byte("x"))
	for _, name := range []string{"README.TXT", ".DS_Store", "packs/aa~", "packs/.nfs01", "lost+found/x", "Packs2/y", "packs/a b"} {
		path := filepath.Join(d.Root(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("foreign"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(d.Root(), "packs"), filepath.Join(d.Root(), "linked")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for o, err := range d.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Name)
	}
	if !slices.Equal(got, []string{"packs/aa"}) {
		t.Errorf("listed %q", got)
	}
}

func TestListOfAMissingRootFails(t *testing.T) {
	d := newDir(t)
	if err := os.Remove(d.Root()); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, err := range d.List(t.Context(), "") {
		count++
		if fault.KindOf(err) != fault.NotExist || !strings.Contains(err.Error(), d.Root()) {
			t.Errorf("List: %v", err)
		}
	}
	if count != 1 {
		t.Errorf("%d answers, want an error: a disk that is not mounted is not an empty repository", count)
	}
	if err := d.Put(t.Context(), "a", nil); fault.KindOf(err) != fault.NotExist {
		t.Errorf("Put: %v", err)
	}
}

// TestDescriptorsAreBounded reads more objects than are kept open, many at a
// time, and then counts what is left open.
func TestDescriptorsAreBounded(t *testing.T) {
	d := newDir(t)
	const limit, objects = 4, 40
	d.reads = newHandles(limit)
	for i := range objects {
		put(t, d, fmt.Sprintf("o/%d", i), storetest.Data(uint64(i), 1000))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			buf := make([]byte, 1000)
			for i := range 10 * objects {
				i = (i*7 + w*13) % objects
				n, err := d.Get(t.Context(), fmt.Sprintf("o/%d", i), 0, buf)
				if err != nil || !bytes.Equal(buf[:n], storetest.Data(uint64(i), 1000)) {
					t.Errorf("object %d: %d bytes, %v", i, n, err)
				}
			}
		})
	}
	wg.Wait()
	d.reads.check(t)
	if len(d.reads.named) != limit {
		t.Errorf("%d objects kept open, want %d", len(d.reads.named), limit)
	}
	if err := d.Close(); err != nil || len(d.reads.named) != 0 {
		t.Errorf("after Close: %d kept, %v", len(d.reads.named), err)
	}
	if n, err := d.Get(t.Context(), "o/1", 0, make([]byte, 10)); n != 10 || err != nil {
		t.Errorf("Get after Close: %d, %v", n, err)
	}
}

// check tests the invariants of handles that nobody uses.
func (c *handles) check(t *testing.T) {
	t.Helper()
	if c.order.Len() != len(c.named) || len(c.named) > c.limit {
		t.Errorf("%d in order, %d named, limit %d", c.order.Len(), len(c.named), c.limit)
	}
	for name, h := range c.named {
		if h.users != 0 || h.name != name || h.place == nil {
			t.Errorf("handle of %s: %+v", name, h)
		}
		if _, err := h.file.Stat(); err != nil {
			t.Errorf("kept but closed: %v", err)
		}
	}
}

// TestDeletionOfAFileInUse: its reader ends in peace, nobody else finds it.
func TestDeletionOfAFileInUse(t *testing.T) {
	d := newDir(t)
	put(t, d, "a", []byte("x"))
	h, err := d.reads.acquire("a", d.path("a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1)
	if n, err := h.file.ReadAt(buf, 0); n != 1 || err != nil {
		t.Errorf("a deletion closed a file in use: %v", err)
	}
	d.reads.release(h)
	if _, err := h.file.Stat(); !errors.Is(err, iofs.ErrClosed) {
		t.Errorf("the last user left it open: %v", err)
	}
	if _, err := d.Get(t.Context(), "a", 0, buf); fault.KindOf(err) != fault.NotExist {
		t.Errorf("Get after Delete: %v", err)
	}
}

// TestAFileOpenedBeforeItsDeletionIsNotKept deletes after a Get has opened the
// file, and before it keeps it for others.
func TestAFileOpenedBeforeItsDeletionIsNotKept(t *testing.T) {
	d := newDir(t)
	put(t, d, "a", []byte("x"))
	_, forgotten := d.reads.kept("a")
	file, size, err := openObject(d.path("a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	h := &handle{file: file, size: size, name: "a", users: 1}
	d.reads.keep(h, forgotten)
	if _, err := d.Get(t.Context(), "a", 0, make([]byte, 1)); fault.KindOf(err) != fault.NotExist {
		t.Errorf("Get after Delete: %v", err)
	}
	d.reads.release(h)
	if _, err := h.file.Stat(); !errors.Is(err, iofs.ErrClosed) {
		t.Errorf("the last user left it open: %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d := newDir(b)
			data := storetest.Data(1, size)
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				if err := d.Put(b.Context(), fmt.Sprintf("packs/%02x/%d", i%256, i), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet4K(b *testing.B) {
	d := newDir(b)
	put(b, d, "packs/a", storetest.Data(1, 16<<20))
	buf := make([]byte, 4096)
	b.SetBytes(4096)
	for i := 0; b.Loop(); i++ {
		if _, err := d.Get(b.Context(), "packs/a", int64(i*4096)%(16<<20), buf); err != nil {
			b.Fatal(err)
		}
	}
}
