package mount

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Hosts of all kinds, as Probe would find them.
func hosts() map[string]Host {
	return map[string]Host{
		"root":        {System: "linux", Root: true, Device: Usable, AllowOther: true},
		"user":        {System: "linux", Device: Usable, Helper: "/usr/bin/fusermount3"},
		"no helper":   {System: "linux", Device: Usable},
		"no access":   {System: "linux", Device: Forbidden, Helper: "/usr/bin/fusermount3"},
		"container":   {System: "linux", Root: true},
		"mac":         {System: "darwin", Device: Usable},
		"bare mac":    {System: "darwin"},
		"bsd":         {System: "freebsd", Device: Usable},
		"windows":     {System: "windows", WinFsp: `C:\Program Files (x86)\WinFsp\bin\winfsp-x64.dll`, WebClient: &WebClient{Start: 3, FileLimit: webClientFileLimit, ListingLimit: webClientListingLimit, BasicAuthLevel: 1}},
		"bare window": {System: "windows", WebClient: &WebClient{Start: 3, FileLimit: webClientFileLimit, ListingLimit: webClientListingLimit, BasicAuthLevel: 1, ProxySearch: true}},
		"tuned":       {System: "windows", WebClient: &WebClient{Start: 2, FileLimit: webClientMaxFile, ListingLimit: webClientListingLimit, BasicAuthLevel: 1}},
		"disabled":    {System: "windows", WebClient: &WebClient{Start: 4, FileLimit: 1000, ListingLimit: 1000, BasicAuthLevel: 2}},
		"server":      {System: "windows"},
	}
}

func TestChoose(t *testing.T) {
	const unsupported, denied = fault.Unsupported, fault.Denied
	for name, want := range map[string]struct {
		auto         Door
		fuse, winfsp fault.Kind // Internal: it can be had
		help         string     // in the error of the host's own door
	}{
		"root":        {auto: FUSE, winfsp: unsupported},
		"user":        {auto: FUSE, winfsp: unsupported},
		"no helper":   {WebDAV, unsupported, unsupported, "apt install fuse3"},
		"no access":   {WebDAV, denied, unsupported, "chmod 666 /dev/fuse"},
		"container":   {WebDAV, unsupported, unsupported, "--device /dev/fuse"},
		"mac":         {auto: FUSE, winfsp: unsupported},
		"bare mac":    {WebDAV, unsupported, unsupported, "macFUSE"},
		"bsd":         {auto: FUSE, winfsp: unsupported},
		"windows":     {auto: WinFsp, fuse: unsupported},
		"bare window": {WebDAV, unsupported, unsupported, "winget install WinFsp.WinFsp"},
		"tuned":       {WebDAV, unsupported, unsupported, "winfsp.dev"},
		"disabled":    {WebDAV, unsupported, unsupported, "winfsp.dev"},
		"server":      {WebDAV, unsupported, unsupported, "winfsp.dev"},
	} {
		h := hosts()[name]
		for _, wish := range []Door{Auto, ""} {
			if got, err := h.Choose(wish); got != want.auto || err != nil {
				t.Errorf("%s, %q: %s, %v", name, wish, got, err)
			}
		}
		if got, err := h.Choose(WebDAV); got != WebDAV || err != nil {
			t.Errorf("%s, webdav: %s, %v", name, got, err)
		}
		for door, kind := range map[Door]fault.Kind{FUSE: want.fuse, WinFsp: want.winfsp} {
			if _, err := h.Choose(door); (err == nil) != (kind == fault.Internal) || err != nil && fault.KindOf(err) != kind {
				t.Errorf("%s, %s: %v, want %v", name, door, err, kind)
			}
		}
		if err := h.Missing(); (err == nil) != (want.help == "") || err != nil && !strings.Contains(err.Error(), want.help) {
			t.Errorf("%s misses %v, want %q", name, err, want.help)
		}
	}
}

