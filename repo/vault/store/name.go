package store

import (
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Bounds of names. A segment fits every file system that folders live on.
const (
	MaxName    = 512 // bytes of a whole name
	MaxSegment = 128 // bytes between two slashes
)

// Scratch is the first segment that belongs to the stores themselves: a
// folder keeps unfinished writes there. No object is named so.
const Scratch = "tmp"

// ValidName returns nil if name can name an object on every kind of store,
// and fault.Invalid otherwise. A name is 1 to 512 bytes: segments of 1 to 128
// bytes, parted by single slashes. A segment has lower-case ASCII letters,
// digits, '-', '_' and '.', and neither begins nor ends with a '.', which
// excludes "." and "..", hidden files, and what Windows would shorten. There
// is no upper case, so a file system that folds case folds nothing here. The
// first segment is not "tmp", and no segment is a device of Windows ("nul",
// "com1.x").
func ValidName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("name of %d bytes (1 to %d): %w", len(name), MaxName, fault.Invalid)
	}
	first := true
	for segment := range strings.SplitSeq(name, "/") {
		if why := badSegment(segment); why != "" {
			return fmt.Errorf("name %q: %s: %w", name, why, fault.Invalid)
		}
		if first && segment == Scratch {
			return fmt.Errorf("name %q: %s/ belongs to the store: %w", name, Scratch, fault.Invalid)
		}
		first = false
	}
	return nil
}

// badSegment tells in words what is wrong with one segment, "" if nothing.
func badSegment(s string) string {
	switch {
	case s == "":
		return "empty segment"
	case len(s) > MaxSegment:
		return "segment too long"
	case s[0] == '.' || s[len(s)-1] == '.':
		return "a segment begins or ends with '.'"
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return "a character other than a-z 0-9 - _ . /"
		}
	}
	if isDevice(s) {
		return "a device name of Windows"
	}
	return ""
}

// isDevice reports whether Windows takes the segment for a device, which it
// does whatever follows the first dot.
func isDevice(s string) bool {
	stem, _, _ := strings.Cut(s, ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(stem) == 4 && (stem[:3] == "com" || stem[:3] == "lpt") && '1' <= stem[3] && stem[3] <= '9'
}
