package config

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const full = `
repository = "~/vault"
passphrase_file = "/etc/tidemark/passphrase"
cache_dir = "/var/cache/tidemark"

[backup]
paths = ["/etc", "~/x"]
exclude = ["*.tmp"]
exclude_files = ["/etc/tidemark/exclude"]
exclude_caches = true
one_file_system = true
tags = ["nightly", "ü"]
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(full), "c.toml", "/home/me")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Repository: "/home/me/vault", PassphraseFile: "/etc/tidemark/passphrase", CacheDir: "/var/cache/tidemark",
		Backup: Backup{
			Paths: []string{"/etc", "/home/me/x"}, Exclude: []string{"*.tmp"}, ExcludeFiles: []string{"/etc/tidemark/exclude"},
			ExcludeCaches: true, OneFileSystem: true, Tags: []string{"nightly", "ü"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestErrorsNameLineAndKey(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"\nrepositry = '/x'", `c.toml, line 2: unknown key "repositry"; did you mean "repository"?`},
		{"[backup]\npaths = []\nexlude = []", `c.toml, line 3: unknown key "backup.exlude"; did you mean "backup.exclude"?`},
		{"exclude = []", `line 1: unknown key "exclude"; did you mean "backup.exclude"?`},
		{"zzzzzz = 1", `line 1: unknown key "zzzzzz": invalid input`},
		{"passphrase = 'x'", `line 1: unknown key "passphrase"; a configuration holds no secrets: use passphrase_file`},
		{"[backup]\n[backup.exclude_more]\na=1", `line 2: unknown key "backup.exclude_more"`},
		{"[[backups]]\na=1", `unknown key "backups"; did you mean "backup"?`},
		{"\n\nrepository = 5", "line 3"},
		{"[backup]\npaths = '/x'", "line 2"},
		{"a b", "line 1"},
		{"repository = 'relative'", `line 1: repository: "relative" is not an absolute path`},
		{"\ncache_dir = 'relative'", `line 2: cache_dir: "relative" is not an absolute path`},
		{"[backup]\npaths = ['/x', 'y']", `line 2: backup.paths: "y" is not an absolute path`},
		{"[backup]\nexclude_files = ['']", "line 2: backup.exclude_files: an empty path"},
		{"passphrase_file = '/x'\npassphrase_command = 'y'", "line 2: passphrase_command: there is a passphrase_file already"},
		{"passphrase_file = '/x'\npassphrase_keystore = 'y'", "line 2: passphrase_keystore: there is a passphrase_file or"},
		{strings.Repeat("#", maxSize+1), "larger than"},
	} {
		_, err := Parse([]byte(c.file), "c.toml", "/home/me")
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q:\n got  %v\n want %s", c.file, err, c.want)
		}
	}
}

func TestAddressesNeedNoPath(t *testing.T) {
	c, err := Parse([]byte("repository = 's3:bucket/x'"), "c.toml", "")
	if err != nil || c.Repository != "s3:bucket/x" {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestExample takes the comment signs off the example: it must then be valid
// and hold every key there is, but the second of two that exclude each other.
func TestExample(t *testing.T) {
	if c, err := Parse([]byte(Example()), "example", ""); err != nil || !reflect.DeepEqual(c, Config{}) {
		t.Errorf("the example as it stands says %+v, %v", c, err)
	}
	live := regexp.MustCompile(`(?m)^# ([a-z_]+ = |\[)`).ReplaceAllString(Example(), "$1")
	for _, key := range knownKeys() {
		last := regexp.QuoteMeta(key[len(key)-1])
		if !regexp.MustCompile(`(^|\W)` + last + `( = |\])`).MatchString(live) {
			t.Errorf("the example says nothing of %s", key)
		}
	}
	live = strings.Replace(live, "passphrase_command", "# passphrase_command", 1)
	live = strings.Replace(live, "\npassphrase_keystore", "\n# passphrase_keystore", 1)
	c, err := Parse([]byte(live), "example", "/home/me")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Policies) != 3 || len(c.Policies[0].Hooks) != 3 || c.Policies[0].Retention.Daily.Keep != 14 {
		t.Errorf("it says %+v", c.Policies)
	}
}

const policies = `repository = "/srv/backup"
[[policy]]
name = "a"
paths = ["/a"]
[policy.schedule]
every = "4h"
jitter = "10m"
[policy.retention]
daily = { keep = 30 }
[[policy]]
name = "b"
repository = "/mnt/other"
paths = ["~/b"]
silent_after = 0
schedule = { at = ["09:00", "18:00"], days = ["mon"] }
[[policy.hook]]
when = "before"
command = ["/bin/true"]
timeout = "5m"
[[policy.item]]
name = "x.sql"
command = ["/bin/dump"]
`

