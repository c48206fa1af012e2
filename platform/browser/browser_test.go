package browser

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if err := Open(t.Context(), "x"); !errors.Is(err, fault.Unsupported) {
		t.Errorf("without an opener: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	told := filepath.Join(dir, "told")
	script := "#!/bin/sh\nprintf %s \"$1\" > " + told + "\n"
	if err := os.WriteFile(filepath.Join(dir, opener(runtime.GOOS, "")[0]), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Open(t.Context(), "a b;c"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(told); err != nil || string(got) != "a b;c" {
		t.Errorf("it was told %q, %v", got, err)
	}
}

func TestOpener(t *testing.T) {
	for system, want := range map[string]string{"linux": "xdg-open", "freebsd": "xdg-open", "darwin": "open", "windows": "rundll32"} {
		if got := opener(system, "x"); got[0] != want || got[len(got)-1] != "x" {
			t.Errorf("%s: %q", system, got)
		}
	}
}
