//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// memoryTool shows the source itself from memory: what go-fuse and the kernel
// allow a mount. It is this program in a process of its own, so that its
// memory does not count as ours.
func memoryTool() (*tool, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &tool{
		name: limitName, path: self,
		env:   func(*place) []string { return nil },
		mount: func(p *place, dir string, _ bool) []string { return []string{self, "memory-fs", p.source, dir} },
		tree:  func(_ *place, dir string, _ bool) string { return dir },
	}, nil
}

// forever is how long the kernel may keep what never changes.
const forever = 24 * time.Hour

// maxMemory is the size of a source above which no memory file system is made.
const maxMemory = 6 << 30

// memoryNode is an entry held in memory.
type memoryNode struct {
	fs.Inode
	attr   fuse.Attr
	data   []byte // of a file
	target string // of a link
}

var (
	_ fs.NodeGetattrer  = (*memoryNode)(nil)
	_ fs.NodeOpener     = (*memoryNode)(nil)
	_ fs.NodeFlusher    = (*memoryNode)(nil)
	_ fs.NodeReader     = (*memoryNode)(nil)
	_ fs.NodeReadlinker = (*memoryNode)(nil)
)

// Getattr implements fs.NodeGetattrer.
func (n *memoryNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Attr = n.attr
	return 0
}

// Open implements fs.NodeOpener. After this answer the kernel asks no more and
// keeps what it has read.
func (n *memoryNode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, syscall.ENOSYS
}

// Flush implements fs.NodeFlusher; it is asked once, too.
func (n *memoryNode) Flush(context.Context, fs.FileHandle) syscall.Errno { return syscall.ENOSYS }

// Read implements fs.NodeReader.
func (n *memoryNode) Read(_ context.Context, _ fs.FileHandle, dst []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	at = min(at, int64(len(n.data)))
	return fuse.ReadResultData(n.data[at:min(int64(len(n.data)), at+int64(len(dst)))]), 0
}

// Readlink implements fs.NodeReadlinker.
func (n *memoryNode) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(n.target), 0 }

// load reads one entry of the source.
func load(path string) (*memoryNode, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, err
	}
	n := &memoryNode{}
	n.attr = fuse.Attr{Size: uint64(st.Size), Blocks: uint64(st.Blocks), Mtime: uint64(st.Mtim.Sec), Mtimensec: uint32(st.Mtim.Nsec),
		Mode: st.Mode, Nlink: 1, Owner: fuse.Owner{Uid: st.Uid, Gid: st.Gid}, Blksize: block}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.data, err = os.ReadFile(path)
	case unix.S_IFLNK:
		n.target, err = os.Readlink(path)
	}
	return n, err
}

// fillMemory builds the tree below root from the source.
func fillMemory(ctx context.Context, source string, root *memoryNode) error {
	folders := map[string]*fs.Inode{source: &root.Inode}
	total := uint64(0)
	return filepath.WalkDir(source, func(path string, d iofs.DirEntry, err error) error {
		if err != nil || path == source {
			return err
		}
		n, err := load(path)
		if err != nil {
			return err
		}
		if total += uint64(len(n.data)); total > maxMemory {
			return errors.New("too large for a memory file system")
		}
		parent := folders[filepath.Dir(path)]
		child := parent.NewPersistentInode(ctx, n, fs.StableAttr{Mode: n.attr.Mode & unix.S_IFMT})
		parent.AddChild(d.Name(), child, false)
		if d.IsDir() {
			folders[path] = child
		}
		return nil
	})
}

// serveMemory mounts a copy of source at dir until it is unmounted.
func serveMemory(source, dir string) error {
	if holes, err := tooLarge(source); err != nil || holes {
		return errors.Join(err, errors.New("too large for a memory file system"))
	}
	root, err := load(source)
	if err != nil {
		return err
	}
	var filled error
	d := forever
	server, err := fs.Mount(dir, root, &fs.Options{
		EntryTimeout: &d, AttrTimeout: &d,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, DirectMountFlags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV,
			MaxWrite: 1 << 20, MaxReadAhead: 1 << 20, DisableXAttrs: true, FsName: "bench-memory"},
		OnAdd: func(ctx context.Context) { filled = fillMemory(ctx, source, root) },
	})
	if err != nil {
		return fmt.Errorf("mount a memory file system: %w", err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, unix.SIGTERM)
	go func() { <-stop; _ = server.Unmount() }()
	if filled != nil {
		return errors.Join(filled, server.Unmount())
	}
	readAhead(dir)
	server.Wait()
	return nil
}

// tooLarge looks at the sizes, holes included: they would be held in memory.
func tooLarge(source string) (bool, error) {
	var total int64
	err := filepath.WalkDir(source, func(_ string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total > maxMemory, err
}

// readAhead lets the kernel ask for 1 MiB at once; where it refuses, reads are
// smaller and the limit is lower.
func readAhead(dir string) {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return
	}
	bdi := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	if err := os.WriteFile(bdi, []byte(strings.TrimSpace("1024")), 0); err != nil {
		fmt.Fprintln(os.Stderr, "raise read-ahead:", err)
	}
}
