package walk

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	maxOpenFolders = 256
	maxPath        = 4096 // PATH_MAX, its zero byte included

	folderFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NONBLOCK
	fileFlags   = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOFOLLOW
)

// handle is an open folder, or one that can be opened again. Children refer
// to their parent, so that a folder deeper than PATH_MAX can be reached.
type handle struct {
	t      *table
	parent *handle // nil for "/"
	path   string  // followed by a zero byte in memory
	follow bool    // above a root: reached through symbolic links, too

	refs     atomic.Int32
	dev, ino uint64 // what was opened first; another folder is not ours

	// Guarded by table.mu.
	fd           int // -1 while closed
	pins         int
	newer, older *handle // in the list of open handles without pins
}

// table bounds the open descriptors: those in use are pinned, the others
// closed when they were used longest ago.
type table struct {
	places *places // nil: every folder is read where it belongs

	mu             sync.Mutex
	newest, oldest *handle
	idle           int  // handles in the list
	open           int  // handles with a descriptor
	over           bool // the walk was left: keep nothing open
}

func newTable(p *places) *table { return &table{places: p} }

// init readies the handle of a closed folder. path is terminated.
func (h *handle) init(t *table, parent *handle, path string, follow bool) {
	h.t, h.parent, h.path, h.follow, h.fd = t, parent, path, follow, -1
	h.refs.Store(1)
	if parent != nil {
		parent.retain()
	}
}

func (h *handle) retain() { h.refs.Add(1) }

// release gives up a reference. The last one closes the descriptor and gives
// up the parent's.
func (h *handle) release() {
	for h != nil && h.refs.Add(-1) == 0 {
		t := h.t
		t.mu.Lock()
		fd := h.fd
		if fd >= 0 {
			t.unlink(h)
			h.fd = -1
			t.open--
		}
		t.mu.Unlock()
		if fd >= 0 {
			unix.Close(fd)
		}
		h = h.parent
	}
}

// base returns the handle's name in its parent.
func (h *handle) base() string { return h.path[strings.LastIndexByte(h.path, '/')+1:] }

// pin returns the folder's descriptor, opened if need be. It stays open until
// unpin.
func (h *handle) pin() (int, error) {
	t := h.t
	t.mu.Lock()
	if h.fd >= 0 {
		if h.pins == 0 {
			t.unlink(h)
		}
		h.pins++
		t.mu.Unlock()
		return h.fd, nil
	}
	t.mu.Unlock()
	fd, err := h.openAgain()
	if err != nil {
		return -1, err
	}
	return h.adopt(fd), nil
}

// adopt takes over a descriptor and pins it. If another goroutine was faster,
// its descriptor is used.
func (h *handle) adopt(fd int) int {
	t := h.t
	t.mu.Lock()
	spare := -1
	if h.fd >= 0 {
		spare = fd
		if h.pins == 0 {
			t.unlink(h)
		}
	} else {
		h.fd = fd
		if t.open++; t.open > maxOpenFolders && t.oldest != nil {
			spare = t.evict()
		}
	}
	h.pins++
	fd = h.fd
	t.mu.Unlock()
	if spare >= 0 {
		unix.Close(spare)
	}
	return fd
}

// unpin ends the use of a pinned descriptor.
func (h *handle) unpin() {
	t := h.t
	spare := -1
	t.mu.Lock()
	if h.pins--; h.pins == 0 {
		h.older, h.newer = t.newest, nil
		if t.newest != nil {
			t.newest.newer = h
		} else {
			t.oldest = h
		}
		t.newest = h
		t.idle++
		if t.over {
			spare = t.evict()
		}
	}
	t.mu.Unlock()
	if spare >= 0 {
		unix.Close(spare)
	}
}

// unlink takes a handle out of the list. The caller holds mu.
func (t *table) unlink(h *handle) {
	if h.newer != nil {
		h.newer.older = h.older
	} else {
		t.newest = h.older
	}
	if h.older != nil {
		h.older.newer = h.newer
	} else {
		t.oldest = h.newer
	}
	h.newer, h.older = nil, nil
	t.idle--
}

// evict takes the descriptor from the handle used longest ago. The caller
// holds mu, and closes it when that is released.
func (t *table) evict() int {
	h := t.oldest
	t.unlink(h)
	fd := h.fd
	h.fd = -1
	t.open--
	return fd
}

