// Package winfsp shows a tree of recovery points as a drive of Windows through
// WinFsp. It is a thin front end: WinFsp asks by path, Windows compares names
// without case, and both know no links of a server; the rest is package fs.
//
// Nouns:
//
//   - A System answers WinFsp's calls. It is portable, and so tested where
//     there is no Windows; only the file that hands it to cgofuse is not.
//   - A handle is the node of what is open: nodes cost no memory, so that
//     nothing is kept of open files.
//   - An alias is the name of a file that Windows cannot have, see package
//     alias.
//
// Links are followed, within their point, as on the server; what is neither
// file nor folder then is not shown: Windows has nothing like it. Everything
// that writes is refused as by a disk that is write-protected.
//
// Windows' own access control is made by WinFsp from owner and mode. Without
// Options.KeepOwners everything belongs to who mounts, and he can read it: he
// has the passphrase.
package winfsp

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Options of a mount.
type Options struct {
	// Prefix is the name in the network by which Windows knows the drive, as
	// in `\tidemark\office`; "" makes one from the drive. Each mount has its
	// own.
	Prefix string

	// KeepOwners shows the owners that the tree shows.
	KeepOwners bool

	// Log hears of what users see as an I/O error. nil: nobody does.
	Log *slog.Logger
}

// System answers calls by path. Paths begin with a slash and have slashes
// between their names.
type System struct {
	tree *fs.Tree
	ctx  context.Context // the life of the mount: calls have none of their own
	opt  Options
	dirs folded
}

// NewSystem returns the answers for tree; calls end when ctx does.
func NewSystem(ctx context.Context, tree *fs.Tree, o Options) *System {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &System{tree: tree, ctx: ctx, opt: o}
}

// Error numbers of WinFsp, which are those of Microsoft's C library.
const (
	noEntry      = 2
	interrupted  = 4
	ioError      = 5
	accessDenied = 13
	exists       = 17
	notDirectory = 20
	isDirectory  = 21
	invalid      = 22
	tooBig       = 27
	noSpace      = 28
	readOnly     = 30
	noSystemCall = 40
	noAttribute  = 120
	notSupported = 129
)

// errnos says what users see of each kind of failure.
func errnos() [fault.NumKinds]int {
	return [fault.NumKinds]int{
		fault.Internal:    ioError,
		fault.NotExist:    noEntry,
		fault.Exist:       exists,
		fault.Denied:      accessDenied,
		fault.Locked:      accessDenied,
		fault.Corrupt:     ioError,
		fault.Invalid:     invalid,
		fault.ReadOnly:    readOnly,
		fault.NoSpace:     noSpace,
		fault.Unavailable: ioError,
		fault.Unsupported: notSupported,
		fault.Stale:       noEntry,
		fault.TooLarge:    tooBig,
		fault.NotDir:      notDirectory,
		fault.IsDir:       isDirectory,
		fault.Changed:     ioError,
		fault.Rollback:    ioError,
		fault.Canceled:    interrupted,
	}
}

// fail translates an error, and tells the log what a bare number cannot.
func (s *System) fail(op, path string, err error) int {
	no := errnos()[fault.KindOf(err)]
	if no == ioError {
		s.opt.Log.Error("a request failed", "operation", op, "path", path, "error", err)
	}
	return -no
}

// maxLinks is how many links a path may lead over, as in Linux.
const maxLinks = 40

// trail is a way through the tree, from its root to where it has come, links
// resolved.
type trail struct {
	way   []fs.Attr
	top   int      // where in way the point begins; 0: in none
	todo  []string // names to come
	exact int      // how many of them are a link's, and so the server's own
	links int
}

func (t *trail) last() *fs.Attr { return &t.way[len(t.way)-1] }

// resolve finds what a path leads to: a file or a folder.
func (s *System) resolve(path string) (fs.Attr, error) {
	root, err := s.tree.Attr(s.ctx, fs.Root)
	if err != nil {
		return fs.Attr{}, err
	}
	t := &trail{way: []fs.Attr{root}, todo: strings.Split(path, "/")}
	for len(t.todo) > 0 {
		if err := s.step(t); err != nil {
			return fs.Attr{}, err
		}
	}
	return *t.last(), nil
}

// step goes on by one name.
func (s *System) step(t *trail) error {
	name := t.todo[0]
	t.todo = t.todo[1:]
	own := t.exact == 0 // what a user typed
	t.exact = max(t.exact-1, 0)
	switch {
	case name == "" || name == ".":
		return nil
	case name == "..":
		if len(t.way)-1 > t.top {
			t.way = t.way[:len(t.way)-1]
		}
		return nil
	case t.last().Kind != table.Folder:
		return fmt.Errorf("look up %q: %w", name, fault.NotDir)
	}
	var a fs.Attr
	var err error
	if own {
		a, err = s.lookup(t.last(), name)
	} else {
		a, err = s.tree.Lookup(s.ctx, t.last().Node, name)
	}
	if err != nil {
		return err
	}
	return s.enter(t, a)
}

