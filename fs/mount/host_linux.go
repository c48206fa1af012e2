package mount

import (
	"bufio"
	"errors"
	iofs "io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Probe finds out what this machine has.
func Probe() Host {
	h := Host{System: runtime.GOOS, Root: os.Geteuid() == 0, Programs: programs("gio", "mount.davfs", "xdg-open")}
	h.Device = device("/dev/fuse")
	for _, name := range []string{"fusermount3", "fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			h.Helper = path
			break
		}
	}
	h.AllowOther = h.Root || allowsOther("/etc/fuse.conf")
	return h
}

// device opens FUSE's device, which changes nothing.
func device(path string) DeviceState {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return Usable
	case errors.Is(err, iofs.ErrPermission):
		return Forbidden
	}
	return Absent
}

// allowsOther says whether a fuse.conf lets users let others in.
func allowsOther(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "user_allow_other" {
			return true
		}
	}
	return false
}
