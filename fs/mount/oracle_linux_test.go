package mount_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/fs"
)

// The oracle of permissions is the kernel itself: a tree with modes, owners
// and access control lists of all kinds lies on a real file system, and in a
// mount that shows a copy. Users try everything in both.

// probeVariable makes this program a prober: it reads paths, relative to the
// folders given in the variable, and writes what its user may do in each.
const probeVariable = "TIDEMARK_TEST_PROBE"

func probe() {
	roots := strings.Split(os.Getenv(probeVariable), ":")
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		for _, root := range roots {
			fmt.Fprintf(out, "%s ", may(filepath.Join(root, lines.Text())))
		}
		fmt.Fprintln(out)
	}
}

// may tries to look at, open, list, enter and run what is at path.
func may(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "stat:" + word(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	said := "open:" + word(err)
	if err == nil {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			_, err = getdents(fd, 4096)
		} else {
			_, err = unix.Read(fd, make([]byte, 1))
		}
		unix.Close(fd)
		said += ",read:" + word(err)
	}
	for name, mode := range map[string]uint32{"r": unix.R_OK, "x": unix.X_OK} {
		if unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS) == nil {
			said += "," + name
		} else {
			said += ",-"
		}
		if name == "r" {
			said += "/"
		}
	}
	return ordered(said)
}

// ordered undoes the random order of a map's walk.
func ordered(said string) string {
	parts := strings.Split(strings.ReplaceAll(said, "/", ""), ",")
	keep, flags := parts[:len(parts)-2], map[string]bool{}
	for _, p := range parts[len(parts)-2:] {
		flags[p] = true
	}
	return fmt.Sprint(strings.Join(keep, ","), ";r", flags["r"], ";x", flags["x"])
}

func word(err error) string {
	if err == nil {
		return "ok"
	}
	return unix.ErrnoName(err.(unix.Errno))
}

// users who try: their numbers and groups.
func users() []syscall.Credential {
	return []syscall.Credential{
		{Uid: 1001, Gid: 1001},
		{Uid: 1002, Gid: 1002, Groups: []uint32{1001, 1005}},
		{Uid: 1003, Gid: 1005},
		{Uid: 0, Gid: 0},
	}
}

// acl returns a random access control list in the form of the kernel's
// extended attribute, and nil for none.
func acl(r *rand.Rand) []byte {
	type entry struct {
		tag, perm uint16
		id        uint32
	}
	const none = 1<<32 - 1
	p := func() uint16 { return uint16(r.IntN(8)) }
	list := []entry{{1, p(), none}}
	for _, id := range []uint32{1001, 1002, 1003} {
		if r.IntN(2) == 0 {
			list = append(list, entry{2, p(), id})
		}
	}
	list = append(list, entry{4, p(), none})
	for _, id := range []uint32{1001, 1005} {
		if r.IntN(2) == 0 {
			list = append(list, entry{8, p(), id})
		}
	}
	list = append(list, entry{0x10, p(), none}, entry{0x20, p(), none})
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// decorate gives a file or folder an owner, a mode and perhaps a list. Most
// folders stay open, or nobody would come far.
func decorate(r *rand.Rand, path string, folder bool) error {
	ids := []int{0, 1001, 1002, 1003}
	groups := []int{0, 1001, 1002, 1005}
	if err := os.Lchown(path, ids[r.IntN(4)], groups[r.IntN(4)]); err != nil {
		return err
	}
	mode := uint32(r.IntN(0o1000))
	if folder && r.IntN(3) > 0 {
		mode |= 0o111
	}
	if err := unix.Chmod(path, mode); err != nil {
		return err
	}
	if r.IntN(2) == 0 {
		return nil
	}
	return unix.Setxattr(path, "system.posix_acl_access", acl(r), 0)
}

// grow makes a random tree on a real file system and returns its paths.
func grow(t *testing.T, r *rand.Rand, root string, want int) []string {
	t.Helper()
	paths := []string{"."}
	folders := []string{""}
	for i := range want {
		path := filepath.Join(folders[r.IntN(len(folders))], fmt.Sprintf("%d", i))
		full := filepath.Join(root, path)
		folder := r.IntN(4) == 0
		var err error
		if folder {
			folders = append(folders, path)
			err = os.Mkdir(full, 0o755)
		} else {
			err = os.WriteFile(full, []byte("#!/bin/true\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	for i := len(paths) - 1; i > 0; i-- {
		st, err := os.Lstat(filepath.Join(root, paths[i]))
		if err != nil {
			t.Fatal(err)
		}
		if err := decorate(r, filepath.Join(root, paths[i]), st.IsDir()); err != nil {
			t.Fatalf("the file system of %s cannot hold the oracle's tree: %v", root, err)
		}
	}
	return paths
}

// ask runs the prober as a user.
func ask(t *testing.T, self string, who syscall.Credential, roots, paths []string) []string {
	t.Helper()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), probeVariable+"="+strings.Join(roots, ":"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &who}
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\n") + "\n")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(paths) {
		t.Fatalf("%d answers to %d questions", len(lines), len(paths))
	}
	return lines
}

func TestPermissionsAgainstTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("several users need root")
	}
	real, err := os.MkdirTemp("/tmp", "tidemark-oracle-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(real)
	if err := os.Chmod(real, 0o755); err != nil {
		t.Fatal(err)
	}
	paths := grow(t, rand.New(rand.NewPCG(1, 2)), real, 1500)
	self, err := reachable(t)
	if err != nil {
		t.Fatal(err)
	}
	pairs, allowed := 0, 0
	compare := func(roots []string) {
		for _, who := range users() {
			for i, answer := range ask(t, self, who, roots, paths) {
				pairs++
				two := strings.Fields(answer)
				if two[0] != two[1] {
					t.Errorf("user %d, %s: the kernel says %s, the mount %s", who.Uid, paths[i], two[0], two[1])
				}
				if strings.Contains(two[0], "read:ok") {
					allowed++
				}
			}
		}
	}
	c := start(t, orders{Copy: real}, 0)
	compare([]string{real, c.point()})
	compare([]string{real, c.point()}) // and from the kernel's caches
	if pairs < 10_000 || allowed < pairs/10 || allowed > pairs*9/10 {
		t.Errorf("%d questions, %d allowed: that proves little", pairs, allowed)
	}
	t.Logf("%d questions, %d allowed", pairs, allowed)
}

func TestOpenView(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("several users need root")
	}
	real, err := os.MkdirTemp("/tmp", "tidemark-oracle-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(real)
	paths := grow(t, rand.New(rand.NewPCG(3, 4)), real, 300)
	self, err := reachable(t)
	if err != nil {
		t.Fatal(err)
	}
	open := start(t, orders{Copy: real, Open: true}, 0)
	for i, answer := range ask(t, self, users()[0], []string{open.point()}, paths) {
		if !strings.Contains(answer, "read:ok") {
			t.Errorf("open view, %s: %s", paths[i], answer)
		}
	}
	owned := start(t, orders{Copy: real, Owner: &fs.Owner{UID: 1001, GID: 1005}}, 0)
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(owned.point(), path), &st); err != nil || st.Uid != 1001 || st.Gid != 1005 {
			t.Errorf("view with an owner, %s: %d:%d, %v", path, st.Uid, st.Gid, err)
		}
	}
}
