package meta

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// The test runs itself again with this variable set, as on a kernel that lacks
// newer calls.
const childEnv = "META_TEST_CHILD"

// acl is user::rw-, user:1000:rwx, group::r--, mask::rwx, other::--- as the
// kernel stores it: version 2, then tag, permissions, id.
var acl = []byte{2, 0, 0, 0,
	1, 0, 6, 0, 255, 255, 255, 255,
	2, 0, 7, 0, 0xe8, 3, 0, 0,
	4, 0, 4, 0, 255, 255, 255, 255,
	16, 0, 7, 0, 255, 255, 255, 255,
	32, 0, 0, 0, 255, 255, 255, 255}

// capNetRaw is a security.capability: revision 2, cap_net_raw permitted.
var capNetRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// folder returns a new folder, open.
func folder(t *testing.T) (*os.File, At) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to change owners")
	}
	path := t.TempDir()
	d, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, At{FD: int(d.Fd()), Dir: path}
}

func at(a At, name string) At {
	a.Name = name
	return a
}

func write(t *testing.T, a At, data string) {
	t.Helper()
	if err := os.WriteFile(a.Path(), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func lstat(t *testing.T, a At) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(a.Path(), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestApplyAndRead(t *testing.T) {
	_, dir := folder(t)
	file := at(dir, "odd \xff name")
	write(t, file, "x")
	w := &Wanted{Type: unix.S_IFREG, Mode: 0o4670, UID: 1234, GID: 5678, MTime: Time{1_600_000_000, 123_456_789},
		ReplaceXattrs: true,
		Xattrs: []Xattr{
			{"security.capability", capNetRaw},
			{"system.posix_acl_access", acl},
			{"trusted.t", []byte("root's")},
			{"user.empty", []byte{}},
			{"user.name", []byte("value\x00\xff")},
		}}
	for round := range 2 { // the second time onto a file that has it all
		if err := Apply(file, w, All); err != nil {
			t.Fatal(round, err)
		}
		st := lstat(t, file)
		if st.Mode != unix.S_IFREG|0o4670 {
			t.Errorf("mode %o", st.Mode)
		}
		if st.Uid != 1234 || st.Gid != 5678 || st.Mtim.Sec != 1_600_000_000 || st.Mtim.Nsec != 123_456_789 {
			t.Errorf("%+v", st)
		}
		var r Reader
		got, err := r.Xattrs(file, st.Dev)
		if err != nil || !equal(got, w.Xattrs) {
			t.Errorf("read\n%q, %v, want\n%q", got, err, w.Xattrs)
		}
	}

	w.Xattrs = w.Xattrs[4:]
	w.Mode = 0o640
	if err := Apply(file, w, All); err != nil {
		t.Fatal(err)
	}
	var r Reader
	if got, err := r.Xattrs(file, 0); err != nil || !equal(got, w.Xattrs) {
		t.Errorf("after replacing: %q, %v", got, err)
	}
	if st := lstat(t, file); st.Mode != unix.S_IFREG|0o640 {
		t.Errorf("after replacing: mode %o", st.Mode)
	}

	// What is not asked for stays.
	before := lstat(t, file)
	if err := Apply(file, &Wanted{Type: unix.S_IFREG, Mode: 0o600}, Mode); err != nil {
		t.Fatal(err)
	}
	if st := lstat(t, file); st.Uid != before.Uid || st.Mtim != before.Mtim || st.Mode != unix.S_IFREG|0o600 {
		t.Errorf("after the mode alone: %+v", st)
	}
}

func equal(a, b []Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

func TestFolderItself(t *testing.T) {
	_, dir := folder(t)
	inherited := slices.Clone(acl)
	w := &Wanted{Type: unix.S_IFDIR, Mode: 0o750, UID: 7, GID: 8, MTime: Time{-5, 1}, ReplaceXattrs: true,
		Xattrs: []Xattr{{"system.posix_acl_default", inherited}, {"user.d", []byte("v")}}}
	if err := Apply(dir, w, All); err != nil {
		t.Fatal(err)
	}
	var r Reader
	if got, err := r.Xattrs(dir, 0); err != nil || !equal(got, w.Xattrs) {
		t.Errorf("%q, %v", got, err)
	}
	if st := lstat(t, dir); st.Mode != unix.S_IFDIR|0o750 || st.Uid != 7 || st.Mtim.Sec != -5 || st.Mtim.Nsec != 1 {
		t.Errorf("%+v", st)
	}
	// A file made here has an ACL that it is not to have.
	file := at(dir, "f")
	write(t, file, "")
	if got, _ := r.Xattrs(file, 0); len(got) != 1 {
		t.Fatalf("nothing inherited: %q", got)
	}
	if err := Apply(file, &Wanted{Type: unix.S_IFREG, Mode: 0o640, ReplaceXattrs: true}, All); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Xattrs(file, 0); err != nil || len(got) != 0 {
		t.Errorf("still there: %q, %v", got, err)
	}
	if st := lstat(t, file); st.Mode != unix.S_IFREG|0o640 {
		t.Errorf("mode %o", st.Mode)
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	_, dir := folder(t)
	target, link := at(dir, "target"), at(dir, "link")
	write(t, target, "x")
	if err := os.Symlink("target", link.Path()); err != nil {
		t.Fatal(err)
	}
	if err := setXattr(target, "user.x", []byte("target's")); err != nil {
		t.Fatal(err)
	}
	before := lstat(t, target)
	w := &Wanted{Type: unix.S_IFLNK, Mode: 0o777, UID: 11, GID: 12, MTime: Time{1000, 1},
		Xattrs: []Xattr{{"trusted.l", []byte("link's")}}, ReplaceXattrs: true}
	if err := Apply(link, w, All); err != nil {
		t.Fatal(err)
	}
	if after := lstat(t, target); !reflect.DeepEqual(after, before) {
		t.Errorf("the target was changed: %+v, was %+v", after, before)
	}
	st := lstat(t, link)
	if st.Uid != 11 || st.Mtim.Sec != 1000 || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("the link: %+v", st)
	}
	var r Reader
	if got, err := r.Xattrs(link, 0); err != nil || !equal(got, w.Xattrs) {
		t.Errorf("the link has %q, %v", got, err)
	}
	// The caller thinks it is a file; it became a link.
	w.Type, w.Mode = unix.S_IFREG, 0o4777
	if err := Apply(link, w, Mode); err == nil {
		t.Error("the mode of a link was changed")
	}
	if after := lstat(t, target); after.Mode != before.Mode {
		t.Errorf("the target's mode was changed to %o", after.Mode)
	}
}

func TestBounds(t *testing.T) {
	dir := "/dev/shm/tidemark-meta-test" // tmpfs keeps large attributes
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	file := At{FD: int(d.Fd()), Dir: dir, Name: "f"}
	write(t, file, "")
	value := bytes.Repeat([]byte{7}, MaxXattrValue)
	if err := setXattr(file, "trusted.max", value); err != nil {
		t.Fatalf("tmpfs keeps attributes of 64 KiB since Linux 6.6: %v", err)
	}
	var r Reader
	got, err := r.Xattrs(file, 0)
	if err != nil || len(got) != 1 || !bytes.Equal(got[0].Value, value) {
		t.Errorf("largest value: %d, %v", len(got), err)
	}
	if err := setXattr(file, "trusted.more", append(value, 0)); !errors.Is(err, fault.TooLarge) {
		t.Errorf("beyond it: %v", err)
	}
	for i := range 16 {
		if err := setXattr(file, fmt.Sprint("trusted.n", i), value); err != nil {
			t.Fatal(err)
		}
	}
	got, err = r.Xattrs(file, 0)
	if fault.KindOf(err) != fault.TooLarge || len(got) == 0 || len(got) >= 17 {
		t.Errorf("1 MiB of values: %d read, error %v", len(got), err)
	}
	var named *AttrError
	if !errors.As(err, &named) || named.Path != file.Path() || !strings.HasPrefix(named.Attr, "trusted.") {
		t.Errorf("error %v names %+v", err, named)
	}
	err = Apply(file, &Wanted{Type: unix.S_IFREG, Xattrs: []Xattr{
		{"user.x", nil}, {"trusted.big", append(value, 0)}, {"nonsense", nil}}}, Xattrs)
	if !errors.Is(err, fault.TooLarge) || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("Apply: %v", err)
	}
}

func TestFileSystemsWithoutXattrs(t *testing.T) {
	d, err := os.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	a := At{FD: int(d.Fd()), Dir: "/proc/self", Name: "status"}
	var st unix.Stat_t
	if err := unix.Stat(a.Path(), &st); err != nil {
		t.Fatal(err)
	}
	var r Reader
	for range 3 {
		if got, err := r.Xattrs(a, st.Dev); err != nil || len(got) != 0 {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := listXattrs(a, make([]byte, 100)); isUnsupported(err) && !r.hasNone(st.Dev) {
		t.Error("it is asked again each time")
	}
	// A device that is known to have none is not asked at all.
	if got, err := r.Xattrs(At{FD: -1, Name: "no such file"}, st.Dev); r.hasNone(st.Dev) && (err != nil || got != nil) {
		t.Errorf("%q, %v", got, err)
	}
	r.setNone(42)
	if got, err := r.Xattrs(At{FD: -1, Name: "no such file"}, 42); err != nil || got != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := r.Xattrs(At{FD: unix.AT_FDCWD, Name: "no such file"}, 43); fault.KindOf(err) != fault.NotExist {
		t.Errorf("a missing file: %v", err)
	}
}

// TestAsUser: who may not change owners gets warnings, and all the rest.
func TestAsUser(t *testing.T) {
	_, dir := folder(t)
	for p := dir.Dir; p != "/" && p != "/tmp"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := at(dir, "f")
	write(t, file, "x")
	if err := os.Chown(file.Path(), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file.Path(), 0o400); err != nil {
		t.Fatal(err)
	}
	w := &Wanted{Type: unix.S_IFREG, Mode: 0o440, UID: 1, GID: 2, MTime: Time{5000, 6},
		Xattrs: []Xattr{{"system.posix_acl_access", acl}, {"trusted.t", []byte("no")}, {"user.u", []byte("yes")}}}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with it
		// The raw call changes this thread only.
		if _, _, no := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); no != 0 {
			done <- no
			return
		}
		done <- Apply(file, w, All)
	}()
	err := <-done
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Fatalf("error %v", err)
	}
	var attrs []string
	for _, e := range joined.Unwrap() {
		var named *AttrError
		if !errors.As(e, &named) || fault.KindOf(e) != fault.Denied {
			t.Errorf("%v", e)
			continue
		}
		attrs = append(attrs, named.Attr)
	}
	if !slices.Equal(attrs, []string{"owner", "trusted.t"}) {
		t.Errorf("warnings for %q: %v", attrs, err)
	}
	st := lstat(t, file)
	if st.Mtim.Sec != 5000 || st.Uid != 65534 {
		t.Errorf("%+v", st)
	}
	var r Reader
	got, err := r.Xattrs(file, 0)
	if err != nil || len(got) != 2 || string(got[1].Value) != "yes" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestMknod(t *testing.T) {
	_, dir := folder(t)
	old := unix.Umask(0)
	defer unix.Umask(old)
	if err := Mkfifo(at(dir, "pipe"), 0o640); err != nil {
		t.Fatal(err)
	}
	if st := lstat(t, at(dir, "pipe")); st.Mode != unix.S_IFIFO|0o640 {
		t.Errorf("pipe: %o", st.Mode)
	}
	for _, c := range []struct{ mode, major, minor uint32 }{
		{unix.S_IFCHR | 0o600, 1, 3}, {unix.S_IFBLK | 0o660, 259, 70_000},
	} {
		a := at(dir, fmt.Sprint(c.major))
		if err := Mknod(a, c.mode, DeviceOf(c.major, c.minor)); err != nil {
			t.Fatal(err)
		}
		st := lstat(t, a)
		major, minor := DeviceNumbers(st.Rdev)
		if st.Mode != c.mode || major != c.major || minor != c.minor {
			t.Errorf("device: %o %d:%d, want %+v", st.Mode, major, minor, c)
		}
	}
	if err := Mkfifo(at(dir, "pipe"), 0o600); fault.KindOf(err) != fault.Exist {
		t.Errorf("a second pipe: %v", err)
	}
	if err := Mknod(at(dir, "pipe"), unix.S_IFCHR, 0); fault.KindOf(err) != fault.Exist {
		t.Errorf("a device in its place: %v", err)
	}
}

// TestOlderKernel runs the tests again where the kernel says that it lacks the
// calls of Linux 6.6 and 6.13.
func TestOlderKernel(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		if hasXattrAt() {
			t.Error("the calls are not taken away")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "TestApplyAndRead|TestFolderItself|TestLinksAreNotFollowed|TestBounds|TestAsUser|TestOlderKernel")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := forbid(452, 463, 464, 465, 466); err != nil { // fchmodat2, the four of xattrs
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// forbid makes the kernel answer ENOSYS to these system calls, in all threads
// of the process and for ever.
func forbid(calls ...uint32) error {
	const (
		loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		ifEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer   = unix.BPF_RET | unix.BPF_K

		setFilter  = 1
		allThreads = 1
		allow      = 0x7fff0000
		fail       = 0x00050000
	)
	filter := []unix.SockFilter{{Code: loadWord, K: 0}} // the number of the call
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{Code: ifEqual, Jt: uint8(len(calls) - i), K: call})
	}
	filter = append(filter,
		unix.SockFilter{Code: answer, K: allow},
		unix.SockFilter{Code: answer, K: fail | uint32(unix.ENOSYS)})
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, no := unix.Syscall(unix.SYS_SECCOMP, setFilter, allThreads, uintptr(unsafe.Pointer(prog)))
	if no != 0 {
		return no
	}
	return nil
}

// TestNoXattrCostsOneCall counts the system calls for a file without any.
func TestNoXattrCostsOneCall(t *testing.T) {
	_, dir := folder(t)
	write(t, at(dir, "f"), "")
	var r Reader
	allocs := testing.AllocsPerRun(100, func() {
		if got, err := r.Xattrs(at(dir, "f"), 0); err != nil || got != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
	if allocs > 1 {
		t.Errorf("%v allocations, want one for the name at most", allocs)
	}
}

func BenchmarkXattrsNone(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(dir+"/f", nil, 0o600); err != nil {
		b.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	a := At{FD: int(d.Fd()), Dir: dir, Name: "f"}
	b.ReportAllocs()
	var r Reader
	for b.Loop() {
		if _, err := r.Xattrs(a, 1); err != nil {
			b.Fatal(err)
		}
	}
}
