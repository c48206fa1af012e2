package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/tidemark-backup/tidemark/platform/direct"
	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// leftoverAge is how old an unfinished write must be to be taken for dead: no
// Put lasts a day, and who writes slowly keeps touching the file.
const leftoverAge = 24 * time.Hour

// errGone says that a name was taken when it was looked at, and then deleted
// before its content could be compared: the object is to be stored after all.
var errGone = fmt.Errorf("it is deleted again and again while it is stored: %w", fault.Unavailable)

// maxGone is how often a Put begins again because of that.
const maxGone = 10

// Put implements store.Store.
func (d *Dir) Put(ctx context.Context, name string, data []byte) error {
	return d.PutPaced(ctx, name, data, nil)
}

// PutPaced implements store.Pacer; without pace it is Put.
func (d *Dir) PutPaced(ctx context.Context, name string, data []byte, pace func(context.Context, int) error) error {
	if err := store.ValidName(name); err != nil {
		return fmt.Errorf("put into %s: %w", d.root, err)
	}
	err := d.put(ctx, name, data, pace)
	for n := 0; errors.Is(err, errGone) && n < maxGone; n++ {
		err = d.put(ctx, name, data, pace)
	}
	if fault.KindOf(err) == fault.NotDir {
		err = fmt.Errorf("a part of the name is an object: %w: %w", fault.Invalid, err)
	}
	if err != nil {
		return fmt.Errorf("put %s into %s: %w", name, d.root, writeKind(err))
	}
	return nil
}

func (d *Dir) put(ctx context.Context, name string, data []byte, pace func(context.Context, int) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Pages of live sets are put again and again under the hash of their
	// bytes: looking first spares writing them.
	if _, err := os.Lstat(d.path(name)); err == nil {
		return d.confirm(name, data)
	}
	folder := folderOf(name)
	if err := d.makeFolder(folder); err != nil {
		return err
	}
	tmp, err := d.writeTmp(ctx, data, pace)
	if err != nil {
		return err
	}
	if err := durable.RenameNew(tmp, d.path(name)); err != nil {
		os.Remove(tmp)
		if errors.Is(err, iofs.ErrExist) {
			return d.confirm(name, data)
		}
		return err
	}
	return durable.SyncDir(d.path(folder))
}

// Replace implements store.Replacer.
func (d *Dir) Replace(ctx context.Context, name string, data []byte) error {
	if err := store.ValidName(name); err != nil {
		return fmt.Errorf("replace in %s: %w", d.root, err)
	}
	if err := d.replace(ctx, name, data); err != nil {
		return fmt.Errorf("replace %s in %s: %w", name, d.root, writeKind(err))
	}
	return nil
}

func (d *Dir) replace(ctx context.Context, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	folder := folderOf(name)
	if err := d.makeFolder(folder); err != nil {
		return err
	}
	tmp, err := d.writeTmp(ctx, data, nil)
	if err != nil {
		return err
	}
	// As in Delete: Windows does not replace an open file, and a Get may have
	// opened the old one again in between.
	d.reads.forget(name)
	err = os.Rename(tmp, d.path(name))
	d.reads.forget(name)
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return durable.SyncDir(d.path(folder))
}

// confirm answers for a name that is taken: nil, once it is durable, if it has
// the same bytes. Its content was synced before it got its name; the folders
// may not have been, by whoever put it.
func (d *Dir) confirm(name string, data []byte) error {
	same, err := sameContent(d.path(name), data)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("%w with other bytes", fault.Exist)
	}
	if err := d.makeFolder(folderOf(name)); err != nil {
		return err
	}
	return durable.SyncDir(d.path(folderOf(name)))
}

