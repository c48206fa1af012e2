package roundtrip

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// node is a file, folder, link or device to be made.
type node struct {
	name     string
	kind     uint32 // S_IF…
	size     int64
	seed     uint64
	holes    bool // data lies only here and there
	mode     uint32
	uid, gid int
	mtime    unix.Timespec
	xattrs   map[string][]byte
	acl      string // for setfacl
	target   string
	rdev     uint64
	children []*node
	same     *node // a hard link to that one
}

// sizes are those around which content takes another form.
var sizes = []int64{0, 1, 511, 512, 513, 4095, 4097, 65535, 65536, 65537, 131071, 262145, 1<<20 - 1, 1 << 20, 1<<20 + 1, 2<<20 + 17}

// generator draws trees.
type generator struct {
	t     *rapid.T
	files []*node
	left  int // nodes
	bytes int64

	sockets bool
}

var (
	components = rapid.OneOf(
		rapid.StringMatching(`[a-c]{1,3}`),
		rapid.StringMatching(`[ -.:-~]{1,12}`),
		rapid.Map(rapid.SliceOfN(rapid.ByteRange(1, 255), 1, 20), func(b []byte) string {
			return strings.ReplaceAll(string(b), "/", "\n")
		}),
		rapid.SampledFrom([]string{"...", "-n", "new\nline", "\xff\xfe", "é", "e\u0301", " ", "*", "~", "a-b", "a.b", "a\x01", strings.Repeat("x", 255), "disk.img"}),
	)
	owners = rapid.SampledFrom([]int{0, 0, 1000, 65534, 1 << 31, 1<<32 - 3})
)

func drawTree(t *rapid.T, sockets bool) *node {
	g := &generator{t: t, sockets: sockets, left: rapid.IntRange(0, 30).Draw(t, "nodes"), bytes: 12 << 20}
	root := &node{name: "src", kind: unix.S_IFDIR, mode: 0o755, mtime: unix.Timespec{Sec: 1e9, Nsec: 1}}
	g.fill(root, 0)
	return root
}

func (g *generator) fill(folder *node, depth int) {
	names := map[string]bool{".": true, "..": true}
	for range rapid.IntRange(0, 8).Draw(g.t, "children") {
		if g.left == 0 {
			return
		}
		name := components.Draw(g.t, "name")
		if names[name] {
			continue
		}
		names[name] = true
		g.left--
		n := g.node(name)
		folder.children = append(folder.children, n)
		if n.kind == unix.S_IFDIR && depth < 6 {
			g.fill(n, depth+1)
		}
	}
}

func (g *generator) node(name string) *node {
	t := g.t
	n := &node{
		name: name, mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"), uid: owners.Draw(t, "uid"), gid: owners.Draw(t, "gid"),
		mtime: unix.Timespec{Sec: rapid.Int64Range(-1<<31, 1<<33).Draw(t, "sec"), Nsec: rapid.Int64Range(0, 999_999_999).Draw(t, "nsec")},
	}
	n.kind = rapid.SampledFrom([]uint32{
		unix.S_IFREG, unix.S_IFREG, unix.S_IFREG, unix.S_IFREG, unix.S_IFDIR, unix.S_IFDIR, unix.S_IFDIR,
		unix.S_IFLNK, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK,
	}).Draw(t, "kind")
	switch n.kind {
	case unix.S_IFSOCK:
		if !g.sockets {
			n.kind = unix.S_IFIFO
		}
	case unix.S_IFREG:
		g.file(n)
	case unix.S_IFLNK:
		n.target = rapid.OneOf(components, rapid.Just("/etc/passwd"), rapid.Just("../"+strings.Repeat("y/", 1500))).Draw(t, "target")
	case unix.S_IFCHR, unix.S_IFBLK:
		n.rdev = unix.Mkdev(rapid.Uint32Range(1, 4000).Draw(t, "major"), rapid.Uint32Range(0, 1<<20-1).Draw(t, "minor"))
	}
	if n.kind == unix.S_IFREG || n.kind == unix.S_IFDIR {
		g.attributes(n)
	}
	return n
}

