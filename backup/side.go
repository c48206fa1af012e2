package backup

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// sideRecord is what tells that a file is unchanged, beside its entry.
type sideRecord struct {
	ctimeSec  int64
	ctimeNsec uint32
	odd       bool // looks encrypted, see triage
	again     bool // was read so soon after a change that another could hide
	device    uint32
	inode     uint64
}

const (
	sideSize    = 24
	sideRecords = 4096 // in a block
	sideBlock   = sideRecords*sideSize + 4
	readAgain   = 1 << 31
	looksOdd    = 1 << 30
)

// sideLength returns the length of the side file of so many entries.
func sideLength(entries uint64) uint64 {
	return entries*sideSize + (entries+sideRecords-1)/sideRecords*4
}

// sideSum is the checksum of a block's records. A block of another file, or of
// another place in this one, has another.
func sideSum(file, block uint64, records []byte) uint32 {
	var at [16]byte
	binary.LittleEndian.PutUint64(at[:], file)
	binary.LittleEndian.PutUint64(at[8:], block)
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(at[:], table), table, records)
}

// sideWriter writes the side file of the new table.
type sideWriter struct {
	f      *os.File
	number uint64 // of the file
	block  uint64
	buf    []byte
}

func (w *sideWriter) add(r *sideRecord) error {
	var b [sideSize]byte
	binary.LittleEndian.PutUint64(b[:], uint64(r.ctimeSec))
	nsec := r.ctimeNsec
	if r.again {
		nsec |= readAgain
	}
	if r.odd {
		nsec |= looksOdd
	}
	binary.LittleEndian.PutUint32(b[8:], nsec)
	binary.LittleEndian.PutUint32(b[12:], r.device)
	binary.LittleEndian.PutUint64(b[16:], r.inode)
	if w.buf = append(w.buf, b[:]...); len(w.buf) == sideRecords*sideSize {
		return w.flush()
	}
	return nil
}

// flush ends a block; only the last one may be a short one.
func (w *sideWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf, sideSum(w.number, w.block, w.buf))
	_, err := w.f.Write(w.buf)
	w.buf = w.buf[:0]
	w.block++
	if err != nil {
		return fmt.Errorf("write the copy of the new table: %w", err)
	}
	return nil
}

// sides reads the side records of the old table, which are asked for in order.
type sides struct {
	r       io.ReaderAt
	number  uint64 // of the file
	entries uint64
	block   uint64 // that buf holds, plus 1
	buf     []byte
}

func (s *sides) at(ordinal uint64) (sideRecord, error) {
	if ordinal >= s.entries {
		return sideRecord{}, fmt.Errorf("%w: entry %d of %d", errCopy, ordinal, s.entries)
	}
	if block := ordinal / sideRecords; s.block != block+1 {
		if err := s.read(block); err != nil {
			return sideRecord{}, err
		}
	}
	return parseSide(s.buf[ordinal%sideRecords*sideSize:]), nil
}

func (s *sides) read(block uint64) error {
	if s.buf == nil {
		s.buf = make([]byte, sideBlock)
	}
	n := min(sideRecords, s.entries-block*sideRecords) * sideSize
	s.block = 0
	if _, err := s.r.ReadAt(s.buf[:n+4], int64(block*sideBlock)); err != nil {
		return fmt.Errorf("%w: entries from %d: %w", errCopy, block*sideRecords, err)
	}
	if sideSum(s.number, block, s.buf[:n]) != binary.LittleEndian.Uint32(s.buf[n:]) {
		return fmt.Errorf("%w: entries from %d have another checksum", errCopy, block*sideRecords)
	}
	s.block = block + 1
	return nil
}

func parseSide(b []byte) sideRecord {
	nsec := binary.LittleEndian.Uint32(b[8:])
	return sideRecord{
		ctimeSec: int64(binary.LittleEndian.Uint64(b)), ctimeNsec: nsec &^ (readAgain | looksOdd), again: nsec&readAgain != 0, odd: nsec&looksOdd != 0,
		device: binary.LittleEndian.Uint32(b[12:]), inode: binary.LittleEndian.Uint64(b[16:]),
	}
}
