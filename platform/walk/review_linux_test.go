package walk

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Who may pass a folder but not list it gets to his own ones below, as the
// shell does.
func TestAncestorsThatCannotBeListed(t *testing.T) {
	const variable = "TIDEMARK_TEST_WALK_ROOT"
	if root := os.Getenv(variable); root != "" { // as nobody
		var seen []string
		for f, err := range Walk(t.Context(), Options{Roots: []string{root}}) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Err != nil {
				t.Errorf("%s: %v", f.Path, f.Err)
			}
			for _, e := range f.Entries {
				if e.Err != nil {
					t.Errorf("%s: %v", f.Join(e.Name), e.Err)
				}
				seen = append(seen, f.Join(e.Name))
			}
		}
		if len(seen) == 0 || seen[len(seen)-1] != root+"/file" {
			t.Errorf("seen: %q", seen)
		}
		return
	}
	above, err := os.MkdirTemp("", "tidemark-walk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(above) })
	closed := filepath.Join(above, "closed")
	root := filepath.Join(closed, "also closed", "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{above, closed, filepath.Dir(root)} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	// The test's own file lies where nobody may not go.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(above, "walk.test")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "-test.run=^TestAncestorsThatCannotBeListed$", "-test.count=1")
	c.Dir = "/"
	c.Env = append(os.Environ(), variable+"="+root, "GOCOVERDIR=", "TMPDIR=/tmp")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
