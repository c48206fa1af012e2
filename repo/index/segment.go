package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
)

const (
	segmentMagic  = "tidmSEG\x01"
	headerSize    = 64
	blockSize     = 4096
	blockRecords  = 146
	blockTag      = blockRecords * recordSize // offset of the tag in a block
	fenceSize     = 8
	segmentSuffix = ".segment"
)

// filterPatience is how many look-ups a segment answers with its filter on
// disk before it takes it into memory: a small run should not read much.
const filterPatience = 256

// segment is an open segment file. It never changes, except that its filter
// comes into memory and leaves it; find may be called by many goroutines.
type segment struct {
	file    *os.File
	number  uint64
	records uint64
	lines   uint32
	fences  []uint64
	private bool // made by a process that is not the owner

	keep   atomic.Bool // whether the filter may be in memory
	asked  atomic.Int64
	load   sync.Mutex // held to load
	filter atomic.Pointer[[]byte]
}

// segmentName returns the path of a segment.
func segmentName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", number, segmentSuffix))
}

func (s *segment) blocks() int64     { return int64(len(s.fences)) }
func (s *segment) filterSize() int64 { return int64(s.lines) * lineSize }

// blocksStart returns the offset of the first block.
func blocksStart(lines uint32) int64 {
	end := headerSize + int64(lines)*lineSize
	return (end + blockSize - 1) / blockSize * blockSize
}

// header returns the encoded header.
func (s *segment) header(repository [16]byte) []byte {
	b := make([]byte, headerSize)
	copy(b, segmentMagic)
	copy(b[8:], repository[:])
	binary.LittleEndian.PutUint64(b[24:], s.number)
	binary.LittleEndian.PutUint64(b[32:], s.records)
	binary.LittleEndian.PutUint32(b[40:], s.lines)
	binary.LittleEndian.PutUint32(b[44:], checksum(encodeFences(s.fences)))
	binary.LittleEndian.PutUint32(b[60:], checksum(b[:60]))
	return b
}

func encodeFences(fences []uint64) []byte {
	b := make([]byte, 0, fenceSize*len(fences))
	for _, fence := range fences {
		b = binary.LittleEndian.AppendUint64(b, fence)
	}
	return b
}

// openSegment opens a segment file and checks header, length and fences.
// Blocks and filter are checked when they are read. Whatever is wrong with
// the file is fault.Corrupt; a missing one is NotExist.
func openSegment(dir string, number uint64, repository [16]byte) (*segment, error) {
	f, err := os.Open(segmentName(dir, number))
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	s, err := readSegment(f, number, repository)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open segment %s: %w", f.Name(), err)
	}
	return s, nil
}

func readSegment(f *os.File, number uint64, repository [16]byte) (*segment, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, headerSize)
	if err := readAt(f, head, 0); err != nil {
		return nil, err
	}
	s := &segment{
		file:    f,
		number:  number,
		records: binary.LittleEndian.Uint64(head[32:]),
		lines:   binary.LittleEndian.Uint32(head[40:]),
	}
	blocks := s.records/blockRecords + min(1, s.records%blockRecords)
	// The first comparison keeps the sum from overflowing, and the sum
	// bounds the memory for the fences by the file's length.
	if s.records == 0 || s.lines == 0 || blocks > uint64(info.Size())/blockSize ||
		blocksStart(s.lines)+int64(blocks)*(blockSize+fenceSize) != info.Size() {
		return nil, fmt.Errorf("%d records in %d bytes: %w", s.records, info.Size(), fault.Corrupt)
	}
	raw := make([]byte, blocks*fenceSize)
	if err := readAt(f, raw, info.Size()-int64(len(raw))); err != nil {
		return nil, err
	}
	s.fences = make([]uint64, blocks)
	for i := range s.fences {
		s.fences[i] = binary.LittleEndian.Uint64(raw[fenceSize*i:])
	}
	if string(head) != string(s.header(repository)) {
		return nil, fmt.Errorf("header or fences: %w", fault.Corrupt)
	}
	return s, nil
}

// readAt fills b from offset at; a file that is too short is fault.Corrupt.
func readAt(f io.ReaderAt, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read %d bytes at %d: cut short: %w", len(b), at, fault.Corrupt)
	}
	return err
}

