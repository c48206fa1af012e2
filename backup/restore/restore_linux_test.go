package restore_test

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/backup/restore"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// saved is a point of a source tree, in memory.
type saved struct {
	t     *testing.T
	src   string
	store *mem.Store
	repo  *repo.Repository
	point *repo.Point
}

func save(t *testing.T, src string) *saved {
	t.Helper()
	s := mem.New()
	cost := seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}
	r, err := repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: []byte("p"), Cost: cost, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Run(t.Context(), r, r.Local(t.TempDir()), backup.Job{Paths: []string{src}, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	points, err := r.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &saved{t: t, src: src, store: s, repo: r, point: points[0]}
}

func (s *saved) restore(job restore.Job) *restore.Report {
	s.t.Helper()
	job.Point = s.point
	report, err := restore.Run(s.t.Context(), s.repo, job)
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

// equal compares two folders with everything that rsync knows.
func equal(t *testing.T, a, b string) {
	t.Helper()
	out, err := exec.Command("rsync", "-nacHAX", "--delete", "-i", a+"/", b+"/").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("rsync: %v\n%s", err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree makes a folder with one of everything.
func tree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "src")
	random := rand.New(rand.NewPCG(1, 1))
	file := func(name string, n int) {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32() % 50)
		}
		must(t, os.WriteFile(path, b, 0o640))
	}
	for _, n := range []int{0, 1, 512, 513, 65535, 65536, 1 << 20, 1<<20 + 1, 5 << 20} {
		file(fmt.Sprint("sizes/", n), n)
	}
	for i := range 300 {
		file(fmt.Sprintf("many/%d/%d", i%7, i), random.IntN(9000))
	}
	file("odd/new\nline", 10)
	file("odd/\xff\xfe", 10)
	must(t, os.Link(filepath.Join(dir, "sizes/513"), filepath.Join(dir, "odd/link")))
	must(t, os.Link(filepath.Join(dir, "sizes/513"), filepath.Join(dir, "zlink")))
	must(t, os.Symlink("../sizes/1", filepath.Join(dir, "odd/sym")))
	must(t, os.Symlink("/nowhere", filepath.Join(dir, "odd/dangling")))
	must(t, unix.Mkfifo(filepath.Join(dir, "odd/fifo"), 0o600))
	must(t, unix.Mknod(filepath.Join(dir, "odd/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, os.Chown(filepath.Join(dir, "many/3"), 1001, 1002))
	must(t, os.Chmod(filepath.Join(dir, "many/4"), 0o500))
	must(t, os.Chmod(filepath.Join(dir, "sizes/512"), 0o4755))
	must(t, unix.Setxattr(filepath.Join(dir, "sizes/1"), "user.note", []byte("x"), 0))
	sparse := filepath.Join(dir, "sparse.img")
	f, err := os.Create(sparse)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("data"), 20000), 40<<20)
	must(t, err)
	must(t, f.Truncate(100<<20))
	must(t, f.Close())
	out, err := exec.Command("setfacl", "-m", "u:1003:rw", filepath.Join(dir, "sizes/513")).CombinedOutput()
	if err != nil {
		t.Fatalf("setfacl: %v %s", err, out)
	}
	must(t, os.Chtimes(filepath.Join(dir, "many"), time.Now(), time.Unix(1e9, 123456789)))
	return dir
}

func TestRoundTrip(t *testing.T) {
	s := save(t, tree(t))
	whole := filepath.Join(t.TempDir(), "whole")
	if r := s.restore(restore.Job{To: whole}); r.WarningCount > 0 {
		t.Errorf("%+v", r.Warnings)
	}
	equal(t, s.src, filepath.Join(whole, s.src))
	part := filepath.Join(t.TempDir(), "part")
	s.restore(restore.Job{Path: s.src, To: part})
	equal(t, s.src, part)
	one := t.TempDir()
	s.restore(restore.Job{Path: s.src + "/sizes/513", To: one})
	if b, err := os.ReadFile(filepath.Join(one, "513")); err != nil || len(b) != 513 {
		t.Error(len(b), err)
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(part, "sparse.img"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the holes are gone: %d bytes on disk", st.Blocks*512)
	}
}

func TestResume(t *testing.T) {
	s := save(t, tree(t))
	to := t.TempDir()
	first := s.restore(restore.Job{Path: s.src, To: to})
	// As a killed restore leaves it: some files missing, one half written.
	must(t, os.RemoveAll(filepath.Join(to, "many/2")))
	must(t, os.WriteFile(filepath.Join(to, "many/3/.tidemark-0011223344556677"), []byte("half"), 0o600))
	must(t, os.Remove(filepath.Join(to, "zlink")))
	second := s.restore(restore.Job{Path: s.src, To: to})
	if second.Files == 0 || second.Files > first.Files/3 || second.WarningCount > 0 {
		t.Errorf("%+v, then %+v", first, second)
	}
	must(t, os.Remove(filepath.Join(to, "many/3/.tidemark-0011223344556677"))) // of a name that is not in the point
	for _, dir := range []string{"many/3", "."} {                              // a target that was there keeps its own metadata
		must(t, os.Chtimes(filepath.Join(to, dir), time.Now(), modTime(t, filepath.Join(s.src, dir))))
	}
	equal(t, s.src, to)
}

func modTime(t *testing.T, path string) time.Time {
	info, err := os.Stat(path)
	must(t, err)
	return info.ModTime()
}

func TestConflicts(t *testing.T) {
	s := save(t, tree(t))
	stamp := s.point.Started.Local().Format("2006-01-02 15-04")
	for _, c := range []struct {
		on   restore.OnConflict
		want map[string]string // name → content, "" any
	}{
		{restore.Copy, map[string]string{"1": "mine", stamp + " Copy (2) of 1": "", stamp + " Copy of 1": "mine too"}},
		{restore.Overwrite, map[string]string{"1": ""}},
		{restore.Skip, map[string]string{"1": "mine"}},
	} {
		to := t.TempDir()
		must(t, os.WriteFile(filepath.Join(to, "1"), []byte("mine"), 0o600))
		if c.on == restore.Copy {
			must(t, os.WriteFile(filepath.Join(to, stamp+" Copy of 1"), []byte("mine too"), 0o600))
		}
		report := s.restore(restore.Job{Path: s.src + "/sizes/1", To: to, OnConflict: c.on})
		names, err := os.ReadDir(to)
		must(t, err)
		if len(names) != len(c.want) {
			t.Errorf("%v: %v, %+v", c.on, names, report)
		}
		for name, content := range c.want {
			b, err := os.ReadFile(filepath.Join(to, name))
			if err != nil || content != "" && string(b) != content || content == "" && len(b) != 1 {
				t.Errorf("%v: %s holds %q, %v", c.on, name, b, err)
			}
		}
	}
}

// A link in the target that leads out of it is not followed, whoever made it.
func TestLinksLeadNowhere(t *testing.T) {
	s := save(t, tree(t))
	to, outside := t.TempDir(), t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(to, "many")))
	must(t, os.Symlink(filepath.Join(outside, "sparse"), filepath.Join(to, "sparse.img")))
	for _, on := range []restore.OnConflict{restore.Copy, restore.Skip, restore.Overwrite} {
		s.restore(restore.Job{Path: s.src, To: to, OnConflict: on})
		if names, _ := os.ReadDir(outside); len(names) > 0 {
			t.Fatalf("%v: %v landed outside", on, names)
		}
	}
	equal(t, filepath.Join(s.src, "many"), filepath.Join(to, "many"))
}

