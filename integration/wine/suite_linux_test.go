package wine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// suites runs the tests of the tree as Windows programs, those of the WinFsp
// front end's calls among them. Tests that write files are not: Wine does not let
// Go's tests remove their folders.
func (w *windows) suites(t *testing.T) {
	for _, p := range []string{"fs", "fs/fsconform", "fs/alias", "fs/winfsp", "repo/table"} {
		t.Run(p, func(t *testing.T) {
			exe := strings.ReplaceAll(p, "/", "-") + ".test.exe"
			build := exec.Command("go", "test", "-c", "-vet=off", "-o", w.path(exe), "../../"+p)
			build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
			w.must(build)
			c := w.command("wine", `C:\`+exe, "-test.v", "-test.short")
			c.Dir = filepath.Join("../..", p) // where its testdata is
			out, code := w.run(c)
			passed := strings.Count(out, "--- PASS")
			t.Logf("%d passed, %d skipped", passed, strings.Count(out, "--- SKIP"))
			if code != 0 || passed == 0 {
				t.Errorf("exit code %d: %s", code, failures(out))
			}
		})
	}
}

// failures are the lines of a test's output that say what failed.
func failures(out string) string {
	var failed []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "=== ") && !strings.Contains(line, "--- PASS") {
			failed = append(failed, line)
		}
	}
	text := strings.Join(failed, "")
	return text[max(0, len(text)-4000):]
}
