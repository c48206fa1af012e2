package samba

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/mountpoint"
)

// site is a folder that is backed up, a mount of its points, and a Samba.
type site struct {
	t       *testing.T
	top     string
	source  string
	mount   string
	timed   string // another mount, with Samba's own names listed
	program string
	port    int
}

func newSite(t *testing.T) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("smbd and mounts for its users need root")
	}
	for _, name := range []string{"smbd", "smbclient"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	top, err := os.MkdirTemp("/tmp", "tidemark-samba-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, top: top, source: filepath.Join(top, "source"), mount: filepath.Join(top, "mount"), timed: filepath.Join(top, "timed"), program: filepath.Join(top, "tidemark")}
	t.Cleanup(func() {
		_, _ = mountpoint.ClearDead(context.Background(), s.mount)
		_, _ = mountpoint.ClearDead(context.Background(), s.timed)
		_ = os.RemoveAll(top)
	})
	for _, dir := range []string{"source/sub", "mount", "timed", "private", "lock", "state", "cache", "run", "log"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	s.run("go", "build", "-o", s.program, "../../cmd/tidemark")
	if err := os.WriteFile(filepath.Join(top, "pass"), []byte("correct horse battery staple"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.tidemark("init", "--unattended")
	return s
}

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.source, name), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) run(name string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *site) flags() []string {
	return []string{"-q", "-r", filepath.Join(s.top, "vault"), "--cache-dir", filepath.Join(s.top, "keys"), "--passphrase-file", filepath.Join(s.top, "pass")}
}

func (s *site) tidemark(args ...string) string {
	s.t.Helper()
	return s.run(s.program, append(s.flags(), args...)...)
}

// serve mounts the points on dir and returns when they are there.
func (s *site) serve(dir string, flags ...string) {
	s.t.Helper()
	c := exec.Command(s.program, append(append(s.flags(), "mount", dir), flags...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	})
	s.wait("the mount", func() bool { is, err := mountpoint.IsMount(dir); return is && err == nil })
}

func (s *site) wait(what string, f func() bool) {
	s.t.Helper()
	for range 200 {
		if f() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("%s: not within 20 s", what)
}

// documented returns the share of the README with this site's folders in it.
func (s *site) documented() string {
	s.t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "```ini\n[home]\n")
	section, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		s.t.Fatal("the README has no share [home]")
	}
	return "[home]\n" + strings.NewReplacer("/mnt/points", s.mount, "= /home", "= "+s.source, "= home", "= "+strings.TrimPrefix(s.source, "/")).Replace(section)
}

// samba starts smbd with the README's share, and one that shows the mount.
func (s *site) samba() {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	in := func(name string) string { return filepath.Join(s.top, name) }
	global := fmt.Sprintf(`[global]
  interfaces = 127.0.0.1
  bind interfaces only = yes
  smb ports = %d
  disable netbios = yes
  map to guest = Bad User
  guest account = root
  load printers = no
  private dir = %s
  lock directory = %s
  state directory = %s
  cache directory = %s
  pid directory = %s
  ncalrpc dir = %s
  log file = %s
`, s.port, in("private"), in("lock"), in("state"), in("cache"), in("run"), in("run/rpc"), in("log/smbd"))
	home := s.documented() + "  guest ok = yes\n"
	// The same with the names that Samba comes with, which are in UTC.
	own := strings.NewReplacer("[home]", "[own]", s.mount+"/points", s.timed, "%Y-%m-%d_%H-%M-%S", "@GMT-%Y.%m.%d-%H.%M.%S", "localtime = yes", "localtime = no").Replace(home)
	everything := fmt.Sprintf("[points]\n  path = %s\n  guest ok = yes\n  read only = yes\n", s.mount)
	if err := os.WriteFile(in("smb.conf"), []byte(global+home+own+everything), 0o644); err != nil {
		s.t.Fatal(err)
	}
	c := exec.Command("smbd", "-F", "-s", in("smb.conf"), "--no-process-group")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
		_ = c.Wait()
		if s.t.Failed() {
			b, _ := os.ReadFile(in("log/smbd"))
			s.t.Logf("smbd says:\n%.4000s", b)
		}
	})
	s.wait("smbd", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// client runs commands of smbclient on a share.
func (s *site) client(share, commands string) string {
	s.t.Helper()
	return s.run("smbclient", "//127.0.0.1/"+share, "-p", strconv.Itoa(s.port), "-N", "-s", filepath.Join(s.top, "smb.conf"), "-c", commands)
}

// get returns what a client reads under a name.
func (s *site) get(share, name string) string {
	s.t.Helper()
	to := filepath.Join(s.t.TempDir(), "got")
	s.client(share, fmt.Sprintf(`get "%s" %s`, name, to))
	b, err := os.ReadFile(to)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// versions returns the previous versions of a file that a client is told, the
// newest first.
func (s *site) versions(share, name string) []string {
	s.t.Helper()
	return regexp.MustCompile(`@GMT-[0-9.]+-[0-9.]+`).FindAllString(s.client(share, "allinfo "+name), -1)
}

// nextSecond waits for it: points of one second have one time, and Windows'
// names of versions are times.
func nextSecond() { time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) }

func TestSamba(t *testing.T) {
	s := newSite(t)
	contents := []string{"first", "second, longer", "third"}
	for i := range many {
		s.write(fmt.Sprintf("sub/file %d.txt", i), strconv.Itoa(i))
	}
	for i, content := range contents {
		s.write("report.txt", content)
		s.write("sub/deep.txt", content)
		if i == 0 {
			s.write("gone.txt", "only in the first")
		} else {
			_ = os.Remove(filepath.Join(s.source, "gone.txt"))
		}
		s.tidemark("backup", s.source)
		nextSecond()
	}
	s.write("report.txt", "not backed up yet")
	s.serve(s.mount)
	s.serve(s.timed, "--list-time")
	s.samba()
	for _, share := range []string{"home", "own"} {
		t.Run("previous versions, "+share, func(t *testing.T) {
			here := *s
			here.t = t
			here.previousVersions(share, contents)
		})
	}
	t.Run("the mount as a share", func(t *testing.T) {
		here := *s
		here.t = t
		here.mountAsShare()
	})
}

func (s *site) previousVersions(share string, contents []string) {
	got := s.versions(share, "report.txt")
	if len(got) != len(contents) {
		s.t.Fatalf("a client is told of the versions %q", got)
	}
	for i, v := range got { // the newest first
		want := contents[len(contents)-1-i]
		for _, name := range []string{"report.txt", `sub\deep.txt`} {
			if c := s.get(share, v+`\`+name); c != want {
				s.t.Errorf("%s of %s holds %q, want %q", name, v, c, want)
			}
		}
	}
	if c := s.get(share, "report.txt"); c != "not backed up yet" {
		s.t.Errorf("the live file holds %q", c)
	}
	if c := s.get(share, got[2]+`\gone.txt`); c != "only in the first" {
		s.t.Errorf("a deleted file holds %q", c)
	}
	if out := s.client(share, fmt.Sprintf(`ls "%s\*"`, got[2])); !strings.Contains(out, "gone.txt") || !strings.Contains(out, "report.txt") {
		s.t.Errorf("a folder of the past: %s", out)
	}
}

// many is enough for a listing in several parts.
const many = 2000

// mountAsShare lists and copies a whole tree through Samba: cookies, links and
// times as clients need them.
func (s *site) mountAsShare() {
	points := strings.Fields(s.run("ls", filepath.Join(s.mount, "points")))
	point := points[len(points)-1]
	inside := `points\` + point + strings.ReplaceAll(s.source, "/", `\`)
	out := s.client("points", fmt.Sprintf(`ls "%s\sub\*"`, inside))
	for i := range many {
		if n := strings.Count(out, fmt.Sprintf("  file %d.txt ", i)); n != 1 {
			s.t.Fatalf("file %d is listed %d times", i, n)
		}
	}
	to := s.t.TempDir()
	s.client("points", fmt.Sprintf(`recurse; prompt; lcd %s; cd "%s"; mget sub`, to, inside))
	s.run("diff", "-r", filepath.Join(s.source, "sub"), filepath.Join(to, "sub"))
	if out := s.client("points", "ls points"+`\*`); !strings.Contains(out, point) {
		s.t.Errorf("points: %s", out)
	}
	for _, c := range []string{"mkdir x", `del "` + inside + `\sub\file 1.txt"`} {
		out, _ := exec.Command("smbclient", "//127.0.0.1/points", "-p", strconv.Itoa(s.port), "-N", "-s", filepath.Join(s.top, "smb.conf"), "-c", c).CombinedOutput()
		if !strings.Contains(string(out), "NT_STATUS_") {
			s.t.Errorf("%s was not refused: %s", c, out)
		}
	}
}
