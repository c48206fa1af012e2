//go:build !race

package memory

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is allocated next takes few faults, where the kernel gives large pages.
// (Without the race detector, which remembers each access in memory that takes
// faults too.)
func TestLarge(t *testing.T) {
	enabled, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	given := err == nil && !strings.Contains(string(enabled), "[never]")
	const n, page = 64 << 20, 4 << 10
	faults := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return u.Minflt
	}
	best := int64(n)
	for range 3 { // memory may be too scattered at one time
		done := Large(n)
		before := faults()
		b := make([]byte, n)
		for i := 0; i < n; i += page {
			if b[i] != 0 {
				t.Fatal("memory that is not clear")
			}
			b[i] = 1
		}
		best = min(best, faults()-before)
		done()
		at := unsafe.Pointer(unsafe.SliceData(b))
		for i := 0; i < n; i += page {
			if b[i] != 1 {
				t.Fatalf("memory at %p has changed", at)
			}
		}
		runtime.KeepAlive(b)
	}
	if given && best > n/page/4 {
		t.Errorf("%d faults for %d pages of 4 KiB", best, n/page)
	}
}
