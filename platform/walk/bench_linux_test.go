package walk

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The benchmarks compare the ordered walk with two bare ones over the same
// tree, in parallel and in no order, which keep nothing:
//
//	bare      getdents and fstatat by hand, one goroutine for a processor
//	lstat     what a Go program does: File.Readdirnames and Lstat of paths
//
// The tree is /usr, or $WALK_BENCH_ROOT. Numbers are for a warm cache.
func benchRoot() string {
	if root := os.Getenv("WALK_BENCH_ROOT"); root != "" {
		return root
	}
	return "/usr"
}

func BenchmarkWalk(b *testing.B) {
	for _, workers := range []int{0, 1, 2, 4, 8} {
		b.Run(fmt.Sprint("workers=", workers), func(b *testing.B) {
			b.ReportAllocs()
			start := cpu()
			n := 0
			for b.Loop() {
				n = 0
				for f, err := range Walk(b.Context(), Options{Roots: []string{benchRoot()}, Workers: workers}) {
					if err != nil {
						b.Fatal(err)
					}
					n += len(f.Entries)
				}
			}
			report(b, n, start)
		})
	}
}

// cpu returns the processor time that the process has used, in seconds: on a
// busy machine it tells more than the clock.
func cpu() float64 {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
}

func report(b *testing.B, n int, start float64) {
	b.ReportMetric((cpu()-start)*1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(n), "entries")
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkBare(b *testing.B) {
	b.ReportAllocs()
	start := cpu()
	var n atomic.Int64
	for b.Loop() {
		n.Store(0)
		bareWalk(benchRoot(), func(dir string, push func(string)) { n.Add(bareFolder(b, dir, push)) })
	}
	report(b, int(n.Load()), start)
}

func BenchmarkLstat(b *testing.B) {
	b.ReportAllocs()
	start := cpu()
	var n atomic.Int64
	for b.Loop() {
		n.Store(0)
		bareWalk(benchRoot(), func(dir string, push func(string)) {
			d, err := os.Open(dir)
			if err != nil {
				b.Error(err)
				return
			}
			names, _ := d.Readdirnames(-1)
			d.Close()
			n.Add(int64(len(names)))
			for _, name := range names {
				if fi, err := os.Lstat(filepath.Join(dir, name)); err == nil && fi.IsDir() {
					push(join(dir, name))
				}
			}
		})
	}
	report(b, int(n.Load()), start)
}

// bareWalk calls visit for root and each folder that it pushes, on one
// goroutine for each processor.
func bareWalk(root string, visit func(dir string, push func(string))) {
	var mu sync.Mutex
	cond := sync.NewCond(&mu)
	stack, busy := []string{root}, 0
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			var found []string
			mu.Lock()
			defer mu.Unlock()
			for {
				for len(stack) == 0 && busy > 0 {
					cond.Wait()
				}
				if len(stack) == 0 {
					cond.Broadcast()
					return
				}
				dir := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				busy++
				mu.Unlock()
				found = found[:0]
				visit(dir, func(d string) { found = append(found, d) })
				mu.Lock()
				busy--
				stack = append(stack, found...)
				if len(found) > 0 || busy == 0 {
					cond.Broadcast()
				}
			}
		})
	}
	all.Wait()
}

// bareScratch is reused by all folders of a goroutine.
type bareScratch struct {
	buf   [direntBuffer]byte
	names nameList
}

var bareScratches = sync.Pool{New: func() any { return new(bareScratch) }}

func bareFolder(b *testing.B, dir string, push func(string)) int64 {
	s := bareScratches.Get().(*bareScratch)
	defer bareScratches.Put(s)
	fd, err := unix.Open(dir, folderFlags, 0)
	if err != nil {
		b.Error(err)
		return 0
	}
	defer unix.Close(fd)
	s.names.reset("", 1<<30)
	for {
		n, err := unix.Getdents(fd, s.buf[:])
		if err != nil || n <= 0 {
			break
		}
		if err := parseDirents(s.buf[:n], &s.names, true); err != nil {
			b.Error(err)
		}
	}
	var st unix.Stat_t
	for i := range s.names.recs {
		name := s.names.name(&s.names.recs[i])
		if lstatTerminated(fd, unsafe.String(&name[0], len(name)), &st) == nil && st.Mode&TypeMask == TypeFolder {
			push(join(dir, string(name)))
		}
	}
	return int64(len(s.names.recs))
}
