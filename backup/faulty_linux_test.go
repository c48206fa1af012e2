package backup_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// faults make a loopback file system a failing one, by names.
type faults struct {
	open   map[string]func() syscall.Errno          // before a file is opened
	read   map[string]func(off int64) syscall.Errno // before it is read
	folder map[string]syscall.Errno                 // a folder that is listed
	names  map[string]int                           // a folder that fails after so many names
	link   map[string]syscall.Errno                 // a link that is read
	xattrs map[string]syscall.Errno

	healed atomic.Bool // nothing fails any more
}

type faultyNode struct {
	fs.LoopbackNode
	faults *faults
}

type faultyFile struct {
	*fs.LoopbackFile
	read func(off int64) syscall.Errno
}

func (n *faultyNode) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &faultyNode{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, faults: n.faults}
}

func (n *faultyNode) name() string { return n.Path(n.Root()) }

func (n *faultyNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if hook := n.faults.open[n.name()]; hook != nil {
		if no := hook(); no != 0 {
			return nil, 0, no
		}
	}
	fh, opened, no := n.LoopbackNode.Open(ctx, flags)
	if hook := n.faults.read[n.name()]; hook != nil && no == 0 {
		return &faultyFile{fh.(*fs.LoopbackFile), hook}, fuse.FOPEN_DIRECT_IO, 0
	}
	return fh, opened, no
}

func (f *faultyFile) Read(ctx context.Context, dst []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if no := f.read(off); no != 0 {
		return nil, no
	}
	return f.LoopbackFile.Read(ctx, dst, off)
}

func (n *faultyNode) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if no := n.faults.folder[n.name()]; no != 0 && !n.faults.healed.Load() {
		return nil, 0, no
	}
	h, opened, no := n.LoopbackNode.OpendirHandle(ctx, flags)
	if most, ok := n.faults.names[n.name()]; ok && no == 0 && !n.faults.healed.Load() {
		return &faultyFolder{h.(folderHandle), most}, opened, 0
	}
	return h, opened, no
}

type folderHandle interface {
	fs.FileReaddirenter
	fs.FileReleasedirer
}

// faultyFolder is a listing that breaks off.
type faultyFolder struct {
	folderHandle
	left int
}

func (f *faultyFolder) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if f.left--; f.left < 0 {
		return nil, unix.EIO
	}
	return f.folderHandle.Readdirent(ctx)
}

func (n *faultyNode) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	if no := n.faults.link[n.name()]; no != 0 {
		return nil, no
	}
	return n.LoopbackNode.Readlink(ctx)
}

func (n *faultyNode) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	if no := n.faults.xattrs[n.name()]; no != 0 && !n.faults.healed.Load() {
		return 0, no
	}
	return n.LoopbackNode.Listxattr(ctx, dest)
}

