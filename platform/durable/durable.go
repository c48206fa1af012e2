// Package durable writes files that survive a loss of power.
//
// A call that returns nil has brought the bytes and the name to the disk, as
// far as the system's fsync does. One that fails, or a crash at any moment,
// leaves either the old file or the new one under the name, never a part of
// one, and at worst a stray file that begins with TempPrefix in the same
// folder, which its writer may remove at start (Sweep).
//
// The calls made by WriteFile, in this order, and why:
//
//	open a temporary file in the same folder   rename works within one file system
//	write, chmod, fsync it                     without fsync rename may reach the
//	                                           disk before the bytes: an empty file
//	rename                                     atomic for readers
//	fsync the folder                           without it the name may be lost
//
// What it refuses to do: it retries no failed fsync, since the kernel marks
// the pages clean after the first failure and the second would lie.
//
// BUG: on Windows folders cannot be synced; NTFS logs renames itself.
package durable

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// TempPrefix begins the names of files that are not yet complete.
const TempPrefix = ".tidemark-tmp-"

// WriteFile writes data to the file path, which it replaces if it exists,
// with exactly these permission bits, and returns once that is durable.
func WriteFile(path string, data []byte, perm iofs.FileMode) error {
	return replace(path, data, perm, func(string) error { return nil })
}

// Rewrite is WriteFile for a file that is there, and keeps mode and owner: info
// is of it.
func Rewrite(path string, data []byte, info iofs.FileInfo) error {
	return replace(path, data, info.Mode().Perm(), func(temp string) error { return ownLike(temp, info) })
}

// replace is WriteFile; mind is called with the file before it has its name.
func replace(path string, data []byte, perm iofs.FileMode, mind func(string) error) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := mind(temp); err != nil {
		os.Remove(temp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// Create writes data to the file path if there is none, and returns once that
// is durable. If anything has the name it fails with fault.Exist and changes
// nothing; of several that create one file at a time one succeeds. After any
// other failure the file may or may not be there (if its folder could not be
// synced it is): the caller looks before it tries again.
func Create(path string, data []byte, perm iofs.FileMode) error {
	// Most losers are told before they write all their bytes.
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("create %s: %w", path, fault.Exist)
	}
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := renameNew(temp, path); err != nil {
		os.Remove(temp)
		if errors.Is(err, iofs.ErrExist) {
			err = fault.Exist
		}
		return fmt.Errorf("create %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// RenameNew gives the file temp, which its writer has synced, the name path in
// the same file system if nothing has that name: else fault.Exist, and temp
// stays. It is durable once the folder of path is synced, see SyncDir.
func RenameNew(temp, path string) error {
	err := renameNew(temp, path)
	if errors.Is(err, iofs.ErrExist) {
		err = fault.Exist
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", temp, path, err)
	}
	return nil
}

// writeTemp writes and syncs a temporary file beside path.
func writeTemp(path string, data []byte, perm iofs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), TempPrefix+"*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm) // exact, whatever the umask
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// SyncDir makes durable which names a folder has.
func SyncDir(path string) error {
	if err := syncDir(path); err != nil {
		return fmt.Errorf("sync folder %s: %w", path, err)
	}
	return nil
}

// MkdirAll makes a folder and those above it that are missing, with these
// permission bits less the umask, and returns once their names are durable.
// Folders that exist are left as they are, and not synced.
func MkdirAll(path string, perm iofs.FileMode) error {
	path = filepath.Clean(path)
	fi, err := os.Stat(path)
	switch {
	case err == nil && fi.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("make folder %s: %w", path, fault.NotDir)
	case !errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("make folder %s: %w", path, err)
	}
	up := filepath.Dir(path)
	if up != path {
		if err := MkdirAll(up, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, iofs.ErrExist) {
		return fmt.Errorf("make folder %s: %w", path, err)
	}
	// Also if somebody else was faster: he may not have synced it yet.
	return SyncDir(up)
}

// Sweep removes the temporary files that crashed writers left in a folder.
// Whoever calls it must know that nobody writes there now.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TempPrefix) && e.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, iofs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	return nil
}
