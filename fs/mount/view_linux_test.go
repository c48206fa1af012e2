package mount_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/fs/fsconform"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// view looks at a folder with system calls.
type view struct{ root string }

var _ fsconform.View = view{}

// with calls f with a path below /proc/self/fd that is short enough for every
// system call, however long path is.
func (v view) with(path string, f func(short string) error) error {
	fd, err := unix.Open(v.root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { unix.Close(fd) }()
	rest := strings.Trim(path, "/")
	for len(rest) > 3000 {
		at := strings.LastIndexByte(rest[:3000], '/')
		next, err := unix.Openat(fd, rest[:at], unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		unix.Close(fd)
		fd, rest = next, rest[at+1:]
	}
	if rest == "" {
		rest = "."
	}
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", fd, rest))
}

func (v view) Stat(path string) (a fs.Attr, err error) {
	err = v.with(path, func(p string) error {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		a = attr(&st)
		return nil
	})
	return a, err
}

func attr(st *unix.Stat_t) fs.Attr {
	a := fs.Attr{Inode: st.Ino, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Nlink: uint32(st.Nlink), Size: uint64(st.Size),
		Blocks: uint64(st.Blocks), MTime: table.Time{Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec)}}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		a.Kind = table.Folder
	case unix.S_IFLNK:
		a.Kind = table.Symlink
	case unix.S_IFIFO:
		a.Kind = table.FIFO
	case unix.S_IFCHR:
		a.Kind = table.CharDevice
	case unix.S_IFBLK:
		a.Kind = table.BlockDevice
	}
	if a.Kind == table.CharDevice || a.Kind == table.BlockDevice {
		a.Major, a.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return a
}

func (v view) List(path string) (names []string, err error) {
	err = v.with(path, func(p string) error {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		names, err = f.Readdirnames(-1)
		return err
	})
	return names, err
}

func (v view) Readlink(path string) (target string, err error) {
	err = v.with(path, func(p string) error {
		target, err = os.Readlink(p)
		return err
	})
	return target, err
}

func (v view) Xattrs(path string) (all map[string]string, err error) {
	err = v.with(path, func(p string) error {
		all, err = xattrs(p)
		return err
	})
	return all, err
}

// xattrs asks for sizes first, and then in a buffer of just that size.
func xattrs(path string) (map[string]string, error) {
	n, err := unix.Llistxattr(path, nil)
	if err != nil {
		return nil, err
	}
	list := make([]byte, n)
	if n, err = unix.Llistxattr(path, list); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, nil)
		if err != nil {
			return nil, err
		}
		value := make([]byte, n)
		if n > 1 {
			if _, err := unix.Lgetxattr(path, name, value[:n-1]); err != unix.ERANGE {
				return nil, fmt.Errorf("attribute %s of %s into %d bytes: %v, want ERANGE", name, path, n-1, err)
			}
		}
		if n > 0 {
			if _, err = unix.Lgetxattr(path, name, value); err != nil {
				return nil, err
			}
		}
		all[name] = string(value)
	}
	return all, nil
}

func (v view) Open(path string) (o fsconform.Opened, err error) {
	err = v.with(path, func(p string) error {
		f, err := os.Open(p)
		o = opened{f}
		return err
	})
	return o, err
}

type opened struct{ *os.File }

func (o opened) Data(offset int64) (start, end int64, err error) {
	size, err := unix.Seek(int(o.Fd()), 0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	start, err = unix.Seek(int(o.Fd()), offset, unix.SEEK_DATA)
	if err == unix.ENXIO {
		return size, size, nil
	}
	if err != nil {
		return 0, 0, err
	}
	end, err = unix.Seek(int(o.Fd()), start, unix.SEEK_HOLE)
	return start, end, err
}

// scan takes a folder as a tree for a Source.
func scan(root string) ([]fsconform.File, error) {
	var files []fsconform.File
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		a := attr(&st)
		f := fsconform.File{Path: "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/"),
			Entry: table.Entry{Kind: a.Kind, Mode: a.Mode, UID: a.UID, GID: a.GID, MTime: a.MTime}}
		all, err := xattrs(path)
		if err != nil {
			return err
		}
		f.Entry.Xattrs = sorted(all)
		if a.Kind == table.File {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f.Data = fsconform.Bytes(content)
		}
		files = append(files, f)
		return nil
	})
	return files, err
}
