package walk

import (
	"fmt"
	"os"
)

// StatOf returns what an open file's stat tells.
func StatOf(f *os.File) (Stat, error) {
	fi, err := f.Stat()
	if err != nil {
		return Stat{}, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	mtime := Time{fi.ModTime().Unix(), int32(fi.ModTime().Nanosecond())}
	st := Stat{Mode: uint32(fi.Mode().Perm()), Size: fi.Size(), Blocks: (fi.Size() + 511) / 512, Nlink: 1, MTime: mtime, CTime: mtime}
	if fi.Mode().IsRegular() {
		st.Mode |= TypeFile
	}
	return st, nil
}
