package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestRestoreRate: a restore is as fast as it can be, unless the flag or the
// configuration bounds it; and then it takes the time that this rate needs.
func TestRestoreRate(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	content := make([]byte, 3<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content) // never fails
	config := fmt.Sprintf("repository = %q\ncache_dir = %q\npassphrase_file = %q\n", in("r"), in("s"), in("pass"))
	for name, text := range map[string]string{
		"pass": "correct horse battery staple", "src/file": string(content), "free.toml": config,
		"slow.toml": config + "[[restore.throttle]]\nrate = \"1 MB\"\n",
	} {
		if err := os.MkdirAll(filepath.Dir(in(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) time.Duration {
		t.Helper()
		start := time.Now()
		if out, err := exec.Command("tidemark", args...).CombinedOutput(); err != nil {
			t.Fatalf("tidemark %v: %v\n%s", args, err, out)
		}
		return time.Since(start)
	}
	run("--config", in("free.toml"), "init", "--unattended", "-q")
	run("--config", in("free.toml"), "backup", "-q", in("src"))
	// A second's worth goes at once.
	const least = 2 * time.Second
	free := run("--config", in("free.toml"), "restore", "latest", "--to", in("a"), "-q")
	byConfig := run("--config", in("slow.toml"), "restore", "latest", "--to", in("b"), "-q")
	byFlag := run("--config", in("free.toml"), "restore", "latest", "--to", in("c"), "-q", "--limit-rate", "1M")
	if byConfig < least || byFlag < least {
		t.Errorf("3 MiB at 1 MB/s took %v by the configuration, %v by the flag", byConfig, byFlag)
	}
	t.Logf("3 MiB: %v with no bound; %v and %v with 1 MB/s", free, byConfig, byFlag)
}
