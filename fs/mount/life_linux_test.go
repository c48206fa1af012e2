package mount_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/fs/mount"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
)

func mounted(t *testing.T, dir string) bool {
	t.Helper()
	is, err := mountpoint.IsMount(dir)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// small is a tree that is there at once.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTerminationUnmounts(t *testing.T) {
	c := start(t, orders{Copy: small(t)}, 0)
	if b, err := os.ReadFile(filepath.Join(c.dir, "latest/file")); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
	if err := c.ask(syscall.SIGTERM); err != nil {
		t.Errorf("the child ended with %v", err)
	}
	if mounted(t, c.dir) {
		t.Error("still mounted")
	}
}

func TestTerminationOfABusyMount(t *testing.T) {
	c := start(t, orders{Copy: small(t)}, 0)
	f, err := os.Open(filepath.Join(c.dir, "latest/file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := c.ask(syscall.SIGTERM); err != nil {
		t.Errorf("the child ended with %v", err)
	}
	if mounted(t, c.dir) {
		t.Error("still mounted")
	}
}

func TestUnmountedByOthers(t *testing.T) {
	c := start(t, orders{Copy: small(t)}, 0)
	if err := mountpoint.Unmount(t.Context(), c.dir); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.gone:
		c.gone <- err
		if err != nil {
			t.Errorf("the child ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the child goes on")
	}
}

func TestDeadMountIsCleared(t *testing.T) {
	for _, one := range []bool{false, true} {
		testDeadMount(t, one)
	}
}

func testDeadMount(t *testing.T, one bool) {
	dir := mountDir(t, 0)
	c := start(t, orders{Dir: dir, Copy: small(t), One: one}, 0)
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	err := <-c.gone
	c.gone <- err
	if _, err := os.ReadDir(dir); !errors.Is(err, syscall.ENOTCONN) {
		t.Fatalf("list a dead mount: %v", err)
	}
	again := start(t, orders{Dir: dir, Copy: small(t)}, 0)
	if _, err := os.ReadFile(filepath.Join(again.dir, "latest/file")); err != nil {
		t.Error(err)
	}
}

func TestReplaceTakesTheFolderOver(t *testing.T) {
	first := start(t, orders{Copy: small(t)}, 0)
	open, err := os.Open(filepath.Join(first.dir, "latest/file"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := tryStart(t, orders{Dir: first.dir, Copy: small(t)}, 0); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("without asking: %v", err)
	}
	second := start(t, orders{Dir: first.dir, Copy: small(t), Replace: true}, 0)
	if b, err := os.ReadFile(filepath.Join(second.dir, "latest/file")); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	// What was open stays so, and is all that keeps the first process.
	if b, err := io.ReadAll(open); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	select {
	case err := <-first.gone:
		first.gone <- err
		t.Errorf("the first process ended with a file open: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	open.Close()
	select {
	case err := <-first.gone:
		first.gone <- err
		if err != nil {
			t.Errorf("the first process ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the first process goes on")
	}
	if err := second.ask(syscall.SIGTERM); err != nil || mounted(t, second.dir) {
		t.Errorf("the second one: %v, mounted %v", err, mounted(t, second.dir))
	}
}

// TestReplaceLeavesOthersAlone: what another program has mounted is not ours to
// take away.
func TestReplaceLeavesOthersAlone(t *testing.T) {
	dir := mountDir(t, 0)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, 0)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tryStart(t, orders{Dir: dir, Copy: small(t), Replace: true}, 0); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("over another file system: %v", err)
	}
}

func TestSeveralMountsAtOnce(t *testing.T) {
	source := small(t)
	var all []*child
	for range 3 {
		all = append(all, start(t, orders{Copy: source}, 0))
	}
	for _, c := range all {
		if b, err := os.ReadFile(filepath.Join(c.dir, "latest/file")); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
	}
}

func TestMountRefuses(t *testing.T) {
	source := fsconform.NewSource()
	tree := fs.New(source, fs.Options{})
	defer tree.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fault.Kind{
		filepath.Join(dir, "absent"): fault.NotExist,
		file:                         fault.NotDir,
		dir:                          fault.Exist,
	} {
		m, err := mount.Mount(t.Context(), path, tree, mount.Options{})
		if fault.KindOf(err) != want {
			t.Errorf("mount on %s: %v, want %v", path, err, want)
		}
		if err == nil {
			_ = m.Detach(context.WithoutCancel(t.Context()))
		}
	}
	c := start(t, orders{Copy: small(t)}, 0)
	if _, err := mount.Mount(t.Context(), c.dir, tree, mount.Options{}); fault.KindOf(err) != fault.Exist {
		t.Errorf("mount on a mount: %v", err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// eventually waits up to ten seconds, which is what users are promised.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	begin := time.Now()
	for !f() {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("%s: after %v", what, time.Since(begin).Round(100*time.Millisecond))
}

func TestPointsComeAndGo(t *testing.T) {
	c := start(t, orders{Copy: small(t)}, 0)
	points := filepath.Join(c.dir, "points")
	const first, second = "2026-11-22_10-00-00", "2026-11-22_10-00-00-2"
	if got := names(t, points); !slices.Equal(got, []string{first}) {
		t.Fatalf("points: %q", got)
	}
	if got := names(t, c.dir); !slices.Equal(got, []string{"latest", "points"}) {
		t.Fatalf("root: %q", got)
	}
	if _, err := os.Stat(filepath.Join(points, second)); err == nil {
		t.Fatal("the second point is there before its time") // and the kernel remembers that it is not
	}
	if target, err := os.Readlink(filepath.Join(c.dir, "latest")); err != nil || target != "points/"+first {
		t.Fatal("latest:", target, err) // and the kernel remembers where it leads
	}
	held, err := os.Open(filepath.Join(points, first))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	c.order("add")
	eventually(t, "a new point in the listing", func() bool { return slices.Equal(names(t, points), []string{first, second}) })
	eventually(t, "a new point by its name", func() bool {
		b, err := os.ReadFile(filepath.Join(points, second, "file"))
		return err == nil && string(b) == "hello"
	})
	eventually(t, "latest", func() bool {
		target, err := os.Readlink(filepath.Join(c.dir, "latest"))
		return err == nil && target == "points/"+second
	})
	c.order("remove")
	eventually(t, "a removed point", func() bool {
		_, err := os.Stat(filepath.Join(points, first))
		return errors.Is(err, os.ErrNotExist) && slices.Equal(names(t, points), []string{second})
	})
	if _, err := held.Readdirnames(-1); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("listing a removed point: %v, want ESTALE", err)
	}
}

// nobody is a user that every system has: fusermount3 wants one with a name.
const nobody = 65534

func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing to another user needs root")
	}
	info, err := os.Stat("/dev/fuse")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("fusermount3 (package fuse3) is not installed")
	}
	defer os.Chmod("/dev/fuse", info.Mode().Perm())
	source := mountDir(t, nobody) // readable for the user, unlike t.TempDir
	if err := os.WriteFile(filepath.Join(source, "file"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(filepath.Join(source, "file"))

	if err := os.Chmod("/dev/fuse", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryStart(t, orders{Dir: mountDir(t, nobody), Copy: source}, nobody); err == nil || !strings.Contains(err.Error(), "chmod 666 /dev/fuse") {
		t.Errorf("with /dev/fuse closed: %v, want advice", err)
	}
	if err := os.Chmod("/dev/fuse", 0o666); err != nil {
		t.Fatal(err)
	}
	c := start(t, orders{Copy: source}, nobody)
	cmd := exec.Command("cat", filepath.Join(c.dir, "latest/file"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "hello" {
		t.Errorf("the user reads %q, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "latest")); !errors.Is(err, os.ErrPermission) {
		t.Errorf("another user, even root: %v", err)
	}
	if err := c.ask(syscall.SIGTERM); err != nil || mounted(t, c.dir) {
		t.Errorf("SIGTERM: %v, mounted %v", err, mounted(t, c.dir))
	}
}
