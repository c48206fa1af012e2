//go:build linux

package mount

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/mount"
	"github.com/tidemark-backup/tidemark/platform/mountpoint"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/await"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
	"github.com/tidemark-backup/tidemark/repo/vault/store/patient"
)

const passphrase = "correct horse battery staple"

// ordersVariable makes this program serve a mount: a process that looks at
// its own mount can wait for itself for ever.
const ordersVariable = "TIDEMARK_TEST_SERVE"

type orders struct {
	Vault, Dir string
	One        bool
	Wait       time.Duration // for a repository that is away; 0: it is not
	Hangs      time.Duration // after which one that does not answer is away; 0: it answers
}

func TestMain(m *testing.M) {
	if text := os.Getenv(ordersVariable); text != "" {
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if source, dir, ok := strings.Cut(os.Getenv(loopbackVariable), "\n"); ok {
		if err := serveLoopback(source, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func serve(text string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	s, err := local.Open(o.Vault)
	if err != nil {
		return err
	}
	var around store.Store = s
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if o.Wait > 0 { // and each read that fails then would be told
		log = slog.New(slog.DiscardHandler)
		if o.Hangs > 0 {
			around = patient.New("the share", func(context.Context) (store.Store, error) { return s, nil }, patient.Options{Wait: o.Hangs, Pause: time.Second})
		}
		around = await.New(around, await.Options{Sign: repo.Sign, Wait: o.Wait})
	}
	r, err := repo.Open(ctx, around, repo.Options{})
	if err != nil {
		return err
	}
	if _, err := r.Unlock(ctx, []byte(passphrase)); err != nil {
		return err
	}
	opt := fs.Options{Log: log}
	if o.One {
		points, err := r.Points(ctx)
		if err != nil {
			return err
		}
		opt.Point = points[len(points)-1]
	}
	tree := fs.New(r, opt)
	defer tree.Close()
	m, err := mount.Mount(ctx, o.Dir, tree, mount.Options{Log: log, Ready: func() { fmt.Println("ready") }})
	if err != nil {
		return err
	}
	return m.Serve(ctx, time.Second)
}

// place is a folder to protect, a repository of it, and a mount.
type place struct {
	t      testing.TB
	source string
	dir    string // where the repository is mounted
	vault  string
	repo   *repo.Repository
	local  repo.Local
}

// newPlace needs root for owners, devices and mounts.
func newPlace(t testing.TB) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("owners, devices and other users' files need root")
	}
	top, err := os.MkdirTemp("/tmp", "tidemark-integration-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	p := &place{t: t, source: filepath.Join(top, "source"), dir: filepath.Join(top, "mount"), vault: filepath.Join(top, "vault")}
	for _, dir := range []string{p.source, p.dir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s, err := local.Create(p.vault)
	if err != nil {
		t.Fatal(err)
	}
	p.repo, err = repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: []byte(passphrase), Now: time.Now(),
		Cost: seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	p.local = p.repo.Local(filepath.Join(top, "state"))
	return p
}

func (p *place) backup() {
	p.t.Helper()
	sum, err := backup.Run(p.t.Context(), p.repo, p.local, backup.Job{Paths: []string{p.source}, Now: time.Now})
	if err != nil {
		p.t.Fatal(err)
	}
	if len(sum.Warned) > 0 {
		p.t.Fatalf("the backup warns: %v", sum.Warned)
	}
}

// mount serves the repository in a child and returns it.
func (p *place) mount(one bool) *exec.Cmd {
	p.t.Helper()
	return p.mountBy(orders{Vault: p.vault, Dir: p.dir, One: one})
}

func (p *place) mountBy(o orders) *exec.Cmd {
	p.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.child(o.Dir, ordersVariable+"="+string(text))
}

// child runs this program with orders, to mount on dir.
func (p *place) child(dir, orders string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), orders)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_, _ = mountpoint.ClearDead(context.Background(), dir)
	})
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		p.t.Fatalf("the child did not mount: %v", err)
	}
	return cmd
}

// shown is the source in the newest point.
func (p *place) shown(one bool) string {
	if one {
		return filepath.Join(p.dir, p.source)
	}
	return filepath.Join(p.dir, "latest", p.source)
}

