// Package local is a store in a folder: the default place of a repository.
//
// An object is a regular file whose path below the folder is its name. It is
// written to tmp/, synced, and only then given its name, by an operation that
// fails if the name is taken; then the folder that holds the name is synced.
// System calls of the Put of a new object on Linux:
//
//	lstat      F/packs/3f/3fab…        absent
//	openat     F/tmp/<random>          O_CREAT|O_EXCL
//	write, fsync, close
//	renameat2  F/tmp/<random> → F/packs/3f/3fab…   RENAME_NOREPLACE
//	fsync      F/packs/3f
//
// The first object in a folder also syncs the folders above it, once per
// process: another process may have made them and been killed before it did.
//
// Opening never writes, save that leftovers in tmp/ older than a day are
// removed where that is possible. So a folder on a read-only medium can be
// read; Put and Delete there give fault.ReadOnly.
//
// New files and folders can be read and written by their owner alone, and by
// the group in so far as the store's own folder can: a shared folder stays
// shared.
//
// What is not promised: symbolic links below the folder are not objects (List
// does not show them). After another process has deleted an object, a Get
// here may still answer from an open descriptor; the bytes are right. On
// Windows an object that is being read cannot be deleted: Delete fails, and
// can be repeated.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/space"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

var (
	_ store.Store    = (*Dir)(nil)
	_ store.Spacer   = (*Dir)(nil)
	_ store.Replacer = (*Dir)(nil)
	_ store.Clock    = (*Dir)(nil)
	_ store.Pacer    = (*Dir)(nil)
	_ io.Closer      = (*Dir)(nil)
)

// openFiles bounds the descriptors that a Dir keeps for reading.
const openFiles = 128

// Dir is a store in a folder. Close it to free its descriptors.
type Dir struct {
	root string // absolute
	// Permission bits of what is made here.
	fileMode, dirMode iofs.FileMode

	reads *handles

	writing sync.Mutex // held while content is written

	// made guards known: folders (slash-separated, below root, "" is root
	// itself) that are known to survive a power cut, and swept: those whose
	// subfolders of that time were added to known.
	made  sync.Mutex
	known map[string]bool
	swept map[string]bool
}

// Open returns the store in the folder path, which must exist: else it is
// fault.NotExist, or fault.NotDir for a file.
func Open(path string) (*Dir, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", root, kind(err))
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open store %s: %w", root, fault.NotDir)
	}
	group := info.Mode().Perm() & 0o070
	d := &Dir{
		root:     root,
		fileMode: 0o600 | group&0o060,
		dirMode:  0o700 | group,
		reads:    newHandles(openFiles),
		known:    map[string]bool{"": true},
		swept:    map[string]bool{},
	}
	d.removeLeftovers(time.Now())
	return d, nil
}

// Create makes the folder path, and those above it as needed, and returns the
// store in it. A folder that exists is taken as it is, whatever it holds:
// whether a repository may be made there is for the caller to judge.
func Create(path string) (*Dir, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("create store %s: %w", path, err)
	}
	if err := durable.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("create store %s: %w", root, writeKind(err))
	}
	return Open(root)
}

// Root returns the absolute path of the folder.
func (d *Dir) Root() string { return d.root }

// Close frees the descriptors kept for reading. The Dir can still be used,
// and opens files anew.
func (d *Dir) Close() error {
	d.reads.clear()
	return nil
}

// Space implements store.Spacer: the room of the file system.
func (d *Dir) Space(ctx context.Context) (store.Space, error) {
	if err := ctx.Err(); err != nil {
		return store.Space{}, fmt.Errorf("ask for the space of %s: %w", d.root, err)
	}
	total, free, err := space.Of(d.root)
	if err != nil {
		return store.Space{}, kind(err)
	}
	return store.Space{Total: total, Free: free}, nil
}

// path returns where the object or folder of that name is.
func (d *Dir) path(name string) string {
	return filepath.Join(d.root, filepath.FromSlash(name))
}

// Get implements store.Store.
func (d *Dir) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	if err := store.ValidName(name); err != nil {
		return 0, fmt.Errorf("get from %s: %w", d.root, err)
	}
	if offset < 0 {
		return 0, fmt.Errorf("get %s from %s: offset %d: %w", name, d.root, offset, fault.Invalid)
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("get %s from %s: %w", name, d.root, err)
	}
	h, err := d.reads.acquire(name, d.path(name))
	if err != nil {
		return 0, fmt.Errorf("get %s from %s: %w", name, d.root, kind(err))
	}
	defer d.reads.release(h)
	if offset >= h.size {
		return 0, nil
	}
	// Asking for what is there spares the read that would find the end.
	n, err := h.file.ReadAt(dst[:min(int64(len(dst)), h.size-offset)], offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("get %s from %s: %w", name, d.root, kind(err))
	}
	return n, nil
}

// Delete implements store.Store.
func (d *Dir) Delete(ctx context.Context, name string) error {
	if err := store.ValidName(name); err != nil {
		return fmt.Errorf("delete in %s: %w", d.root, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s in %s: %w", name, d.root, err)
	}
	// Before, because Windows does not remove an open file; after, because a
	// Get may have opened it again in between.
	d.reads.forget(name)
	err := os.Remove(d.path(name))
	d.reads.forget(name)
	if err != nil && !absent(err) {
		return fmt.Errorf("delete %s in %s: %w", name, d.root, writeKind(err))
	}
	return nil
}

// List implements store.Store.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		w := lister{ctx: ctx, dir: d, prefix: prefix, yield: yield}
		if _, err := w.folder(startOf(prefix)); err != nil {
			yield(store.Object{}, fmt.Errorf("list %q in %s: %w", prefix, d.root, kind(err)))
		}
	}
}

// absent reports whether err says that nothing has that name: a file where
// the name needs a folder says so, too.
func absent(err error) bool {
	return errors.Is(err, iofs.ErrNotExist) || fault.KindOf(err) == fault.NotDir
}

// kind adds the kind of failure to what the operating system said.
func kind(err error) error {
	if _, ok := errors.AsType[fault.Kind](err); ok {
		return err
	}
	if absent(err) {
		return fmt.Errorf("%w: %w", fault.NotExist, err)
	}
	k := fault.KindOf(err)
	if k == fault.Canceled || k == fault.Internal {
		return err
	}
	return fmt.Errorf("%w: %w", k, err)
}

// writeKind is kind for what changes the folder: one that takes no writes from
// this user is read-only, whatever the reason.
func writeKind(err error) error {
	if _, ok := errors.AsType[fault.Kind](err); !ok && fault.KindOf(err) == fault.Denied {
		return fmt.Errorf("%w: %w", fault.ReadOnly, err)
	}
	return kind(err)
}
