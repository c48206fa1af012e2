package walk

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// giant makes a folder of n files, every thousandth a folder, in memory, and
// returns the folder above. Beside it are folders of ordinary size.
func giant(tb testing.TB, n int) string {
	tb.Helper()
	root := tb.TempDir()
	if err := unix.Mount("walktest", root, "tmpfs", 0, fmt.Sprint("nr_inodes=", n+1000)); err != nil {
		tb.Fatalf("these tests run as root: %v", err)
	}
	tb.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	for i := range 100 {
		if err := os.MkdirAll(fmt.Sprintf("%s/beside/%d", root, i), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.Mkdir(root+"/giant", 0o755); err != nil {
		tb.Fatal(err)
	}
	dir, err := unix.Open(root+"/giant", unix.O_DIRECTORY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer unix.Close(dir)
	for i := range n {
		name := fmt.Sprintf("some-file-of-many-%07d.dat", i)
		if i%1000 == 0 {
			err = unix.Mkdirat(dir, name, 0o755)
		} else {
			err = unix.Mknodat(dir, name, unix.S_IFREG|0o600, 0)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return root
}

// peak watches the heap while f runs and returns the most bytes in use.
func peak(f func()) uint64 {
	stop, done := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-stop:
				done <- most
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	return <-done
}

func TestGiantFolder(t *testing.T) {
	const n = 120_000
	root := giant(t, n)
	w := newWalker(t.Context(), Options{Roots: []string{root}})
	w.headNames = 2 << 20 // three passes or so
	entries, slices, folders := 0, 0, 0
	last := ""
	w.run(func(f *Folder, err error) bool {
		if err != nil || f.Err != nil {
			t.Fatal(err, f.Err)
		}
		if f.Path == root+"/giant" {
			slices++
			if len(f.Entries) > sliceLen {
				t.Errorf("a slice of %d entries", len(f.Entries))
			}
			for i := range f.Entries {
				e := &f.Entries[i]
				if e.Name <= last || e.Err != nil || e.Stat.Ino == 0 {
					t.Fatalf("%q after %q: %v", e.Name, last, e.Err)
				}
				last = e.Name
				entries++
			}
		} else if len(f.Path) > len(root+"/giant/") && f.Path[:len(root)+7] == root+"/giant/" {
			folders++
		}
		return true
	})
	if entries != n || folders != n/1000 || slices < n/sliceLen {
		t.Errorf("%d entries in %d slices, %d folders", entries, slices, folders)
	}
	checkTable(t, w)
}

// BenchmarkGiantFolder walks one folder of 1,000,000 entries, or
// $WALK_BENCH_GIANT, and tells the peak of the heap.
func BenchmarkGiantFolder(b *testing.B) {
	n := 1_000_000
	if s := os.Getenv("WALK_BENCH_GIANT"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	root := giant(b, n)
	for _, c := range []string{"walk", "bare"} {
		b.Run(c, func(b *testing.B) {
			start := cpu()
			var most uint64
			for b.Loop() {
				runtime.GC()
				most = max(most, peak(func() {
					if c == "bare" {
						bareWalk(root, func(dir string, push func(string)) { bareFolder(b, dir, push) })
						return
					}
					for _, err := range Walk(b.Context(), Options{Roots: []string{root}}) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}))
			}
			report(b, n, start)
			b.ReportMetric(float64(most)/(1<<20), "peak-MiB")
		})
	}
}
