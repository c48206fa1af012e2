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
	live := regexp.MustCompile(`(?m)^# ([a-z_]+ = )`).ReplaceAllString(Example(), "$1")
	for _, key := range knownKeys() {
		if last := key[len(key)-1]; last != "backup" && last != "vault" && !strings.Contains(live, "\n"+last+" = ") {
			t.Errorf("the example says nothing of %s", key)
		}
	}
	live = strings.Replace(live, "passphrase_command", "# passphrase_command", 1)
	if _, err := Parse([]byte(live), "example", "/home/me"); err != nil {
		t.Error(err)
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
	f.Add([]byte("[[a]]\nb.c = {d = 1}\n[backup.x]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data, "fuzz", "/home/me")
		if err != nil {
			if !errors.Is(err, fault.Invalid) {
				t.Fatalf("%v is not fault.Invalid", err)
			}
			return
		}
		for _, path := range append(append([]string{c.CacheDir, c.PassphraseFile}, c.Backup.Paths...), c.Backup.ExcludeFiles...) {
			if path != "" && !filepath.IsAbs(path) {
				t.Fatalf("accepted the relative path %q", path)
			}
		}
	})
}