// faulty shows the machine's source through a file system with faults, and
// makes that the source. What is below stays reachable as the returned folder.
func (m *machine) faulty(f *faults) string {
	m.t.Helper()
	below := m.src
	dir := quiet(m.t)
	node := &faultyNode{faults: f}
	node.RootData = &fs.LoopbackRoot{Path: below, RootNode: node}
	zero := time.Duration(0)
	server, err := fs.Mount(dir, node, &fs.Options{
		EntryTimeout: &zero, AttrTimeout: &zero, NegativeTimeout: &zero, NullPermissions: true,
		MountOptions: fuse.MountOptions{DirectMount: true, FsName: "faulty", Name: "faulty"},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			m.t.Error(err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	m.src = dir
	return below
}

// Whatever happens to a file while it is read: the run goes on, names it with
// the reason, flags the point, and saves everything else.
func TestFilesThatCannotBeRead(t *testing.T) {
	m := newMachine(t)
	names := []string{
		"0 trigger", "becomes a fifo", "becomes a folder", "becomes a link", "bad small", "denied", "vanishes",
		"large bad", "large bad at once", "large denied", "large shrinks", "large grows", "large is overwritten", "large vanishes",
		"attributes bad", "good", "folder/child", "closed/child",
	}
	for i, name := range names {
		n := 3000 + i
		if strings.HasPrefix(name, "large") {
			n = 5<<20 + i
		}
		m.write(name, noise(uint64(i), n))
	}
	if err := os.Symlink("good", filepath.Join(m.src, "link bad")); err != nil {
		t.Fatal(err)
	}
	f := &faults{
		folder: map[string]syscall.Errno{"closed": unix.EIO},
		link:   map[string]syscall.Errno{"link bad": unix.EIO},
		xattrs: map[string]syscall.Errno{"attributes bad": unix.EIO},
	}
	below := m.faulty(f)
	f.script(t, below)
	m.points()
	s, err := m.try()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{} // name, and whether it is left out
	for _, name := range []string{"becomes a fifo", "becomes a folder", "becomes a link", "bad small", "denied", "vanishes", "large bad", "large bad at once", "large denied", "link bad"} {
		want[name] = true
	}
	for _, name := range []string{"large shrinks", "large grows", "large is overwritten", "attributes bad", "closed"} {
		want[name] = false
	}
	for _, w := range s.Warned {
		name, err := filepath.Rel(m.src, w.Path)
		if _, ok := want[name]; err != nil || !ok && name != "large vanishes" || w.Reason == "" {
			t.Errorf("warning %+v", w)
		}
		t.Logf("%s: %s", name, w.Reason)
	}
	for name := range want {
		if !warned(s, filepath.Join(m.src, name)) {
			t.Errorf("%s is not named", name)
		}
	}
	if int(s.Statistics.Warnings) != len(s.Warned) {
		t.Errorf("%d warnings, %d named", s.Statistics.Warnings, len(s.Warned))
	}
	m.afterFaults(want)
}

// script sets what happens when which file is opened or read.
func (f *faults) script(t *testing.T, below string) {
	at := func(name string) string { return filepath.Join(below, name) }
	do := func(errs ...error) syscall.Errno {
		for _, err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		return 0
	}
	f.open = map[string]func() syscall.Errno{
		"denied":       func() syscall.Errno { return unix.EACCES },
		"large denied": func() syscall.Errno { return unix.EACCES },
		"0 trigger": sync.OnceValue(func() syscall.Errno {
			return do(os.Remove(at("becomes a fifo")), unix.Mkfifo(at("becomes a fifo"), 0o600),
				os.Remove(at("becomes a folder")), os.Mkdir(at("becomes a folder"), 0o700),
				os.Remove(at("becomes a link")), os.Symlink("/etc/passwd", at("becomes a link")),
				os.Remove(at("vanishes")))
		}),
	}
	once := func(at int64, act func() error) func(int64) syscall.Errno {
		var done sync.Once
		return func(off int64) syscall.Errno {
			if off >= at {
				done.Do(func() { do(act()) })
			}
			return 0
		}
	}
	bad := func(at int64) func(int64) syscall.Errno {
		return func(off int64) syscall.Errno {
			if off >= at {
				return unix.EIO
			}
			return 0
		}
	}
	f.read = map[string]func(int64) syscall.Errno{
		"bad small": bad(0), "large bad": bad(4 << 20), "large bad at once": bad(0),
		"large shrinks":        once(1<<20, func() error { return os.Truncate(at("large shrinks"), 3<<20) }),
		"large grows":          once(1<<20, func() error { return os.Truncate(at("large grows"), 9<<20) }),
		"large is overwritten": once(2<<20, func() error { return os.WriteFile(at("large is overwritten"), noise(77, 5<<20), 0o644) }),
		"large vanishes":       once(1<<20, func() error { return os.Remove(at("large vanishes")) }),
	}
}

func warned(s *backup.Summary, path string) bool {
	for _, w := range s.Warned {
		if w.Path == path {
			return true
		}
	}
	return false
}

// afterFaults checks the point of a run with warnings, and that the next one
// makes good what can be made good.
func (m *machine) afterFaults(left map[string]bool) {
	m.t.Helper()
	r := m.open()
	points, err := r.Points(m.t.Context())
	if err != nil || len(points) != 1 {
		m.t.Fatal(len(points), err)
	}
	p := points[0]
	kept, err := r.Warnings(m.t.Context(), p)
	if err != nil || p.Flags&point.Warnings == 0 || len(kept) != int(p.Statistics.Warnings) {
		m.t.Errorf("flags %x, %d warnings of %d, %v", p.Flags, len(kept), p.Statistics.Warnings, err)
	}
	tree, err := r.Tree(m.t.Context(), p, table.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	for name, out := range left {
		it, err := tree.Lookup(m.t.Context(), table.Key(filepath.Join(m.src, name)))
		if (err != nil) != out {
			m.t.Errorf("%s: %v", name, err)
		}
		if err == nil && strings.HasPrefix(name, "large") && !it.Entry.Incomplete {
			m.t.Errorf("%s is not marked as incomplete", name)
		}
		if err == nil && uint64(len(contentOf(m.t, r, it.Entry))) != it.Entry.Size {
			m.t.Errorf("%s: its content is not as long as it says", name)
		}
	}
	for i, name := range map[int]string{0: "0 trigger", 15: "good", 16: "folder/child"} {
		it, err := tree.Lookup(m.t.Context(), table.Key(filepath.Join(m.src, name)))
		if err != nil {
			m.t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(contentOf(m.t, r, it.Entry), noise(uint64(i), 3000+i)) {
			m.t.Errorf("%s: other content", name)
		}
	}
	report, err := repo.Check(m.t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 {
		m.t.Errorf("check: %+v %v", report, err)
	}
}

// What a run could not read, the next one reads.
func TestFaultsThatPass(t *testing.T) {
	m := newMachine(t)
	m.write("small", noise(1, 4000))
	m.write("large", noise(2, 4<<20))
	m.write("folder/child", noise(3, 900))
	m.write("attributes", noise(4, 900))
	f := &faults{
		folder: map[string]syscall.Errno{"folder": unix.EIO},
		xattrs: map[string]syscall.Errno{"attributes": unix.EIO},
	}
	fail := func(int64) syscall.Errno {
		if f.healed.Load() {
			return 0
		}
		return unix.EIO
	}
	f.read = map[string]func(int64) syscall.Errno{"small": fail, "large": fail}
	m.faulty(f)
	for range 2 { // the second run sees the first one's copy
		s, err := m.try()
		if err != nil || len(s.Warned) != 4 {
			t.Fatalf("%+v %v", s, err)
		}
	}
	f.healed.Store(true)
	m.backup()
	m.whole()
}
