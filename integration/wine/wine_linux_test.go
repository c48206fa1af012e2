package wine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// windows is a Windows of its own, with the program in it.
type windows struct {
	t   *testing.T
	top string // drive_c is the drive C: of it
}

func newWindows(t *testing.T) *windows {
	t.Helper()
	if _, err := exec.LookPath("wine"); err != nil {
		t.Skip("wine (packages wine and wine64) is not installed")
	}
	top, err := os.MkdirTemp("/tmp", "tidemark-wine-")
	if err != nil {
		t.Fatal(err)
	}
	w := &windows{t: t, top: top}
	t.Cleanup(func() {
		// All that still runs in it ends, and then its files can go.
		_ = w.command("wineserver", "-k").Run()
		_ = w.command("wineserver", "-w").Run()
		_ = os.RemoveAll(top)
	})
	w.must(w.command("wineboot", "-i"))
	w.must(w.command("wine", "winecfg", "-v", "win10"))
	library := forwarder("bcryptprimitives.dll", "ProcessPrng", "ADVAPI32.SystemFunction036")
	w.write("windows/system32/bcryptprimitives.dll", string(library))
	build := exec.Command("go", "build", "-o", w.path("tidemark.exe"), "../../cmd/tidemark")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	w.must(build)
	return w
}

// path is where a file of C: is on this host.
func (w *windows) path(name string) string { return filepath.Join(w.top, "drive_c", name) }

func (w *windows) write(name, content string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(name), []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *windows) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "WINEPREFIX="+w.top, "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=", "DISPLAY=", "TZ=UTC")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

func (w *windows) must(c *exec.Cmd) string {
	w.t.Helper()
	out, code := w.run(c)
	if code != 0 {
		w.t.Fatalf("%s: %d: %s", strings.Join(c.Args, " "), code, out)
	}
	return out
}

// run returns what a program says on standard output, and its exit code.
func (w *windows) run(c *exec.Cmd) (string, int) {
	w.t.Helper()
	var out, words bytes.Buffer
	c.Stdout, c.Stderr = &out, &words
	timer := time.AfterFunc(2*time.Minute, func() { _ = c.Process.Kill() })
	err := c.Run()
	timer.Stop()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String() + words.String(), exit.ExitCode()
	} else if err != nil {
		w.t.Fatalf("%s: %v", c.Path, err)
	}
	return out.String(), 0
}

func (w *windows) flags() []string {
	return []string{`C:\tidemark.exe`, "-r", `C:\vault`, "--cache-dir", `C:\state`, "--passphrase-file", `C:\pass`}
}

// tidemark runs the program, which must end with 0.
func (w *windows) tidemark(args ...string) string {
	w.t.Helper()
	return w.must(w.command("wine", append(w.flags(), args...)...))
}

// serving starts the program and returns the first line that it says in JSON,
// and a function that ends it.
func (w *windows) serving(into any, args ...string) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	c := w.command("wine", append(append(w.flags(), "--json"), args...)...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	stop = func() { cancel(); _ = c.Wait() }
	w.t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, into)
	}
	if err != nil {
		w.t.Fatalf("%v said %q: %v", args, line, err)
	}
	return stop
}

func (w *windows) fetch(url string) string {
	w.t.Helper()
	r, err := http.Get(url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s, %v", url, r.Status, err)
	}
	return string(b)
}

