package table

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Key returns the key of the entry with an absolute, clean path ("/",
// "/etc/ssh"; the host's bytes, parted by slashes): every component of the
// parent's path followed by a zero byte, a zero byte, the name. Keys sort
// folder by folder: a folder's own entries by name, then those of each
// subfolder. A key is as long as its path.
func Key(path string) []byte {
	path = strings.TrimPrefix(path, "/")
	slash := strings.LastIndexByte(path, '/')
	return AppendKey(make([]byte, 0, len(path)+1), path[:max(slash, 0)], path[slash+1:])
}

// AppendKey appends to dst the key of name in folder. folder is a path
// without the slash in front and behind: "" for the top, "etc/ssh". It is
// for loops that build many keys.
func AppendKey(dst []byte, folder, name string) []byte {
	dst = AppendFolder(dst, folder)
	dst = append(dst, 0)
	return append(dst, name...)
}

// AppendFolder appends the part of a key that stands for a folder, which all
// of its children share: "etc/ssh" gives etc 00 ssh 00, and "" nothing.
func AppendFolder(dst []byte, folder string) []byte {
	if folder == "" {
		return dst
	}
	at := len(dst)
	dst = append(dst, folder...)
	for i := at; i < len(dst); i++ {
		if dst[i] == '/' {
			dst[i] = 0
		}
	}
	return append(dst, 0)
}

// Split parts a valid key: folder is every component of the parent's path
// followed by a zero byte ("" for the top), name the last component ("" for
// the root). Both are parts of key.
func Split(key []byte) (folder, name []byte) {
	at := 0
	for at < len(key) && key[at] != 0 {
		at += bytes.IndexByte(key[at:], 0) + 1
	}
	if at >= len(key) {
		return nil, key // no valid key
	}
	return key[:at], key[at+1:]
}

// Path returns the absolute path of a valid key. It is the inverse of Key.
func Path(key []byte) string {
	folder, name := Split(key)
	path := make([]byte, 0, len(key)+1)
	path = append(path, '/')
	for _, c := range folder {
		if c == 0 {
			c = '/'
		}
		path = append(path, c)
	}
	return string(append(path, name...))
}

// ChildrenPrefix returns the prefix that the keys of a folder's own entries
// share, and no others: for the root 00, for /etc (00 etc) etc 00 00. The
// children of the root are those after the root's own entry, whose key is
// that prefix itself. Seek to prefix and to ChildrenEnd to bound a listing.
func ChildrenPrefix(key []byte) []byte {
	folder, name := Split(key)
	prefix := make([]byte, 0, len(key)+2)
	prefix = append(prefix, folder...)
	if len(name) > 0 {
		prefix = append(prefix, name...)
		prefix = append(prefix, 0)
	}
	return append(prefix, 0)
}

// ChildrenEnd returns the smallest string greater than the keys of a folder's
// own entries: ChildrenPrefix with its last byte increased.
func ChildrenEnd(key []byte) []byte {
	end := ChildrenPrefix(key)
	end[len(end)-1]++
	return end
}

// SubtreeBounds returns the range of keys of everything below a folder, at
// whatever depth: first ≤ key < end. For the root it is the whole table and
// end is nil. The folder's own entry is not in it, but for the root's.
func SubtreeBounds(key []byte) (first, end []byte) {
	first = ChildrenPrefix(key)
	if len(first) == 1 {
		return first, nil
	}
	end = bytes.Clone(first[:len(first)-1])
	end[len(end)-1]++
	return first, end
}

// ValidKey returns nil for the keys that Key makes of clean absolute paths,
// and fault.Invalid for all else: components that are empty, "." or "..",
// longer than MaxName or contain a slash; more than MaxPath bytes.
func ValidKey(key []byte) error {
	if _, ok := checkKey(key); !ok {
		return fmt.Errorf("key %.200q: %w", key, fault.Invalid)
	}
	return nil
}

// checkKey tells whether a key is valid and where its name begins.
func checkKey(key []byte) (name int, ok bool) {
	if len(key) == 0 || len(key) > MaxPath {
		return 0, false
	}
	at := 0
	for key[at] != 0 {
		n := bytes.IndexByte(key[at:], 0)
		if n < 0 || !validName(key[at:at+n]) {
			return 0, false
		}
		if at += n + 1; at == len(key) {
			return 0, false
		}
	}
	at++
	if at == 1 && len(key) == 1 {
		return at, true // the root
	}
	return at, validName(key[at:])
}

// validName tells whether a component of a path can be one.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > MaxName || name[0] == '.' && (len(name) == 1 || len(name) == 2 && name[1] == '.') {
		return false
	}
	for _, c := range name {
		if c == 0 || c == '/' {
			return false
		}
	}
	return true
}
