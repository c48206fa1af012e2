//go:build linux || darwin || freebsd

package fuse

import (
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestEveryKindHasItsErrno(t *testing.T) {
	for kind, no := range errnos() {
		if no == 0 {
			t.Errorf("%q has no errno", fault.Kind(kind))
		}
	}
}

func TestDevice(t *testing.T) {
	// What Linux's new_encode_dev makes of these.
	for _, c := range []struct{ major, minor, want uint32 }{
		{8, 1, 0x801}, {0x105, 0x12345, 0x12310545}, {0xfff, 0xfffff, 0xffffffff},
	} {
		if got := device(c.major, c.minor); got != c.want {
			t.Errorf("device %d:%d is %#x, want %#x", c.major, c.minor, got, c.want)
		}
	}
}
