package direct

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// folders are on a file system that can pass the cache by, if the machine's
// temporary folder is on one, and on one that cannot.
func folders(t *testing.T) []string {
	memory, err := os.MkdirTemp("/dev/shm", "direct")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	return []string{t.TempDir(), memory}
}

func create(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func inMemory(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &st, 0); err != nil && !errors.Is(err, unix.ENOSYS) {
		t.Fatal(err)
	}
	return st.Cache
}

func TestWrite(t *testing.T) {
	for _, dir := range folders(t) {
		for _, n := range []int{0, 1, least - 1, least, least + 1, bounce + Align, 2*bounce + 4095} {
			data, f := random(n + 1)[1:], create(t, dir) // not aligned
			if err := Write(f, data); err != nil {
				t.Fatal(err)
			}
			if n >= least && able(f) && inMemory(t, f) > 1 { // the end alone
				t.Errorf("%d bytes left %d pages in memory", n, inMemory(t, f))
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes: read back %d, %v", dir, n, len(got), err)
			}
		}
	}
}

func TestWriteFails(t *testing.T) {
	for _, dir := range folders(t) {
		f, err := os.Open(create(t, dir).Name())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := Write(f, random(least)); err == nil {
			t.Error("wrote a file that is open for reading")
		}
	}
}

// readAll reads a file part by part, and checks each.
func readAll(t *testing.T, r *Reader, want []byte, buf []byte) {
	t.Helper()
	for at := 0; ; at += len(buf) {
		n, err := r.ReadAt(buf, int64(at))
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		rest := want[min(at, len(want)):]
		if n != min(len(buf), len(rest)) || !bytes.Equal(buf[:n], rest[:n]) {
			t.Fatalf("%d of %d bytes at %d, or others", n, len(want), at)
		}
		if n < len(buf) != errors.Is(err, io.EOF) {
			t.Fatalf("%d bytes at %d of %d: %v", n, at, len(want), err)
		}
		if err != nil {
			return
		}
	}
}

func TestReader(t *testing.T) {
	for _, dir := range folders(t) {
		for _, n := range []int{0, 1, Align, 1 << 20, 3<<20 + 4097, 4<<20 - 1} {
			data, f := random(n), create(t, dir)
			if err := Write(f, data); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			in, err := os.Open(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			r := NewReader(in)
			readAll(t, r, data, Buffer(1<<20)) // from the disk
			if r.able && n >= least && inMemory(t, in) > 4 {
				t.Errorf("%d bytes: reading left %d pages in memory", n, inMemory(t, in))
			}
			readAll(t, r, data, Buffer(1 << 20)[1:]) // not aligned
			readAll(t, r, data, Buffer(1<<20))       // all in memory now
			if r.able && n >= least && r.cached(0, least) && r.on {
				t.Errorf("%d bytes: what is in memory is read from the disk", n)
			}
		}
	}
}

// What another has written, and the disk has not got yet, is read.
func TestReaderSeesWhatIsNotOnDisk(t *testing.T) {
	data, f := random(8<<20), create(t, t.TempDir())
	if err := Write(f, data); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(data); at += 1 << 20 { // a page in each MiB
		copy(data[at:], "news")
		if _, err := f.WriteAt(data[at:at+4], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	in, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	readAll(t, NewReader(in), data, Buffer(1<<20))
}
