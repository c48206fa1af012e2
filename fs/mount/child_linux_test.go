package mount_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/fs/mount"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
	"github.com/tidemark-backup/tidemark/repo"
)

// A process that reads from a mount that it serves itself can wait for itself
// for ever. So the mount is served by a child: this test program, started
// again with its orders in the environment.
const ordersVariable = "TIDEMARK_TEST_MOUNT"

// orders tell the child what to mount where.
type orders struct {
	Dir   string
	One   bool   // a single point
	Copy  string // folder to take the tree from instead of the sample
	Time  bool   // the points of fsconform.AddTime instead
	Guard bool   // points of which one is closed to others
	List  bool   // list what begins with @
	Open  bool
	Owner *fs.Owner

	Replace bool
}

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(ordersVariable) != "":
		if err := serve(os.Getenv(ordersVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case os.Getenv(probeVariable) != "":
		probe()
		os.Exit(0)
	}
	code := m.Run()
	if dir := filepath.Dir(copyOfProgram()); dir != "." {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// firstPoint is when the first point of every test was made.
var firstPoint = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// serve is the child. Lines on its standard input are orders, too: "add" adds
// a point of the same second, "remove" takes the first away.
func serve(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	files, err := o.files()
	if err != nil {
		return err
	}
	source := fsconform.NewSource()
	p, err := fill(ctx, source, o, files)
	if err != nil {
		return err
	}
	keeper := &fs.Owner{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	opt := fs.Options{Open: o.Open, Owner: o.Owner, ListTime: o.List, Keeper: keeper, Location: time.UTC}
	if o.One {
		opt.Point = p
	}
	tree := fs.New(source, opt)
	defer tree.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	m, err := mount.Mount(ctx, o.Dir, tree, mount.Options{Door: mount.FUSE, Replace: o.Replace, Log: log, Ready: func() { fmt.Println("ready") }})
	if err != nil {
		return err
	}
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			switch lines.Text() {
			case "add":
				if _, err := source.Add(ctx, firstPoint, files); err != nil {
					log.Error("add", "error", err)
				}
			case "remove":
				source.Remove(p)
			}
			fmt.Println("done")
		}
	}()
	return m.Serve(ctx, time.Second)
}

// files are those of the point that is ordered: not the sample's 100,000 where
// they are not wanted.
func (o *orders) files() ([]fsconform.File, error) {
	switch {
	case o.Time || o.Guard:
		return nil, nil
	case o.Copy != "":
		return scan(o.Copy)
	}
	return fsconform.Sample(), nil
}

// fill adds the points that are ordered, and returns the first.
func fill(ctx context.Context, source *fsconform.Source, o orders, files []fsconform.File) (*repo.Point, error) {
	switch {
	case o.Time:
		points, err := fsconform.AddTime(ctx, source)
		if err != nil {
			return nil, err
		}
		return points[0], nil
	case o.Guard:
		return addGuarded(ctx, source)
	}
	return source.Add(ctx, firstPoint, files)
}

// child is a mount in another process.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string
	stdin  *os.File
	stdout *bufio.Reader
	gone   chan error
}

// start mounts as user 0 or another, on a new folder if o.Dir is empty.
func start(t *testing.T, o orders, uid uint32) *child {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts with allow_other and several users need root")
	}
	if o.Dir == "" {
		o.Dir = mountDir(t, uid)
	}
	c, err := tryStart(t, o, uid)
	if err != nil {
		t.Fatalf("the child did not mount: %v", err)
	}
	return c
}

// mountDir makes a folder that every user can reach.
func mountDir(t *testing.T, uid uint32) string {
	t.Helper()
	top, err := os.MkdirTemp("/tmp", "tidemark-mount-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(filepath.Join(top, "m")); os.Remove(top) })
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "m")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func tryStart(t *testing.T, o orders, uid uint32) (*child, error) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	self, err := reachable(t)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), ordersVariable+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, Pdeathsig: syscall.SIGKILL}
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	var words strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, stdout, &words
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	in.Close()
	stdout.Close()
	c := &child{t: t, cmd: cmd, dir: o.Dir, stdin: stdin, stdout: bufio.NewReader(out), gone: make(chan error, 1)}
	go func() { c.gone <- cmd.Wait() }()
	t.Cleanup(func() {
		c.kill()
		if s := words.String(); s != "" && t.Failed() {
			t.Logf("the child said:\n%s", s)
		}
	})
	if line, err := c.stdout.ReadString('\n'); err != nil || line != "ready\n" {
		c.kill()
		return nil, fmt.Errorf("%q, %v: %s", line, err, words.String())
	}
	return c, nil
}

// reachable returns a copy of this program that every user can run.
func reachable(t *testing.T) (string, error) {
	t.Helper()
	path := copyOfProgram()
	if path == "" {
		return "", errors.New("this program cannot be copied to where every user can run it")
	}
	return path, nil
}

// copyOfProgram is made once: it has a hundred MB with the race detector in it.
var copyOfProgram = sync.OnceValue(func() string {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return ""
	}
	dir, err := os.MkdirTemp("/tmp", "tidemark-child-")
	if err != nil {
		return ""
	}
	path := filepath.Join(dir, "child")
	if errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, self, 0o755)) != nil {
		os.RemoveAll(dir)
		return ""
	}
	return path
})

// order sends a line and waits until it is carried out.
func (c *child) order(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.stdin, line); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.stdout.ReadString('\n'); err != nil {
		c.t.Fatal(err)
	}
}

// ask sends a signal and waits for the child's end.
func (c *child) ask(s os.Signal) error {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		return err
	}
	select {
	case err := <-c.gone:
		c.gone <- err
		return err
	case <-time.After(20 * time.Second):
		return fmt.Errorf("the child goes on after %v", s)
	}
}

// kill ends the child and clears what it leaves behind.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	err := <-c.gone
	c.gone <- err
	_, _ = mountpoint.ClearDead(context.Background(), c.dir)
	c.stdin.Close()
}

// point returns the folder of the first point.
func (c *child) point() string { return filepath.Join(c.dir, "points", "2026-11-22_10-00-00") }
