package roundtrip

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// comparison compares a point with the folders on the host. It asks the kernel
// itself: nothing of what made the point is used.
type comparison struct {
	repo    *repo.Repository
	tree    *table.Tree
	sockets int
	entries int
	found   []string // differences
}

func compare(ctx context.Context, r *repo.Repository, p *repo.Point, root string) (*comparison, error) {
	tree, err := r.Tree(ctx, p, table.Options{})
	if err != nil {
		return nil, err
	}
	c := &comparison{repo: r, tree: tree}
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := c.folder(ctx, fd, root); err != nil {
		return nil, err
	}
	from, _, err := tree.Seek(ctx, table.Key(root))
	if err != nil {
		return nil, err
	}
	saved := 0
	for it, err := range tree.From(ctx, from) {
		if err != nil {
			return nil, err
		}
		if path := table.Path(it.Entry.Key); strings.HasPrefix(path, root+"/") {
			saved++
		}
	}
	if saved != c.entries {
		c.differ(root, "%d entries below it are saved, and there are %d", saved, c.entries)
	}
	return c, nil
}

func (c *comparison) differ(path, format string, a ...any) {
	c.found = append(c.found, fmt.Sprintf("%.300q: ", path)+fmt.Sprintf(format, a...))
}

// folder compares what is in the folder that fd is open on.
func (c *comparison) folder(ctx context.Context, fd int, path string) error {
	again, err := unix.Openat(fd, ".", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(again), path)
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	_ = f.Close()
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			c.sockets++
			if _, err := c.tree.Lookup(ctx, table.Key(path+"/"+name)); err == nil {
				c.differ(path+"/"+name, "is a socket and was saved")
			}
			continue
		}
		c.entries++
		it, err := c.tree.Lookup(ctx, table.Key(path+"/"+name))
		if err != nil {
			c.differ(path+"/"+name, "%v", err)
			continue
		}
		if err := c.entry(ctx, fd, name, path+"/"+name, &st, it.Entry); err != nil {
			return err
		}
	}
	return nil
}

var kinds = map[uint32]table.Kind{
	unix.S_IFREG: table.File, unix.S_IFDIR: table.Folder, unix.S_IFLNK: table.Symlink,
	unix.S_IFIFO: table.FIFO, unix.S_IFCHR: table.CharDevice, unix.S_IFBLK: table.BlockDevice,
}

// entry compares one entry, and what is below it.
func (c *comparison) entry(ctx context.Context, fd int, name, path string, st *unix.Stat_t, e *table.Entry) error {
	kind := st.Mode & unix.S_IFMT
	if e.Kind != kinds[kind] || e.Mode != st.Mode&0o7777 || e.UID != st.Uid || e.GID != st.Gid || e.Incomplete {
		c.differ(path, "%s %o %d:%d (incomplete %v) instead of %o %d:%d", e.Kind, e.Mode, e.UID, e.GID, e.Incomplete, st.Mode, st.Uid, st.Gid)
	}
	if e.MTime.Sec != st.Mtim.Sec || int64(e.MTime.Nsec) != st.Mtim.Nsec {
		c.differ(path, "mtime %d.%d instead of %d.%d", e.MTime.Sec, e.MTime.Nsec, st.Mtim.Sec, st.Mtim.Nsec)
	}
	linked := kind != unix.S_IFDIR && st.Nlink > 1
	if linked != (e.Link != nil) || linked && (e.Link.Inode != st.Ino || e.Link.Count != uint64(st.Nlink)) {
		c.differ(path, "link %+v, inode %d, %d names", e.Link, st.Ino, st.Nlink)
	}
	if err := c.attributes(fd, name, path, e); err != nil {
		return err
	}
	switch kind {
	case unix.S_IFDIR:
		below, err := unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(below)
		return c.folder(ctx, below, path)
	case unix.S_IFLNK:
		target := make([]byte, 1<<16)
		n, err := unix.Readlinkat(fd, name, target)
		if err != nil {
			return err
		}
		if e.Target != string(target[:n]) {
			c.differ(path, "target %.100q instead of %.100q", e.Target, target[:n])
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if e.Major != unix.Major(st.Rdev) || e.Minor != unix.Minor(st.Rdev) {
			c.differ(path, "device %d:%d", e.Major, e.Minor)
		}
	case unix.S_IFREG:
		return c.content(ctx, fd, name, path, st, e)
	}
	return nil
}

func (c *comparison) attributes(fd int, name, path string, e *table.Entry) error {
	at := fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(at, list)
	if err != nil {
		return err
	}
	var names []string
	for _, x := range strings.Split(string(list[:n]), "\x00") {
		if x != "" {
			names = append(names, x)
		}
	}
	slices.Sort(names)
	var saved []string
	for _, x := range e.Xattrs {
		saved = append(saved, x.Name)
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(at, x.Name, value)
		if err != nil || !bytes.Equal(value[:max(n, 0)], x.Value) {
			c.differ(path, "attribute %s: %x instead of %x", x.Name, x.Value, value[:max(n, 0)])
		}
	}
	if !slices.Equal(names, saved) {
		c.differ(path, "attributes %q instead of %q", saved, names)
	}
	return nil
}

// content compares a file's bytes, and that holes of large files stay holes.
func (c *comparison) content(ctx context.Context, fd int, name, path string, st *unix.Stat_t, e *table.Entry) error {
	raw, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(raw), name)
	defer f.Close()
	if e.Size != uint64(st.Size) {
		c.differ(path, "%d bytes instead of %d", e.Size, st.Size)
		return nil
	}
	if e.Inline != nil {
		want, err := io.ReadAll(f)
		if !bytes.Equal(want, e.Inline) {
			c.differ(path, "other bytes in the entry")
		}
		return err
	}
	holes := int64(0)
	end := uint64(0)
	for x, err := range table.OpenExtents(c.repo, e, table.Options{}).From(ctx, 0) {
		if err != nil {
			return err
		}
		if end != x.Start {
			c.differ(path, "extent at %d instead of %d", x.Start, end)
		}
		end = x.Start + x.Length
		if x.Hole {
			holes += int64(x.Length)
		}
		if err := c.extent(ctx, f, path, x); err != nil {
			return err
		}
	}
	if end != e.Size {
		c.differ(path, "extents end at %d of %d", end, e.Size)
	}
	// Small files are read whole; images keep holes by blocks of 16 KiB.
	if there := holesOf(raw, st.Size); st.Size > 2<<20 && holes < there*3/4-64<<10 {
		c.differ(path, "%d bytes of holes instead of %d", holes, there)
	}
	return nil
}

func (c *comparison) extent(ctx context.Context, f *os.File, path string, x table.Located) error {
	const step = 1 << 20
	for at := uint64(0); at < x.Length; at += step {
		n := min(step, x.Length-at)
		got, want := make([]byte, n), make([]byte, n)
		if !x.Hole {
			if err := c.repo.ReadRaw(ctx, x.Pack, x.Offset+uint32(at), got); err != nil {
				return err
			}
		}
		if _, err := f.ReadAt(want, int64(x.Start+at)); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			c.differ(path, "other bytes from %d on", x.Start+at)
			return nil
		}
	}
	return nil
}

// holesOf adds up the holes of a file.
func holesOf(fd int, size int64) int64 {
	holes := size
	for at := int64(0); at < size; {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err != nil { // no data from here on
			return holes
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return holes
		}
		holes -= end - start
		at = end
	}
	return holes
}
