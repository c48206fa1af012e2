package walk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// checkTable: a walk that came to its end has nothing open and nothing
// accounted for.
func checkTable(t *testing.T, w *walker) {
	t.Helper()
	if w.table.open != 0 || w.table.idle != 0 {
		t.Errorf("after the walk %d folders are open, %d idle", w.table.open, w.table.idle)
	}
	if w.ahead != 0 {
		t.Errorf("after the walk %d bytes are still counted", w.ahead)
	}
}

func TestOddNamesAndKinds(t *testing.T) {
	root := t.TempDir()
	names := []string{"\xff\xfe", "new\nline", "caf\xe9", " ", "\x01", "..."}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(root, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(root+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(root+"/dev", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatalf("these tests run as root: %v", err)
	}
	if err := os.Lchown(root+"/pipe", 12345, 54321); err != nil {
		t.Fatal(err)
	}
	for _, year := range []unix.Timespec{{Sec: -8_000_000_000, Nsec: 5}, {Sec: 12_000_000_000, Nsec: 7}} {
		ts := []unix.Timespec{year, year}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, root+"/pipe", ts, 0); err != nil {
			t.Fatal(err)
		}
		got, errs := collect(t, newWalker(t.Context(), Options{Roots: []string{root}}), root+"/")
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		diff(t, "odd names", got, simple(t, root))
		for _, l := range got {
			// The file system may clamp times; what lstat says counts.
			var st unix.Stat_t
			if err := unix.Lstat(l.path, &st); err != nil || l.stat.MTime != (Time{st.Mtim.Sec, int32(st.Mtim.Nsec)}) {
				t.Errorf("%q: %v %v", l.path, l.stat.MTime, err)
			}
			if strings.HasSuffix(l.path, "/pipe") && (l.stat.Type() != TypeFIFO || l.stat.UID != 12345 || l.stat.GID != 54321) {
				t.Errorf("pipe: %+v", l.stat)
			}
			if strings.HasSuffix(l.path, "/dev") && (l.stat.Type() != TypeChar || l.stat.Rdev != unix.Mkdev(1, 3)) {
				t.Errorf("device: %+v", l.stat)
			}
		}
	}
	for f := range Walk(t.Context(), Options{Roots: []string{root}}) {
		if f.Path == root { // must not wait for a writer
			if p, err := f.Open("pipe"); err != nil {
				t.Error(err)
			} else {
				p.Close()
			}
		}
	}
}

// deepen makes a chain of folders below dir, deeper than PATH_MAX, with a file
// in each, and returns its length.
func deepen(t *testing.T, dir string, steps int) {
	t.Helper()
	name := strings.Repeat("d", 100)
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range steps {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
		f, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(f, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		unix.Close(f)
	}
	unix.Close(fd)
}

func TestDeeperThanPathMax(t *testing.T) {
	root := t.TempDir()
	const steps = 600 // 60,000 bytes of path, more folders than may be open
	deepen(t, root, steps)
	var kept []*Folder
	for f, err := range Walk(t.Context(), Options{Roots: []string{root}}) {
		if err != nil || f.Err != nil {
			t.Fatal(err, f.Err)
		}
		if f.Has("file") {
			f.Retain()
			kept = append(kept, f)
		}
	}
	if len(kept) != steps {
		t.Fatalf("%d folders, want %d", len(kept), steps)
	}
	// From the deep end, from the top, and from several sides at once.
	check := func(i int) {
		file, err := kept[i].Open("file")
		if err != nil {
			t.Errorf("depth %d: %.200v", i, err)
			return
		}
		defer file.Close()
		if b, err := io.ReadAll(file); err != nil || string(b) != fmt.Sprint(i) {
			t.Errorf("depth %d holds %q, %v", i, b, err)
		}
	}
	for i := steps - 1; i >= 0; i -= 7 {
		check(i)
	}
	var all sync.WaitGroup
	for k := range 4 {
		all.Go(func() {
			for i := range steps {
				check((i + k*steps/4) % steps)
			}
		})
	}
	all.Wait()
	table := kept[0].h.t
	if table.open > maxOpenFolders+4 {
		t.Errorf("%d folders are open", table.open)
	}
	for _, f := range kept {
		f.Release()
	}
	if table.open != 0 {
		t.Errorf("%d folders are open after all were released", table.open)
	}
	// t.TempDir's own removal copes with the depth.
}

func TestFewDescriptors(t *testing.T) {
	root := plantTree(t)
	want := simple(t, root)
	// Leave hardly any descriptors: the walk closes its idle folders.
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/", unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	low := old
	low.Cur = uint64(fd) + 12
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	got, errs := collect(t, newWalker(t.Context(), Options{Roots: []string{root}, Workers: 2}), root+"/")
	if len(errs) > 0 {
		t.Error(errs)
	}
	diff(t, "few descriptors", got, want)
}

func TestVanishing(t *testing.T) {
	root := plantTree(t)
	// The folder disappears between its lstat and its listing.
	o := Options{Roots: []string{root}, Workers: 1, Select: func(f *Folder, e *Entry) Verdict {
		if f.Path == root && e.Name == "a" {
			if err := os.RemoveAll(root + "/a"); err != nil {
				t.Error(err)
			}
		}
		return Keep
	}}
	got, errs := collect(t, newWalker(t.Context(), o), root+"/")
	if len(errs) != 1 || fault.KindOf(errs[0]) != fault.NotExist || !strings.Contains(errs[0].Error(), root+"/a") {
		t.Errorf("errors: %v", errs)
	}
	for _, l := range got {
		if strings.HasPrefix(l.path, root+"/a/") {
			t.Errorf("%s is in the walk", l.path)
		}
	}
	// Another folder takes a retained one's name.
	var kept *Folder
	for f := range Walk(t.Context(), Options{Roots: []string{root}}) {
		if f.Path == root+"/big" {
			f.Retain()
			kept = f
			break
		}
	}
	if err := os.Rename(root+"/big", root+"/moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+"/big", 0o755); err != nil {
		t.Fatal(err)
	}
	kept.h.t.close()
	if _, err := kept.Open("file000"); !errors.Is(err, fault.Stale) {
		t.Errorf("open in a folder that was replaced: %v, want fault.Stale", err)
	}
	kept.Release()
}

// TestChanging walks while names come and go: nothing but vanished entries
// may be told.
func TestChanging(t *testing.T) {
	root := plantTree(t)
	stop := make(chan struct{})
	var changer sync.WaitGroup
	changer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := filepath.Join(root, "big", fmt.Sprintf("file%03d", i%1000))
			os.Rename(name, name+"-moved")
			os.Mkdir(filepath.Join(root, "wide", fmt.Sprint("new", i%50)), 0o755)
			os.Rename(name+"-moved", name)
			os.Remove(filepath.Join(root, "wide", fmt.Sprint("new", i%50)))
		}
	})
	for range 30 {
		got, errs := collect(t, walkSmall(Options{Roots: []string{root}, Workers: 3}), root+"/")
		for _, err := range errs {
			if fault.KindOf(err) != fault.NotExist {
				t.Error(err)
			}
		}
		if len(got) < 4000 {
			t.Errorf("only %d entries", len(got))
		}
	}
	close(stop)
	changer.Wait()
}

