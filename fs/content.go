package fs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/tidemark-backup/tidemark/repo/table"
)

// ContentID names a file's content: files with equal IDs have equal content.
// Files with other IDs may have equal content, too, stored twice.
type ContentID [16]byte

// String returns the ID as 32 hexadecimal digits.
func (id ContentID) String() string { return hex.EncodeToString(id[:]) }

// ContentID returns the ID of a file's content, from where its bytes are
// stored: nothing of them is read. It differs from tree to tree, so that it
// tells nobody what a small file holds.
func (t *Tree) ContentID(ctx context.Context, n Node) (ContentID, error) {
	at, err := t.find(n)
	if err != nil {
		return ContentID{}, err
	}
	_, e, err := t.entry(ctx, at)
	if err != nil {
		return ContentID{}, err
	}
	if err := mustBeFile(e); err != nil {
		return ContentID{}, err
	}
	b := append(make([]byte, 0, 1024), t.content[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.Size)
	b = append(b, byte(e.Form()))
	switch e.Form() {
	case table.Inline:
		b = append(b, e.Inline...)
	case table.Paged:
		b = append(b, e.Tree.Ref.ID[:]...)
	default:
		for i := range e.Extents {
			x := &e.Extents[i]
			b = append(b, x.Pack[:]...)
			b = binary.LittleEndian.AppendUint32(b, x.Offset)
			b = binary.LittleEndian.AppendUint64(b, x.Length)
		}
	}
	sum := sha256.Sum256(b)
	return ContentID(sum[:16]), nil
}
