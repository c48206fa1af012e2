package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// testApp is an App with an environment of its own and a configuration file.
func testApp(t *testing.T, configuration string, env map[string]string) (*App, *bytes.Buffer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	return &App{
		Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: &stderr, Now: time.Now, Zone: time.UTC,
		Getenv:  func(k string) string { return env[k] },
		Globals: Globals{ConfigPath: path},
	}, &stderr
}

func TestPrecedence(t *testing.T) {
	const file = "repository = '/config'\npassphrase_command = 'from config'\ncache_dir = '/cache/config'"
	env := map[string]string{EnvRepository: "/env", EnvPassphraseFile: "/pass/env", "XDG_STATE_HOME": "/xdg"}

	a, _ := testApp(t, file, env)
	a.Globals.Repository, a.Globals.PassphraseCommand, a.Globals.CacheDir = "/flag", "from flag", "/cache/flag"
	check := func(what string, want ...string) {
		t.Helper()
		if err := a.Resolve(); err != nil {
			t.Fatal(err)
		}
		g := a.Globals
		if got := []string{g.Repository, g.PassphraseFile, g.PassphraseCommand, g.CacheDir}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("flags", "/flag", "", "from flag", "/cache/flag")
	a, _ = testApp(t, file, env)
	check("environment", "/env", "/pass/env", "", "/cache/config")
	a, _ = testApp(t, file, nil)
	check("configuration", "/config", "", "from config", "/cache/config")
	a, _ = testApp(t, "", map[string]string{"XDG_STATE_HOME": "/xdg"})
	state := "/xdg/tidemark"
	if os.Geteuid() == 0 {
		state = "/var/lib/tidemark"
	}
	check("defaults", "", "", "", state)
	if _, err := a.NeedRepository(); !errors.Is(err, fault.Invalid) {
		t.Errorf("no repository: %v", err)
	}
	a.Globals.PassphraseFile, a.Globals.PassphraseCommand = "x", "y"
	if err := a.Resolve(); !errors.Is(err, fault.Invalid) {
		t.Errorf("two sources: %v", err)
	}
	a.Globals.ConfigPath = "/does/not/exist"
	if err := a.Resolve(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a named configuration that is not there: %v", err)
	}
}

func TestPassphraseSources(t *testing.T) {
	a, stderr := testApp(t, "", nil)
	if _, err := a.Passphrase(t.Context()); !errors.Is(err, fault.Locked) {
		t.Errorf("nobody to ask: %v", err)
	}
	path := filepath.Join(t.TempDir(), "pass")
	a.Globals.PassphraseFile = path
	for content, want := range map[string]string{"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", " two\nlines\n\n": " two\nlines\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Passphrase(t.Context()); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("said %q", stderr)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Passphrase(t.Context()); !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("an open file: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "\n", strings.Repeat("x", maxPassphrase+1)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Passphrase(t.Context()); !errors.Is(err, fault.Invalid) {
			t.Errorf("%.10q: %v", content, err)
		}
	}
	a.Globals.PassphraseFile, a.Globals.PassphraseCommand = "", `printf '%s\n' "from the command"`
	if got, err := a.Passphrase(t.Context()); err != nil || string(got) != "from the command" {
		t.Errorf("%q, %v", got, err)
	}
	for _, line := range []string{"false", "'open", " ", "/does/not/exist"} {
		a.Globals.PassphraseCommand = line
		if _, err := a.Passphrase(t.Context()); err == nil {
			t.Errorf("%q gives no error", line)
		}
	}
}

func TestNewPassphrasesAreLong(t *testing.T) {
	for p, ok := range map[string]bool{"fifteen letters": false, "sixteen letters.": true, "äöüäöüäöüäöüäöü": false, "äöüäöüäöüäöüäöü!": true} {
		if err := CheckNew([]byte(p)); (err == nil) != ok {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"pass show  tidemark":  {"pass", "show", "tidemark"},
		`a 'b c' "d e"`:        {"a", "b c", "d e"},
		`a\ b "c\"d" 'e\f' ''`: {"a b", `c"d`, `e\f`, ""},
		`x"y"z`:                {"xyz"},
		"":                     nil,
	} {
		if got, err := splitWords(line); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	if _, err := splitWords(`a "b`); err == nil {
		t.Error("an open quotation mark is accepted")
	}
}