// enter goes to a, or notes to where it leads.
func (s *System) enter(t *trail, a fs.Attr) error {
	switch a.Kind {
	case table.File, table.Folder:
		if a.Fixed && !t.last().Fixed {
			t.top = len(t.way)
		}
		t.way = append(t.way, a)
		return nil
	case table.Symlink:
		if t.links++; t.links > maxLinks {
			return fmt.Errorf("too many links: %w", fault.NotExist)
		}
		target, err := s.tree.Readlink(s.ctx, a.Node)
		if err != nil {
			return err
		}
		if strings.HasPrefix(target, "/") {
			t.way = t.way[:t.top+1]
		}
		names := strings.Split(target, "/")
		t.todo, t.exact = append(names, t.todo...), t.exact+len(names)
		return nil
	}
	return fmt.Errorf("a %v: %w", a.Kind, fault.NotExist)
}

// Attr describes what a path leads to, or what is open if handle is not
// NoHandle.
func (s *System) Attr(path string, handle uint64) (fs.Attr, int) {
	var a fs.Attr
	var err error
	if handle != NoHandle {
		a, err = s.tree.Attr(s.ctx, fs.Node(handle))
	} else {
		a, err = s.resolve(path)
	}
	if err != nil {
		return a, s.fail("getattr", path, err)
	}
	s.own(&a)
	return a, 0
}

// own lets who mounts read everything.
func (s *System) own(a *fs.Attr) {
	if s.opt.KeepOwners {
		return
	}
	a.Mode |= 0o400
	if a.Kind == table.Folder {
		a.Mode |= 0o100
	}
}

// NoHandle is the handle of what is not open.
const NoHandle = ^uint64(0)

// Open opens a file, or a folder if folder is set. writing is refused.
func (s *System) Open(path string, folder, writing bool) (handle uint64, errno int) {
	if writing {
		return NoHandle, -readOnly
	}
	a, err := s.resolve(path)
	switch {
	case err != nil:
		return NoHandle, s.fail("open", path, err)
	case folder && a.Kind != table.Folder:
		return NoHandle, -notDirectory
	case !folder && a.Kind == table.Folder:
		return NoHandle, -isDirectory
	}
	return uint64(a.Node), 0
}

// Read reads from an open file and returns how many bytes, or an error number.
func (s *System) Read(path string, handle uint64, dst []byte, offset int64) int {
	if offset < 0 {
		return -invalid
	}
	n, err := s.tree.Read(s.ctx, fs.Node(handle), uint64(offset), dst)
	if err != nil {
		return s.fail("read", path, err)
	}
	return n
}

// ReadDir lists an open folder: names as Windows can have them, with what they
// lead to. A nil Attr is for what must be asked for.
func (s *System) ReadDir(path string, handle uint64, fill func(name string, a *fs.Attr) bool) int {
	folder, err := s.tree.Attr(s.ctx, fs.Node(handle))
	if err != nil {
		return s.fail("readdir", path, err)
	}
	for c, err := range s.children(path, &folder) {
		if err != nil {
			return s.fail("readdir", path, err)
		}
		if !fill(c.shown, c.attr) {
			break
		}
	}
	return 0
}

// Stat says how much there is.
func (s *System) Stat() (fs.Stats, int) {
	st, err := s.tree.Stat(s.ctx)
	if err != nil {
		return st, s.fail("statfs", "/", err)
	}
	return st, 0
}

// Xattr returns an extended attribute of what a path leads to.
func (s *System) Xattr(path, name string) ([]byte, int) {
	a, err := s.resolve(path)
	if err == nil {
		var value []byte
		if value, err = s.tree.Xattr(s.ctx, a.Node, name); err == nil {
			return value, 0
		}
		if fault.KindOf(err) == fault.NotExist {
			return nil, -noAttribute
		}
	}
	return nil, s.fail("getxattr", path, err)
}

// Xattrs calls fill with the names of all extended attributes.
func (s *System) Xattrs(path string, fill func(name string) bool) int {
	a, err := s.resolve(path)
	if err != nil {
		return s.fail("listxattr", path, err)
	}
	names, err := s.tree.Xattrs(s.ctx, a.Node)
	if err != nil {
		return s.fail("listxattr", path, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name != "" && !fill(name) {
			break
		}
	}
	return 0
}

// ReadOnly is the answer to everything that writes.
func (s *System) ReadOnly() int { return -readOnly }
