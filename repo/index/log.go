package index

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

const (
	logMagic      = "tidmIDX\x02"
	logHeaderSize = 28
	frameHead     = 16
	payloadHead   = 16
	packSize      = 44
	maxPayload    = 16 << 20
	perFrame      = 1 << 16 // packs, drops or segments that a frame is given
)

// change is what one commit adds to the log.
type change struct {
	next     uint32 // the number of the next new pack
	packs    []numbered
	drops    []uint32
	segments []uint64
}

// numbered is an entry and its number.
type numbered struct {
	number uint32
	entry
}

func logHeader(repository [16]byte) []byte {
	b := append([]byte(logMagic), repository[:]...)
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// encodeFrame returns a frame of the log.
func encodeFrame(sequence uint32, more bool, c change) []byte {
	b := make([]byte, frameHead, frameHead+payloadHead+packSize*len(c.packs)+4*len(c.drops)+8*len(c.segments))
	put := binary.LittleEndian.AppendUint32
	for _, n := range []uint32{c.next, uint32(len(c.packs)), uint32(len(c.drops)), uint32(len(c.segments))} {
		b = put(b, n)
	}
	for _, p := range c.packs {
		b = append(put(b, p.number), p.id[:]...)
		b = put(put(put(put(b, p.first), p.step), p.total), p.chunks)
		b = append(b, byte(p.kind), 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, p.size)
	}
	for _, n := range c.drops {
		b = put(b, n)
	}
	for _, n := range c.segments {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-frameHead))
	binary.LittleEndian.PutUint32(b[4:], sequence)
	if more {
		b[8] = 1
	}
	binary.LittleEndian.PutUint32(b[12:], checksum(b[:12], b[frameHead:]))
	return b
}

// decodePayload reads a payload whose CRC was right.
func decodePayload(b []byte) (change, error) {
	if len(b) < payloadHead {
		return change{}, fmt.Errorf("log frame of %d bytes: %w", len(b), fault.Corrupt)
	}
	get := binary.LittleEndian.Uint32
	c := change{next: get(b)}
	packs, drops, segments := uint64(get(b[4:])), uint64(get(b[8:])), uint64(get(b[12:]))
	if b = b[payloadHead:]; uint64(len(b)) != packSize*packs+4*drops+8*segments {
		return change{}, fmt.Errorf("log frame: counts do not fit: %w", fault.Corrupt)
	}
	c.packs = make([]numbered, packs)
	for i := range c.packs {
		e := entry{
			id:    pack.ID(b[4:20]),
			first: get(b[20:]), step: get(b[24:]), total: get(b[28:]), chunks: get(b[32:]),
			size: get(b[40:]), kind: pack.Kind(b[36]), known: true,
		}
		c.packs[i], b = numbered{get(b), e}, b[packSize:]
	}
	c.drops = make([]uint32, drops)
	for i := range c.drops {
		c.drops[i], b = get(b), b[4:]
	}
	c.segments = make([]uint64, segments)
	for i := range c.segments {
		c.segments[i], b = binary.LittleEndian.Uint64(b), b[8:]
	}
	return c, nil
}

// stored is what a log says.
type stored struct {
	packs    table
	segments []uint64
	end      int64  // of the last frame that counts, and its group
	frames   uint32 // that count
}

// apply does what one frame says; last, if it is the last of its group.
func (s *stored) apply(c change, last bool) error {
	// Drops first: a pack may come back, under another number.
	for _, n := range c.drops {
		if s.packs.get(n) == nil {
			return fmt.Errorf("log: drop of pack number %d: %w", n, fault.Corrupt)
		}
		s.packs.drop(n)
	}
	for _, p := range c.packs {
		_, known := s.packs.number(p.id)
		if known || p.number < s.packs.next || p.number >= c.next {
			return fmt.Errorf("log: pack %s is number %d: %w", p.id, p.number, fault.Corrupt)
		}
		if err := checkGeometry(p.pack().Geometry); err != nil {
			return fmt.Errorf("log: pack %s: %w", p.id, fault.Corrupt)
		}
		s.packs.add(p.number, p.entry)
	}
	if c.next < s.packs.next {
		return fmt.Errorf("log: next pack number %d after %d: %w", c.next, s.packs.next, fault.Corrupt)
	}
	if last {
		s.packs.next, s.segments = c.next, c.segments
	}
	return nil
}

