package index

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// segmentWriter writes a segment from records in order. Filter and blocks are
// written side by side as records come, so that its memory is small.
type segmentWriter struct {
	segment
	repository [16]byte
	filterOut  *bufio.Writer
	blockOut   *bufio.Writer
	line       [lineSize]byte
	lineNumber uint32
	block      []byte
}

// createSegment starts a segment of at most so many records.
func createSegment(dir string, repository [16]byte, most uint64) (*segmentWriter, error) {
	lines := linesFor(most)
	if lines > math.MaxUint32 {
		return nil, fmt.Errorf("create segment of %d records: %w", most, fault.TooLarge)
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	number := binary.BigEndian.Uint64(random[:])
	f, err := os.OpenFile(segmentName(dir, number), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	w := &segmentWriter{
		segment:    segment{file: f, number: number, lines: uint32(lines)},
		repository: repository,
		filterOut:  bufio.NewWriterSize(io.NewOffsetWriter(f, headerSize), int(min(lines*lineSize, 64<<10))),
		blockOut:   bufio.NewWriterSize(io.NewOffsetWriter(f, blocksStart(uint32(lines))), int(min((most*recordSize/blockSize+1)*blockSize, 256<<10))),
		block:      make([]byte, 0, blockSize),
	}
	return w, nil
}

// add writes a record, whose ID is above that of the last.
func (w *segmentWriter) add(r record) error {
	if err := w.linesUpTo(lineOf(&r.id, w.lines)); err != nil {
		return err
	}
	markLine(&w.line, &r.id)
	if len(w.block) == 0 {
		w.fences = append(w.fences, hi(&r.id))
	}
	at := len(w.block)
	w.block = w.block[:at+recordSize]
	r.put(w.block[at:])
	w.records++
	if len(w.block) == blockTag {
		return w.endBlock()
	}
	return nil
}

// linesUpTo writes the filter lines before number.
func (w *segmentWriter) linesUpTo(number uint32) error {
	for ; w.lineNumber < number; w.lineNumber++ {
		sealLine(&w.line)
		if _, err := w.filterOut.Write(w.line[:]); err != nil {
			return fmt.Errorf("write segment: %w", err)
		}
		w.line = [lineSize]byte{}
	}
	return nil
}

func (w *segmentWriter) endBlock() error {
	used := len(w.block)
	w.block = w.block[:blockSize]
	clear(w.block[used:])
	binary.LittleEndian.PutUint32(w.block[blockTag:], w.tag(w.blocks()-1))
	binary.LittleEndian.PutUint32(w.block[blockSize-4:], checksum(w.block[:blockSize-4]))
	if _, err := w.blockOut.Write(w.block); err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	w.block = w.block[:0]
	return nil
}

// finish ends the segment and syncs it. It returns nil if there were no
// records. The segment counts once the log names it.
func (w *segmentWriter) finish() (*segment, error) {
	if w.records == 0 {
		w.remove()
		return nil, nil
	}
	if len(w.block) > 0 {
		if err := w.endBlock(); err != nil {
			return nil, err
		}
	}
	if err := w.linesUpTo(w.lines); err != nil {
		return nil, err
	}
	end := blocksStart(w.lines) + w.blocks()*blockSize
	_, err := w.file.WriteAt(encodeFences(w.fences), end)
	if err = errors.Join(err, w.filterOut.Flush(), w.blockOut.Flush()); err == nil {
		_, err = w.file.WriteAt(w.header(w.repository), 0)
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		return nil, fmt.Errorf("write segment: %w", err)
	}
	return &segment{
		file: w.file, number: w.number, records: w.records, lines: w.lines,
		fences: append(make([]uint64, 0, len(w.fences)), w.fences...),
	}, nil
}
