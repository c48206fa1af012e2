// Package chunk cuts content into chunks and names them.
//
// Nouns: a chunk is a run of one file's content. Its ID is a keyed hash of
// its bytes, so equal chunks of one repository have equal IDs, and who lacks
// the Key cannot tell which known file an ID stands for. A Cutter decides
// where chunks end, by content, so that an insertion moves the cuts with the
// content instead of changing every chunk behind it.
//
// The package does no I/O, keeps no data and knows nothing of frames, packs
// or the index.
//
// # Chunk ID
//
// The first 16 bytes of BLAKE3 in its keyed mode (32-byte key) over the
// chunk's bytes. It is stored, and a reader recomputes it to verify.
//
// # Cuts
//
// Readers need no cutter: every extent carries its length. But writers dedup
// against each other's chunks only if all of them cut alike, so this is part
// of the format too. It takes the normalised chunking of FastCDC (Xia et al.,
// IEEE TPDS 2020), with thresholds where that has masks and a true 64-byte
// window from the first position on.
//
//	gear    256 numbers of 64 bits: the first 2,048 bytes of the extended
//	        output of keyed BLAKE3 (key: the gear key) over the 18 bytes
//	        "tidemark gear v1\x00\x00", read as little-endian numbers
//	hash    H(L), for L ≥ 64: the sum, modulo 2^64, over j = 0…63 of
//	        gear[data[L-1-j]] << j
//	normal  Avg - 3·Avg/16, with integer division
//	cut     the least L of Min ≤ L < min(len(data), Max) with H(L) < hard
//	        where L < normal, H(L) < easy where L ≥ normal;
//	        if there is none, min(len(data), Max)
//	hard    ⌊2^64-1 / (4·Avg)⌋
//	easy    ⌊2^64-1 / (Avg/4)⌋, with integer division inside
//
// Whether a position is a cut thus depends on the 64 bytes before it and on
// which side of normal it lies, and on nothing else. The mean length is
// within a few percent of Avg while Min is about Avg/4.
package chunk

import (
	"encoding/hex"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// ID names a chunk by its content within one repository. IDs are uniformly
// distributed.
type ID [16]byte

// String returns the ID as 32 lower-case hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what String wrote; anything else is fault.Invalid.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("parse chunk ID %q: %w", s, fault.Invalid)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil || id.String() != s {
		return ID{}, fmt.Errorf("parse chunk ID %q: %w", s, fault.Invalid)
	}
	return id, nil
}
