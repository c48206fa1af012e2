package mount_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/repo/table"
)

func sorted(all map[string]string) []table.Xattr {
	var out []table.Xattr
	for name, value := range all {
		out = append(out, table.Xattr{Name: name, Value: []byte(value)})
	}
	slices.SortFunc(out, func(a, b table.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func TestMountedTree(t *testing.T) {
	files := fsconform.Sample()
	for _, one := range []bool{false, true} {
		t.Run(map[bool]string{false: "all points", true: "one point"}[one], func(t *testing.T) {
			c := start(t, orders{One: one}, 0)
			root := c.dir
			if !one {
				root = c.point()
			}
			fsconform.Check(t, view{root}, files)
			if !one {
				t.Run("tokens", func(t *testing.T) { testTokens(t, c) })
			}
			t.Run("seek in a listing", func(t *testing.T) { testSeekdir(t, filepath.Join(root, "big")) })
			t.Run("writers", func(t *testing.T) { testWriters(t, root) })
			t.Run("statfs", func(t *testing.T) { testStatfs(t, root) })
			t.Run("type", func(t *testing.T) { testType(t, c.dir) })
		})
	}
}

// testTokens looks at a point by the name that Samba gives it.
func testTokens(t *testing.T, c *child) {
	names, err := view{c.dir}.List("/")
	if err != nil || !slices.Equal(names, []string{"latest", "points"}) {
		t.Errorf("the root holds %q, %v", names, err)
	}
	dir := filepath.Join(c.dir, "@GMT-2026.11.22-10.00.00")
	if err := os.Chdir(filepath.Join(dir, "names")); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Chdir("/"); err != nil {
			t.Error(err)
		}
	}()
	for _, root := range []string{dir, c.point()} {
		if b, err := os.ReadFile(filepath.Join(root, "names/a")); err != nil || string(b) != "a" {
			t.Errorf("%q, %v", b, err)
		}
	}
	if wd, err := unix.Getwd(); err != nil || wd != filepath.Join(dir, "names") {
		t.Errorf("the working folder is %q by now, %v", wd, err)
	}
	a, err := view{dir}.Stat("/names/a")
	b, err2 := view{c.point()}.Stat("/names/a")
	if err != nil || err2 != nil || a.Inode == b.Inode {
		t.Errorf("inodes %d and %d, %v, %v", a.Inode, b.Inode, err, err2)
	}
}

// line is what getdents64 says of an entry.
type line struct {
	name string
	next int64
}

func getdents(fd, room int) ([]line, error) {
	buf := make([]byte, room)
	n, err := unix.Getdents(fd, buf)
	if err != nil {
		return nil, err
	}
	var lines []line
	for b := buf[:n]; len(b) > 0; {
		next := int64(le(b[8:16]))
		length := int(le(b[16:18]))
		name, _, _ := strings.Cut(string(b[19:length]), "\x00")
		lines = append(lines, line{name, next})
		b = b[length:]
	}
	return lines, nil
}

func le(b []byte) (n uint64) {
	for i, c := range b {
		n |= uint64(c) << (8 * i)
	}
	return n
}

// testSeekdir lists a folder in small steps, and takes the listing up again
// at places in it, in any order.
func testSeekdir(t *testing.T, dir string) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var all []line
	for {
		some, err := getdents(fd, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			break
		}
		all = append(all, some...)
	}
	if len(all) != 100_002 || all[0].name != "." || all[1].name != ".." {
		t.Fatalf("%d entries, first %v", len(all), all[:2])
	}
	for _, at := range []int{99_000, 5, 0, 50_000, 1, 100_000, 77} {
		if _, err := unix.Seek(fd, all[at].next, 0); err != nil {
			t.Fatal(err)
		}
		some, err := getdents(fd, 4096)
		if err != nil || len(some) == 0 || some[0] != all[at+1] {
			t.Fatalf("after %v comes %v, %v; want %v", all[at], some, err, all[at+1])
		}
	}
	if _, err := unix.Seek(fd, all[len(all)-1].next, 0); err != nil {
		t.Fatal(err)
	}
	if some, err := getdents(fd, 4096); err != nil || len(some) != 0 {
		t.Fatalf("after the last comes %v, %v", some, err)
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		t.Fatal(err)
	}
	if some, err := getdents(fd, 4096); err != nil || some[0] != all[0] {
		t.Fatalf("rewound: %v, %v", some, err)
	}
}

// testWriters tries everything that writes.
func testWriters(t *testing.T, root string) {
	file, folder, absent := filepath.Join(root, "names/a"), filepath.Join(root, "empty"), filepath.Join(root, "empty/x")
	opening := func(flags int) func() error {
		return func() error {
			fd, err := unix.Open(file, flags, 0o644)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
	}
	for name, f := range map[string]func() error{
		"open for writing": opening(unix.O_WRONLY),
		"open and cut":     opening(unix.O_RDWR | unix.O_TRUNC),
		"create": func() error {
			_, err := unix.Open(absent, unix.O_CREAT|unix.O_WRONLY, 0o644)
			return err
		},
		"mkdir":       func() error { return unix.Mkdir(absent, 0o755) },
		"rmdir":       func() error { return unix.Rmdir(folder) },
		"unlink":      func() error { return unix.Unlink(file) },
		"rename":      func() error { return unix.Rename(file, absent) },
		"chmod":       func() error { return unix.Chmod(file, 0o600) },
		"chown":       func() error { return unix.Chown(file, 1, 1) },
		"utimes":      func() error { return unix.Utimes(file, make([]unix.Timeval, 2)) },
		"setxattr":    func() error { return unix.Setxattr(file, "user.x", []byte("x"), 0) },
		"removexattr": func() error { return unix.Removexattr(filepath.Join(root, "xattrs/file"), "user.one") },
		"link":        func() error { return unix.Link(file, absent) },
		"symlink":     func() error { return unix.Symlink("a", absent) },
		"mknod":       func() error { return unix.Mknod(absent, unix.S_IFIFO|0o644, 0) },
		"truncate":    func() error { return unix.Truncate(file, 0) },
	} {
		if err := f(); err != unix.EROFS {
			t.Errorf("%s: %v, want EROFS", name, err)
		}
	}
}

func testStatfs(t *testing.T, root string) {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks == 0 || st.Bfree != 0 || st.Files < 100_000 || st.Namelen != 255 || st.Bsize != 4096 ||
		st.Flags&unix.ST_RDONLY == 0 || st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 {
		t.Errorf("statfs: %+v", st)
	}
}

func testType(t *testing.T, dir string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("tidemark %s fuse.tidemark ro,nosuid,nodev,", dir)
	if !strings.Contains(string(mounts), want) {
		t.Errorf("no %q in the table of mounts", want)
	}
}
