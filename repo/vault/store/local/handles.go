package local

import (
	"container/list"
	iofs "io/fs"
	"os"
	"sync"
	"syscall"
)

// handles keeps the descriptors of the objects read last, so that a random
// read costs one pread. A descriptor is closed when it is neither kept nor in
// use: eviction never pulls a file from under a reader.
type handles struct {
	limit int

	mu    sync.Mutex
	named map[string]*handle
	order *list.List // of *handle, the one used last in front
	// forgotten counts calls of forget and clear. A file opened before such a
	// call must not be kept after it: it may be the one that was deleted.
	forgotten uint64
}

// handle is one open object.
type handle struct {
	file *os.File
	size int64

	// Guarded by handles.mu.
	name  string
	users int
	place *list.Element // nil when it is not kept
}

func newHandles(limit int) *handles {
	return &handles{limit: limit, named: map[string]*handle{}, order: list.New()}
}

// acquire returns the open object; release must be called for it.
func (c *handles) acquire(name, path string) (*handle, error) {
	h, forgotten := c.kept(name)
	if h != nil {
		return h, nil
	}
	file, size, err := openObject(path)
	if err != nil {
		return nil, err
	}
	h = &handle{file: file, size: size, name: name, users: 1}
	c.keep(h, forgotten)
	return h, nil
}

// kept returns the handle of name for one more user, or nil and what forgotten
// is now.
func (c *handles) kept(name string) (*handle, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.named[name]
	if h != nil {
		h.users++
		c.order.MoveToFront(h.place)
	}
	return h, c.forgotten
}

// keep lets later calls find h, which was opened when forgotten had that
// value, unless it may be out of date or somebody else was faster.
func (c *handles) keep(h *handle, forgotten uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgotten != forgotten || c.named[h.name] != nil {
		return
	}
	c.named[h.name], h.place = h, c.order.PushFront(h)
	for c.order.Len() > c.limit {
		c.drop(c.order.Back().Value.(*handle))
	}
}

// release ends the use that acquire began.
func (c *handles) release(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.users--
	c.closeIdle(h)
}

// forget makes sure that the next acquire of name opens it anew.
func (c *handles) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	if h := c.named[name]; h != nil {
		c.drop(h)
	}
}

// clear forgets every name.
func (c *handles) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	for _, h := range c.named {
		c.drop(h)
	}
}

// drop stops keeping h. The lock is held.
func (c *handles) drop(h *handle) {
	delete(c.named, h.name)
	c.order.Remove(h.place)
	h.place = nil
	c.closeIdle(h)
}

// closeIdle closes h if nothing needs it any more. The lock is held.
func (c *handles) closeIdle(h *handle) {
	if h.place == nil && h.users == 0 {
		h.file.Close() // only read from: there is nothing to lose
	}
}

// openObject opens a regular file for reading, and tells its size. Anything
// else is no object, and must not block the opener, as a FIFO would without
// O_NONBLOCK.
func openObject(path string) (*os.File, int64, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &iofs.PathError{Op: "open", Path: path, Err: iofs.ErrNotExist}
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}
