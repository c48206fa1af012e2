package scale

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

const passphrase = "correct horse battery staple"

// maxMemory is what a backup may take, whatever the tree: 300 MiB.
const maxMemory = 300 << 10 // KiB

func long() bool { return os.Getenv("TIDEMARK_LONG") != "" }

// pick returns short, or full if there is time.
func pick(short, full int) int {
	if long() {
		return full
	}
	return short
}

// program builds tidemark once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tidemark-scale")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tidemark")
	out, err := exec.Command("go", "build", "-o", path, "github.com/tidemark-backup/tidemark/cmd/tidemark").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// place is a repository and a machine's state and files, all below dir.
type place struct {
	t   *testing.T
	dir string
	src string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir()}
	p.src = filepath.Join(p.dir, "src")
	if err := os.Mkdir(p.src, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "passphrase"), []byte(passphrase), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run("init", "--passphrase-file", filepath.Join(p.dir, "passphrase"))
	return p
}

// run runs the program and returns how long that took, and how much memory in
// KiB.
func (p *place) run(args ...string) (time.Duration, int64) {
	p.t.Helper()
	path, err := program()
	if err != nil {
		p.t.Fatal(err)
	}
	args = append(args, "-q", "-r", filepath.Join(p.dir, "vault"), "--cache-dir", filepath.Join(p.dir, "state"))
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	own := peak("self")
	started := time.Now()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	most := int64(0)
	for ticks := time.NewTicker(time.Millisecond); ; {
		select {
		case <-ticks.C:
			most = max(most, peak(fmt.Sprint(cmd.Process.Pid)))
			continue
		case err := <-done:
			if err != nil {
				p.t.Fatalf("%v: %v: %s", args, err, &out)
			}
		}
		ticks.Stop()
		// The kernel counts what its parent had when it began as a child's, too.
		if m := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; m > own+1<<10 {
			most = max(most, m)
		}
		return time.Since(started), most
	}
}

// peak returns the most memory that a process has had so far, in KiB.
func peak(process string) int64 {
	b, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		return 0 // it has ended
	}
	_, after, ok := strings.Cut(string(b), "VmHWM:")
	fields := strings.Fields(after)
	if !ok || len(fields) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// backup backs up, and holds that to its memory.
func (p *place) backup(what string) time.Duration {
	p.t.Helper()
	took, memory := p.run("backup", p.src)
	p.t.Logf("%s: %v, %d MiB of memory", what, took.Round(time.Millisecond), memory>>10)
	if memory > maxMemory {
		p.t.Errorf("%s took %d MiB of memory", what, memory>>10)
	}
	return took
}

