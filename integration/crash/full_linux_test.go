package crash

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
)

// mount mounts something below a new folder until the test is over.
func mount(t *testing.T, source, kind string, flags uintptr, data string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	dir := t.TempDir()
	if err := unix.Mount(source, dir, kind, flags, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// backup backs up in this process.
func (p *place) backup() (*backup.Summary, error) {
	p.t.Helper()
	r := p.open()
	later := func() time.Time { return time.Now().Add(time.Hour) }
	return backup.Run(p.t.Context(), r, r.Local(p.State), backup.Job{Paths: []string{p.Source}, Now: later})
}

// A full disk fails a run and nothing else, and what fitted is not sent again.
func TestFullDisk(t *testing.T) {
	disk := mount(t, "tmpfs", "tmpfs", 0, "size=64m")
	p := placeAt(t, repo.Nothing, filepath.Join(disk, "vault"), t.TempDir())
	p.write("first", noise(1, 10_000))
	if _, err := p.backup(); err != nil {
		t.Fatal(err)
	}
	p.fill(100)
	for range 2 { // and once more, as a scheduler does
		if _, err := p.backup(); !errors.Is(err, fault.NoSpace) {
			t.Fatalf("%v", err)
		}
		if n := len(p.check(true)); n != 1 {
			t.Errorf("%d points", n)
		}
		if left, err := os.ReadDir(filepath.Join(p.Vault, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("left in tmp: %v %v", left, err)
		}
	}
	fitted := p.stored()
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	s, err := p.backup()
	if err != nil {
		t.Fatal(err)
	}
	if fitted < 20<<20 || s.BytesStored > s.Bytes-uint64(fitted)+4<<20 {
		t.Errorf("%d bytes were there, and %d of %d stored", fitted, s.BytesStored, s.Bytes)
	}
	p.check(true)
	p.compare()
}

// A full disk below the local state fails the run with its reason, too.
func TestFullState(t *testing.T) {
	disk := mount(t, "tmpfs", "tmpfs", 0, "size=1m")
	dir := t.TempDir()
	p := placeAt(t, repo.Nothing, filepath.Join(dir, "vault"), dir)
	p.State = filepath.Join(disk, "state")
	p.fill(8)
	if err := os.WriteFile(filepath.Join(disk, "ballast"), noise(1, 1<<20-16<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := p.backup()
	if err != nil && !errors.Is(err, fault.NoSpace) && fault.KindOf(err) != fault.NoSpace {
		t.Errorf("%v", err)
	}
	t.Logf("%+v %v", s, err)
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.backup(); err != nil {
		t.Fatal(err)
	}
	p.check(true)
	p.compare()
}

// A place that takes no writes can be read, and a backup says what is wrong.
func TestReadOnlyVault(t *testing.T) {
	p := newPlace(t, repo.Nothing)
	p.fill(4)
	if _, err := p.backup(); err != nil {
		t.Fatal(err)
	}
	writable := p.Vault
	p.Vault = mount(t, writable, "", unix.MS_BIND, "")
	if err := unix.Mount("", p.Vault, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	p.check(true)
	p.compare()
	for range 2 { // with news, and with nothing to store but the point
		if _, err := p.backup(); !errors.Is(err, fault.ReadOnly) {
			t.Errorf("%v", err)
		}
		p.write("new", noise(99, 50_000))
	}
	if n := len(p.check(true)); n != 1 {
		t.Errorf("%d points", n)
	}
	p.Vault = writable
	if _, err := p.backup(); err != nil {
		t.Fatal(err)
	}
	p.compare()
}

// A user who may not read all there is saves what he may, and the rest is
// named.
func TestBackupOfAnotherUsersFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user takes root")
	}
	const nobody = 65534
	p := newPlace(t, repo.Unattended)
	p.write("mine", noise(1, 5000))
	p.write("theirs", noise(2, 5000))
	p.write("theirs large", noise(3, 3<<20))
	p.write("closed/inside", []byte("inside"))
	p.write("listed/inside", []byte("inside"))
	dir := filepath.Dir(p.Vault)
	chown(t, dir, nobody)
	for name, mode := range map[string]os.FileMode{"theirs": 0o600, "theirs large": 0, "closed": 0o700, "listed": 0o744} {
		path := filepath.Join(p.Source, name)
		if err := errors.Join(os.Chown(path, 0, 0), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	program := copySelf(t)
	s := run(t, p.orders, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Args = program, []string{program}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	})
	want := []string{"closed", "listed/inside", "theirs", "theirs large"}
	for _, name := range want {
		found := false
		for _, w := range s.Warned {
			found = found || w.Path == filepath.Join(p.Source, name) && strings.Contains(w.Reason, "permission denied")
		}
		if !found {
			t.Errorf("%s is not named", name)
		}
	}
	if len(s.Warned) != len(want) || s.Statistics.Warnings != uint64(len(want)) {
		t.Errorf("warnings: %v", s.Warned)
	}
	points := p.check(true)
	if len(points) != 1 || points[0].Flags != 1 {
		t.Fatalf("%+v", points)
	}
	if kept, err := p.open().Warnings(t.Context(), points[0]); err != nil || len(kept) != len(want) {
		t.Errorf("the point keeps %v, %v", kept, err)
	}
}

func chown(t *testing.T, dir string, id int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, id, id)
	})
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// copySelf copies this program to where everybody may run it.
func copySelf(t *testing.T) string {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(filepath.Join(dir, "program"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, self); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}
