package mount

import "fmt"

// Grade says how bad something is that was found.
type Grade string

// The grades. What is Poor works with limits, what is Bad does not.
const (
	Good Grade = "good"
	Poor Grade = "poor"
	Bad  Grade = "bad"
)

// Finding is one thing that was looked at.
type Finding struct {
	Subject string `json:"subject"`
	Grade   Grade  `json:"grade"`
	Found   string `json:"found"`
	Help    string `json:"help,omitempty"` // what to do about it
}

// Findings says what the host lacks for mounts, and how to get it. It is a
// function of the host alone.
func (h Host) Findings() []Finding {
	door, _ := h.Choose(Auto)
	f := []Finding{{Subject: "door", Grade: Good, Found: "`tidemark mount` uses " + string(door)}}
	if door == WebDAV {
		f[0].Grade = Poor
		f[0].Help = "WebDAV shows names, times and content, but no owners, modes or extended attributes"
	}
	switch h.System {
	case "windows":
		return append(f, h.windowsFindings()...)
	case "darwin", "freebsd":
		if err := h.fuseMissing(); err != nil {
			return append(f, Finding{"FUSE", Poor, "not usable", h.fuseHelp()})
		}
		return append(f, Finding{"FUSE", Good, "usable", ""})
	}
	return append(f, h.linuxFindings()...)
}

func (h Host) fuseHelp() string {
	if h.Device == Forbidden {
		return "as root: chmod 666 /dev/fuse (udev's own rule says so)"
	}
	return h.getFUSE()
}

func (h Host) linuxFindings() []Finding {
	var f []Finding
	add := func(subject string, good bool, yes, no, help string) {
		if good {
			f = append(f, Finding{subject, Good, yes, ""})
		} else {
			f = append(f, Finding{subject, Poor, no, help})
		}
	}
	no := "not there"
	if h.Device == Forbidden {
		no = "there, but this user may not open it"
	}
	add("/dev/fuse", h.Device == Usable, "can be opened", no, h.fuseHelp())
	if h.Root {
		return append(f, Finding{"fusermount3", Good, "root mounts without it", ""})
	}
	add("fusermount3", h.Helper != "", h.Helper, "not installed", getHelper)
	add("user_allow_other", h.AllowOther, "set in /etc/fuse.conf", "not set in /etc/fuse.conf: --allow-other is refused",
		"as root: echo user_allow_other >> /etc/fuse.conf")
	return f
}

func (h Host) windowsFindings() []Finding {
	w := Finding{"WinFsp", Good, h.WinFsp, ""}
	if h.WinFsp == "" {
		w = Finding{"WinFsp", Poor, "not installed: points are mapped through WebDAV, with its limits", getWinFsp}
	}
	return append([]Finding{w}, h.WebClient.findings(h.WinFsp == "")...)
}

// findings of Windows' WebDAV client; they are not bad where it is not needed.
func (w *WebClient) findings(needed bool) []Finding {
	poor, bad := Good, Good
	if needed {
		poor, bad = Poor, Bad
	}
	const key = `HKLM\SYSTEM\CurrentControlSet\Services\WebClient\Parameters`
	set := func(name string, value uint32) string {
		return fmt.Sprintf(`as administrator: reg add %s /v %s /t REG_DWORD /d %d /f, then: net stop webclient & net start webclient`, key, name, value)
	}
	if w == nil {
		return []Finding{{"WebClient", bad, "this Windows has no WebDAV client (a server edition?)",
			"Install-WindowsFeature WebDAV-Redirector, or install WinFsp; a browser shows the share, too"}}
	}
	var f []Finding
	switch w.Start {
	case 4:
		f = append(f, Finding{"WebClient", bad, "the service is disabled", "as administrator: sc config webclient start= demand"})
	default:
		f = append(f, Finding{"WebClient", Good, "the service starts when it is needed", ""})
	}
	switch {
	case w.FileLimit < webClientMaxFile:
		f = append(f, Finding{"FileSizeLimitInBytes", poor, fmt.Sprintf("files above %d bytes cannot be copied", w.FileLimit), set("FileSizeLimitInBytes", webClientMaxFile)})
	default:
		f = append(f, Finding{"FileSizeLimitInBytes", Good, "at its highest: files up to 4 GiB", ""})
	}
	if w.ListingLimit < webClientListingLimit {
		f = append(f, Finding{"FileAttributesLimitInBytes", poor, fmt.Sprintf("%d bytes: large folders are not shown", w.ListingLimit), set("FileAttributesLimitInBytes", 10*webClientListingLimit)})
	}
	switch w.BasicAuthLevel {
	case 0:
		f = append(f, Finding{"BasicAuthLevel", poor, "passwords are never sent: shares with accounts cannot be mapped", set("BasicAuthLevel", 1)})
	case 1:
		f = append(f, Finding{"BasicAuthLevel", Good, "passwords are sent over TLS only, which `tidemark serve` has", ""})
	default:
		f = append(f, Finding{"BasicAuthLevel", poor, "passwords are sent in clear, too", set("BasicAuthLevel", 1)})
	}
	if w.ProxySearch {
		f = append(f, Finding{"proxy", poor, "Windows looks for a proxy before each connection, which takes seconds", "Settings, Network, Proxy: switch \"Automatically detect settings\" off"})
	}
	return f
}
