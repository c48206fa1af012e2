package roundtrip

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/restore"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

var cheap = seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}

// testT is what *testing.T and *rapid.T share.
type testT interface {
	Helper()
	Errorf(format string, a ...any)
	Fatal(a ...any)
}

// newRepository makes one in memory.
func newRepository(t testing.TB) *repo.Repository {
	t.Helper()
	r, err := repo.Create(t.Context(), mem.New(), repo.CreateOptions{Passphrase: []byte("correct horse battery staple"), Cost: cheap, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// save backs up a folder, and returns the new point and what was skipped.
func save(t testT, r *repo.Repository, state, dir string) (*repo.Point, *backup.Summary) {
	t.Helper()
	later := func() time.Time { return time.Now().Add(time.Hour) } // than the last change of any file
	s, err := backup.Run(context.Background(), r, r.Local(state), backup.Job{Paths: []string{dir}, Now: later})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range s.Warned {
		t.Errorf("warning: %q: %s", w.Path, w.Reason)
	}
	points, err := r.Points(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return points[len(points)-1], s
}

func same(t testT, r *repo.Repository, p *repo.Point, s *backup.Summary, dir string) {
	t.Helper()
	c, err := compare(context.Background(), r, p, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range c.found {
		t.Errorf("%s", d)
	}
	if s.Statistics.Files+s.Statistics.Folders+s.Statistics.Links+s.Statistics.Others != p.Entries {
		t.Errorf("statistics %+v of %d entries", s.Statistics, p.Entries)
	}
	if len(s.Skipped) != c.sockets {
		t.Errorf("%d sockets, and skipped were %q", c.sockets, s.Skipped)
	}
}

// place makes a folder below a new one, and removes it when the test is over.
func place(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making devices and giving files away takes root")
	}
	return t.TempDir()
}

func open(t testT, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// anyTree makes trees, each below a folder of its own, and tries them.
func anyTree(t *testing.T, short, long int, sockets bool, try func(t testT, at string)) {
	anyTreeDrawn(t, short, long, sockets, func(rt *rapid.T, at string) { try(rt, at) })
}

func anyTreeDrawn(t *testing.T, short, long int, sockets bool, try func(t *rapid.T, at string)) {
	checks := short
	if os.Getenv("TIDEMARK_LONG") != "" {
		checks = long
	}
	if err := flag.Set("rapid.checks", fmt.Sprint(checks)); err != nil {
		t.Fatal(err)
	}
	dir := place(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		at := filepath.Join(dir, fmt.Sprint(n))
		if err := os.Mkdir(at, 0o755); err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(at)
		tree := drawTree(rt, sockets)
		fd := open(rt, at)
		defer unix.Close(fd)
		err := tree.make(fd)
		tree.closeAll()
		if err != nil {
			rt.Fatal(err)
		}
		try(rt, at)
	})
}

// Any tree that goes in is in the point, and an unchanged one again.
func TestAnyTree(t *testing.T) {
	anyTree(t, 40, 600, true, func(rt testT, at string) { oneTree(rt, newRepository(t), at) })
}

// Any tree that goes in comes out: rsync finds nothing that differs.
func TestAnyTreeRestored(t *testing.T) {
	anyTree(t, 25, 300, false, func(rt testT, at string) { restored(rt, newRepository(t), at) })
}

func restored(t testT, r *repo.Repository, at string) {
	t.Helper()
	src, out := filepath.Join(at, "src"), filepath.Join(at, "out")
	p, _ := save(t, r, filepath.Join(at, "state"), src)
	for range 2 { // the second time it is all there
		report, err := restore.Run(context.Background(), r, restore.Job{Point: p, Path: src, To: out, OnConflict: restore.Overwrite})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range report.Warnings {
			t.Errorf("restore: %+v", w)
		}
		cmd := exec.Command("rsync", "-nacHAXi", "--delete", "--modify-window=-1", src+"/", out+"/")
		if differences, err := cmd.CombinedOutput(); err != nil || len(differences) > 0 {
			t.Errorf("rsync: %v\n%s", err, differences)
		}
	}
}

func oneTree(t testT, r *repo.Repository, at string) {
	src, state := filepath.Join(at, "src"), filepath.Join(at, "state")
	p, s := save(t, r, state, src)
	same(t, r, p, s, src)
	p, s = save(t, r, state, src)
	if s.Changed+s.New > uint64(strings.Count(src, "/")) || s.BytesRead != 0 { // folders above may change
		t.Errorf("an unchanged tree: %+v", s.Statistics)
	}
	same(t, r, p, s, src)
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	p, s = save(t, r, state, src)
	if s.BytesNew != 0 {
		t.Errorf("without local state %d bytes are new", s.BytesNew)
	}
	same(t, r, p, s, src)
}

// Paths may be longer than the kernel takes in one call.
func TestDeepTree(t *testing.T) {
	dir := place(t)
	fd := open(t, dir)
	defer unix.Close(fd)
	root := &node{name: "src", kind: unix.S_IFDIR, mode: 0o755}
	deep := root
	for i := range 60 {
		next := &node{name: fmt.Sprintf("%d%s", i, strings.Repeat("d", 200)), kind: unix.S_IFDIR, mode: 0o750}
		leaf := &node{name: "leaf", kind: unix.S_IFREG, mode: 0o640, size: int64(i) * 1000, seed: 1}
		deep.children = append(deep.children, leaf, next)
		deep = next
	}
	deep.children = append(deep.children, &node{name: "bottom", kind: unix.S_IFREG, mode: 0o600, size: 3 << 20, seed: 2, xattrs: map[string][]byte{"user.deep": []byte("very")}})
	err := root.make(fd)
	root.closeAll()
	if err != nil {
		t.Fatal(err)
	}
	oneTree(t, newRepository(t), dir)
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	deepRestore(t, dir)
}

// deepRestore compares with a point of what was restored: rsync cannot go so deep.
func deepRestore(t *testing.T, dir string) {
	r := newRepository(t)
	src, out := filepath.Join(dir, "src"), filepath.Join(dir, "out")
	p, _ := save(t, r, filepath.Join(dir, "state"), src)
	if _, err := restore.Run(t.Context(), r, restore.Job{Point: p, Path: src, To: out}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(src, filepath.Join(dir, "was")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(out, src); err != nil {
		t.Fatal(err)
	}
	c, err := compare(t.Context(), r, p, src)
	if err != nil || len(c.found) > 0 {
		t.Errorf("%v %v", c, err)
	}
}