// checkGeometry checks what a reader will compute with.
func checkGeometry(g pack.Geometry) error {
	if g.Step == 0 {
		return fmt.Errorf("frame step 0: %w", fault.Invalid)
	}
	return g.Validate(g.Frames())
}

// readLog reads a log of size bytes. Frames that a crash tore do not count;
// everything else that is wrong is fault.Corrupt.
func readLog(r io.ReaderAt, size int64, repository [16]byte) (*stored, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 256<<10)
	head := make([]byte, logHeaderSize)
	if _, err := io.ReadFull(in, head); noEOF(err) != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	if string(head) != string(logHeader(repository)) {
		return nil, fmt.Errorf("log header: %w", fault.Corrupt)
	}
	s := &stored{end: logHeaderSize}
	at, frames, open := s.end, uint32(0), false
	for {
		payload, more, err := readFrame(in, size-at, frames)
		if err != nil {
			return nil, err
		}
		if payload == nil && open {
			// What the open group said was applied already: start over
			// and stop before it.
			return readLog(r, s.end, repository)
		}
		if payload == nil {
			return s, nil
		}
		c, err := decodePayload(payload)
		if err == nil {
			err = s.apply(c, !more)
		}
		if err != nil {
			return nil, err
		}
		at += frameHead + int64(len(payload))
		frames++
		if open = more; !open {
			s.end, s.frames = at, frames
		}
	}
}

// readFrame returns the payload of the next frame, with left bytes of file
// ahead; nil at the end, also one that a crash made.
func readFrame(in *bufio.Reader, left int64, sequence uint32) (payload []byte, more bool, err error) {
	head := make([]byte, frameHead)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, false, noEOF(err)
	}
	length := int64(binary.LittleEndian.Uint32(head))
	if frameHead+length > left {
		return nil, false, nil
	}
	if length > maxPayload {
		return nil, false, fmt.Errorf("log frame of %d bytes: %w", length, fault.Corrupt)
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, false, noEOF(err)
	}
	sum := binary.LittleEndian.Uint32(head[12:])
	flags := binary.LittleEndian.Uint32(head[8:])
	if sum != checksum(head[:12], payload) {
		if frameHead+length == left {
			return nil, false, nil
		}
		return nil, false, zerosToEnd(in, head, payload)
	}
	if binary.LittleEndian.Uint32(head[4:]) != sequence || flags > 1 || length == 0 {
		return nil, false, fmt.Errorf("log frame %d: %w", sequence, fault.Corrupt)
	}
	return payload, flags == 1, nil
}

// noEOF returns nil for an end of file and other errors as they are.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// zerosToEnd returns nil if what was read and the rest are zeros: a file that
// a crash left longer than its bytes.
func zerosToEnd(in io.Reader, read ...[]byte) error {
	damage := fmt.Errorf("log frame: %w", fault.Corrupt)
	for _, b := range read {
		if slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
			return damage
		}
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if slices.ContainsFunc(buf[:n], func(x byte) bool { return x != 0 }) {
			return damage
		}
		if err != nil {
			return noEOF(err)
		}
	}
}

// writeChange writes a change as one group of frames at the given offset,
// after which the file is cut off, and with the given sequence. It returns
// where and with which sequence the next change goes.
func writeChange(f *os.File, at int64, sequence uint32, c change) (int64, uint32, error) {
	// What a failed write has left must not follow a shorter one.
	if err := f.Truncate(at); err != nil {
		return 0, 0, fmt.Errorf("write index log: %w", err)
	}
	for more := true; more; sequence++ {
		part := change{next: c.next}
		part.drops, c.drops = split(c.drops)
		if len(c.drops) == 0 { // apply wants all drops before packs
			part.packs, c.packs = split(c.packs)
		}
		if more = len(c.packs)+len(c.drops) > 0; !more {
			part.segments = c.segments
		}
		if sequence == math.MaxUint32 {
			return 0, 0, fmt.Errorf("write index log: frame %d: %w", sequence, fault.TooLarge)
		}
		frame := encodeFrame(sequence, more, part)
		if _, err := f.WriteAt(frame, at); err != nil {
			return 0, 0, fmt.Errorf("write index log: %w", err)
		}
		at += int64(len(frame))
	}
	if err := f.Sync(); err != nil {
		return 0, 0, fmt.Errorf("write index log: %w", err)
	}
	return at, sequence, nil
}

// split cuts off what one frame is given.
func split[T any](all []T) (part, rest []T) {
	n := min(len(all), perFrame)
	return all[:n], all[n:]
}
