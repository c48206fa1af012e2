package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// block is what a disk writes whole or not at all.
const block = 4096

// disk is a disk in memory that remembers in which order it was written and
// flushed. The kernel sees it as a file of a file system of this process, with
// a loop device on it.
type disk struct {
	fs.Inode
	size int64

	mu     sync.Mutex
	blocks map[int64]*[block]byte // never changed in place
	log    []event
	record bool
}

// event is a write, or with no blocks a flush.
type event struct {
	at     int64 // number of the first block
	blocks []*[block]byte
}

var (
	_ fs.NodeGetattrer = (*disk)(nil)
	_ fs.NodeOpener    = (*disk)(nil)
	_ fs.NodeReader    = (*disk)(nil)
	_ fs.NodeWriter    = (*disk)(nil)
	_ fs.NodeFsyncer   = (*disk)(nil)
)

// newDisk shows an empty disk of n bytes to the kernel, and returns it and its
// path.
func newDisk(t *testing.T, n int64) (*disk, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices take root")
	}
	d := &disk{size: n, blocks: map[int64]*[block]byte{}}
	dir := t.TempDir()
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		OnAdd: func(ctx context.Context) {
			root.AddChild("disk", root.NewPersistentInode(ctx, d, fs.StableAttr{Mode: syscall.S_IFREG}), true)
		},
		MountOptions: fuse.MountOptions{DirectMount: true, FsName: "disk", Name: "disk", MaxWrite: 1 << 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d, filepath.Join(dir, "disk")
}

// Getattr implements fs.NodeGetattrer.
func (d *disk) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(d.size)
	return 0
}

// Open implements fs.NodeOpener. The page cache would hold writes back.
func (d *disk) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// Read implements fs.NodeReader.
func (d *disk) Read(_ context.Context, _ fs.FileHandle, dst []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dst = dst[:max(0, min(int64(len(dst)), d.size-off))]
	for n := 0; n < len(dst); {
		at := off + int64(n)
		rest := dst[n:min(len(dst), n+block-int(at%block))]
		if b := d.blocks[at/block]; b != nil {
			copy(rest, b[at%block:])
		} else {
			clear(rest)
		}
		n += len(rest)
	}
	return fuse.ReadResultData(dst), 0
}

// Write implements fs.NodeWriter.
func (d *disk) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := event{at: off / block}
	for n := 0; n < len(data); {
		at := off + int64(n)
		b := &[block]byte{}
		if old := d.blocks[at/block]; old != nil {
			*b = *old
		}
		n += copy(b[at%block:], data[n:])
		d.blocks[at/block] = b
		e.blocks = append(e.blocks, b)
	}
	if d.record {
		d.log = append(d.log, e)
	}
	return uint32(len(data)), 0
}

// Fsync implements fs.NodeFsyncer: the loop device's flush.
func (d *disk) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.record {
		d.log = append(d.log, event{})
	}
	return 0
}

// position is how many events there were so far.
func (d *disk) position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// begin starts the log, and returns what is on the disk.
func (d *disk) begin() map[int64]*[block]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record, d.log = true, nil
	return maps.Clone(d.blocks)
}

// set puts other content on the disk, which nobody must have open.
func (d *disk) set(blocks map[int64]*[block]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blocks, d.record = blocks, false
}

// lost returns what is on the disk when its power goes after n events: all that
// was flushed, and of what was written since about half. If torn, a write may
// have been done in part.
func lost(before map[int64]*[block]byte, log []event, n int, torn bool, random *rand.Rand) map[int64]*[block]byte {
	blocks := maps.Clone(before)
	flushed := 0
	for i, e := range log[:n] {
		if len(e.blocks) == 0 {
			flushed = i
		}
	}
	for i, e := range log[:n] {
		whole := i < flushed || !torn && random.IntN(2) == 0
		for k, b := range e.blocks {
			if whole || i >= flushed && torn && random.IntN(2) == 0 {
				blocks[e.at+int64(k)] = b
			}
		}
	}
	return blocks
}

// mountDisk mounts the file system on the disk until unmount.
func mountDisk(path, dir, kind string) (unmount func() error, err error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	backing, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	for range 20 { // others take free devices, too
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}})
		if errors.Is(err, unix.EBUSY) {
			loop.Close()
			continue
		}
		if err == nil {
			err = unix.Mount(name, dir, kind, 0, "")
		}
		// The mount keeps the device; without one it goes with this descriptor.
		return func() error { return unix.Unmount(dir, 0) }, errors.Join(err, loop.Close())
	}
	return nil, unix.EBUSY
}

// format makes a file system on the disk.
func (d *disk) format(t *testing.T, path string, mkfs ...string) {
	t.Helper()
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		t.Skipf("needs %s", mkfs[0])
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
