package meta

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Reader reads extended attributes. It remembers which file systems have
// none, so that their files cost nothing. It may be used by several
// goroutines. The zero value is ready.
type Reader struct {
	buffers sync.Pool // *readBuffer

	mu   sync.RWMutex
	none []uint64 // devices without extended attributes
}

type readBuffer struct {
	names [maxXattrNames]byte
	value [MaxXattrValue]byte
}

// maxDevices bounds what is remembered.
const maxDevices = 256

// Xattrs returns the extended attributes of the file at a, sorted by name; a
// file with none costs one system call. dev is the file's device number: 0
// where it is not known. Attributes that cannot be read or are beyond the
// bounds are missing in the result and named in the error, which joins one
// *AttrError for each; the others are returned beside it. An attribute that
// vanishes meanwhile is no error.
func (r *Reader) Xattrs(a At, dev uint64) ([]Xattr, error) {
	if r.hasNone(dev) {
		return nil, nil
	}
	b, _ := r.buffers.Get().(*readBuffer)
	if b == nil {
		b = new(readBuffer)
	}
	defer r.buffers.Put(b)
	names, err := listXattrs(a, b.names[:])
	if err != nil {
		if isUnsupported(err) {
			r.setNone(dev)
			return nil, nil
		}
		return nil, &AttrError{Verb: "read", Attr: "xattrs", Path: a.Path(), Err: err}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return readXattrs(a, names, b.value[:])
}

// readXattrs reads the values of a zero-terminated list of names.
func readXattrs(a At, names, buf []byte) ([]Xattr, error) {
	var xattrs []Xattr
	var errs []error
	total := 0
	for len(names) > 0 {
		raw, rest, _ := bytes.Cut(names, []byte{0})
		names = rest
		if len(raw) == 0 {
			continue
		}
		name := string(raw)
		value, err := getXattr(a, name, buf)
		size := len(name) + len(value) + xattrLengths
		if err == nil && total+size > MaxXattrTotal {
			err = fmt.Errorf("all extended attributes: %w", tooLarge(total+size, MaxXattrTotal))
		}
		if isMissing(err) {
			continue
		}
		if err != nil {
			errs = append(errs, &AttrError{Verb: "read", Attr: name, Path: a.Path(), Err: err})
			continue
		}
		total += size
		xattrs = append(xattrs, Xattr{name, bytes.Clone(value)})
	}
	slices.SortFunc(xattrs, func(x, y Xattr) int { return strings.Compare(x.Name, y.Name) })
	return xattrs, errors.Join(errs...)
}

func (r *Reader) hasNone(dev uint64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Contains(r.none, dev)
}

func (r *Reader) setNone(dev uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if dev != 0 && len(r.none) < maxDevices && !slices.Contains(r.none, dev) {
		r.none = append(r.none, dev)
	}
}

func isUnsupported(err error) bool {
	return err != nil && fault.KindOf(err) == fault.Unsupported
}
