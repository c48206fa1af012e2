package walk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// readNames lists the folder into l. If stop is set it gives up at l's limit
// and returns errBig; else it keeps the smallest names that fit.
// again says that the descriptor was read before.
func (h *handle) readNames(fd int, l *nameList, buf []byte, again, stop bool) error {
	if again {
		if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
			return fmt.Errorf("list folder %s: %w", h.path, err)
		}
	}
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("list folder %s: %w", h.path, err)
		}
		if n <= 0 {
			return nil
		}
		if err := parseDirents(buf[:n], l, stop); err != nil {
			if errors.Is(err, errBig) {
				return err
			}
			return fmt.Errorf("list folder %s: %w", h.path, err)
		}
	}
}

// parseDirents adds the names in the kernel's struct linux_dirent64 records:
//
//	ino 8 | off 8 | length of record 2 | type 1 | name, zero-terminated, padded
func parseDirents(b []byte, l *nameList, stop bool) error {
	const header = 19
	for len(b) > 0 {
		if len(b) < header {
			return fmt.Errorf("directory record of %d bytes: %w", len(b), fault.Corrupt)
		}
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size < header || size > len(b) {
			return fmt.Errorf("directory record says %d bytes: %w", size, fault.Corrupt)
		}
		ino := binary.NativeEndian.Uint64(b)
		name := b[header:size]
		b = b[size:]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		if len(name) == 0 || string(name) == "." || string(name) == ".." {
			continue
		}
		for i := range name {
			if name[i] == '/' {
				return fmt.Errorf("name %q in a folder: %w", name, fault.Corrupt)
			}
		}
		if !l.add(name, ino) {
			if stop {
				return errBig
			}
			l.halve()
		}
	}
	return nil
}
