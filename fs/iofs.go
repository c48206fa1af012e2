package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// IOFS shows what is below a folder as the standard library's file system,
// with its names and rules: links are shown, not followed, ReadLink and Lstat
// work. Names that are not UTF-8 are shown and can be opened, although
// iofs.ValidPath would refuse them. ctx bounds every call made through it.
func (t *Tree) IOFS(ctx context.Context, root Node) iofs.FS {
	return &ioFS{tree: t, root: root, life: func() context.Context { return ctx }}
}

type ioFS struct {
	tree *Tree
	root Node
	life func() context.Context // that of IOFS: the interfaces have no room for one
}

var (
	_ iofs.ReadLinkFS  = (*ioFS)(nil)
	_ iofs.ReadDirFile = (*ioFile)(nil)
	_ io.ReaderAt      = (*ioFile)(nil)
	_ io.Seeker        = (*ioFile)(nil)
)

// find walks to a name.
func (f *ioFS) find(op, name string) (Attr, error) {
	if name != "." && !validName(name) {
		return Attr{}, &iofs.PathError{Op: op, Path: name, Err: iofs.ErrInvalid}
	}
	a, err := f.tree.Attr(f.life(), f.root)
	if name != "." {
		for part := range strings.SplitSeq(name, "/") {
			if err == nil {
				a, err = f.tree.Lookup(f.life(), a.Node, part)
			}
		}
	}
	if err != nil {
		return Attr{}, &iofs.PathError{Op: op, Path: name, Err: err}
	}
	return a, nil
}

// validName is iofs.ValidPath without the demand for UTF-8.
func validName(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// Open implements iofs.FS.
func (f *ioFS) Open(name string) (iofs.File, error) {
	a, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	return &ioFile{fs: f, info: ioInfo{name[strings.LastIndexByte(name, '/')+1:], a}}, nil
}

// Lstat implements iofs.ReadLinkFS.
func (f *ioFS) Lstat(name string) (iofs.FileInfo, error) {
	a, err := f.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return ioInfo{name[strings.LastIndexByte(name, '/')+1:], a}, nil
}

// ReadLink implements iofs.ReadLinkFS.
func (f *ioFS) ReadLink(name string) (string, error) {
	a, err := f.find("readlink", name)
	if err != nil {
		return "", err
	}
	target, err := f.tree.Readlink(f.life(), a.Node)
	if err != nil {
		return "", &iofs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ioFile is an open file or folder, for one goroutine at a time; ReadAt for many.
type ioFile struct {
	fs     *ioFS
	info   ioInfo
	offset int64
	cookie uint64
}

func (f *ioFile) fail(op string, err error) error {
	return &iofs.PathError{Op: op, Path: f.info.name, Err: err}
}

func (f *ioFile) Stat() (iofs.FileInfo, error) { return f.info, nil }
func (f *ioFile) Close() error                 { return nil }

func (f *ioFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.offset)
	f.offset += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *ioFile) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, f.fail("read", fault.Invalid)
	}
	n, err := f.fs.tree.Read(f.fs.life(), f.info.a.Node, uint64(offset), p)
	if err != nil {
		return n, f.fail("read", err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *ioFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += int64(f.info.a.Size)
	}
	if offset < 0 {
		return 0, f.fail("seek", fault.Invalid)
	}
	f.offset = offset
	return offset, nil
}

func (f *ioFile) ReadDir(n int) ([]iofs.DirEntry, error) {
	var list []iofs.DirEntry
	for d, err := range f.fs.tree.ReadDir(f.fs.life(), f.info.a.Node, max(f.cookie, 2)) {
		if err != nil {
			return list, f.fail("readdir", err)
		}
		a := d.Attr
		if d.Bare {
			if a, err = f.fs.tree.Attr(f.fs.life(), a.Node); err != nil {
				return list, f.fail("readdir", err)
			}
		}
		f.cookie = d.Next
		list = append(list, iofs.FileInfoToDirEntry(ioInfo{string(d.Name), a}))
		if len(list) == n {
			break
		}
	}
	if n > 0 && len(list) == 0 {
		return nil, io.EOF
	}
	return list, nil
}

// ioInfo is an Attr with a name.
type ioInfo struct {
	name string
	a    Attr
}

func (i ioInfo) Name() string       { return i.name }
func (i ioInfo) Size() int64        { return int64(i.a.Size) }
func (i ioInfo) ModTime() time.Time { return time.Unix(i.a.MTime.Sec, int64(i.a.MTime.Nsec)) }
func (i ioInfo) IsDir() bool        { return i.a.Kind == table.Folder }

// Sys returns the Attr.
func (i ioInfo) Sys() any { return i.a }

func (i ioInfo) Mode() iofs.FileMode {
	m := iofs.FileMode(i.a.Mode & 0o777)
	for bit, mode := range map[uint32]iofs.FileMode{0o4000: iofs.ModeSetuid, 0o2000: iofs.ModeSetgid, 0o1000: iofs.ModeSticky} {
		if i.a.Mode&bit != 0 {
			m |= mode
		}
	}
	switch i.a.Kind {
	case table.Folder:
		m |= iofs.ModeDir
	case table.Symlink:
		m |= iofs.ModeSymlink
	case table.FIFO:
		m |= iofs.ModeNamedPipe
	case table.CharDevice:
		m |= iofs.ModeDevice | iofs.ModeCharDevice
	case table.BlockDevice:
		m |= iofs.ModeDevice
	}
	return m
}

// String formats like ls -l, for messages.
func (i ioInfo) String() string { return fmt.Sprintf("%s %d %q", i.Mode(), i.Size(), i.name) }
