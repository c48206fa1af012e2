package exclude

import (
	"bytes"
	"fmt"
	"io"
)

// CacheTag is the name of the file by which a program says that the folder
// it lies in is a cache (https://bford.info/cachedir/).
const CacheTag = "CACHEDIR.TAG"

const cacheSignature = "Signature: 8a477f597d28d172789f06886806bc55"

// IsCacheTag reports whether the content of a file named [CacheTag] begins
// with the signature, without which its name means nothing. In a tagged
// folder only the tag itself is backed up, so that a restored folder is
// tagged again. The caller opens regular files only: opening a FIFO would
// wait for ever.
func IsCacheTag(r io.Reader) (bool, error) {
	var have [len(cacheSignature)]byte
	switch _, err := io.ReadFull(r, have[:]); err {
	case nil:
		return bytes.Equal(have[:], []byte(cacheSignature)), nil
	case io.EOF, io.ErrUnexpectedEOF:
		return false, nil
	default:
		return false, fmt.Errorf("read %s: %w", CacheTag, err)
	}
}
