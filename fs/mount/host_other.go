//go:build !linux && !windows

package mount

import (
	"errors"
	iofs "io/fs"
	"os"
	"runtime"
)

// Probe finds out what this machine has.
func Probe() Host {
	h := Host{System: runtime.GOOS, Root: os.Geteuid() == 0, AllowOther: true, Programs: programs("mount_webdav", "open", "xdg-open")}
	switch h.System {
	case "darwin":
		if _, err := os.Stat("/Library/Filesystems/macfuse.fs"); err == nil {
			h.Device = Usable
		}
	case "freebsd":
		f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
		switch {
		case err == nil:
			f.Close()
			h.Device = Usable
		case errors.Is(err, iofs.ErrPermission):
			h.Device = Forbidden
		}
	}
	return h
}