// close closes what is idle, and from then on what becomes idle: after a walk
// that was left early the handles of folders never yielded stay referenced.
func (t *table) close() {
	var spare []int
	t.mu.Lock()
	t.over = true
	for t.oldest != nil {
		spare = append(spare, t.evict())
	}
	t.mu.Unlock()
	for _, fd := range spare {
		unix.Close(fd)
	}
}

// open opens the folder for the first time and returns its descriptor,
// pinned, and its stat.
func (h *handle) open() (int, Stat, error) {
	fd, err := h.openNow()
	if err != nil {
		return -1, Stat{}, err
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, Stat{}, fmt.Errorf("stat folder %s: %w", h.path, err)
	}
	h.dev, h.ino = st.Dev, st.Ino
	var s Stat
	s.fill(&st)
	return h.adopt(fd), s, nil
}

// openNow opens the folder by its parent's descriptor, or by its path if it
// lies above the roots.
func (h *handle) openNow() (int, error) {
	if h.parent == nil || h.follow {
		return h.openByPath()
	}
	up, err := h.parent.pin()
	if err != nil {
		return -1, err
	}
	defer h.parent.unpin()
	return h.openIn(up)
}

func (h *handle) openIn(up int) (int, error) {
	var fd int
	var err error
	if at, ok := h.t.places.of(h.path); ok {
		fd, err = h.t.openat(unix.AT_FDCWD, at, false, folderFlags)
	} else {
		fd, err = h.t.openat(up, h.base(), true, folderFlags|unix.O_NOFOLLOW)
	}
	if err != nil {
		return -1, fmt.Errorf("open folder %s: %w", h.path, err)
	}
	return fd, nil
}

func (h *handle) openByPath() (int, error) {
	flags := folderFlags
	if !h.follow {
		flags |= unix.O_NOFOLLOW
	}
	if at := h.t.places.host(h.path); at != h.path {
		if _, ok := h.t.places.of(h.path); ok {
			flags &^= unix.O_NOFOLLOW
		}
		fd, err := h.t.openat(unix.AT_FDCWD, at, false, flags)
		if err != nil {
			return -1, fmt.Errorf("open folder %s at %s: %w", h.path, at, err)
		}
		return fd, nil
	}
	fd, err := h.t.openat(unix.AT_FDCWD, h.path, true, flags)
	if err == unix.EACCES && h.follow {
		// Who may pass but not list, as below a /home of mode 0711, still gets
		// to his own folders: above a root nothing is listed.
		fd, err = h.t.openat(unix.AT_FDCWD, h.path, true, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	}
	if err != nil {
		return -1, fmt.Errorf("open folder %s: %w", h.path, err)
	}
	return fd, nil
}

// openAgain opens a folder that was open before, and makes sure that it is
// the same one: by its path where that is short enough, else from the nearest
// ancestor.
func (h *handle) openAgain() (int, error) {
	if len(h.path) < maxPath {
		if fd, err := h.openByPath(); err == nil {
			if h.isSame(fd) {
				return fd, nil
			}
			unix.Close(fd)
		}
	}
	return h.openByChain()
}

// openByChain goes up to the nearest folder that is open, or has a path short
// enough, and comes down again step by step. Only two descriptors are held at
// a time.
func (h *handle) openByChain() (int, error) {
	var chain []*handle
	top := h
	for top.parent != nil && (top == h || !top.isOpen()) {
		chain = append(chain, top)
		top = top.parent
		if len(top.path) < maxPath {
			break
		}
	}
	if len(chain) == 0 { // "/" has no parent
		return -1, fmt.Errorf("open folder %s again: %w", h.path, fault.Stale)
	}
	up, err := top.pin()
	if err != nil {
		return -1, err
	}
	for i := len(chain) - 1; ; i-- {
		step := chain[i]
		fd, err := step.openIn(up)
		top.unpin()
		if err != nil {
			return -1, err
		}
		if !step.isSame(fd) {
			unix.Close(fd)
			return -1, fmt.Errorf("open folder %s again: another one has its name: %w", step.path, fault.Stale)
		}
		if i == 0 {
			return fd, nil
		}
		top, up = step, step.adopt(fd)
	}
}

func (h *handle) isOpen() bool {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	return h.fd >= 0
}

func (h *handle) isSame(fd int) bool {
	var st unix.Stat_t
	return fstat(fd, &st) == nil && st.Dev == h.dev && st.Ino == h.ino
}

// openat opens with O_NOATIME where that is allowed: it is to the owner and
// to root. Without descriptors to spare the idle ones are closed.
// terminated says that a zero byte follows name in memory.
func (t *table) openat(dir int, name string, terminated bool, flags int) (int, error) {
	call := unix.Openat
	if terminated {
		call = openTerminated
	}
	flags |= unix.O_NOATIME
	freed := false
	for {
		fd, err := call(dir, name, flags, 0)
		switch {
		case err == nil:
			return fd, nil
		case err == unix.EINTR:
		case err == unix.EPERM && flags&unix.O_NOATIME != 0:
			flags &^= unix.O_NOATIME
		case (err == unix.EMFILE || err == unix.ENFILE) && !freed:
			freed = true
			t.closeIdle()
		default:
			return -1, err
		}
	}
}

// closeIdle closes all descriptors that nobody uses now.
func (t *table) closeIdle() {
	var spare []int
	t.mu.Lock()
	for t.oldest != nil {
		spare = append(spare, t.evict())
	}
	t.mu.Unlock()
	for _, fd := range spare {
		unix.Close(fd)
	}
}

// lstatAll fills in the stats of entries, in the given order.
func (h *handle) lstatAll(fd int, entries []Entry, order []uint32) {
	var st unix.Stat_t
	for _, i := range order {
		e := &entries[i]
		if err := lstatTerminated(fd, e.Name, &st); err != nil {
			e.Err = fmt.Errorf("stat %s: %w", join(h.path, e.Name), err)
			continue
		}
		e.Stat.fill(&st)
		if !h.t.places.hold(h.path) {
			continue
		}
		if at, ok := h.t.places.of(join(h.path, e.Name)); ok { // what is mounted there, not the folder below it
			if e.Stat, e.Err = statPath(at, false); e.Err != nil {
				e.Err = fmt.Errorf("stat %s at %s: %w", join(h.path, e.Name), at, e.Err)
			}
		}
	}
}

// statAt returns the stat of one name, of a link's target if follow is set.
func (h *handle) statAt(fd int, name string, follow bool) (Stat, error) {
	flags := unix.AT_NO_AUTOMOUNT
	if !follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	if at, ok := h.t.places.of(join(h.path, name)); ok {
		fd, name = unix.AT_FDCWD, at
	}
	var st unix.Stat_t
	for {
		err := unix.Fstatat(fd, name, &st, flags)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Stat{}, fmt.Errorf("stat %s: %w", join(h.path, name), err)
		}
		var s Stat
		s.fill(&st)
		return s, nil
	}
}