// run runs a program and returns what it says.
func (p *place) run(dir, name string, args ...string) string {
	p.t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		p.t.Skipf("%s is not installed, and it is the judge here", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Errorf("%s %s: %v: %.2000s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestOtherProgramsSeeTheSource(t *testing.T) {
	p := newPlace(t)
	p.fill()
	p.backup()
	for _, one := range []bool{false, true} {
		t.Run(map[bool]string{false: "all points", true: "one point"}[one], func(t *testing.T) {
			here := *p
			here.t = t
			child := here.mount(one)
			shown := here.shown(one)
			t.Run("rsync", func(t *testing.T) {
				here.t = t
				if diff := here.run("/", "rsync", "-nacHAX", "--delete", "-i", p.source+"/", shown+"/"); diff != "" {
					t.Errorf("rsync sees differences:\n%.3000s", diff)
				}
				if diff := here.run("/", "rsync", "-nacHAX", "--delete", "-i", shown+"/", p.source+"/"); diff != "" {
					t.Errorf("rsync sees differences the other way:\n%.3000s", diff)
				}
			})
			t.Run("tar", func(t *testing.T) { here.t = t; here.compareTar(shown) })
			t.Run("acl", func(t *testing.T) {
				here.t = t
				here.compareOutput(shown, "getfacl", "-R", "-n", ".")
			})
			t.Run("attributes", func(t *testing.T) {
				here.t = t
				here.compareOutput(shown, "getfattr", "-R", "-d", "-h", "-m", "-", "-e", "hex", ".")
			})
			t.Run("fio", func(t *testing.T) { here.t = t; here.verifyFio(shown) })
			t.Run("copy", func(t *testing.T) { here.t = t; here.copyBack(shown) })
			if err := child.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := child.Wait(); err != nil {
				t.Errorf("the child ended with %v", err)
			}
			if is, err := mountpoint.IsMount(p.dir); err != nil || is {
				t.Errorf("still mounted: %v, %v", is, err)
			}
		})
	}
}

// compareTar lets tar compare an archive of the source with what is shown.
func (p *place) compareTar(shown string) {
	p.t.Helper()
	archive := filepath.Join(p.t.TempDir(), "source.tar")
	p.run(p.source, "tar", "--acls", "--xattrs", "--sparse", "-cf", archive, ".")
	if out := p.run(shown, "tar", "-df", archive); out != "" {
		p.t.Errorf("tar sees differences:\n%.3000s", out)
	}
}

// compareOutput runs a program in the source and in what is shown.
func (p *place) compareOutput(shown, name string, args ...string) {
	p.t.Helper()
	want, got := sortedParagraphs(p.run(p.source, name, args...)), sortedParagraphs(p.run(shown, name, args...))
	if len(want) < 3 {
		p.t.Errorf("%s says little about the source: %q", name, want)
	}
	if strings.Join(got, "\n\n") != strings.Join(want, "\n\n") {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				p.t.Errorf("%s: %q, want %q", name, got[i], want[i])
				return
			}
		}
		p.t.Errorf("%s: %d paragraphs, want %d", name, len(got), len(want))
	}
}

// verifyFio lets fio check its own checksums, in order and at random.
func (p *place) verifyFio(shown string) {
	p.t.Helper()
	for _, order := range []string{"read", "randread"} {
		p.run("/", "fio", "--name=verify", "--readonly", "--filename="+filepath.Join(shown, "fio"), "--rw="+order, "--bs=4k",
			"--size=32M", "--verify=crc32c", "--verify_fatal=1", "--output="+filepath.Join(p.t.TempDir(), "fio"))
	}
}

// copyBack copies out of the mount, which is how users restore, and compares
// the copy, holes included.
func (p *place) copyBack(shown string) {
	p.t.Helper()
	to, err := os.MkdirTemp(filepath.Dir(p.source), "copy-")
	if err != nil {
		p.t.Fatal(err)
	}
	defer os.RemoveAll(to)
	p.run("/", "cp", "-a", shown+"/.", to)
	if diff := p.run("/", "rsync", "-nacHAX", "--delete", "-i", p.source+"/", to+"/"); diff != "" {
		p.t.Errorf("rsync sees differences between the source and a copy from the mount:\n%.3000s", diff)
	}
	var want, got syscall.Stat_t
	if err := syscall.Stat(filepath.Join(p.source, "sparse"), &want); err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Stat(filepath.Join(to, "sparse"), &got); err != nil {
		p.t.Fatal(err)
	}
	if got.Blocks > want.Blocks+64 {
		p.t.Errorf("the copy of a sparse file has %d blocks, the source %d", got.Blocks, want.Blocks)
	}
}

func TestBackupWhileMounted(t *testing.T) {
	p := newPlace(t)
	if err := os.WriteFile(filepath.Join(p.source, "file"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.backup()
	child := p.mount(false)
	read := func() string {
		b, err := os.ReadFile(filepath.Join(p.shown(false), "file"))
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	if got := read(); got != "old" {
		t.Fatalf("the first point shows %q", got)
	}
	if err := os.WriteFile(filepath.Join(p.source, "file"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.backup()
	for begin := time.Now(); read() != "new"; time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the second point does not appear within 10 s")
		}
	}
	points, err := os.ReadDir(filepath.Join(p.dir, "points"))
	if err != nil || len(points) != 2 {
		t.Fatalf("%d points, %v", len(points), err)
	}
	old, err := os.ReadFile(filepath.Join(p.dir, "points", points[0].Name(), p.source, "file"))
	if err != nil || string(old) != "old" {
		t.Errorf("the first point now shows %q, %v", old, err)
	}

	// A killed server leaves a dead mount, which the next one clears.
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	p.mount(false)
	if got := read(); got != "new" {
		t.Errorf("mounted again: %q", got)
	}
}
