package winfsp

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/winfsp/cgofuse/fuse"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Mount is a mounted tree.
type Mount struct {
	host   *fuse.FileSystemHost
	stop   context.CancelFunc
	served chan struct{} // closed when the last call is answered
	err    error         // why it ended, if not by an unmount; read after served
}

// startTime is how long a mount may take to answer.
const startTime = 30 * time.Second

// New mounts tree at a free drive ("X:") or a folder that is not there yet, and
// serves it until Unmount. fault.Unsupported: WinFsp is not installed.
func New(ctx context.Context, at string, tree *fs.Tree, o Options) (*Mount, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("mount %s: %w", at, err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	a := &adapter{system: NewSystem(life, tree, o), begun: make(chan struct{})}
	host := fuse.NewFileSystemHost(a)
	host.SetCapCaseInsensitive(true)
	host.SetCapReaddirPlus(true)
	m := &Mount{host: host, stop: stop, served: make(chan struct{})}
	go func() {
		defer close(m.served)
		m.err = serve(host, at, arguments(at, o))
	}()
	select {
	case <-a.begun:
		return m, nil
	case <-m.served:
		stop()
		if m.err != nil {
			return nil, fmt.Errorf("mount %s: %w", at, m.err)
		}
		return nil, fmt.Errorf("mount %s: WinFsp refused (is it a free drive, or a folder that is not there yet?): %w", at, fault.Exist)
	case <-time.After(startTime):
		host.Unmount()
		stop()
		return nil, fmt.Errorf("mount %s: no answer from WinFsp in %v: %w", at, startTime, fault.Unavailable)
	}
}

// serve answers calls until the file system is unmounted. cgofuse panics where
// WinFsp is missing.
func serve(host *fuse.FileSystemHost, at string, args []string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v: %w", p, fault.Unsupported)
		}
	}()
	host.Mount(at, args)
	return nil
}

// arguments of WinFsp.
func arguments(at string, o Options) []string {
	prefix := o.Prefix
	if prefix == "" {
		prefix = `\tidemark\` + strings.TrimSuffix(strings.NewReplacer(`\`, "-", "/", "-", ":", "").Replace(at), "-")
	}
	args := []string{
		"--VolumePrefix=" + prefix, "-o", "volname=Tidemark", "-o", "FileSystemName=Tidemark",
		// What is in a point never changes, the list of points does.
		"-o", "FileInfoTimeout=5000", "-o", "DirInfoTimeout=5000", "-o", "VolumeInfoTimeout=10000",
	}
	if !o.KeepOwners {
		args = append(args, "-o", "uid=-1", "-o", "gid=-1")
	}
	return args
}

// Wait returns when the tree is no longer mounted and all calls are done.
func (m *Mount) Wait() {
	<-m.served
	m.stop()
}

// Unmount ends the mount. If it cannot the error is fault.Unavailable.
func (m *Mount) Unmount() error {
	if !m.host.Unmount() {
		return fmt.Errorf("unmount: %w", fault.Unavailable)
	}
	m.Wait()
	return nil
}

// adapter hands cgofuse's calls on. What it does not have writes, and is
// answered below.
type adapter struct {
	fuse.FileSystemBase
	system *System
	begun  chan struct{}
}

var _ fuse.FileSystemInterface = (*adapter)(nil)

func (a *adapter) Init() { close(a.begun) }

func (a *adapter) Statfs(_ string, out *fuse.Statfs_t) int {
	st, errno := a.system.Stat()
	const block = 4096
	*out = fuse.Statfs_t{Bsize: block, Frsize: block, Blocks: (st.Bytes + block - 1) / block, Files: st.Files, Namemax: 255}
	return errno
}

func (a *adapter) Getattr(path string, out *fuse.Stat_t, handle uint64) int {
	attr, errno := a.system.Attr(path, handle)
	if errno == 0 {
		setStat(out, &attr)
	}
	return errno
}

func setStat(out *fuse.Stat_t, a *fs.Attr) {
	at := fuse.Timespec{Sec: a.MTime.Sec, Nsec: int64(a.MTime.Nsec)}
	*out = fuse.Stat_t{
		Ino: a.Inode, Mode: fuse.S_IFREG | a.Mode, Nlink: a.Nlink, Uid: a.UID, Gid: a.GID, Size: int64(a.Size),
		Blksize: 4096, Blocks: int64(a.Blocks), Atim: at, Mtim: at, Ctim: at, Birthtim: at, Flags: fuse.UF_READONLY,
	}
	if a.Kind == table.Folder {
		out.Mode, out.Flags = fuse.S_IFDIR|a.Mode, 0
	}
}

func (a *adapter) Open(path string, flags int) (int, uint64) {
	handle, errno := a.system.Open(path, false, flags&fuse.O_ACCMODE != fuse.O_RDONLY)
	return errno, handle
}

func (a *adapter) Opendir(path string) (int, uint64) {
	handle, errno := a.system.Open(path, true, false)
	return errno, handle
}

func (a *adapter) Release(string, uint64) int    { return 0 }
func (a *adapter) Releasedir(string, uint64) int { return 0 }
func (a *adapter) Flush(string, uint64) int      { return 0 }

func (a *adapter) Read(path string, dst []byte, offset int64, handle uint64) int {
	return a.system.Read(path, handle, dst, offset)
}

func (a *adapter) Readdir(path string, fill func(string, *fuse.Stat_t, int64) bool, _ int64, handle uint64) int {
	var st fuse.Stat_t
	return a.system.ReadDir(path, handle, func(name string, attr *fs.Attr) bool {
		if attr == nil {
			return fill(name, nil, 0)
		}
		setStat(&st, attr)
		return fill(name, &st, 0)
	})
}

func (a *adapter) Getxattr(path, name string) (int, []byte) {
	value, errno := a.system.Xattr(path, name)
	return errno, value
}

func (a *adapter) Listxattr(path string, fill func(string) bool) int {
	return a.system.Xattrs(path, fill)
}

func (a *adapter) Mknod(string, uint32, uint64) int         { return a.system.ReadOnly() }
func (a *adapter) Mkdir(string, uint32) int                 { return a.system.ReadOnly() }
func (a *adapter) Unlink(string) int                        { return a.system.ReadOnly() }
func (a *adapter) Rmdir(string) int                         { return a.system.ReadOnly() }
func (a *adapter) Link(string, string) int                  { return a.system.ReadOnly() }
func (a *adapter) Symlink(string, string) int               { return a.system.ReadOnly() }
func (a *adapter) Rename(string, string) int                { return a.system.ReadOnly() }
func (a *adapter) Chmod(string, uint32) int                 { return a.system.ReadOnly() }
func (a *adapter) Chown(string, uint32, uint32) int         { return a.system.ReadOnly() }
func (a *adapter) Utimens(string, []fuse.Timespec) int      { return a.system.ReadOnly() }
func (a *adapter) Truncate(string, int64, uint64) int       { return a.system.ReadOnly() }
func (a *adapter) Write(string, []byte, int64, uint64) int  { return a.system.ReadOnly() }
func (a *adapter) Setxattr(string, string, []byte, int) int { return a.system.ReadOnly() }
func (a *adapter) Removexattr(string, string) int           { return a.system.ReadOnly() }
func (a *adapter) Create(string, int, uint32) (int, uint64) { return a.system.ReadOnly(), NoHandle }
