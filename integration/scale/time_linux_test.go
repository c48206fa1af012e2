package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/history"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// timeline is a repository of many points of many files, made without the
// files: their tables are real, their content is nowhere. Each point changes
// one file in a thousand, in one folder in two hundred.
type timeline struct {
	t      testing.TB
	dir    string
	repo   *repo.Repository
	files  int
	random *rand.Rand
	cache  table.Cache
}

const filesOfFolder = 20

// name is the path of a file.
func (l *timeline) name(i int) string {
	folder := i / filesOfFolder
	return fmt.Sprintf("/srv/share/department-%03d/project-%05d/document %07d.odt", folder/500, folder, i)
}

func (l *timeline) entry(i int, at int64) *table.Entry {
	e := &table.Entry{Key: table.Key(l.name(i)), Kind: table.File, Mode: 0o644, UID: 1000, GID: 1000,
		MTime: table.Time{Sec: at, Nsec: l.random.Uint32N(1_000_000_000)}, Size: 1000 + l.random.Uint64N(100_000)}
	var id pack.ID
	id[0], id[5] = byte(at), byte(at>>8)
	e.Extents = []table.Extent{{Pack: id, Offset: l.random.Uint32N(1 << 23), Length: e.Size}}
	return e
}

func newTimeline(t testing.TB, files, points int) *timeline {
	t.Helper()
	l := &timeline{t: t, dir: t.TempDir(), files: files, random: rand.New(rand.NewPCG(1, 2)), cache: table.NewCache(1 << 30)}
	s, err := local.Create(filepath.Join(l.dir, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	cost := seal.Cost{Passes: 1, MemoryKiB: 8 << 10, Lanes: 1}
	if l.repo, err = repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: []byte(passphrase), Cost: cost, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	var before *table.Tree
	for i := range points {
		p := l.point(i, before)
		if before, err = l.repo.Tree(t.Context(), p, table.Options{Cache: l.cache}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// point writes a point.
func (l *timeline) point(n int, before *table.Tree) *repo.Point {
	l.t.Helper()
	ctx := l.t.Context()
	w, err := l.repo.NewWriter(ctx, l.repo.Local(filepath.Join(l.dir, "state")), repo.WriterOptions{})
	if err != nil {
		l.t.Fatal(err)
	}
	b, err := table.NewBuilder(w.Pages(func(chunk.ID, []byte) error { return nil }), l.repo.PageParams())
	if err != nil {
		l.t.Fatal(err)
	}
	if before == nil {
		err = l.first(ctx, b)
	} else {
		err = l.next(ctx, b, before, int64(n))
	}
	if err != nil {
		l.t.Fatal(err)
	}
	root, err := b.Finish(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := w.Commit(ctx, root, repo.Details{Started: time.Unix(1_700_000_000+int64(n)*3600, 0)})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		l.t.Fatal(err)
	}
	return p
}

// first adds folders and files, in the order of the table.
func (l *timeline) first(ctx context.Context, b *table.Builder) error {
	folder := func(path string) error {
		return b.Add(ctx, &table.Entry{Key: table.Key(path), Kind: table.Folder, Mode: 0o755})
	}
	err := folder("/")
	for _, path := range []string{"/srv", "/srv/share"} {
		if err == nil {
			err = folder(path)
		}
	}
	departments := (l.files/filesOfFolder + 499) / 500
	for d := range departments {
		if err == nil {
			err = folder(fmt.Sprintf("/srv/share/department-%03d", d))
		}
	}
	for d := range departments {
		first, end := d*500, min((d+1)*500, l.files/filesOfFolder)
		for f := first; f < end && err == nil; f++ {
			err = folder(filepath.Dir(l.name(f * filesOfFolder)))
		}
		for i := first * filesOfFolder; i < end*filesOfFolder && err == nil; i++ {
			err = b.Add(ctx, l.entry(i, 0))
		}
	}
	return err
}

// next keeps what the point before has, but for what changes.
func (l *timeline) next(ctx context.Context, b *table.Builder, before *table.Tree, at int64) error {
	folders := l.files / filesOfFolder
	changed := map[uint64]int{} // by ordinal
	for range max(folders/200, 1) {
		folder := l.random.IntN(folders)
		for range max(l.files/1000/max(folders/200, 1), 1) {
			i := folder*filesOfFolder + l.random.IntN(filesOfFolder)
			ordinal, exact, err := before.Seek(ctx, table.Key(l.name(i)))
			if err != nil || !exact {
				return fmt.Errorf("%s: %w", l.name(i), errors.Join(err, fault.NotExist))
			}
			changed[ordinal] = i
		}
	}
	for item, err := range before.From(ctx, 0) {
		if err != nil {
			return err
		}
		if i, ok := changed[item.Ordinal]; ok {
			err = b.Add(ctx, l.entry(i, at))
		} else {
			err = b.Keep(ctx, item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cold opens the repository anew, with its keys, and takes what it holds out
// of the page cache.
func (l *timeline) cold() *repo.Repository {
	l.t.Helper()
	err := filepath.WalkDir(filepath.Join(l.dir, "vault"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		l.t.Fatal(err)
	}
	s, err := local.Open(filepath.Join(l.dir, "vault"))
	if err != nil {
		l.t.Fatal(err)
	}
	r, err := repo.Open(l.t.Context(), s, repo.Options{})
	if err == nil {
		_, err = r.Unlock(l.t.Context(), []byte(passphrase))
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// used is time on the wall and of the processor.
type used struct{ wall, processor time.Duration }

func (u used) String() string {
	return fmt.Sprintf("%v, %v of the processor", u.wall.Round(time.Millisecond), u.processor.Round(time.Millisecond))
}

func measure(f func()) used {
	at, before := time.Now(), processor()
	f()
	return used{time.Since(at), processor() - before}
}

// processor is what this process has had of it.
func processor() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime))
}

// All versions of a file, and all that has a name, over a thousand points of a
// million files.
func TestHistoryOfAThousandPoints(t *testing.T) {
	l := newTimeline(t, pick(20_000, 1_000_000), pick(30, 1000))
	l.cache = nil
	forgetPeak(t) // of making them
	name := l.name(l.files / 2)
	for _, what := range []string{"cold", "again"} {
		r := l.cold()
		if what == "again" {
			l.versions(r, name)
		}
		t.Logf("versions, %s: %v", what, measure(func() { l.versions(r, name) }))
	}
	r := l.cold()
	tree := fs.New(r, fs.Options{Location: time.UTC})
	defer tree.Close()
	t.Logf("@versions in the tree, cold: %v", measure(func() { l.madeUp(tree, name, "@versions", filepath.Base(name)) }))
	t.Logf("@versions in the tree, of another file: %v", measure(func() { l.madeUp(tree, l.name(l.files/3), "@versions", filepath.Base(l.name(l.files/3))) }))
	t.Logf("@deleted in the tree: %v", measure(func() { l.madeUp(tree, l.name(l.files/4), "@deleted") }))
	for _, wanted := range []string{"document 0000777.odt", "777.odt", "*"} {
		r := l.cold()
		t.Logf("search for %s, cold: %v", wanted, measure(func() { l.search(r, wanted, nil) }))
	}
	path := filepath.Join(l.dir, "names")
	for _, wanted := range []string{"first search", "document 0000777.odt", "777.odt", "*"} {
		r := l.cold()
		t.Logf("search for %s, cold, with names: %v", wanted, measure(func() {
			names, err := history.ReadNames(path, r.NamesKey())
			if err != nil {
				t.Fatal(err)
			}
			l.search(r, strings.Replace(wanted, "first search", "777.odt", 1), names)
			if err := names.Write(); err != nil {
				t.Fatal(err)
			}
		}))
		if info, err := os.Stat(path); err == nil {
			t.Logf("the names take %d MiB", info.Size()>>20)
		}
	}
	if peak := peak("self"); peak > 1<<20 {
		t.Errorf("%d MiB of memory", peak>>10)
	} else {
		t.Logf("%d MiB of memory", peak>>10)
	}
}

// forgetPeak has the process's peak of memory begin anew.
func forgetPeak(t testing.TB) {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

func (l *timeline) versions(r *repo.Repository, name string) {
	l.t.Helper()
	points, err := r.Points(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	list, err := history.Contents(l.t.Context(), r, points, name)
	if err != nil || len(list) == 0 {
		l.t.Fatal(list, err)
	}
}

// madeUp lists a made-up folder beside a file of the newest point.
func (l *timeline) madeUp(tree *fs.Tree, name string, below ...string) {
	l.t.Helper()
	ctx := l.t.Context()
	latest, err := tree.Lookup(ctx, fs.Root, fs.LatestName)
	if err != nil {
		l.t.Fatal(err)
	}
	target, err := tree.Readlink(ctx, latest.Node)
	if err != nil {
		l.t.Fatal(err)
	}
	n := fs.Root
	for part := range strings.SplitSeq(target+filepath.Dir(name)+"/"+strings.Join(below, "/"), "/") {
		a, err := tree.Lookup(ctx, n, part)
		if err != nil {
			l.t.Fatal(err)
		}
		n = a.Node
	}
	for _, err := range tree.ReadDir(ctx, n, 0) {
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *timeline) search(r *repo.Repository, wanted string, names *history.Names) {
	l.t.Helper()
	points, err := r.Points(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	n := 0
	match := func(e *table.Entry) bool { return wanted == "*" || strings.HasSuffix(string(e.Key), wanted) }
	for _, err := range history.Find(l.t.Context(), r, points, match, names, runtime.NumCPU()) {
		if err != nil {
			l.t.Fatal(err)
		}
		n++
	}
	if n == 0 || wanted == "*" && n < l.files {
		l.t.Errorf("%d have the name %s", n, wanted)
	}
}