// sameContent compares a file with data.
func sameContent(path string, data []byte) (bool, error) {
	file, size, err := openObject(path)
	if errors.Is(err, iofs.ErrNotExist) {
		if _, err := os.Lstat(path); errors.Is(err, iofs.ErrNotExist) {
			return false, errGone
		}
		return false, fmt.Errorf("the name is taken by what is no file: %w", fault.Invalid)
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	if size != int64(len(data)) {
		return false, nil
	}
	buf := make([]byte, min(len(data), 1<<20))
	for len(data) > 0 {
		n, err := io.ReadFull(file, buf[:min(len(buf), len(data))])
		if err != nil {
			return false, err
		}
		if !bytes.Equal(buf[:n], data[:n]) {
			return false, nil
		}
		data = data[n:]
	}
	return true, nil
}

// writeTmp writes and syncs data as a file of its own in tmp/ and returns its
// path; after an error no file is left, if that can be helped.
func (d *Dir) writeTmp(ctx context.Context, data []byte, pace func(context.Context, int) error) (string, error) {
	file, err := d.createTmp()
	if errors.Is(err, iofs.ErrNotExist) {
		if err := d.mkdir(store.Scratch); err != nil {
			return "", err
		}
		file, err = d.createTmp()
	}
	if err != nil {
		return "", err
	}
	if pace != nil {
		err = writePaced(ctx, file, data, pace)
	} else {
		// One object at a time: pieces of several in turn would move a disk's
		// head. Syncing one goes on beside writing the next.
		d.writing.Lock()
		err = direct.Write(file, data)
		d.writing.Unlock()
	}
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}

// writePaced writes data in steps. Each is brought to the disk, or the cache
// would take all in and give it out at once.
func writePaced(ctx context.Context, file *os.File, data []byte, pace func(context.Context, int) error) error {
	for len(data) > 0 {
		n := min(len(data), store.PaceStep)
		if err := pace(ctx, n); err != nil {
			return err
		}
		if _, err := file.Write(data[:n]); err != nil {
			return err
		}
		if data = data[n:]; len(data) > 0 {
			if err := file.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Now implements store.Clock: the time that the file system gives to a file
// that is made now. On a network's share that is the server's.
func (d *Dir) Now(ctx context.Context) (time.Time, error) {
	now, err := d.now(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask for the time of %s: %w", d.root, writeKind(err))
	}
	return now, nil
}

func (d *Dir) now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, err
	}
	file, err := d.createTmp()
	if errors.Is(err, iofs.ErrNotExist) {
		if err := d.mkdir(store.Scratch); err != nil {
			return time.Time{}, err
		}
		file, err = d.createTmp()
	}
	if err != nil {
		return time.Time{}, err
	}
	defer os.Remove(file.Name())
	// Some servers give a file its time only when it is written to.
	_, err = file.Write([]byte{0})
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return time.Time{}, err
	}
	info, err := os.Stat(file.Name())
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

func (d *Dir) createTmp() (*os.File, error) {
	tmp := filepath.Join(d.root, store.Scratch, rand.Text())
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, d.fileMode)
	if err != nil {
		return nil, err
	}
	if d.fileMode&0o060 != 0 { // the umask takes away what the group was given
		if err := file.Chmod(d.fileMode); err != nil {
			file.Close()
			os.Remove(tmp)
			return nil, err
		}
	}
	return file, nil
}

// folderOf returns the folder of a name, "" for the root.
func folderOf(name string) string {
	if folder := path.Dir(name); folder != "." {
		return folder
	}
	return ""
}

// makeFolder makes the folder and those above it, and returns once they
// survive a power cut: also those that others have made, since they may not
// have come to syncing them.
func (d *Dir) makeFolder(folder string) error {
	d.made.Lock()
	defer d.made.Unlock()
	return d.makeFolderLocked(folder)
}

func (d *Dir) makeFolderLocked(folder string) error {
	if d.known[folder] {
		return nil
	}
	above := folderOf(folder)
	if err := d.makeFolderLocked(above); err != nil {
		return err
	}
	if err := d.mkdir(folder); err != nil {
		return err
	}
	// One sync confirms all the folders that are there now: with 256 folders
	// of packs that is one instead of 256.
	var found []string
	if !d.swept[above] {
		entries, err := os.ReadDir(d.path(above))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				found = append(found, path.Join(above, e.Name()))
			}
		}
	}
	if err := durable.SyncDir(d.path(above)); err != nil {
		return err
	}
	for _, f := range found {
		d.known[f] = true
	}
	d.swept[above], d.known[folder] = true, true
	return nil
}

// mkdir makes one folder if it is not there.
func (d *Dir) mkdir(folder string) error {
	err := os.Mkdir(d.path(folder), d.dirMode)
	if errors.Is(err, iofs.ErrExist) {
		return nil
	}
	if err == nil && d.dirMode&0o070 != 0 {
		err = os.Chmod(d.path(folder), d.dirMode)
	}
	return err
}

// removeLeftovers removes what was not finished a day ago. Best effort: a
// folder that cannot be written is only read.
func (d *Dir) removeLeftovers(now time.Time) {
	entries, err := os.ReadDir(filepath.Join(d.root, store.Scratch))
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || now.Sub(info.ModTime()) < leftoverAge {
			continue
		}
		if os.Remove(filepath.Join(d.root, store.Scratch, e.Name())) != nil {
			return
		}
	}
}
