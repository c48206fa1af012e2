package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/repo"
)

// Programs built with the race detector work on one repository at the same
// time: two machines back up, prune and replicate, and one is mounted and read
// from. None disturbs another, and none finds a race in itself.
func TestSideBySide(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("the race detector takes a C compiler")
	}
	rounds := 3
	if os.Getenv("TIDEMARK_LONG") != "" {
		rounds = 60
	}
	path, err := buildProgram("-race")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Error(err)
		}
	})
	p := newPlace(t, repo.Unattended)
	q := *p // another machine
	q.State, q.Source = p.State+" of q", p.Source+" of q"
	r := p.open()
	if err := r.Keep(r.Local(q.State), repo.Unattended); err != nil {
		t.Fatal(err)
	}
	random := newRandom(1)
	for _, m := range []*place{p, &q} {
		m.write("first", noise(1, 400_000))
		m.raced(t, path, "backup", m.Source)
		for i := range rounds {
			m.write(fmt.Sprintf("later %d", i), noise(random.Uint64()>>40, 300_000))
		}
	}
	group, _ := errgroup.WithContext(t.Context())
	for _, m := range []*place{p, &q} {
		group.Go(func() error { return m.again(rounds, path, "backup", m.Source) })
		group.Go(func() error { return m.again(rounds, path, "prune") })
		group.Go(func() error { return m.again(rounds, path, "vault", "replicate", p.replica()) })
	}
	group.Go(func() error { return p.browse(t, path, 2*rounds) })
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	p.check(true)
	p.raced(t, path, "vault", "replicate", p.replica())
	p.Vault = p.replica()
	if n := len(p.check(true)); n < 2+2*rounds {
		t.Errorf("the replica has %d points", n)
	}
}

// raced runs the program once, and fails on races and failures.
func (p *place) raced(t *testing.T, path string, args ...string) {
	t.Helper()
	if err := p.again(1, path, args...); err != nil {
		t.Error(err)
	}
}

// again runs the program so many times.
func (p *place) again(rounds int, path string, args ...string) error {
	for range rounds {
		command := p.tidemark(path, args...)
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if bytes.Contains(out, []byte("DATA RACE")) {
			err = errors.Join(err, errors.New("a race"))
		}
		if err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return nil
}

// browse mounts the repository and reads all there is in it, again and again.
func (p *place) browse(t *testing.T, path string, rounds int) error {
	dir := t.TempDir()
	command := p.tidemark(path, "mount", dir)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	end := sync.OnceValue(func() error { return errors.Join(cmd.Process.Signal(unix.SIGTERM), cmd.Wait()) })
	err := errors.Join(readMount(dir, rounds), end())
	if bytes.Contains(out.Bytes(), []byte("DATA RACE")) {
		err = errors.Join(err, errors.New("a race"))
	}
	if err != nil {
		return fmt.Errorf("mount: %w: %s", err, &out)
	}
	return nil
}

// readMount reads the files of all points, again and again.
func readMount(dir string, rounds int) error {
	for range 300 { // until it answers
		if _, err := os.Stat(filepath.Join(dir, "latest")); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for range rounds {
		points, err := os.ReadDir(filepath.Join(dir, "points"))
		if err == nil && len(points) == 0 {
			err = errors.New("no point is shown")
		}
		if err != nil {
			return err
		}
		for _, e := range points {
			if err := readAll(filepath.Join(dir, "points", e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// readAll reads every file below a folder.
func readAll(dir string) error {
	files := 0
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		files++
		_, err = os.ReadFile(path)
		return err
	})
	if err == nil && files == 0 {
		err = fmt.Errorf("%s is empty", dir)
	}
	return err
}
