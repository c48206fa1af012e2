package memory

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slack keeps small allocations that come in between from taking so much of
// the free run that it is too short.
const slack = 4 << 20

// large asks for large pages in fresh memory and leaves it to the collector,
// which gives the first free run that is long enough to who asks next. Memory
// that a library allocates for itself cannot be reached otherwise.
func large(n int) (done func()) {
	b := make([]byte, n+slack)
	at, length := uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))
	if unix.Madvise(b, unix.MADV_HUGEPAGE) != nil {
		return func() {} // a kernel without them
	}
	runtime.GC()
	return func() {
		// What lies there later is used bit by bit: large pages would only be
		// more of it than needed.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, length, unix.MADV_NOHUGEPAGE)
	}
}
