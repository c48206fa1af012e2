package roundtrip

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// changer changes a tree at random, as users do between two backups.
type changer struct {
	t   *rapid.T
	src string
	n   int // for names and content
}

// paths returns all paths below the source that are of a type, and the source.
func (c *changer) paths(of func(iofs.FileMode) bool) []string {
	var paths []string
	err := filepath.WalkDir(c.src, func(path string, e iofs.DirEntry, err error) error {
		if err == nil && (path == c.src || of(e.Type())) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}

func isAny(iofs.FileMode) bool { return true }

func isFile(m iofs.FileMode) bool { return m.IsRegular() }

func isFolder(m iofs.FileMode) bool { return m.IsDir() }

// draw draws a path; the source itself is "".
func (c *changer) draw(of func(iofs.FileMode) bool) string {
	path := rapid.SampledFrom(c.paths(of)).Draw(c.t, "path")
	if path == c.src {
		return ""
	}
	return path
}

func (c *changer) fresh() string {
	folder := c.draw(isFolder)
	if folder == "" {
		folder = c.src
	}
	c.n++
	return filepath.Join(folder, fmt.Sprintf("%d new%d", c.n%10, c.n))
}

func (c *changer) content() []byte {
	c.n++
	size := rapid.SampledFrom(sizes).Draw(c.t, "size")
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*c.n>>3 ^ c.n)
	}
	return b
}

// act carries out one change. What the kernel refuses (a folder into itself)
// is no change.
func (c *changer) act() {
	changes := []func(path string) error{
		func(string) error { return os.WriteFile(c.fresh(), c.content(), 0o644) },
		func(string) error { return os.Mkdir(c.fresh(), 0o755) },
		func(string) error { return os.Symlink(fmt.Sprint("target", c.n), c.fresh()) },
		func(string) error { return unix.Mkfifo(c.fresh(), 0o600) },
		func(string) error {
			if path := c.draw(isFile); path != "" {
				return os.Link(path, c.fresh())
			}
			return nil
		},
		func(string) error {
			if path := c.draw(isFile); path != "" {
				return os.WriteFile(path, c.content(), 0o644)
			}
			return nil
		},
		func(string) error { return c.rewrite(c.draw(isFile)) },
		func(path string) error { return os.RemoveAll(path) },
		func(path string) error { return os.Rename(path, c.fresh()) },
		func(path string) error { return os.Rename(path, c.draw(isAny)) },
		func(path string) error { return c.replace(path) },
		// Never through a link: it may lead to a file of this host.
		func(path string) error {
			return unix.Fchmodat(unix.AT_FDCWD, path, uint32(c.n*37)&0o7777|0o700, unix.AT_SYMLINK_NOFOLLOW)
		},
		func(path string) error { return os.Lchown(path, c.n%3*1000, c.n%2*1000) },
		func(path string) error {
			times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: int64(c.n) * 1000, Nsec: int64(c.n)}}
			return unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW)
		},
		func(path string) error {
			return unix.Lsetxattr(path, "trusted.changed", fmt.Append(nil, c.n), 0)
		},
	}
	c.n++
	path := c.draw(isAny)
	if path == "" {
		path = filepath.Join(c.src, "none")
	}
	err := rapid.SampledFrom(changes).Draw(c.t, "change")(path)
	if err != nil && !refused(err) {
		c.t.Fatalf("change %q: %v", path, err)
	}
}

func refused(err error) bool {
	for _, no := range []error{unix.ENOENT, unix.EINVAL, unix.ENOTEMPTY, unix.EEXIST, unix.EISDIR, unix.ENOTDIR, unix.ENXIO, unix.EOPNOTSUPP} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// rewrite writes as many other bytes and puts the modification time back: only
// the inode's change time tells.
func (c *changer) rewrite(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(b) > 0 {
		b[len(b)/2] ^= 0xff
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return os.Chtimes(path, time.Time{}, info.ModTime())
}

// replace puts something of another kind in a path's place.
func (c *changer) replace(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if info.IsDir() {
		return os.WriteFile(path, c.content(), 0o600)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "child"), c.content(), 0o600)
}

// However a tree changes between two backups, each point is the tree as it
// was, whether what the run before left behind is there, or not.
func TestAnyChange(t *testing.T) {
	anyTreeDrawn(t, 20, 300, true, func(rt *rapid.T, at string) {
		r := newRepository(t)
		c := &changer{t: rt, src: filepath.Join(at, "src")}
		state := filepath.Join(at, "state")
		p, s := save(rt, r, state, c.src)
		same(rt, r, p, s, c.src)
		for range rapid.IntRange(1, 5).Draw(rt, "points") {
			for range rapid.IntRange(0, 8).Draw(rt, "changes") {
				c.act()
			}
			p, s = save(rt, r, state, c.src)
			same(rt, r, p, s, c.src)
		}
		if err := os.RemoveAll(state); err != nil {
			rt.Fatal(err)
		}
		p, s = save(rt, r, state, c.src)
		same(rt, r, p, s, c.src)
		if s.BytesNew != 0 {
			rt.Errorf("without local state %d bytes are new", s.BytesNew)
		}
	})
}
