package compat

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// readFolder lists a real folder and all below it.
func readFolder(t *testing.T, root string) []line {
	t.Helper()
	var out []line
	err := filepath.WalkDir(root, func(path string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return nil
		}
		l, err := readLine(path, &st)
		out = append(out, l)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readLine(path string, st *unix.Stat_t) (line, error) {
	l := line{mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid, size: uint64(st.Size),
		sec: st.Mtim.Sec, nsec: uint32(st.Mtim.Nsec), path: path}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		l.link = fmt.Sprint(st.Dev, st.Ino)
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		l.kind = "file"
		l.sum, l.holes, err = readContent(path, st.Size)
	case unix.S_IFDIR:
		l.kind = "folder"
	case unix.S_IFLNK:
		l.kind = "symlink"
		l.target, err = os.Readlink(path)
	case unix.S_IFIFO:
		l.kind = "fifo"
	case unix.S_IFCHR, unix.S_IFBLK:
		l.kind = map[uint32]string{unix.S_IFCHR: "char", unix.S_IFBLK: "block"}[st.Mode&unix.S_IFMT]
		l.device = fmt.Sprintf("%d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	default:
		return l, fmt.Errorf("%s: mode %o", path, st.Mode)
	}
	if err != nil {
		return l, err
	}
	l.xattrs, err = readXattrs(path)
	return l, err
}

func readContent(path string, size int64) (sum [sha256.Size]byte, holes uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, 0, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, 0, err
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data = size
		} else if err != nil {
			return sum, 0, err
		}
		holes += uint64(data - at)
		if data == size {
			break
		}
		if at, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE); err != nil {
			return sum, 0, err
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), holes, nil
}

func readXattrs(path string) ([][2]string, error) {
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out [][2]string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		out = append(out, [2]string{name, string(value[:n])})
	}
	sort.Slice(out, func(i, j int) bool { return out[i][0] < out[j][0] })
	return out, nil
}
