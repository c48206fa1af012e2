package meta

import (
	"fmt"
	iofs "io/fs"
	"os"
)

// Lstat tells what is at a. A symbolic link is not followed.
func Lstat(a At) (Info, error) {
	fi, err := os.Lstat(a.Path())
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", a.Path(), err)
	}
	i := Info{Mode: uint32(fi.Mode().Perm()), Size: fi.Size(), MTime: TimeOf(fi.ModTime()), Nlink: 1}
	switch fi.Mode().Type() {
	case 0:
		i.Mode |= TypeFile
	case iofs.ModeDir:
		i.Mode |= TypeFolder
	case iofs.ModeSymlink:
		i.Mode |= TypeLink
	}
	return i, nil
}

// Link gives the file at from another name, to.
func Link(from, to At) error {
	if err := os.Link(from.Path(), to.Path()); err != nil {
		return fmt.Errorf("link %s to %s: %w", to.Path(), from.Path(), err)
	}
	return nil
}
