package mountpoint

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line string
		want Mount
		ours bool
	}{
		{`36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`,
			Mount{36, 35, 98, 0, "/mnt1", "/mnt2", "rw,noatime", "ext3", "/dev/root", "rw,errors=continue"}, false},
		{`1 0 0:1 / /a\040b\011c\012d\134e ro - fuse.tidemark tidemark ro,user_id=0`,
			Mount{1, 0, 0, 1, "/", "/a b\tc\nd\\e", "ro", "fuse.tidemark", "tidemark", "ro,user_id=0"}, true},
		{`1 0 0:1 / /x ro shared:1 master:2 propagate_from:3 - fuse tidemark:/srv/repo ro`,
			Mount{1, 0, 0, 1, "/", "/x", "ro", "fuse", "tidemark:/srv/repo", "ro"}, true},
		{`1 0 0:1 / /x ro - fuse.tidemarkish other ro`, Mount{1, 0, 0, 1, "/", "/x", "ro", "fuse.tidemarkish", "other", "ro"}, false},
		{`1 0 0:1 / /x ro - tmpfs tidemark ro`, Mount{1, 0, 0, 1, "/", "/x", "ro", "tmpfs", "tidemark", "ro"}, false},
		{`1 0 0:1 / /x ro - tmpfs `, Mount{1, 0, 0, 1, "/", "/x", "ro", "tmpfs", "", ""}, false},
	} {
		got, err := parse(c.line)
		if err != nil || got != c.want || got.IsOurs() != c.ours {
			t.Errorf("parse(%q) = %+v, %v, ours %v", c.line, got, err, got.IsOurs())
		}
	}
	for _, line := range []string{
		"", " - ", "1 2 3:4 / /x rw", "1 2 3:4 / /x - ext4", "x 2 3:4 / /x rw - t s o",
		"1 x 3:4 / /x rw - t s o", "1 2 34 / /x rw - t s o", "1 2 3:99999999999 / /x rw - t s o", "1 2 3:4 / x rw - t s o",
	} {
		if m, err := parse(line); !errors.Is(err, fault.Corrupt) {
			t.Errorf("parse(%q) = %+v, %v, want fault.Corrupt", line, m, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`)
	f.Add(`1 0 0:1 / /a\040b\999\1 ro - fuse.tidemark tidemark ro`)
	f.Fuzz(func(t *testing.T, line string) {
		m, err := parse(line)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Errorf("parse(%q): %v", line, err)
			}
			return
		}
		if !strings.HasPrefix(m.Path, "/") || len(m.Path) > len(line) {
			t.Errorf("parse(%q) has path %q", line, m.Path)
		}
		m.IsOurs()
	})
}

// FuzzUnescape: what the kernel escapes comes back.
func FuzzUnescape(f *testing.F) {
	f.Add("a b\tc\nd\\e")
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := unescape(escape.Replace(s)); got != s {
			t.Errorf("unescape(escape(%q)) = %q", s, got)
		}
	})
}

func TestRemote(t *testing.T) {
	all := []Mount{{Path: "/", Type: "ext4"}, {Path: "/srv", Type: "nfs4"}, {Path: "/srv/local", Type: "xfs"}, {Path: "/srv/local", Type: "fuse.sshfs"}, {Path: "/mnt/disk", Type: "fuse.ntfs"}}
	for path, want := range map[string]bool{
		"/": false, "/home": false, "/srv": true, "/srv/vault": true, "/srvs": false, "/srv/local/vault": true, "/mnt/disk/vault": false, "/srv/locals": true,
	} {
		if got := remote(all, path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if Remote(t.TempDir()) && os.Getenv("TMPDIR") == "" {
		t.Error("the folder for temporary files is on another machine")
	}
}
