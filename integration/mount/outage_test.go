//go:build linux

package mount

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// outageFiles is how many files are read during an outage, each of several
// frames.
const outageFiles = 40

// fillForOutage writes files that do not shrink, and returns their content.
func (p *place) fillForOutage() [][]byte {
	p.t.Helper()
	r := rand.NewChaCha8([32]byte{7})
	var all [][]byte
	for i := range outageFiles {
		content := make([]byte, 1<<20)
		r.Read(content)
		all = append(all, content)
		p.check(os.WriteFile(filepath.Join(p.source, fmt.Sprint(i)), content, 0o644))
	}
	return all
}

// reading is what became of a read that was begun.
type reading struct {
	bytes []byte
	err   error
	took  time.Duration
}

// read reads a file through the mount, beside the test.
func (p *place) read(i int) <-chan reading {
	done := make(chan reading, 1)
	go func() {
		begin := time.Now()
		b, err := os.ReadFile(filepath.Join(p.shown(false), fmt.Sprint(i)))
		done <- reading{b, err, time.Since(begin)}
	}()
	return done
}

// TestRepositoryAwayUnderAMount takes the repository away and brings it back,
// twice: within the time that reads wait, and beyond it.
func TestRepositoryAwayUnderAMount(t *testing.T) {
	p := newPlace(t)
	want := p.fillForOutage()
	p.backup()
	const wait = 3 * time.Second
	cmd := p.mountBy(orders{Vault: p.vault, Dir: p.dir, Wait: wait})
	if got := len(p.list()); got != outageFiles {
		t.Fatalf("%d files", got)
	}
	away := p.vault + ".away"
	p.check(os.Rename(p.vault, away))

	// A short outage: who reads waits, and gets what he asked for.
	read := p.read(0)
	select {
	case r := <-read:
		t.Fatalf("a read with the repository away: %d bytes, %v, after %v", len(r.bytes), r.err, r.took)
	case <-time.After(time.Second):
	}
	if got := len(p.list()); got != outageFiles {
		t.Errorf("names are known, and %d are listed", got)
	}
	p.check(os.Rename(away, p.vault))
	if r := <-read; r.err != nil || !bytes.Equal(r.bytes, want[0]) || r.took > wait {
		t.Errorf("after a short outage: %d bytes, %v, after %v", len(r.bytes), r.err, r.took)
	}

	// A long one, with many readers: the first ones wait until the bound, later
	// ones are told at once. A new mount has nothing open.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	cmd = p.mountBy(orders{Vault: p.vault, Dir: p.dir, Wait: wait})
	p.list()
	p.check(os.Rename(p.vault, away))
	var all sync.WaitGroup
	for i := range outageFiles {
		all.Go(func() {
			if r := <-p.read(i); !errors.Is(r.err, syscall.EIO) || r.took < wait/2 || r.took > 3*wait {
				t.Errorf("file %d: %v after %v", i, r.err, r.took)
			}
		})
	}
	all.Wait()
	if r := <-p.read(1); !errors.Is(r.err, syscall.EIO) || r.took > time.Second {
		t.Errorf("later: %v after %v", r.err, r.took)
	}
	if kib := peak(t, cmd.Process.Pid); kib > 256<<10 {
		t.Errorf("the mount has taken %d KiB", kib)
	}
	p.check(os.Rename(away, p.vault))
	time.Sleep(time.Second) // it is looked for twice a second
	for i := range outageFiles {
		if r := <-p.read(i); r.err != nil || !bytes.Equal(r.bytes, want[i]) {
			t.Errorf("file %d after the outage: %d bytes, %v", i, len(r.bytes), r.err)
		}
	}
}

// TestShareThatHangs stops the server of the share that the repository is on, as
// a hard-mounted NFS share stops when its server does: nothing fails, calls just
// do not return.
func TestShareThatHangs(t *testing.T) {
	p := newPlace(t)
	want := p.fillForOutage()
	p.backup()
	share := p.dir + ".share"
	p.check(os.Mkdir(share, 0o755))
	server := p.child(share, loopbackVariable+"="+p.vault+"\n"+share)
	const wait = 2 * time.Second
	p.mountBy(orders{Vault: share, Dir: p.dir, Wait: wait, Hangs: wait})
	p.list()
	if r := <-p.read(0); r.err != nil || !bytes.Equal(r.bytes, want[0]) {
		t.Fatalf("%d bytes, %v", len(r.bytes), r.err)
	}
	p.check(server.Process.Signal(syscall.SIGSTOP))
	defer func() { _ = server.Process.Signal(syscall.SIGCONT) }()
	var all sync.WaitGroup
	for i := 1; i < 5; i++ {
		all.Go(func() {
			if r := <-p.read(i); !errors.Is(r.err, syscall.EIO) {
				t.Errorf("file %d: %d bytes, %v after %v", i, len(r.bytes), r.err, r.took)
			}
		})
	}
	all.Wait()
	p.check(server.Process.Signal(syscall.SIGCONT))
	for i := range outageFiles {
		r := <-p.read(i)
		for begin := time.Now(); errors.Is(r.err, syscall.EIO) && time.Since(begin) < time.Minute; r = <-p.read(i) {
			time.Sleep(100 * time.Millisecond) // it is looked for twice a second
		}
		if r.err != nil || !bytes.Equal(r.bytes, want[i]) {
			t.Errorf("file %d when the share answers again: %d bytes, %v", i, len(r.bytes), r.err)
		}
	}
}

// list lists the source in the newest point.
func (p *place) list() []os.DirEntry {
	p.t.Helper()
	entries, err := os.ReadDir(p.shown(false))
	p.check(err)
	return entries
}

// peak is the most memory that a process has had, in KiB.
func peak(t *testing.T, pid int) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
