//go:build !linux

package direct

import (
	"os"

	"github.com/tidemark-backup/tidemark/platform/meta"
)

// Reader reads one file, front to back. It is for one goroutine.
type Reader struct{ f *os.File }

// NewReader returns a reader of f.
func NewReader(f *os.File) *Reader {
	meta.Sequential(f)
	return &Reader{f}
}

// ReadAt is io.ReaderAt.
func (r *Reader) ReadAt(p []byte, at int64) (int, error) { return r.f.ReadAt(p, at) }

// Write writes data into the new and empty file f.
func Write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}