func TestPolicies(t *testing.T) {
	c, err := Parse([]byte(policies), "c.toml", "/home/me")
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Policy("a"), c.Policy("b")
	if a == nil || b == nil || c.Policy("c") != nil {
		t.Fatalf("policies %+v", c.Policies)
	}
	if a.Repository != "/srv/backup" || b.Repository != "/mnt/other" || b.Paths[0] != "/home/me/b" {
		t.Errorf("%+v", c.Policies)
	}
	if a.SilentOrDefault() != DefaultSilentAfter || b.SilentOrDefault() != 0 || a.RetriesOrDefault() != DefaultRetries {
		t.Errorf("defaults of %+v", c.Policies)
	}
	if a.Retention.Daily.Keep != 30 || a.Retention.Daily.At[0] != "00:00" || time.Duration(b.Hooks[0].Timeout) != 5*time.Minute {
		t.Errorf("%+v", c.Policies)
	}
}

// TestPolicyErrors breaks one line of a good file each time.
func TestPolicyErrors(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`every = "4h"`, `evry = "4h"`, `c.toml, line 6: unknown key "policy.schedule.evry"; did you mean "policy.schedule.every"?`},
		{`daily = {`, `dialy = {`, `line 9: unknown key "policy.retention.dialy"; did you mean "policy.retention.daily"?`},
		{`silent_after = 0`, `slient_after = 0`, `line 14: unknown key "policy.slient_after"; did you mean "policy.silent_after"?`},
		{`timeout = "5m"`, `exclude_file = []`, `line 19: unknown key "policy.hook.exclude_file"; did you mean`},
		{`every = "4h"`, `every = "4"`, `line 6: `},
		{`every = "4h"`, `every = "4d"`, `line 5: policy 1, schedule: schedule: every: 96h0m0s, but 1m to 24h are possible`},
		{`keep = 30`, `keep = 3`, `line 8: policy 1, retention: policy: daily: 3 days, but 7 to 9999 are possible`},
		{`at = ["09:00", "18:00"]`, `at = ["9:00"]`, `line 15: policy 2, schedule: schedule: at: "9:00"`},
		{`name = "b"`, `name = "a"`, `line 11: policy 2, name: "a" is the name of two policies`},
		{`name = "b"`, `name = "a b"`, `line 11: policy 2, name: "a b": up to 63`},
		{`name = "b"`, ``, `policy 2: it has no name`},
		{`paths = ["/a"]`, `paths = []`, `policy 1: paths: it says nothing of what to back up`},
		{`paths = ["/a"]`, `paths = ["a"]`, `line 4: policy 1, paths: "a" is not an absolute path`},
		{`repository = "/srv/backup"`, ``, `policy 1: no repository is named`},
		{`silent_after = 0`, `silent_after = -1`, `line 14: policy 2, silent_after: -1, but 0 to 1000 are possible`},
		{`command = ["/bin/true"]`, `command = ["true"]`, `line 16: policy 2, hook 1: hook: command: "true" is not an absolute path`},
		{`when = "before"`, `when = "during"`, `policy 2, hook 1: hook: when is "during", not before, thaw or after`},
		{`command = ["/bin/dump"]`, `command = ["dump"]`, `line 20: policy 2, item 1: item: command: "dump" is not an absolute path`},
		{`name = "x.sql"`, `name = "home"`, `line 20: policy 2, item 1: "home" stands at the top of the point already, as it leads to /home/me/b`},
		{`name = "x.sql"`, "name = \"y\"\ncommand = [\"/x\"]\n[[policy.item]]\nname = \"y\"", `line 23: policy 2, item 2: "y" is the name of two items`},
		{`"/mnt/other"`, "\"/srv/backup\"\nretention = { daily = { keep = 7 } }", `policy 2, retention: policy "a" wants another one for the same repository`},
	} {
		text := strings.Replace(policies, c.old, c.new, 1)
		_, err := Parse([]byte(text), "c.toml", "/home/me")
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got  %v\n want %s", c.new, err, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	if _, err := Load(path); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
	if c, err := LoadDefault(path); err != nil || !reflect.DeepEqual(c, Config{}) {
		t.Errorf("a missing default gives %+v, %v", c, err)
	}
	if err := os.WriteFile(path, []byte("cache_dir = '/c'"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := LoadDefault(path); err != nil || c.CacheDir != "/c" {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := LoadDefault(dir); err == nil {
		t.Error("a folder is taken for a configuration")
	}
}

func TestDefaultPath(t *testing.T) {
	env := func(string) string { return "/xdg" }
	if got := DefaultPath(0, env); got != "/etc/tidemark/config.toml" {
		t.Error(got)
	}
	if got := DefaultPath(1000, env); got != filepath.Join("/xdg", "tidemark", "config.toml") {
		t.Error(got)
	}
}

// FuzzParse looks for crashes, and for a configuration that is accepted but
// breaks the package's promises.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(Example()))
	f.Add([]byte(policies))
	f.Add([]byte("[[a]]\nb.c = {d = 1}\n[backup.x]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data, "fuzz", "/home/me")
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatalf("%v is not fault.Invalid", err)
			}
			return
		}
		paths := append(append([]string{c.CacheDir, c.PassphraseFile, c.Agent.Socket}, c.Backup.Paths...), c.Backup.ExcludeFiles...)
		for _, p := range c.Policies {
			paths = append(append(paths, p.Paths...), p.ExcludeFiles...)
		}
		for _, path := range paths {
			if path != "" && !filepath.IsAbs(path) {
				t.Fatalf("accepted the relative path %q", path)
			}
		}
	})
}
