package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const chores = `repository = "/srv/backup"
[vault]
replica = ["/mnt/second"]
[[policy]]
name = "a"
paths = ["/a"]
[[maintenance]]
task = "prune"
schedule = { at = ["12:00"] }
[[maintenance]]
task = "prune"
name = "prune-other"
repository = "~/other"
[[maintenance]]
task = "check"
read_data = 2.5
[[maintenance]]
task = "replicate"
[[maintenance]]
task = "proof"
files = 50
bytes = "2 GiB"
`

func TestMaintenance(t *testing.T) {
	c, err := Parse([]byte(chores), "c.toml", "/home/me")
	if err != nil {
		t.Fatal(err)
	}
	m := c.Maintenance
	if m[0].Name != "prune" || m[0].Repository != "/srv/backup" || m[1].Repository != "/home/me/other" || m[2].Data != 2.5 || m[3].To[0] != "/mnt/second" || m[4].Files != 50 || m[4].BytesOr(1) != 2<<30 || m[3].BytesOr(1) != 1 {
		t.Errorf("%+v", m)
	}
	if p := m[0].AsPolicy(); p.Name != "prune" || len(p.Schedule.At) != 1 || p.SilentOrDefault() != DefaultSilentAfter {
		t.Errorf("%+v", p)
	}
}

func TestMaintenanceErrors(t *testing.T) {
	for change, want := range map[string]string{
		`name = "prune-other"|name = "a"`:                             `line 12: maintenance 2, name: "a" is the name of a policy`,
		`repository = "~/other"|`:                                     `line 11: maintenance 2, task: there is a prune of the same repository before it`,
		`name = "prune-other"|`:                                       `"prune" is the name of two`,
		`task = "check"|task = "sweep"`:                               `line 15: maintenance 3, task: "sweep": there are prune`,
		`task = "check"|`:                                             `maintenance 3: it has no task`,
		`task = "check"|task = "scrub"`:                               `line 16: maintenance 3, read_data: a scrub has no such thing`,
		`read_data = 2.5|read_data = 101.0`:                           `line 16: maintenance 3, read_data: 101, but 0 to 100`,
		`read_data = 2.5|max_time = "2h"`:                             `max_time: a check has no such thing`,
		`read_data = 2.5|files = 5`:                                   `files: a check has no such thing`,
		`files = 50|files = -1`:                                       `maintenance 5, files: -1, but 1 to`,
		`bytes = "2 GiB"|bytes = "much"`:                              `maintenance 5, bytes: "much" is no size`,
		`replica = ["/mnt/second"]|`:                                  `maintenance 4, to: say where to`,
		`task = "replicate"|task = "replicate"` + "\n" + `to = ["x"]`: `maintenance 4, to: "x" is not an absolute path`,
		`schedule = { at = ["12:00"] }|schedule = { at = ["25:00"] }`: `line 9: maintenance 1, schedule: schedule: at: "25:00"`,
		`read_data = 2.5|retries = 101`:                               `maintenance 3, retries: 101, but 0 to 100`,
		`read_data = 2.5|silent_after = -1`:                           `maintenance 3, silent_after: -1`,
		`read_data = 2.5|throttle = [{ rate = "x" }]`:                 `maintenance 3, throttle: `,
		`repository = "~/other"|repository = "x"`:                     `maintenance 2, repository: "x" is not an absolute path`,
	} {
		old, new, _ := strings.Cut(change, "|")
		text := strings.Replace(chores, old, new, 1)
		_, err := Parse([]byte(text), "c.toml", "/home/me")
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got  %v\n want %s", change, err, want)
		}
	}
}