func TestDenied(t *testing.T) {
	root := plantTree(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	if err := os.Chmod(root+"/a", 0o600); err != nil {
		t.Fatal(err)
	}
	for dir := root; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root+"/big", 0o744); err != nil { // may list, may not stat
		t.Fatal(err)
	}
	// Only this thread becomes another user: the consumer does all the work,
	// as there is no room for the workers.
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with it
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		w := newWalker(context.Background(), Options{Roots: []string{root}, Workers: 1})
		w.aheadMax = 0
		got, errs := collect(t, w, root+"/")
		if len(errs) != 1 || fault.KindOf(errs[0]) != fault.Denied || !strings.Contains(errs[0].Error(), root+"/a") {
			t.Errorf("errors: %v", errs)
		}
		failed := 0
		for _, l := range got {
			if l.err != "" {
				failed++
				if !strings.HasPrefix(l.path, root+"/big/") || !strings.Contains(l.err, "permission denied") {
					t.Errorf("%s: %s", l.path, l.err)
				}
			}
		}
		if failed != 1002 {
			t.Errorf("%d entries failed, want 1002", failed)
		}
	}()
	<-done
}

func TestOneFileSystem(t *testing.T) {
	root := plantTree(t)
	mount := func(path string) {
		t.Helper()
		if err := unix.Mount("walktest", path, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatalf("these tests run as root: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
	mount(root + "/empty")
	for _, dir := range []string{"/empty/in/deep/er", "/empty/out/x"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	without := func(all []line, prefixes ...string) []line {
		var kept []line
	next:
		for _, l := range all {
			for _, p := range prefixes {
				if strings.HasPrefix(l.path, root+p) {
					continue next
				}
			}
			kept = append(kept, l)
		}
		return kept
	}
	all := simple(t, root)
	for _, c := range []struct {
		roots []string
		want  []line
	}{
		{[]string{root}, without(all, "/empty/")},
		{[]string{root, root + "/empty"}, all},
		{[]string{root, root + "/empty/in/deep"}, without(all, "/empty/out")},
		{[]string{root + "/empty/in", root, root + "/a/b"}, without(all, "/empty/out")},
	} {
		for _, w := range []*walker{
			newWalker(t.Context(), Options{Roots: c.roots, OneFileSystem: true}),
			walkSmall(Options{Roots: c.roots, OneFileSystem: true}),
		} {
			got, errs := collect(t, w, root+"/")
			if len(errs) > 0 {
				t.Error(errs)
			}
			diff(t, fmt.Sprint("one file system ", c.roots), got, c.want)
		}
	}
	got, _ := collect(t, newWalker(t.Context(), Options{Roots: []string{root}}), root+"/")
	diff(t, "all file systems", got, all)
}

func TestAccessTimesStay(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("walktest", root, "tmpfs", unix.MS_STRICTATIME, "size=1m"); err != nil {
		t.Fatalf("these tests run as root: %v", err)
	}
	defer unix.Unmount(root, unix.MNT_DETACH)
	if err := os.WriteFile(root+"/f", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := []unix.Timespec{{Sec: 1000}, {Sec: 1000}}
	for _, p := range []string{root + "/f", root} {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, old, 0); err != nil {
			t.Fatal(err)
		}
	}
	for f := range Walk(t.Context(), Options{Roots: []string{root}}) {
		if f.Path != root {
			continue
		}
		file, err := f.Open("f")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(file); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	for _, p := range []string{root + "/f", root} {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil || st.Atim.Sec != 1000 {
			t.Errorf("%s was accessed at %d, %v", p, st.Atim.Sec, err)
		}
	}
}

func FuzzParseDirents(f *testing.F) {
	record := func(name string) []byte {
		b := make([]byte, (19+len(name)+1+7)&^7)
		binary.NativeEndian.PutUint16(b[16:], uint16(len(b)))
		copy(b[19:], name)
		return b
	}
	f.Add(append(record("."), record("file")...), 1000)
	f.Add(record("a/b"), 10)
	f.Add(record(strings.Repeat("x", 255)), 1)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		for _, stop := range []bool{true, false} {
			var l nameList
			l.reset("", max(limit, 1))
			err := parseDirents(b, &l, stop)
			if err != nil && !errors.Is(err, fault.Corrupt) && !(stop && errors.Is(err, errBig)) {
				t.Errorf("unexpected error %v", err)
			}
			l.sort()
			for _, e := range l.slice(0, len(l.recs)) {
				if checkName(e.Name) != nil {
					t.Errorf("name %q", e.Name)
				}
			}
		}
	})
}
