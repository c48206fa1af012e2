//go:build !linux && !windows && !darwin

package power

import (
	"context"

	"golang.org/x/sys/unix"
)

// battery asks ACPI, where there is one.
func battery(context.Context) Answer {
	line, err := unix.SysctlUint32("hw.acpi.acline")
	if err != nil {
		return Unknown
	}
	return answer(line == 0)
}

func metered(context.Context) Answer { return Unknown }
