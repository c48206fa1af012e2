package index

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/tidemark-backup/tidemark/repo/chunk"
)

// recordSize is what a record takes, in memory and in segments.
const recordSize = 28

// record says where a chunk is. In a valid one length is not 0.
type record struct {
	id  chunk.ID
	loc Location
}

// hi returns the first half of an ID, in whose order records are sorted.
func hi(id *chunk.ID) uint64 { return binary.BigEndian.Uint64(id[:8]) }

// lo returns the other half.
func lo(id *chunk.ID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

// compare orders records by ID.
func compare(a, b *chunk.ID) int {
	x, y := hi(a), hi(b)
	if x == y {
		x, y = lo(a), lo(b)
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// put writes a record's 28 bytes to b.
func (r *record) put(b []byte) {
	_ = b[recordSize-1]
	copy(b, r.id[:])
	binary.LittleEndian.PutUint32(b[16:], r.loc.Pack)
	binary.LittleEndian.PutUint32(b[20:], r.loc.Offset)
	binary.LittleEndian.PutUint32(b[24:], r.loc.Length)
}

// getRecord reads what put wrote.
func getRecord(b []byte) record {
	_ = b[recordSize-1]
	return record{chunk.ID(b[:16]), Location{
		Pack:   binary.LittleEndian.Uint32(b[16:]),
		Offset: binary.LittleEndian.Uint32(b[20:]),
		Length: binary.LittleEndian.Uint32(b[24:]),
	}}
}

// checksum is CRC-32C over parts.
func checksum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by hash/crc32
	var sum uint32
	for _, part := range parts {
		sum = crc32.Update(sum, table, part)
	}
	return sum
}
