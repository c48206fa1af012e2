package mount_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNodesOutliveTheKernelsMemory does what the kernel's NFS server does: it
// keeps a handle, and opens the file by that when nothing of it is in memory
// any more. (An export itself needs a kernel with nfsd.)
func TestNodesOutliveTheKernelsMemory(t *testing.T) {
	source := small(t)
	if err := os.MkdirAll(filepath.Join(source, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "a/b/deep"), []byte("deep"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := start(t, orders{Copy: source}, 0)
	// The folder of a point tells clients of Samba and NFS when it was made.
	if info, err := os.Stat(c.point()); err != nil || !info.ModTime().Equal(firstPoint) {
		t.Errorf("the point's folder: %v, %v", info, err)
	}
	deep := filepath.Join(c.point(), "a/b/deep")
	file, _, err := unix.NameToHandleAt(unix.AT_FDCWD, deep, 0)
	if err != nil {
		t.Fatal(err)
	}
	folder, _, err := unix.NameToHandleAt(unix.AT_FDCWD, filepath.Dir(deep), 0)
	if err != nil {
		t.Fatal(err)
	}
	// Dentries and inodes, not pages: others on this host measure.
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	if got, err := byHandle(t, c.dir, file, unix.O_RDONLY); err != nil || got != "deep" {
		t.Errorf("the file by its handle: %q, %v", got, err)
	}
	if got, err := byHandle(t, c.dir, folder, unix.O_RDONLY|unix.O_DIRECTORY); err != nil || got != "deep" {
		t.Errorf("the file in the folder by its handle: %q, %v", got, err)
	}
	// In the next mount a number may be another file's.
	next := start(t, orders{Copy: source}, 0)
	if _, err := byHandle(t, next.dir, file, unix.O_RDONLY); !errors.Is(err, unix.ESTALE) {
		t.Errorf("a handle of another mount: %v, want ESTALE", err)
	}
}

// byHandle opens a handle and reads it; of a folder the file deep in it, after a
// look at what the folder lies in.
func byHandle(t *testing.T, mount string, h unix.FileHandle, flags int) (string, error) {
	t.Helper()
	at, err := unix.Open(mount, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(at)
	fd, err := unix.OpenByHandleAt(at, h, flags)
	if err != nil {
		return "", err
	}
	if flags&unix.O_DIRECTORY != 0 {
		defer unix.Close(fd)
		up, err := unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		unix.Close(up)
		if fd, err = unix.Openat(fd, "deep", unix.O_RDONLY, 0); err != nil {
			return "", err
		}
	}
	f := os.NewFile(uintptr(fd), "handle")
	defer f.Close()
	buf := make([]byte, 10)
	n, err := f.Read(buf)
	return string(buf[:n]), err
}
