package walk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// isTop says whether the path is above all file systems of the host: the
// drives are shown as folders in "/".
func isTop(path string) bool { return path == "/" }

// separator parts the names in a path of this host.
const separator = `\`

// hostPath turns a path of the walk, as /C/Users, into one of this host.
func hostPath(p string) string {
	if len(p) < 2 {
		return p
	}
	rest := strings.ReplaceAll(p[2:], "/", `\`)
	if rest == "" {
		rest = `\`
	}
	return p[1:2] + ":" + rest
}

// treePath turns a path of this host, as C:\Users, into one of the walk.
func treePath(p string) (string, error) {
	p = filepath.Clean(p)
	volume := filepath.VolumeName(p)
	if len(volume) != 2 || volume[1] != ':' || !filepath.IsAbs(p) {
		return "", fmt.Errorf("root %s: not an absolute path on a drive: %w", p, fault.Invalid)
	}
	rest := strings.TrimSuffix(filepath.ToSlash(p[2:]), "/")
	return "/" + strings.ToUpper(volume[:1]) + rest, nil
}

func statPath(path string, follow bool) (Stat, error) {
	call := os.Lstat
	if follow {
		call = os.Stat
	}
	fi, err := call(path)
	if err != nil {
		return Stat{}, err
	}
	st := Stat{Mode: uint32(fi.Mode().Perm()), Size: fi.Size(), Nlink: 1}
	st.Blocks = (st.Size + 511) / 512
	mtime := fi.ModTime()
	st.MTime = Time{mtime.Unix(), int32(mtime.Nanosecond())}
	// Windows keeps a change time, too, but the standard library does not
	// ask for it: the write time stands in.
	st.CTime = st.MTime
	if _, ok := fi.Sys().(*syscall.Win32FileAttributeData); !ok {
		return Stat{}, fmt.Errorf("stat %s: %w", path, fault.Unsupported)
	}
	switch mode := fi.Mode(); {
	case mode&os.ModeSymlink != 0:
		st.Mode |= TypeLink
	case mode.IsDir():
		st.Mode |= TypeFolder
	case mode.IsRegular():
		st.Mode |= TypeFile
	default: // other reparse points: not entered, content unknown
		st.Mode |= TypeSocket
	}
	return st, nil
}

// openNoFollow opens a file unless it is a link. There is no flag for that
// here; what was opened is compared with what the path names.
func openNoFollow(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	named, err := os.Lstat(path)
	if err == nil {
		var opened os.FileInfo
		if opened, err = f.Stat(); err == nil && os.SameFile(named, opened) {
			return f, nil
		}
	}
	f.Close()
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("open %s: a link: %w", path, fault.Invalid)
}
