package crash

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo"
)

// changing are the system calls that change files, or make changes last.
const changing = "openat,write,pwrite64,fsync,fdatasync,?rename,?renameat,renameat2,?link,linkat,?unlink,unlinkat,?mkdir,mkdirat,ftruncate,fallocate,close,flock"

// tidemark returns the program's command in a place.
func (p *place) tidemark(path string, args ...string) []string {
	return append([]string{path, "-q", "-r", p.Vault, "--cache-dir", p.State}, args...)
}

// commands are what is killed, in order: each works on what those before left.
// A prune finds what a backup that died has left, and writes that down.
var commands = []func(p *place) []string{
	func(p *place) []string { return []string{"backup", p.Source} },
	func(*place) []string { return []string{"prune"} },
	func(p *place) []string { return []string{"vault", "replicate", p.replica()} },
}

func (p *place) replica() string { return p.Vault + " replica" }

// orphan leaves packs that no point names, and makes all there is three days old.
func (p *place) orphan(t *testing.T) {
	t.Helper()
	p.write("orphan", noise(77, 900_000))
	o := p.orders
	o.KillAt, o.Stored = 1, true
	if !runToDeath(t, o) {
		t.Fatal("the backup did not die")
	}
	if err := os.Remove(filepath.Join(p.Source, "orphan")); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-72 * time.Hour)
	err := filepath.WalkDir(p.Vault, func(path string, e iofs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			err = os.Chtimes(path, before, before)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// copyTo copies the place to another folder; the files are shared.
func (p *place) copyTo(t *testing.T, dir string) *place {
	t.Helper()
	c := &place{t: t, orders: p.orders}
	c.Vault, c.State = filepath.Join(dir, "vault"), filepath.Join(dir, "state")
	err := errors.Join(copyFolder(p.Vault, c.Vault), copyFolder(p.State, c.State))
	if _, statErr := os.Stat(p.replica()); statErr == nil {
		err = errors.Join(err, copyFolder(p.replica(), c.replica()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call is the n-th call of a system call by one thread.
type call struct {
	name string
	n    int
}

// strace runs a command below strace, which kills it at a call; none for the
// zero call. It returns whether it did, and the changing calls that there were.
func strace(command []string, at call, log string) (killed bool, calls []call, err error) {
	args := []string{"-f", "-qq", "-o", log, "-e", "trace=" + changing, "-e", "signal=none"}
	if at.n > 0 {
		args = append(args, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", at.name, at.n))
	}
	cmd := exec.Command("strace", append(args, command...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	// strace dies as what it traced did.
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL; killed {
		return true, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("%w: %s", err, &out)
	}
	trace, err := os.ReadFile(log)
	if err != nil {
		return false, nil, err
	}
	counts := map[string]int{} // strace counts by thread and by name
	most := map[string]int{}
	for line := range strings.Lines(string(trace)) {
		thread, rest, _ := strings.Cut(line, " ")
		name, _, ok := strings.Cut(strings.TrimSpace(rest), "(")
		if ok && !strings.ContainsAny(name, "<+ ") && !strings.HasPrefix(name, "syscall_") {
			counts[thread+name]++
			if n := counts[thread+name]; n > most[name] {
				most[name] = n
				calls = append(calls, call{name, n})
			}
		}
	}
	return false, calls, nil
}

// The program itself is killed at its n-th system call, for many n: what was
// there stays whole, and the next run does what was to be done.
func TestKilledAtSystemCalls(t *testing.T) {
	points := 330 // of which some are not reached
	if os.Getenv("TIDEMARK_LONG") != "" {
		points = 3000
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(memory(), "tidemark-calls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p := placeAt(t, repo.Unattended, filepath.Join(dir, "vault"), dir)
	p.write("a", noise(1, 100_000))
	p.write("large", noise(2, 700_000))
	run(t, p.orders)
	p.write("b", noise(3, 50_000))
	p.write("large", noise(4, 700_000))
	p.orphan(t)
	each := points / len(commands)
	for i, args := range commands {
		k := killer{place: p, path: path, dir: filepath.Join(dir, fmt.Sprint(i)), args: args, want: each}
		k.all(t)
		command := p.tidemark(path, args(p)...)
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
}

// killer kills one command at many system calls.
type killer struct {
	*place
	path, dir string
	args      func(*place) []string
	want      int
}

func (k *killer) all(t *testing.T) {
	t.Helper()
	if err := os.Mkdir(k.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	full := k.copyTo(t, filepath.Join(k.dir, "full"))
	_, calls, err := strace(full.tidemark(k.path, k.args(full)...), call{}, filepath.Join(k.dir, "log"))
	if err != nil || len(calls) < 10 {
		t.Fatalf("%d system calls, %v", len(calls), err)
	}
	var killed atomic.Int64
	var workers sync.WaitGroup
	for worker := range 2 {
		workers.Go(func() {
			for i := worker; i < k.want; i += 2 {
				// Threads share the work differently each time, so that the
				// n-th call of one is another place of the program each time.
				at := calls[i*max(len(calls)/k.want, 1)%len(calls)]
				if k.one(t, filepath.Join(k.dir, fmt.Sprint(i)), at) {
					killed.Add(1)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%v: killed %d times of %d, at %d different calls", k.args(k.place)[:1], killed.Load(), k.want, len(calls))
	if int(killed.Load()) < k.want/2 {
		t.Errorf("%v was killed %d times of %d", k.args(k.place), killed.Load(), k.want)
	}
}

// one kills the command once, lets it run again, and checks what there is.
func (k *killer) one(t *testing.T, dir string, at call) bool {
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Error(err)
		return false
	}
	c := k.copyTo(t, dir)
	killed, _, err := strace(c.tidemark(k.path, k.args(c)...), at, filepath.Join(dir, "log"))
	if err != nil {
		t.Errorf("killed at %v: %v", at, err)
		return killed
	}
	command := c.tidemark(k.path, k.args(c)...)
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Errorf("after a kill at %v: %v: %s", at, err, out)
		return killed
	}
	c.check(true)
	c.compare()
	if _, err := os.Stat(c.replica()); err == nil {
		c.Vault = c.replica()
		c.check(true)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	return killed
}
