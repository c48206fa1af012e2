package local

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

// mounted mounts a tmpfs with the options and makes a store in it.
func mounted(t *testing.T, options string) *Dir {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("this host lets nobody mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func wantKind(t *testing.T, d *Dir, what string, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != want || !strings.Contains(err.Error(), d.Root()) {
		t.Errorf("%s: %v, want kind %q and the path of the store", what, err, want)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	d := mounted(t, "size=1m")
	put(t, d, "a/b", []byte("x"))
	old := filepath.Join(d.Root(), store.Scratch, "old")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(old, time.Now(), time.Now().AddDate(0, 0, -2)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", d.Root(), "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	r, err := Open(d.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := store.ReadAll(t.Context(), r, "a/b", 10); string(got) != "x" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	for o, err := range r.List(t.Context(), "") {
		if err != nil || o.Name != "a/b" {
			t.Errorf("listed %v, %v", o, err)
		}
	}
	wantKind(t, r, "Put into a new folder", r.Put(t.Context(), "b/c", []byte("y")), fault.ReadOnly)
	wantKind(t, r, "Put into an old folder", r.Put(t.Context(), "a/c", []byte("y")), fault.ReadOnly)
	wantKind(t, r, "Delete", r.Delete(t.Context(), "a/b"), fault.ReadOnly)
	if err := r.Put(t.Context(), "a/b", []byte("x")); err != nil {
		t.Errorf("Put of what is there: %v", err)
	}
	_, err = Create(filepath.Join(d.Root(), "new"))
	wantKind(t, r, "Create", err, fault.ReadOnly)
}

// TestNoPermission: to a user who may only read it, a folder is read-only.
func TestNoPermission(t *testing.T) {
	d := newDir(t)
	put(t, d, "a/b", []byte("x"))
	for path, mode := range map[string]os.FileMode{"": 0o555, "a": 0o555, store.Scratch: 0o555, "a/b": 0} {
		if err := os.Chmod(filepath.Join(d.Root(), path), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(d.Root(), "a"), 0o700) })
	done := make(chan struct{})
	go func() { // its thread is never unlocked, and so ends with it
		defer close(done)
		runtime.LockOSThread()
		if os.Getuid() == 0 { // may do all: go on as nobody
			if err := syscall.Setfsuid(65534); err != nil {
				t.Error(err)
			}
		}
		_, err := d.Get(t.Context(), "a/b", 0, make([]byte, 1))
		wantKind(t, d, "Get", err, fault.Denied)
		wantKind(t, d, "Put into an old folder", d.Put(t.Context(), "a/c", nil), fault.ReadOnly)
		wantKind(t, d, "Put into a new folder", d.Put(t.Context(), "b/c", nil), fault.ReadOnly)
		wantKind(t, d, "Delete", d.Delete(t.Context(), "a/b"), fault.ReadOnly)
	}()
	<-done
}

func TestFullDisk(t *testing.T) {
	d := mounted(t, "size=1m")
	put(t, d, "packs/small", storetest.Data(1, 100_000))
	wantKind(t, d, "Put", d.Put(t.Context(), "packs/big", storetest.Data(2, 2<<20)), fault.NoSpace)
	if left, err := os.ReadDir(filepath.Join(d.Root(), store.Scratch)); err != nil || len(left) != 0 {
		t.Errorf("a failed Put left %v, %v", left, err)
	}
	for o, err := range d.List(t.Context(), "") {
		if err != nil || o.Name != "packs/small" {
			t.Errorf("listed %v, %v", o, err)
		}
	}
	put(t, d, "packs/more", storetest.Data(3, 100_000)) // the room is free again
}

func TestNoMoreInodes(t *testing.T) {
	d := mounted(t, "nr_inodes=8")
	var err error
	for i := 0; i < 10 && err == nil; i++ {
		err = d.Put(t.Context(), fmt.Sprintf("d%d/o", i), nil)
	}
	wantKind(t, d, "Put", err, fault.NoSpace)
}

func TestSpaceOfASmallDisk(t *testing.T) {
	d := mounted(t, "size=1m")
	put(t, d, "a", make([]byte, 512<<10))
	got, err := d.Space(t.Context())
	if err != nil || got.Total != 1<<20 || got.Free < 400<<10 || got.Free > 512<<10 {
		t.Errorf("space %+v, %v", got, err)
	}
}

// TestGroupKeepsItsAccess: what is made in a folder shared with a group can be
// used by the group, whatever the umask; in any other only by its owner.
func TestGroupKeepsItsAccess(t *testing.T) {
	for _, c := range []struct{ root, dir, file os.FileMode }{
		{0o700, 0o700, 0o600},
		{0o755, 0o750, 0o640},
		{0o770, 0o770, 0o660},
	} {
		root := t.TempDir()
		if err := os.Chmod(root, c.root); err != nil {
			t.Fatal(err)
		}
		d, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		put(t, d, "a/b", nil)
		for path, want := range map[string]os.FileMode{"a": c.dir, "tmp": c.dir, "a/b": c.file} {
			info, err := os.Stat(filepath.Join(root, path))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("root %o: %s has mode %o, want %o (%v)", c.root, path, info.Mode().Perm(), want, err)
			}
		}
	}
}

// TestFIFODoesNotBlock: somebody who may write to the folder must not be able
// to hang those who read it.
func TestFIFODoesNotBlock(t *testing.T) {
	d := newDir(t)
	if err := syscall.Mkfifo(filepath.Join(d.Root(), "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.Get(t.Context(), "pipe", 0, make([]byte, 1))
	wantKind(t, d, "Get", err, fault.NotExist)
	wantKind(t, d, "Put", d.Put(t.Context(), "pipe", nil), fault.Invalid)
	for o := range d.List(t.Context(), "") {
		t.Errorf("listed %v", o)
	}
}

// TestAnotherProcessDeletes admits what is not promised: an object that is
// open here outlives its deletion elsewhere, with the right bytes.
func TestAnotherProcessDeletes(t *testing.T) {
	d := newDir(t)
	data := storetest.Data(1, 1000)
	put(t, d, "a", data)
	buf := make([]byte, 1000)
	if _, err := d.Get(t.Context(), "a", 0, buf); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(d.Root(), "a")); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Get(t.Context(), "a", 0, buf); err != nil || !bytes.Equal(buf[:n], data) {
		t.Errorf("Get: %d bytes, %v", n, err)
	}
}
