package walk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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

// What the kernel makes up is not entered, or a backup of / would wait for the
// next line of /proc/kmsg; unless somebody asks for just that.
func TestFileSystemsThatAreMadeUp(t *testing.T) {
	top := t.TempDir()
	proc := filepath.Join(top, "a", "proc")
	if err := os.MkdirAll(proc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "a", "z"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("proc", proc, "proc", 0, ""); err != nil {
		t.Skip("nothing can be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(proc, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, one := range []bool{false, true} {
		shown := func(roots ...string) (below, sys int) {
			for f, err := range Walk(t.Context(), Options{Roots: roots, OneFileSystem: one}) {
				if err != nil || f.Err != nil && f.Path == proc {
					t.Fatal(err, f.Err)
				}
				if f.Path == proc {
					below += len(f.Entries)
				}
				if strings.HasPrefix(f.Path, proc+"/sys/kernel") {
					sys += len(f.Entries)
				}
			}
			return below, sys
		}
		if below, sys := shown(top); below != 0 || sys != 0 {
			t.Errorf("from above: %d entries, %d of the kernel", below, sys)
		}
		if below, sys := shown(proc+"/sys/kernel", proc); below < 20 || sys < 10 {
			t.Errorf("as a root: %d entries, %d of the kernel", below, sys)
		}
		if below, sys := shown(top, proc+"/sys/kernel"); below != 1 || sys < 10 {
			t.Errorf("a root in it: %d entries, %d of the kernel", below, sys)
		}
	}
}