func (g *generator) file(n *node) {
	if len(g.files) > 0 && rapid.IntRange(0, 5).Draw(g.t, "link") == 0 {
		n.same = rapid.SampledFrom(g.files).Draw(g.t, "of")
		return
	}
	n.size = rapid.SampledFrom(sizes).Draw(g.t, "size")
	n.seed = rapid.Uint64Range(0, 5).Draw(g.t, "seed")
	if n.holes = rapid.IntRange(0, 3).Draw(g.t, "holes") == 0; n.holes {
		n.size *= 3
	}
	if g.bytes -= n.size; g.bytes < 0 {
		n.size = 100
	}
	g.files = append(g.files, n)
}

func (g *generator) attributes(n *node) {
	n.xattrs = map[string][]byte{}
	for range rapid.IntRange(-3, 3).Draw(g.t, "xattrs") {
		name := rapid.SampledFrom([]string{"user.", "trusted."}).Draw(g.t, "namespace") + rapid.StringMatching(`[a-z.\xff]{1,20}`).Draw(g.t, "xattr")
		n.xattrs[name] = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(g.t, "value")
	}
	if rapid.IntRange(0, 7).Draw(g.t, "acl") == 0 {
		n.acl = "u:1000:rx,g:65534:-,m::rwx"
		if n.kind == unix.S_IFDIR {
			n.acl += ",d:u:1000:rwx"
		}
	}
}

// make makes the node in the folder that fd is open on, and returns what went
// wrong.
func (n *node) make(fd int) error {
	if err := n.create(fd); err != nil {
		return fmt.Errorf("make %q: %w", n.name, err)
	}
	if n.same != nil {
		return nil
	}
	if err := unix.Fchownat(fd, n.name, n.uid, n.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown %q: %w", n.name, err)
	}
	if n.kind != unix.S_IFLNK {
		if err := unix.Fchmodat(fd, n.name, n.mode, 0); err != nil {
			return fmt.Errorf("chmod %q: %w", n.name, err)
		}
	}
	at := fmt.Sprintf("/proc/self/fd/%d/%s", fd, n.name)
	for name, value := range n.xattrs {
		if err := unix.Lsetxattr(at, name, value, 0); err != nil {
			return fmt.Errorf("set %s of %q: %w", name, n.name, err)
		}
	}
	if n.acl != "" {
		dir, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			return err
		}
		cmd := exec.Command("setfacl", "-m", n.acl, "./"+n.name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("setfacl %q: %w: %s", n.name, err, out)
		}
	}
	if err := unix.UtimesNanoAt(fd, n.name, []unix.Timespec{n.mtime, n.mtime}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times of %q: %w", n.name, err)
	}
	return nil
}

func (n *node) create(fd int) error {
	switch n.kind {
	case unix.S_IFDIR:
		return n.folder(fd)
	case unix.S_IFLNK:
		return unix.Symlinkat(n.target, fd, n.name)
	case unix.S_IFREG:
		if n.same != nil {
			return n.link(fd)
		}
		return n.write(fd)
	}
	return unix.Mknodat(fd, n.name, n.kind|0o600, int(n.rdev))
}

func (n *node) folder(fd int) error {
	if err := unix.Mkdirat(fd, n.name, 0o700); err != nil {
		return err
	}
	below, err := unix.Openat(fd, n.name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(below)
	for _, c := range n.children {
		if err := c.make(below); err != nil {
			return err
		}
	}
	return nil
}

// link makes a hard link. Its first name may be anywhere, so it is found by a
// descriptor that write leaves behind.
func (n *node) link(fd int) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", n.same.rdev), fd, n.name, unix.AT_SYMLINK_FOLLOW)
}

// write makes a file. Its descriptor stays open, in rdev, until closeAll.
func (n *node) write(fd int) error {
	f, err := unix.Openat(fd, n.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	n.rdev = uint64(f)
	if err := unix.Ftruncate(f, n.size); err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	random := rand.NewChaCha8([32]byte{byte(n.seed)})
	for at := int64(0); at < n.size; at += int64(len(b)) {
		if _, err := random.Read(b); err != nil {
			return err
		}
		if n.holes && b[0]%3 != 0 {
			continue
		}
		if _, err := unix.Pwrite(f, b[:min(int64(len(b)), n.size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// closeAll closes what write left open.
func (n *node) closeAll() {
	if n.kind == unix.S_IFREG && n.same == nil && n.rdev != 0 {
		_ = unix.Close(int(n.rdev))
		n.rdev = 0
	}
	for _, c := range n.children {
		c.closeAll()
	}
}
