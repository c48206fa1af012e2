package process

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// processBackground lowers processor, disk and memory priority (winbase.h).
const processBackground = 0x00100000

// Nice has others go before this process: below normal from 1 on, idle from 15;
// idle is for the disk, too.
func Nice(nice int, idle bool) error {
	class := uint32(windows.NORMAL_PRIORITY_CLASS)
	switch {
	case idle:
		class = processBackground
	case nice >= 15:
		class = windows.IDLE_PRIORITY_CLASS
	case nice > 0:
		class = windows.BELOW_NORMAL_PRIORITY_CLASS
	}
	if err := windows.SetPriorityClass(windows.CurrentProcess(), class); err != nil {
		return fmt.Errorf("set priority: %w", err)
	}
	return nil
}
