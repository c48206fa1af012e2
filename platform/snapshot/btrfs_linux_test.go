package snapshot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/walk"
)

// The test runs itself again with this variable set to take snapshots of a
// path, and be killed: "DIR PATH".
const childEnv = "SNAPSHOT_TEST_CHILD"

func TestMain(m *testing.M) {
	dir, path, child := strings.Cut(os.Getenv(childEnv), " ")
	if !child {
		os.Exit(m.Run())
	}
	if _, err := Take(context.Background(), Options{Dir: dir, Paths: []string{path}, Require: true}); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Stdout.WriteString("taken\n")
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
	os.Exit(0)
}

func do(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// btrfs makes a file system of its own and returns where it is mounted.
func btrfs(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, name := range []string{"mkfs.btrfs", "btrfs"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("btrfs-progs is not installed")
		}
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 256<<20), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	do(t, "mkfs.btrfs", "-q", image)
	do(t, "mount", "-o", "loop", image, at)
	t.Cleanup(func() { do(t, "umount", at) })
	return at
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// contents walks a path as a backup does, and returns each file with what it
// holds.
func contents(t *testing.T, path string, elsewhere map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for f, err := range walk.Walk(t.Context(), walk.Options{Roots: []string{path}, Elsewhere: elsewhere}) {
		if err != nil || f.Err != nil {
			t.Fatal(err, f.Err)
		}
		for _, e := range f.Entries {
			if e.Err != nil {
				t.Fatal(e.Err)
			}
			if !e.Stat.IsFile() {
				continue
			}
			in, err := f.Open(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(in)
			if err := errors.Join(err, in.Close()); err != nil {
				t.Fatal(err)
			}
			out[strings.TrimPrefix(f.Join(e.Name), path+"/")] = string(b)
		}
	}
	return out
}

// leftovers are snapshots that are there.
func leftovers(t *testing.T, at string) []string {
	t.Helper()
	out, err := exec.Command("btrfs", "subvolume", "list", at).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var left []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, Prefix) {
			left = append(left, line)
		}
	}
	return left
}

// world is a subvolume with another in it and a mount in that.
func world(t *testing.T, at string) (home string, want map[string]string) {
	home = filepath.Join(at, "home")
	do(t, "btrfs", "subvolume", "create", home)
	put(t, filepath.Join(home, "ann/letter"), "before")
	do(t, "btrfs", "subvolume", "create", filepath.Join(home, "inner"))
	put(t, filepath.Join(home, "inner/deep/file"), "inside before")
	tmp := filepath.Join(home, "tmp")
	put(t, filepath.Join(tmp, "covered"), "nobody sees it")
	do(t, "mount", "-t", "tmpfs", "none", tmp)
	t.Cleanup(func() { do(t, "umount", tmp) })
	put(t, filepath.Join(tmp, "note"), "on a file system in memory")
	return home, map[string]string{"ann/letter": "before", "inner/deep/file": "inside before", "tmp/note": "on a file system in memory"}
}

// TestBtrfs: what is read is what was there when the snapshots were taken, in
// subvolumes inside the one that was asked for, too; and nothing of them stays.
func TestBtrfs(t *testing.T) {
	at := btrfs(t)
	home, want := world(t, at)
	dir := filepath.Join(t.TempDir(), "state")
	for _, path := range []string{home, filepath.Join(home, "ann")} {
		s, err := Take(t.Context(), Options{Dir: dir, Paths: []string{path}, Require: true})
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(home, "ann/letter"), "after")
		put(t, filepath.Join(home, "ann/late"), "came later")
		put(t, filepath.Join(home, "inner/deep/file"), "inside after")
		here := map[string]string{}
		for name, content := range want {
			if rest, ok := within(path, filepath.Join(home, name)); ok {
				here[rest] = content
			}
		}
		if got := contents(t, path, s.Elsewhere); !equal(got, here) {
			t.Errorf("%s: %v, want %v", path, got, here)
		}
		if len(s.Live) > 0 || s.Dirty || !strings.HasPrefix(s.String(), "btrfs snapshot") {
			t.Errorf("%+v", s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left := leftovers(t, at); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
		put(t, filepath.Join(home, "ann/letter"), "before")
		put(t, filepath.Join(home, "inner/deep/file"), "inside before")
		if err := os.Remove(filepath.Join(home, "ann/late")); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("the register has %v, %v", names, err)
	}
}

func equal(a, b map[string]string) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// TestKilled: a process that takes snapshots and is killed leaves them to the
// next one, which leaves those alone whose process lives.
func TestKilled(t *testing.T) {
	at := btrfs(t)
	home, _ := world(t, at)
	dir := filepath.Join(t.TempDir(), "state")
	child := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"="+dir+" "+home), os.Stderr
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close() })
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "taken\n" {
			t.Fatalf("%q, %v", line, err)
		}
		return cmd
	}
	dead, alive := child(), child()
	if err := dead.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dead.Wait()
	if n := len(leftovers(t, at)); n != 4 {
		t.Fatalf("%d snapshots", n)
	}
	if n, err := Sweep(t.Context(), dir); n != 2 || err != nil {
		t.Errorf("%d swept, %v", n, err)
	}
	if n := len(leftovers(t, at)); n != 2 {
		t.Errorf("%d snapshots of the living", n)
	}
	if err := alive.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = alive.Wait()
	if n, err := Sweep(t.Context(), dir); n != 2 || err != nil {
		t.Errorf("%d swept, %v", n, err)
	}
	if n, err := Sweep(t.Context(), dir); n != 0 || err != nil {
		t.Errorf("%d swept again, %v", n, err)
	}
	if left := leftovers(t, at); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestNothingToFreeze: the file system of the test's folder, or one in memory.
func TestNothingToFreeze(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	do(t, "mount", "-t", "tmpfs", "none", dir)
	t.Cleanup(func() { do(t, "umount", dir) })
	o := Options{Dir: filepath.Join(t.TempDir(), "state"), Paths: []string{dir, "/"}, OneFileSystem: true}
	s, err := Take(t.Context(), o)
	if err != nil || s.Taken() > 0 || s.Elsewhere != nil || !slices.ContainsFunc(s.Live, func(l Live) bool { return l.Path == "/" && l.Why != "" }) {
		t.Errorf("%+v, %v", s, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	o.Require = true
	if _, err := Take(t.Context(), o); !errors.Is(err, fault.Unsupported) {
		t.Error(err)
	}
}
