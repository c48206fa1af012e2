//go:build unix && !linux

package process

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Nice has others go before this process: by the processor's priority (0 to 19),
// and, if idle, with the disk only when nobody else wants it, where the host can
// do that.
func Nice(nice int, _ bool) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil {
		return fmt.Errorf("set priority %d: %w", nice, err)
	}
	return nil
}