func TestDamagedFrameHurtsItsFilesOnly(t *testing.T) {
	s := save(t, tree(t))
	var victim string
	for o, err := range s.store.List(t.Context(), "packs/") {
		must(t, err)
		if victim == "" || o.Size > 1<<20 {
			victim = o.Name
		}
	}
	s.store.Tamper(victim, func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)-1000] ^= 1
		return b
	})
	r, err := repo.Open(t.Context(), s.store, repo.Options{})
	must(t, err)
	_, err = r.Unlock(t.Context(), []byte("p"))
	must(t, err)
	to := t.TempDir()
	report, err := restore.Run(t.Context(), r, restore.Job{Point: s.point, Path: s.src, To: to})
	must(t, err)
	if report.WarningCount == 0 || report.Files == 0 {
		t.Fatalf("%d warnings, %d files", report.WarningCount, report.Files)
	}
	warned := make(map[string]bool)
	for _, w := range report.Warnings {
		warned[w.Path] = true
	}
	must(t, filepath.WalkDir(s.src, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		want, err := os.ReadFile(path)
		must(t, err)
		got, err := os.ReadFile(filepath.Join(to, strings.TrimPrefix(path, s.src)))
		switch {
		case warned[path] && !errors.Is(err, os.ErrNotExist):
			t.Errorf("%s is damaged, and yet there: %v", path, err)
		case !warned[path] && (err != nil || !bytes.Equal(got, want)):
			t.Errorf("%s is not what it was, and nobody said so: %v", path, err)
		}
		return nil
	}))
}

func TestNoSpace(t *testing.T) {
	s := save(t, tree(t))
	to := t.TempDir()
	must(t, unix.Mount("tmpfs", to, "tmpfs", 0, "size=2m"))
	t.Cleanup(func() { must(t, unix.Unmount(to, 0)) })
	_, err := restore.Run(t.Context(), s.repo, restore.Job{Point: s.point, Path: s.src, To: to})
	if fault.KindOf(err) != fault.NoSpace {
		t.Fatal(err)
	}
}