// open opens the repository for reading.
func (p *place) open() *repo.Repository {
	p.t.Helper()
	s, err := local.Open(filepath.Join(p.dir, "vault"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = s.Close() })
	r, err := repo.Open(p.t.Context(), s, repo.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := r.Unlock(p.t.Context(), []byte(passphrase)); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// newest returns the table of the newest point.
func (p *place) newest(r *repo.Repository) *table.Tree {
	p.t.Helper()
	points, err := r.Points(p.t.Context())
	if err != nil || len(points) == 0 {
		p.t.Fatal(len(points), err)
	}
	tree, err := r.Tree(p.t.Context(), points[len(points)-1], table.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	return tree
}

func (p *place) check() {
	p.t.Helper()
	report, err := repo.Check(p.t.Context(), p.open(), repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 {
		p.t.Fatalf("%+v %v", report, err)
	}
}

// A folder may have a million names.
func TestFolderOfAMillionNames(t *testing.T) {
	p := newPlace(t)
	n := pick(100_000, 1_000_000)
	folder := filepath.Join(p.src, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(folder, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for i := range n { // a hash of the number, so that they are not made in order
		if err := unix.Mknodat(fd, fmt.Sprintf("%08x.message", uint32(i)*2654435761), unix.S_IFREG|0o644, 0); err != nil {
			t.Fatal(err)
		}
	}
	first := p.backup("first")
	again := p.backup("unchanged")
	if again > first && first > 2*time.Second {
		t.Errorf("unchanged it took %v, at first %v", again, first)
	}
	r := p.open()
	tree := p.newest(r)
	from, _, err := tree.Seek(t.Context(), table.ChildrenPrefix(table.Key(folder)))
	if err != nil {
		t.Fatal(err)
	}
	to, _, err := tree.Seek(t.Context(), table.ChildrenEnd(table.Key(folder)))
	if err != nil || to-from != uint64(n) {
		t.Errorf("%d of %d names, %v", to-from, n, err)
	}
	for i := 0; i < n; i += n / 100 {
		if _, err := tree.Lookup(t.Context(), table.Key(filepath.Join(folder, fmt.Sprintf("%08x.message", uint32(i)*2654435761)))); err != nil {
			t.Errorf("%v", err)
		}
	}
	p.check()
}

// A sparse file costs what its data cost, whatever its size.
func TestSparseFileOf100GiB(t *testing.T) {
	const size = 100<<30 + 12345
	for _, name := range []string{"disk.img", "database"} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			path := filepath.Join(p.src, name)
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(1, 2))
			data := map[int64][]byte{0: nil, size - 5000: nil}
			for range pick(200, 5000) {
				data[random.Int64N(size-5000)] = nil
			}
			for at := range data {
				b := make([]byte, 5000)
				for i := range b {
					b[i] = byte(random.Uint32())
				}
				if _, err := f.WriteAt(b, at); err != nil {
					t.Fatal(err)
				}
			}
			p.backup("first")
			p.backup("unchanged")
			if _, err := f.WriteAt([]byte("changed"), size/2); err != nil {
				t.Fatal(err)
			}
			p.backup("a few bytes changed")
			p.sparse(f, path, size, data)
			p.check()
		})
	}
}

// sparse compares the data of a sparse file.
func (p *place) sparse(f *os.File, path string, size int64, data map[int64][]byte) {
	p.t.Helper()
	ctx := p.t.Context()
	r := p.open()
	it, err := p.newest(r).Lookup(ctx, table.Key(path))
	if err != nil {
		p.t.Fatal(err)
	}
	if it.Entry.Size != uint64(size) {
		p.t.Errorf("%d bytes", it.Entry.Size)
	}
	stored := uint64(0)
	for x, err := range table.OpenExtents(r, it.Entry, table.Options{}).From(ctx, 0) {
		if err != nil {
			p.t.Fatal(err)
		}
		if x.Hole {
			continue
		}
		stored += x.Length
		got, want := make([]byte, x.Length), make([]byte, x.Length)
		if err := r.ReadRaw(ctx, x.Pack, x.Offset, got); err != nil {
			p.t.Fatal(err)
		}
		if _, err := f.ReadAt(want, int64(x.Start)); err != nil {
			p.t.Fatal(err)
		}
		if string(got) != string(want) {
			p.t.Fatalf("other bytes at %d", x.Start)
		}
	}
	// Each write touches at most three blocks of 64 KiB.
	if most := uint64(len(data)+1) * 3 * 64 << 10; stored < 5000*uint64(len(data))*9/10 || stored > most {
		p.t.Errorf("%d bytes of data in %d places", stored, len(data))
	}
	for at := range data {
		if at+5000 > size {
			continue
		}
		got := 0
		for x, err := range table.OpenExtents(r, it.Entry, table.Options{}).From(ctx, uint64(at)) {
			if err != nil {
				p.t.Fatal(err)
			}
			if x.Hole || x.Start >= uint64(at+5000) {
				break
			}
			got = int(x.Start + x.Length - uint64(at))
			if got >= 5000 {
				break
			}
		}
		if got < 5000 {
			p.t.Errorf("data at %d is a hole from %d on", at, at+int64(got))
		}
	}
}

// A thousand points are listed in moments, and only new ones are read again.
func TestThousandPoints(t *testing.T) {
	n := pick(100, 1000)
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	for i := range pick(200, 2000) {
		path := filepath.Join(src, fmt.Sprint(i%20), fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, "file %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := &place{t: t, dir: dir, src: src}
	s, err := local.Create(filepath.Join(dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w, err := repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: []byte(passphrase), Cost: seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	for i := range n {
		if err := os.WriteFile(filepath.Join(src, "7", "changing"), fmt.Appendf(nil, "for the %dth time", i), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Run(context.Background(), w, w.Local(filepath.Join(dir, "state")), backup.Job{Paths: []string{src}, Now: time.Now}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d points in %v", n, time.Since(started))
	r := p.open()
	started = time.Now()
	points, err := r.Points(t.Context())
	if err != nil || len(points) != n {
		t.Fatal(len(points), err)
	}
	first := time.Since(started)
	started = time.Now()
	if points, err = r.Points(t.Context()); err != nil || len(points) != n {
		t.Fatal(len(points), err)
	}
	again := time.Since(started)
	t.Logf("listed in %v, and again in %v", first, again)
	if first > time.Duration(n)*10*time.Millisecond || again > first/2+10*time.Millisecond {
		t.Errorf("%d points were listed in %v, and again in %v", n, first, again)
	}
	for i, point := range points {
		if i > 0 && point.Previous != points[i-1].ID {
			t.Errorf("point %d does not follow the one before", i)
		}
	}
	p.check()
}

// Much data, of all kinds, within the same memory.
func TestMemoryOfMuchData(t *testing.T) {
	p := newPlace(t)
	megabytes := pick(400, 4000)
	random := rand.NewChaCha8([32]byte{7})
	b := make([]byte, 1<<20)
	fill := func(name string, n int) {
		path := filepath.Join(p.src, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < n; at += len(b) {
			if _, err := random.Read(b); err != nil {
				t.Fatal(err)
			}
			if at>>20%2 == 0 { // half of it shrinks
				for i := range b {
					b[i] &= 3
				}
			}
			if _, err := f.Write(b[:min(len(b), n-at)]); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	fill("large one", megabytes/4<<20)
	fill("large two", megabytes/4<<20)
	fill("disk.img", megabytes/4<<20)
	for i := range megabytes / 4 * 2 {
		fill(fmt.Sprintf("small/%d/%d", i%50, i), 512<<10-i*50)
	}
	p.backup("first")
	p.backup("unchanged")
	if err := os.RemoveAll(filepath.Join(p.dir, "state")); err != nil {
		t.Fatal(err)
	}
	p.run("init", "--existing", "--passphrase-file", filepath.Join(p.dir, "passphrase"))
	p.backup("without local state")
	_, memory := p.run("check", "--read-data", "--passphrase-file", filepath.Join(p.dir, "passphrase"))
	t.Logf("check: %d MiB of memory", memory>>10)
	if memory > maxMemory {
		t.Errorf("check took %d MiB of memory", memory>>10)
	}
}
