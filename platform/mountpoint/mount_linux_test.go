package mountpoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// The test runs itself again with this variable set to serve a mount, so that
// it can be killed: "NAME PATH".
const childEnv = "MOUNTPOINT_TEST_CHILD"

func TestMain(m *testing.M) {
	name, path, child := strings.Cut(os.Getenv(childEnv), " ")
	if !child {
		os.Exit(m.Run())
	}
	if err := serve(name, path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(name, path string) error {
	root := &fs.Inode{}
	server, err := fs.Mount(path, root, &fs.Options{
		MountOptions: fuse.MountOptions{Name: name, FsName: name, DirectMountStrict: true},
		OnAdd: func(ctx context.Context) {
			file := root.NewPersistentInode(ctx, &fs.MemRegularFile{Data: []byte("here\n")}, fs.StableAttr{})
			root.AddChild("file", file, true)
		},
	})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	server.Wait()
	return nil
}

// mount serves a mount in a child and returns its path and the child. At the
// end nothing of it is left.
func mount(t *testing.T, name string) (string, *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root here")
	}
	path := filepath.Join(t.TempDir(), "mount point")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name+" "+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "mounted\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return path, cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

func TestLivingMount(t *testing.T) {
	path, cmd := mount(t, "tidemark")
	m, ok, err := At(path)
	if err != nil || !ok || !m.IsOurs() || m.Path != path {
		t.Fatalf("At = %+v, %v, %v", m, ok, err)
	}
	link := filepath.Join(filepath.Dir(path), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if ok, err := IsMount(link); err != nil || !ok {
		t.Errorf("IsMount through a link = %v, %v", ok, err)
	}
	if ok, err := IsMount(filepath.Dir(path)); err != nil || ok {
		t.Errorf("IsMount of the folder above = %v, %v", ok, err)
	}
	if cleared, err := ClearDead(t.Context(), path); cleared || err != nil {
		t.Errorf("ClearDead of a living mount = %v, %v", cleared, err)
	}
	if err := SetReadAhead(path, 1024); err != nil {
		t.Errorf("SetReadAhead: %v", err)
	}
	bdi := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", m.Major, m.Minor)
	if b, err := os.ReadFile(bdi); err != nil || strings.TrimSpace(string(b)) != "1024" {
		t.Errorf("read-ahead is %q, %v", b, err)
	}

	f, err := os.Open(filepath.Join(path, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Unmount(t.Context(), path); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Unmount while a file is open: %v, want fault.Unavailable", err)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "here\n" {
		t.Errorf("after a refused Unmount: %q, %v", b, err)
	}
	f.Close()
	if err := Unmount(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
	if err := Unmount(t.Context(), path); !errors.Is(err, fault.NotExist) {
		t.Errorf("second Unmount: %v, want fault.NotExist", err)
	}
	if err := SetReadAhead(path, 1024); !errors.Is(err, fault.NotExist) {
		t.Errorf("SetReadAhead where nothing is mounted: %v", err)
	}
}

func TestClearDead(t *testing.T) {
	path, cmd := mount(t, "tidemark")
	open, err := os.Open(filepath.Join(path, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	kill(t, cmd)
	if !IsDead(path) {
		t.Fatal("a mount without server is not dead")
	}
	if ok, err := IsMount(path); err != nil || !ok {
		t.Errorf("IsMount of a dead one = %v, %v", ok, err)
	}
	cleared, err := ClearDead(t.Context(), path)
	if err != nil || !cleared {
		t.Fatalf("ClearDead = %v, %v", cleared, err)
	}
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 0 {
		t.Errorf("the folder below: %v, %v", entries, err)
	}
	if cleared, err := ClearDead(t.Context(), path); cleared || err != nil {
		t.Errorf("second ClearDead = %v, %v", cleared, err)
	}
}

func TestClearDeadLeavesOthersAlone(t *testing.T) {
	path, cmd := mount(t, "somebody")
	kill(t, cmd)
	cleared, err := ClearDead(t.Context(), path)
	if cleared || !errors.Is(err, fault.Denied) {
		t.Errorf("ClearDead of another program's mount = %v, %v, want fault.Denied", cleared, err)
	}
	if ok, err := IsMount(path); err != nil || !ok {
		t.Errorf("afterwards IsMount = %v, %v", ok, err)
	}
}

// TestFusermount runs the way that users without root's rights take.
func TestFusermount(t *testing.T) {
	path, cmd := mount(t, "tidemark")
	f, err := os.Open(filepath.Join(path, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := fusermount(t.Context(), path, false); !errors.Is(err, fault.Unavailable) {
		t.Errorf("while a file is open: %v, want fault.Unavailable", err)
	}
	kill(t, cmd)
	if err := fusermount(t.Context(), path, true); err != nil {
		t.Error(err)
	}
	f.Close()
	if ok, err := IsMount(path); err != nil || ok {
		t.Errorf("afterwards IsMount = %v, %v", ok, err)
	}
	if err := fusermount(t.Context(), path, true); !errors.Is(err, fault.Denied) {
		t.Errorf("where nothing is mounted: %v", err)
	}
}

func TestNoMountPoint(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing", "folder")
	if _, err := IsMount(missing); !errors.Is(err, fault.NotExist) && fault.KindOf(err) != fault.NotExist {
		t.Errorf("IsMount(%s): %v", missing, err)
	}
	if cleared, err := ClearDead(t.Context(), missing); cleared || err != nil {
		t.Errorf("ClearDead(%s) = %v, %v", missing, cleared, err)
	}
	if ok, err := IsMount("/proc"); err != nil || !ok {
		t.Errorf("IsMount(/proc) = %v, %v", ok, err)
	}
	if err := SetReadAhead("/proc", -1); !errors.Is(err, fault.Invalid) {
		t.Errorf("SetReadAhead -1: %v", err)
	}
}
