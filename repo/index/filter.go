package index

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
)

const (
	lineSize    = 64 // bytes of a filter line: bits, then their CRC
	lineBits    = 8 * (lineSize - 4)
	lineRecords = 48 // that a line is meant for
	probes      = 6  // bits of a record
)

// linesFor returns how many filter lines so many records get.
func linesFor(records uint64) uint64 { return records/lineRecords + 1 }

// lineOf returns which of the lines an ID belongs to.
func lineOf(id *chunk.ID, lines uint32) uint32 {
	line, _ := bits.Mul64(hi(id), uint64(lines))
	return uint32(line)
}

// probe returns the i-th of an ID's bits in its line.
func probe(id *chunk.ID, i int) uint {
	return uint(lo(id)>>(9*i)) & 511 * lineBits / 512
}

// markLine enters an ID.
func markLine(line *[lineSize]byte, id *chunk.ID) {
	for i := range probes {
		bit := probe(id, i)
		line[bit/8] |= 1 << (bit % 8)
	}
}

// inLine tells whether an ID may have been entered.
func inLine(line *[lineSize]byte, id *chunk.ID) bool {
	for i := range probes {
		bit := probe(id, i)
		if line[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// sealLine writes the line's CRC.
func sealLine(line *[lineSize]byte) {
	binary.LittleEndian.PutUint32(line[lineSize-4:], checksum(line[:lineSize-4]))
}

// checkLine checks what sealLine wrote.
func checkLine(line *[lineSize]byte) error {
	if binary.LittleEndian.Uint32(line[lineSize-4:]) != checksum(line[:lineSize-4]) {
		return fmt.Errorf("filter line: %w", fault.Corrupt)
	}
	return nil
}
