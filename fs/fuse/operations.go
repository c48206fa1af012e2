//go:build linux || darwin || freebsd

package fuse

import (
	"context"
	"log/slog"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// operations answers the kernel. What it does not answer is ENOSYS, which is
// right for all that writes: the kernel refuses that itself.
type operations struct {
	gofuse.RawFileSystem
	tree *fs.Tree
	ctx  context.Context // the life of the mount: requests have none of their own
	log  *slog.Logger

	// generation is this mount's own. An NFS server hands out nodes with it;
	// in another mount the same number may be another file.
	generation uint64
}

func (o *operations) String() string { return Name }

// errnos says what users see of each kind of failure.
func errnos() [fault.NumKinds]syscall.Errno {
	return [fault.NumKinds]syscall.Errno{
		fault.Internal:    syscall.EIO,
		fault.NotExist:    syscall.ENOENT,
		fault.Exist:       syscall.EEXIST,
		fault.Denied:      syscall.EACCES,
		fault.Locked:      syscall.EACCES,
		fault.Corrupt:     syscall.EIO,
		fault.Invalid:     syscall.EINVAL,
		fault.ReadOnly:    syscall.EROFS,
		fault.NoSpace:     syscall.ENOSPC,
		fault.Unavailable: syscall.EIO,
		fault.Unsupported: syscall.ENOTSUP,
		fault.Stale:       syscall.ESTALE,
		fault.TooLarge:    syscall.EFBIG,
		fault.NotDir:      syscall.ENOTDIR,
		fault.IsDir:       syscall.EISDIR,
		fault.Changed:     syscall.EIO,
		fault.Rollback:    syscall.EIO,
		fault.Canceled:    syscall.EINTR,
	}
}

// fail translates an error, and tells the log what a bare errno cannot.
func (o *operations) fail(op string, n uint64, err error) gofuse.Status {
	kind := fault.KindOf(err)
	no := errnos()[kind]
	if no == syscall.EIO {
		o.log.Error("a request failed", "operation", op, "node", fs.Node(n), "error", err)
	}
	return gofuse.Status(no)
}

// Lookup finds a name. That a name is not there holds as long as that it is.
func (o *operations) Lookup(_ <-chan struct{}, in *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	a, err := o.lookup(fs.Node(in.NodeId), name)
	if err != nil {
		if fault.KindOf(err) != fault.NotExist {
			return o.fail("lookup", in.NodeId, err)
		}
		*out = gofuse.EntryOut{}
		out.SetEntryTimeout(hold(o.tree.Fixed(fs.Node(in.NodeId))))
		return gofuse.OK
	}
	o.setEntry(out, &a, o.tree.Fixed(fs.Node(in.NodeId)))
	return gofuse.OK
}

// lookup finds a name. The kernel asks for "." and ".." for an NFS server alone:
// it has a node and wants to know what it is, and where.
func (o *operations) lookup(n fs.Node, name string) (fs.Attr, error) {
	switch name {
	case ".":
		return o.tree.Attr(o.ctx, n)
	case "..":
		for d, err := range o.tree.ReadDir(o.ctx, n, 1) {
			if err != nil {
				return fs.Attr{}, err
			}
			return o.tree.Attr(o.ctx, d.Attr.Node)
		}
	}
	return o.tree.Lookup(o.ctx, n, name)
}

// setEntry fills the answer about a name in a folder that is fixed or not.
func (o *operations) setEntry(out *gofuse.EntryOut, a *fs.Attr, fixed bool) {
	out.NodeId, out.Generation = uint64(a.Node), o.generation
	out.SetEntryTimeout(hold(fixed && a.Fixed)) // not of what is made up in a folder
	out.SetAttrTimeout(hold(a.Fixed))
	setAttr(&out.Attr, a)
}

func setAttr(out *gofuse.Attr, a *fs.Attr) {
	out.Ino, out.Size, out.Blocks = a.Inode, a.Size, a.Blocks
	out.Mode = fileType(a.Kind) | a.Mode
	out.Nlink, out.Uid, out.Gid = a.Nlink, a.UID, a.GID
	sec := uint64(a.MTime.Sec)
	out.Atime, out.Mtime, out.Ctime = sec, sec, sec
	out.Atimensec, out.Mtimensec, out.Ctimensec = a.MTime.Nsec, a.MTime.Nsec, a.MTime.Nsec
	if a.Kind == table.CharDevice || a.Kind == table.BlockDevice {
		out.Rdev = device(a.Major, a.Minor)
	}
}

func fileType(k table.Kind) uint32 {
	switch k {
	case table.Folder:
		return syscall.S_IFDIR
	case table.Symlink:
		return syscall.S_IFLNK
	case table.FIFO:
		return syscall.S_IFIFO
	case table.CharDevice:
		return syscall.S_IFCHR
	case table.BlockDevice:
		return syscall.S_IFBLK
	}
	return syscall.S_IFREG
}

// device packs device numbers as the protocol wants them: the 32 bits of
// Linux's new_encode_dev.
func device(major, minor uint32) uint32 {
	return minor&0xff | major&0xfff<<8 | minor&^0xff<<12
}

// Forget has nothing to do: nodes cost no memory.
func (o *operations) Forget(uint64, uint64) {}

func (o *operations) GetAttr(_ <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	a, err := o.tree.Attr(o.ctx, fs.Node(in.NodeId))
	if err != nil {
		return o.fail("getattr", in.NodeId, err)
	}
	out.SetTimeout(hold(a.Fixed))
	setAttr(&out.Attr, &a)
	return gofuse.OK
}

// maxTarget is the longest target that the kernel takes: a page with its end.
const maxTarget = 4095

func (o *operations) Readlink(_ <-chan struct{}, in *gofuse.InHeader) ([]byte, gofuse.Status) {
	target, err := o.tree.Readlink(o.ctx, fs.Node(in.NodeId))
	if err != nil {
		return nil, o.fail("readlink", in.NodeId, err)
	}
	if len(target) > maxTarget {
		return nil, gofuse.Status(syscall.ENAMETOOLONG)
	}
	return []byte(target), gofuse.OK
}

// Open, OpenDir and Flush tell the kernel never to ask: see the package.

func (o *operations) Open(_ <-chan struct{}, _ *gofuse.OpenIn, _ *gofuse.OpenOut) gofuse.Status {
	return gofuse.ENOSYS
}

func (o *operations) OpenDir(_ <-chan struct{}, _ *gofuse.OpenIn, _ *gofuse.OpenOut) gofuse.Status {
	return gofuse.ENOSYS
}

func (o *operations) Flush(_ <-chan struct{}, _ *gofuse.FlushIn) gofuse.Status {
	return gofuse.ENOSYS
}

func (o *operations) Read(_ <-chan struct{}, in *gofuse.ReadIn, buf []byte) (gofuse.ReadResult, gofuse.Status) {
	n, err := o.tree.Read(o.ctx, fs.Node(in.NodeId), in.Offset, buf[:min(len(buf), int(in.Size))])
	if err != nil {
		return nil, o.fail("read", in.NodeId, err)
	}
	return gofuse.ReadResultData(buf[:n]), gofuse.OK
}

func (o *operations) Lseek(_ <-chan struct{}, in *gofuse.LseekIn, out *gofuse.LseekOut) gofuse.Status {
	start, end, err := o.tree.Data(o.ctx, fs.Node(in.NodeId), in.Offset)
	switch {
	case fault.KindOf(err) == fault.Invalid && err != nil:
		return gofuse.Status(syscall.ENXIO)
	case err != nil:
		return o.fail("lseek", in.NodeId, err)
	case start == end:
		// Behind the last data: there is none to find, and the hole that
		// every file ends with begins here or at the size.
		if in.Whence == seekData || in.Offset == end {
			return gofuse.Status(syscall.ENXIO)
		}
		out.Offset = in.Offset
	case in.Whence == seekData:
		out.Offset = start
	case in.Whence == seekHole && start > in.Offset:
		out.Offset = in.Offset
	case in.Whence == seekHole:
		out.Offset = end
	default:
		return gofuse.EINVAL
	}
	return gofuse.OK
}

func (o *operations) GetXAttr(_ <-chan struct{}, in *gofuse.InHeader, name string, dst []byte) (uint32, gofuse.Status) {
	if o.tree.NoXattrs() {
		return 0, gofuse.ENOSYS
	}
	value, err := o.tree.Xattr(o.ctx, fs.Node(in.NodeId), name)
	if err != nil {
		if fault.KindOf(err) == fault.NotExist {
			return 0, gofuse.ENOATTR
		}
		return 0, o.fail("getxattr", in.NodeId, err)
	}
	return copyOut(dst, value)
}

func (o *operations) ListXAttr(_ <-chan struct{}, in *gofuse.InHeader, dst []byte) (uint32, gofuse.Status) {
	if o.tree.NoXattrs() {
		return 0, gofuse.ENOSYS
	}
	names, err := o.tree.Xattrs(o.ctx, fs.Node(in.NodeId))
	if err != nil {
		return 0, o.fail("listxattr", in.NodeId, err)
	}
	return copyOut(dst, names)
}

// copyOut answers with ERANGE and the size needed if there is no room.
func copyOut(dst, value []byte) (uint32, gofuse.Status) {
	if len(dst) < len(value) {
		return uint32(len(value)), gofuse.ERANGE
	}
	return uint32(copy(dst, value)), gofuse.OK
}

// statBlock is the unit in which StatFs counts.
const statBlock = 4096

func (o *operations) StatFs(_ <-chan struct{}, in *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	s, err := o.tree.Stat(o.ctx)
	if err != nil {
		return o.fail("statfs", in.NodeId, err)
	}
	*out = gofuse.StatfsOut{
		Blocks: (s.Bytes + statBlock - 1) / statBlock, Files: s.Files,
		Bsize: statBlock, Frsize: statBlock, NameLen: 255,
	}
	return gofuse.OK
}