func TestFindings(t *testing.T) {
	for name, want := range map[string][]string{ // subject, grade, and part of what is found or helps
		"root":        {"door good fuse", "/dev/fuse good opened"},
		"user":        {"fusermount3 good /usr/bin/", "user_allow_other poor echo user_allow_other"},
		"no helper":   {"door poor webdav", "fusermount3 poor apt install fuse3"},
		"no access":   {"/dev/fuse poor may not open", "/dev/fuse poor chmod 666"},
		"container":   {"/dev/fuse poor --cap-add SYS_ADMIN"},
		"mac":         {"FUSE good usable"},
		"bare mac":    {"FUSE poor brew install"},
		"windows":     {"door good winfsp", "FileSizeLimitInBytes good 50000000 bytes"},
		"bare window": {"WinFsp poor winget", "FileSizeLimitInBytes poor /d 4294967295", "proxy poor proxy", "BasicAuthLevel good TLS"},
		"tuned":       {"FileSizeLimitInBytes good 4 GiB", "WebClient good needed"},
		"disabled":    {"WebClient bad sc config webclient", "FileAttributesLimitInBytes poor 10000000", "BasicAuthLevel poor in clear"},
		"server":      {"WebClient bad Install-WindowsFeature"},
	} {
		findings := hosts()[name].Findings()
		for _, w := range want {
			subject, rest, _ := strings.Cut(w, " ")
			grade, part, _ := strings.Cut(rest, " ")
			if !slices.ContainsFunc(findings, func(f Finding) bool {
				return f.Subject == subject && string(f.Grade) == grade && strings.Contains(f.Found+f.Help, part)
			}) {
				t.Errorf("%s: no %q in %+v", name, w, findings)
			}
		}
		for _, f := range findings {
			if f.Grade != Good && f.Help == "" {
				t.Errorf("%s: nothing helps with %+v", name, f)
			}
		}
	}
}

func TestHowAShareIsMapped(t *testing.T) {
	const url = "http://127.0.0.1:5000/x/tidemark/"
	for _, c := range []struct {
		host Host
		dir  string
		do   string
		hint string
	}{
		{Host{System: "windows"}, "x:", "net use X: " + url + " /persistent:no", "net use X: " + url},
		{Host{System: "windows"}, `Z:\`, "net use Z: " + url + " /persistent:no", "net use Z: "},
		{Host{System: "windows"}, "", "", "net use * " + url},
		{Host{System: "windows"}, `C:\points`, "", "net use * "},
		{Host{System: "darwin"}, "/tmp/p", "mount_webdav -S -v Tidemark " + url + " /tmp/p", "mount_webdav"},
		{Host{System: "darwin"}, "", "", "Finder, Go, Connect to Server: " + url},
		{Host{System: "linux"}, "/mnt", "", "gio mount dav://127.0.0.1:5000/x/tidemark/"},
		{Host{System: "linux", Root: true}, "/mnt", "", "mount -t davfs -o ro " + url + " /mnt"},
		{Host{System: "freebsd", Root: true}, "", "", "mount -t davfs -o ro " + url},
	} {
		got := c.host.connect(url, c.dir)
		if strings.Join(got.Do, " ") != c.do || !strings.HasPrefix(got.Hint, c.hint) || (got.Do == nil) != (got.Undo == nil) {
			t.Errorf("%s on %q: %+v", c.host.System, c.dir, got)
		}
	}
	for host, want := range map[string][3]string{
		"windows": {"explorer X:", "explorer " + url},
		"darwin":  {"open /mnt", "open " + url},
		"linux":   {"xdg-open /mnt", "gio open dav://127.0.0.1:5000/x/tidemark/"},
	} {
		h := Host{System: host, Programs: map[string]bool{"gio": true}}
		dir := "/mnt"
		if host == "windows" {
			dir = "X:"
		}
		if a, b := strings.Join(h.opener(dir, url), " "), strings.Join(h.opener("", url), " "); a != want[0] || b != want[1] {
			t.Errorf("%s opens %q and %q", host, a, b)
		}
	}
}

func TestDrives(t *testing.T) {
	for dir, want := range map[string]string{"x:": "X:", "X:": "X:", `X:\`: "X:", "X:/": "X:", "": "", "X": "", "1:": "", `X:\a`: "", "/mnt": "", "XY:": ""} {
		if got := drive(dir); got != want || IsDrive(dir) != (want != "") {
			t.Errorf("drive of %q: %q", dir, got)
		}
	}
}

func TestParseDoor(t *testing.T) {
	for _, d := range Doors() {
		if got, err := ParseDoor(strings.ToUpper(string(d))); got != d || err != nil {
			t.Errorf("%s: %s, %v", d, got, err)
		}
	}
	if _, err := ParseDoor("smb"); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
}