// openFile opens a file of the folder for reading.
func (h *handle) openFile(name string) (*os.File, error) {
	dir, err := h.pin()
	if err != nil {
		return nil, err
	}
	defer h.unpin()
	fd, err := h.t.openat(dir, name, false, fileFlags)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", join(h.path, name), err)
	}
	return os.NewFile(uintptr(fd), join(h.path, name)), nil
}

// readlink returns the target of a symbolic link.
func (h *handle) readlink(name string) (string, error) {
	dir, err := h.pin()
	if err != nil {
		return "", err
	}
	defer h.unpin()
	for size := 256; ; size *= 2 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read link %s: %w", join(h.path, name), err)
		}
		if n < size {
			return string(b[:n]), nil
		}
		if size > 1<<20 {
			return "", fmt.Errorf("read link %s: %w", join(h.path, name), fault.TooLarge)
		}
	}
}

// fill takes over the kernel's stat.
func (s *Stat) fill(st *unix.Stat_t) {
	s.Mode, s.UID, s.GID = st.Mode, st.Uid, st.Gid
	s.Size, s.Blocks = st.Size, st.Blocks
	s.MTime = Time{int64(st.Mtim.Sec), int32(st.Mtim.Nsec)}
	s.CTime = Time{int64(st.Ctim.Sec), int32(st.Ctim.Nsec)}
	s.Ino, s.Dev, s.Rdev, s.Nlink = st.Ino, uint64(st.Dev), uint64(st.Rdev), uint64(st.Nlink)
}

func fstat(fd int, st *unix.Stat_t) error {
	for {
		if err := unix.Fstat(fd, st); err != syscall.EINTR {
			return err
		}
	}
}
