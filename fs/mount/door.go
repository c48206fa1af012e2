package mount

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Door is a front end, as users name it.
type Door string

// The doors. Auto is the best one that the host has.
const (
	Auto   Door = "auto"
	FUSE   Door = "fuse"
	WinFsp Door = "winfsp"
	WebDAV Door = "webdav"
)

// Doors returns all of them, in the order in which they are named.
func Doors() []Door { return []Door{Auto, FUSE, WinFsp, WebDAV} }

// ParseDoor returns the door of a name: fault.Invalid if there is none.
func ParseDoor(s string) (Door, error) {
	if d := Door(strings.ToLower(s)); slices.Contains(Doors(), d) {
		return d, nil
	}
	return "", fmt.Errorf("door %q: there are %q: %w", s, Doors(), fault.Invalid)
}

// Host is what a machine has that matters to mounts. Probe finds out for this
// one; tests make up others.
type Host struct {
	System string // as the Go compiler names it
	Root   bool   // whether this is root, who mounts without a helper

	Device     DeviceState // of /dev/fuse; on macOS of macFUSE
	Helper     string      // path of fusermount3; "": there is none
	AllowOther bool        // users may let others in (/etc/fuse.conf)

	WinFsp    string     // path of its library; "": not installed
	WebClient *WebClient // Windows' own WebDAV client; nil: there is none

	Programs map[string]bool // clients of WebDAV that are on PATH
}

// DeviceState is what became of an attempt to open FUSE's device.
type DeviceState int

// The states of a device.
const (
	Absent    DeviceState = iota // not there: no FUSE
	Forbidden                    // there, but not for this user
	Usable
)

// WebClient is how Windows' WebDAV client is set up in the registry.
type WebClient struct {
	Start          uint32 // of the service: 2 automatic, 3 on demand, 4 never
	FileLimit      uint32 // bytes of a file that it will fetch
	ListingLimit   uint32 // bytes of a listing that it will take
	BasicAuthLevel uint32 // where it sends passwords: 0 nowhere, 1 over TLS, 2 everywhere
	ProxySearch    bool   // it looks for a proxy before each connection
}

// What Windows has where the registry says nothing.
const (
	webClientFileLimit    = 50_000_000
	webClientListingLimit = 1_000_000
	webClientMaxFile      = 1<<32 - 1
)

// Choose returns the door for a wish. Auto never fails: what every host can do
// is serve WebDAV to itself. A door that is asked for by name and that the
// host does not have is fault.Unsupported or fault.Denied, and says what helps.
func (h Host) Choose(want Door) (Door, error) {
	switch want {
	case FUSE:
		return FUSE, h.fuseMissing()
	case WinFsp:
		return WinFsp, h.winfspMissing()
	case WebDAV:
		return WebDAV, nil
	}
	if h.winfspMissing() == nil {
		return WinFsp, nil
	}
	if h.fuseMissing() == nil {
		return FUSE, nil
	}
	return WebDAV, nil
}

// Missing says why the host's own door cannot be used; nil: it can.
func (h Host) Missing() error {
	if h.System == "windows" {
		return h.winfspMissing()
	}
	return h.fuseMissing()
}

func (h Host) fuseMissing() error {
	switch {
	case h.System == "windows":
		return fmt.Errorf("there is no FUSE on Windows, but WinFsp: %w", fault.Unsupported)
	case h.Device == Absent:
		return fmt.Errorf("this system has no FUSE (%s): %w", h.getFUSE(), fault.Unsupported)
	case h.Device == Forbidden:
		return fmt.Errorf("no access to /dev/fuse (as root: chmod 666 /dev/fuse): %w", fault.Denied)
	case h.System == "linux" && !h.Root && h.Helper == "":
		return fmt.Errorf("fusermount3 is missing (%s): %w", getHelper, fault.Unsupported)
	}
	return nil
}

func (h Host) winfspMissing() error {
	switch {
	case h.System != "windows":
		return fmt.Errorf("WinFsp is for Windows: %w", fault.Unsupported)
	case h.WinFsp == "":
		return fmt.Errorf("WinFsp is not installed (%s): %w", getWinFsp, fault.Unsupported)
	}
	return nil
}

const (
	getHelper = "Debian, Ubuntu: apt install fuse3; Fedora: dnf install fuse3"
	getWinFsp = "winget install WinFsp.WinFsp, or https://winfsp.dev"
)

// getFUSE says how FUSE comes to a system.
func (h Host) getFUSE() string {
	switch h.System {
	case "darwin":
		return "install macFUSE: brew install --cask macfuse, or https://macfuse.io"
	case "freebsd":
		return "as root: kldload fusefs"
	}
	return "as root: modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN"
}
