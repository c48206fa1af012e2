package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// What linux/ioprio.h says.
const (
	ioWhoProcess = 1
	ioClassShift = 13
	ioClassIdle  = 3
)

// Nice has others go before this process: by the processor's priority (0 to 19),
// and, if idle, with the disk only when nobody else wants it. Both belong to
// threads, and new ones have them from those that start them: so it is called
// early.
func Nice(nice int, idle bool) error {
	// A thread that a nice one starts is nice; one that another started in between
	// is met in the second round.
	for range 2 {
		list, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list threads: %w", err)
		}
		for _, t := range list {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, id, nice); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("set priority %d: %w", nice, err)
			}
			if !idle {
				continue
			}
			_, _, e := unix.Syscall(unix.SYS_IOPRIO_SET, ioWhoProcess, uintptr(id), ioClassIdle<<ioClassShift)
			if e != 0 && e != unix.ESRCH && e != unix.ENOSYS {
				return fmt.Errorf("set the disk's priority to idle: %w", e)
			}
		}
	}
	return nil
}
