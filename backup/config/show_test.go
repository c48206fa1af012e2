package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const shows = `repository = "/srv/backup"
[[mount]]
dir = "~/mnt"
[[mount]]
dir = "X:"
repository = "/srv/other"
[[share]]
listen = "127.0.0.1:8443"
users = "/etc/accounts"
`

func TestShows(t *testing.T) {
	c, err := Parse([]byte(shows), "c.toml", "/home/me")
	if err != nil {
		t.Fatal(err)
	}
	if m := c.Mounts; m[0].Dir != "/home/me/mnt" || m[0].Name != m[0].Dir || m[0].Repository != "/srv/backup" || m[1].Repository != "/srv/other" || c.Shares[0].Name != "127.0.0.1:8443" {
		t.Errorf("%+v, %+v", m, c.Shares)
	}
	for change, want := range map[string]string{
		`dir = "~/mnt"|dir = "mnt"`:                                            `line 3: mount 1, dir: "mnt" is not an absolute path`,
		`dir = "~/mnt"|`:                                                       `mount 1: it has no dir`,
		`dir = "~/mnt"|dir = "X:"`:                                             `mount 2, name: "X:" is the name of two`,
		`dir = "~/mnt"|dir = "/m"` + "\n" + `door = "nfs"`:                     `line 4: mount 1, door: "nfs": there are auto`,
		`listen = "127.0.0.1:8443"|listen = "here"`:                            `share 1, listen: "here": give an address`,
		`users = "/etc/accounts"|`:                                             `share 1: say who is let in`,
		`users = "/etc/accounts"|users = "x"`:                                  `share 1, users: "x" is not an absolute path`,
		`repository = "/srv/other"|repository = "other"`:                       `mount 2, repository: "other" is not`,
		`repository = "/srv/backup"|`:                                          `mount 1: no repository is named`,
		`listen = "127.0.0.1:8443"|listen = "127.0.0.1:1"` + "\nname = \"X:\"": `share 1, name: "X:" is the name of two`,
	} {
		old, new, _ := strings.Cut(change, "|")
		_, err := Parse([]byte(strings.Replace(shows, old, new, 1)), "c.toml", "/home/me")
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got  %v\n want %s", change, err, want)
		}
	}
}