func TestTheProgramForWindows(t *testing.T) {
	w := newWindows(t)
	large := strings.Repeat("all of it, again and again. ", 200_000)
	files := map[string]string{"a.txt": "first", `sub/deep/b.txt`: large, "sub/Ünïcödé.txt": "text", "sub/empty": ""}
	for name, content := range files {
		w.write("users/ann/"+name, content)
	}
	w.write("pass", "correct horse battery staple")
	w.tidemark("-q", "init", "--unattended")
	w.tidemark("-q", "backup", `C:\users\ann`)
	w.write("users/ann/a.txt", "second")
	w.tidemark("-q", "backup", `C:\users\ann`)

	var points []struct{ ID string }
	if out := w.tidemark("points", "--json"); json.Unmarshal([]byte(out), &points) != nil || len(points) != 2 || points[1].ID == "" {
		t.Fatalf("points: %s", out)
	}
	if out := w.tidemark("ls", "latest:/C/users/ann/sub"); !strings.Contains(out, "Ünïcödé.txt") || !strings.Contains(out, "deep") {
		t.Errorf("ls: %s", out)
	}
	if out := w.tidemark("cat", "latest:/C/users/ann/a.txt"); out != "second" {
		t.Errorf("cat: %q", out)
	}
	w.tidemark("-q", "check", "--read-data")
	w.tidemark("-q", "restore", "latest:/C/users/ann", "--to", `C:\back`)
	files["a.txt"] = "second"
	for name, content := range files {
		if b, err := os.ReadFile(w.path("back/" + name)); err != nil || string(b) != content {
			t.Errorf("restored %s: %d bytes, %v", name, len(b), err)
		}
	}
	t.Run("serve", func(t *testing.T) { w.serve(large) })
	t.Run("mount", func(t *testing.T) { w.mount() })
	t.Run("doctor", func(t *testing.T) { w.doctor() })
	t.Run("service", func(t *testing.T) { w.service() })
	t.Run("suites", w.suites)
}

// service goes to Wine's service control manager. The agent itself needs sockets
// of the family that Wine 8 has not, so it is not started.
func (w *windows) service() {
	w.write("config.toml", "[[policy]]\nname = 'ann'\nrepository = 'C:\\vault'\npaths = ['C:\\users\\ann']\n")
	agent := func(args ...string) (string, int) {
		return w.run(w.command("wine", append(append(w.flags(), "--config", `C:\config.toml`, "agent"), args...)...))
	}
	for _, step := range []struct {
		command, says string
		code          int
	}{
		{"status", "service: not installed", 1}, {"install", "installed", 0}, {"status", "service: stopped", 1},
		{"install", "already exists", 1}, {"uninstall", "uninstalled", 0}, {"status", "service: not installed", 1}, {"uninstall", "not", 4},
	} {
		if out, code := agent(step.command); code != step.code || step.code != 0 && !strings.Contains(out, step.says) {
			w.t.Errorf("agent %s: %d: %s", step.command, code, out)
		}
	}
}

func (w *windows) serve(large string) {
	var share struct{ URL string }
	defer w.serving(&share, "serve", "--anonymous", "--listen", "127.0.0.1:0")()
	if got := w.fetch(share.URL + "latest/C/users/ann/sub/deep/b.txt"); got != large {
		w.t.Errorf("%d bytes through the share", len(got))
	}
}

// mount has no WinFsp to mount with, and shares the points instead.
func (w *windows) mount() {
	var m struct{ Door, URL, Connect string }
	defer w.serving(&m, "mount", "X:")()
	if m.Door != "webdav" || !strings.HasPrefix(m.Connect, "net use X: http://127.0.0.1:") {
		w.t.Errorf("mount X: says %+v", m)
	}
	if got := w.fetch(m.URL + "latest/C/users/ann/a.txt"); got != "second" {
		w.t.Errorf("%q through the mount", got)
	}
	out, code := w.run(w.command("wine", append(w.flags(), "mount", "--door", "winfsp", "Y:")...))
	if code != 1 || !strings.Contains(out, "winget install WinFsp.WinFsp") {
		w.t.Errorf("without WinFsp: %d, %s", code, out)
	}
}

func (w *windows) doctor() {
	out, code := w.run(w.command("wine", append(w.flags(), "doctor")...))
	if code != 1 && code != 3 {
		w.t.Errorf("doctor ends with %d", code)
	}
	for _, part := range []string{"limited  WinFsp: not installed", "WebClient", "holds 2 points", "ok       folder for keys and index"} {
		if !strings.Contains(out, part) {
			w.t.Errorf("doctor says nothing of %q: %s", part, out)
		}
	}
}
