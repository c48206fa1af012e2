package webdav

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// share is the built program serving a point of source.
type share struct {
	t      *testing.T
	top    string
	source string
	tool   []string // the program and the flags of every command
	url    string   // ends in /
	here   string   // url of source in the newest point, no / at the end
	older  string   // plain.txt of the point before
}

// newShare needs root, for davfs2's mounts and because the clients are
// installed by whoever may.
func newShare(t *testing.T) *share {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("davfs2 mounts need root")
	}
	top, err := os.MkdirTemp("/tmp", "tidemark-webdav-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	if err := os.Chmod(top, 0o755); err != nil { // for those who are not root
		t.Fatal(err)
	}
	s := &share{t: t, top: top, source: filepath.Join(top, "source")}
	s.fill()
	program := filepath.Join(top, "tidemark")
	s.run("go", "build", "-o", program, "../../cmd/tidemark")
	if err := os.WriteFile(filepath.Join(top, "pass"), []byte("correct horse battery staple"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.tool = []string{program, "-r", filepath.Join(top, "vault"), "--cache-dir", filepath.Join(top, "state"), "--passphrase-file", filepath.Join(top, "pass"), "-q"}
	s.tidemark("init", "--unattended")
	gone := filepath.Join(s.source, "gone.txt")
	if err := os.WriteFile(gone, []byte("deleted"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.tidemark("backup", s.source)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(s.source, "plain.txt")
	was, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	s.older = string(was)
	if err := os.WriteFile(plain, []byte("the second version"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.tidemark("backup", s.source)
	s.url = s.serve("--anonymous")
	s.here = s.url + "latest" + s.source
	return s
}

func (s *share) tidemark(args ...string) string {
	s.t.Helper()
	return s.run(s.tool[0], slices.Concat(s.tool[1:], args)...)
}

// serve starts the program's share, and returns its URL.
func (s *share) serve(args ...string) string {
	s.t.Helper()
	url, _ := s.started(args...)
	return url
}

// started is serve that tells the number of the process, too.
func (s *share) started(args ...string) (url string, pid int) {
	t := s.t
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	serve := exec.CommandContext(ctx, s.tool[0], slices.Concat(s.tool[1:], []string{"--json", "serve", "--listen", "127.0.0.1:0"}, args)...)
	serve.Cancel = func() error { return serve.Process.Signal(os.Interrupt) }
	serve.Stderr = os.Stderr
	out, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = serve.Wait() // whose error is that it was stopped
		if code := serve.ProcessState.ExitCode(); code != 0 {
			t.Errorf("serve ended with %d", code)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var told struct{ URL string }
	if err != nil || json.Unmarshal(line, &told) != nil || told.URL == "" {
		t.Fatalf("serve said %q: %v", line, err)
	}
	return told.URL, serve.Process.Pid
}

// fill makes files with names that clients stumble over, and a large one.
func (s *share) fill() {
	s.t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"plain.txt", "with space.txt", "100%.txt", "a#b?.txt", "a&b<c>.txt", "ünïcödé.txt", "page.html", "<img src=x onerror=alert(1)>", "sub/deep/er/file.bin", "sub/emoji 🐟.txt", "empty"} {
		path := filepath.Join(s.source, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		content := make([]byte, r.IntN(3000))
		if name == "empty" {
			content = nil
		}
		for i := range content {
			content[i] = byte(r.Uint32())
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	big := make([]byte, 20<<20+17)
	for i := 0; i < len(big); i += 3 {
		big[i] = byte(r.Uint32())
	}
	if err := os.WriteFile(filepath.Join(s.source, "big.bin"), big, 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink("plain.txt", filepath.Join(s.source, "link")); err != nil {
		s.t.Fatal(err)
	}
}

func (s *share) run(name string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// same compares a folder that a client copied with the source.
func (s *share) same(dir string) {
	s.t.Helper()
	s.run("diff", "-r", s.source, dir)
}

func TestClients(t *testing.T) {
	s := newShare(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *share)
	}{{"curl", curl}, {"cadaver", cadaver}, {"rclone", rclone}, {"gvfs", gvfs}, {"davfs2", davfs}, {"tar", tarball}, {"zip", zipped}, {"browser", browser}, {"many", many}, {"logins", logins}, {"litmus", litmus}} {
		t.Run(c.name, func(t *testing.T) {
			one := *s
			one.t = t
			c.run(t, &one)
		})
	}
}

func curl(t *testing.T, s *share) {
	to := filepath.Join(t.TempDir(), "big")
	s.run("curl", "-fsS", "-o", to, "-r", "0-9999999", s.here+"/big.bin")
	s.run("curl", "-fsS", "-o", to, "-C", "-", s.here+"/big.bin") // resumes
	s.run("cmp", to, filepath.Join(s.source, "big.bin"))
	if out := s.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-T", to, s.here+"/new"); out != "403" {
		t.Errorf("PUT is answered with %s", out)
	}
}

func cadaver(t *testing.T, s *share) {
	to := filepath.Join(t.TempDir(), "plain")
	c := exec.CommandContext(t.Context(), "cadaver", s.here+"/")
	c.Stdin = strings.NewReader("ls\nget plain.txt " + to + "\nput " + to + " new.txt\ndelete plain.txt\nquit\n")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "big.bin") {
		t.Fatalf("%v: %s", err, out)
	}
	if n := strings.Count(string(out), "403 Forbidden"); n != 2 {
		t.Errorf("put and delete were refused %d times: %s", n, out)
	}
	s.run("cmp", to, filepath.Join(s.source, "plain.txt"))
}

func rclone(t *testing.T, s *share) {
	config := filepath.Join(t.TempDir(), "none")
	// A link is a file on the share.
	s.run("rclone", "--config", config, "--copy-links", "check", "--download", "--webdav-url", s.here, s.source, ":webdav:")
	to := t.TempDir()
	s.run("rclone", "--config", config, "copy", "--webdav-url", s.here, ":webdav:", to)
	s.same(to)
}

func gvfs(t *testing.T, s *share) {
	to := t.TempDir()
	// gio says "Error" for what it cannot do and ends with 2.
	dav := "dav" + strings.TrimPrefix(s.here, "http")
	out := s.run("dbus-run-session", "--", "sh", "-c", fmt.Sprintf(
		`set -e; export XDG_RUNTIME_DIR=%[1]s; gio mount -a %[2]s; gio list %[2]s; gio copy %[2]s/big.bin %[1]s/big; gio cat "%[2]s/with%%20space.txt" > %[1]s/space`, to, dav))
	if !strings.Contains(out, "ünïcödé.txt") {
		t.Errorf("listed: %s", out)
	}
	s.run("cmp", filepath.Join(to, "big"), filepath.Join(s.source, "big.bin"))
	s.run("cmp", filepath.Join(to, "space"), filepath.Join(s.source, "with space.txt"))
}

func davfs(t *testing.T, s *share) {
	dir, config := t.TempDir(), filepath.Join(t.TempDir(), "davfs2.conf")
	// Without buf_size listing fails with EINVAL on some kernels.
	if err := os.WriteFile(config, []byte("ask_auth 0\nuse_locks 0\nbuf_size 256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "mount", "-t", "davfs", "-o", "ro,conf="+config, s.here, dir)
	if out, err := c.CombinedOutput(); err != nil { // standard input is /dev/null
		t.Fatalf("mount: %v: %s", err, out)
	}
	defer s.run("umount", dir)
	s.run("diff", "-r", "--exclude=lost+found", s.source, dir)
	if err := os.WriteFile(filepath.Join(dir, "new"), []byte("x"), 0o644); err == nil {
		t.Error("a file was written")
	}
}

func tarball(t *testing.T, s *share) {
	file := filepath.Join(t.TempDir(), "all.tar")
	s.run("curl", "-fsS", "-o", file, s.here+"?tar")
	s.run("tar", "-d", "-f", file, "-C", filepath.Dir(s.source))
}

func zipped(t *testing.T, s *share) {
	dir := t.TempDir()
	file := filepath.Join(dir, "all.zip")
	s.run("curl", "-fsS", "-o", file, s.here+"?zip")
	s.run("unzip", "-q", file, "-d", dir)
	s.same(filepath.Join(dir, "source"))
}

// many has a hundred clients at once, of which ten read nothing of what they
// asked for.
func many(t *testing.T, s *share) {
	want, err := os.ReadFile(filepath.Join(s.source, "plain.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		r, err := http.Get(s.here + "/big.bin")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
	}
	results := make(chan error)
	for range 90 {
		go func() {
			r, err := http.Get(s.here + "/plain.txt")
			if err == nil {
				var got []byte
				got, err = io.ReadAll(r.Body)
				_ = r.Body.Close()
				if err == nil && string(got) != string(want) {
					err = fmt.Errorf("got %d bytes of %d", len(got), len(want))
				}
			}
			results <- err
		}()
	}
	for range 90 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
