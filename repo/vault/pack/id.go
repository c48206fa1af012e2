package pack

import (
	"encoding/hex"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// ID names a pack for ever: 8 bytes of the run's number, big-endian, so that
// packs sort by age, and 8 random bytes.
type ID [16]byte

// String returns the ID as 32 lower-case hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what String wrote; anything else is fault.Invalid.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("parse pack ID %q: %w", s, fault.Invalid)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil || id.String() != s {
		return ID{}, fmt.Errorf("parse pack ID %q: %w", s, fault.Invalid)
	}
	return id, nil
}