// find returns the location of id. It reads at most one block unless IDs are
// far from uniform.
func (s *segment) find(id *chunk.ID, block *[blockSize]byte) (Location, bool, error) {
	if may, err := s.mayHave(id, block); !may {
		return Location{}, false, err
	}
	key := hi(id)
	for b := s.lastFence(key); b >= 0; b-- {
		if err := s.readBlock(block[:], b); err != nil {
			return Location{}, false, err
		}
		n := s.recordsIn(b)
		i, found := sort.Find(n, func(i int) int {
			other := chunk.ID(block[recordSize*i:])
			return compare(id, &other)
		})
		if found {
			return getRecord(block[recordSize*i:]).loc, true, nil
		}
		if s.fences[b] != key { // else the block before may end with key, too
			break
		}
	}
	return Location{}, false, nil
}

// lastFence returns the last block whose fence is not above key, or -1. It
// starts where key is if IDs are uniform, and doubles its steps from there.
func (s *segment) lastFence(key uint64) int64 {
	n := s.blocks()
	guess := int64(float64(key) / (1 << 64) * float64(n))
	low, high := min(max(guess, 0), n-1), n // fences[low] ≤ key < fences[high]
	step := int64(1)
	if s.fences[low] <= key {
		for at := low + step; at < n; at, step = at+step, step*2 {
			if s.fences[at] > key {
				high = at
				break
			}
			low = at
		}
	} else {
		high = low
		for low = high - 1; low >= 0 && s.fences[low] > key; step *= 2 {
			high, low = low, max(low-step, -1)
		}
	}
	return low + int64(sort.Search(int(high-low-1), func(i int) bool { return s.fences[low+1+int64(i)] > key }))
}

// recordsIn returns how many records a block has.
func (s *segment) recordsIn(block int64) int {
	return int(min(blockRecords, s.records-uint64(block)*blockRecords))
}

// readBlock reads and checks one block, or several in a row.
func (s *segment) readBlock(b []byte, first int64) error {
	if err := readAt(s.file, b, blocksStart(s.lines)+first*blockSize); err != nil {
		return fmt.Errorf("read segment %s: %w", s.file.Name(), err)
	}
	for at := 0; at < len(b); at += blockSize {
		block := b[at : at+blockSize]
		if binary.LittleEndian.Uint32(block[blockSize-4:]) != checksum(block[:blockSize-4]) ||
			binary.LittleEndian.Uint32(block[blockTag:]) != s.tag(first+int64(at/blockSize)) {
			return fmt.Errorf("read segment %s: block %d: %w", s.file.Name(), first+int64(at/blockSize), fault.Corrupt)
		}
	}
	return nil
}

func (s *segment) tag(block int64) uint32 { return uint32(s.number) + uint32(block) }

// mayHave asks the filter; block is only a place to read to.
func (s *segment) mayHave(id *chunk.ID, block *[blockSize]byte) (bool, error) {
	at := int64(lineOf(id, s.lines)) * lineSize
	filter := s.filter.Load()
	if filter == nil && s.keep.Load() && s.asked.Add(1) > filterPatience {
		var err error
		if filter, err = s.loadFilter(); err != nil {
			return false, err
		}
	}
	if filter != nil {
		return inLine((*[lineSize]byte)((*filter)[at:]), id), nil
	}
	line := (*[lineSize]byte)(block[:])
	if err := readAt(s.file, line[:], headerSize+at); err != nil {
		return false, fmt.Errorf("read segment %s: %w", s.file.Name(), err)
	}
	if err := checkLine(line); err != nil {
		return false, fmt.Errorf("read segment %s: %w", s.file.Name(), err)
	}
	return inLine(line, id), nil
}

// loadFilter takes the whole filter into memory, once.
func (s *segment) loadFilter() (*[]byte, error) {
	s.load.Lock()
	defer s.load.Unlock()
	if filter := s.filter.Load(); filter != nil {
		return filter, nil
	}
	filter := make([]byte, s.filterSize())
	if err := readAt(s.file, filter, headerSize); err != nil {
		return nil, fmt.Errorf("read segment %s: %w", s.file.Name(), err)
	}
	for at := 0; at < len(filter); at += lineSize {
		if err := checkLine((*[lineSize]byte)(filter[at:])); err != nil {
			return nil, fmt.Errorf("read segment %s: %w", s.file.Name(), err)
		}
	}
	s.filter.Store(&filter)
	return &filter, nil
}

// forgetFilter leaves the filter on disk from now on.
func (s *segment) forgetFilter() {
	s.keep.Store(false)
	s.filter.Store(nil)
}

// remove closes and deletes the file. What cannot be deleted now (on Windows,
// while another process reads it) is left to a later Open.
func (s *segment) remove() {
	s.file.Close()
	os.Remove(s.file.Name())
}
