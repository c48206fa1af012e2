package pack

import (
	"encoding/binary"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Kind says what a pack holds. Stored in the sealed geometry.
type Kind uint8

// The kinds of pack, FORMAT.md 4.2.
const (
	Small  Kind = iota // small files, many to a frame
	Large              // large files cut by content
	Blocks             // fixed blocks of files rewritten in place
	Pages              // pages of tables

	NumKinds = int(Pages) + 1
)

// Bounds of FORMAT.md, section 1.
const (
	MaxObject = 64 << 20  // bytes of a pack object
	MaxRaw    = 256 << 20 // raw bytes of a pack
	MaxFrames = 65536     // frames of a pack
	MinStep   = 4 << 10
	MaxStep   = 4 << 20
	MaxList   = 16 << 20 // bytes of a chunk list, stored and raw
)

// Geometry says how the raw bytes of a pack are cut into frames: the first
// frame spans First bytes, every later one Step, the last ends at Total.
type Geometry struct {
	First, Step, Total uint32
	List               uint32 // raw length of the chunk list in bytes
	Kind               Kind
}

// Validate checks the bounds and that frames is the number that follows.
func (g Geometry) Validate(frames int) error {
	switch {
	case g.Kind > Pages:
		return fmt.Errorf("pack kind %d: %w", g.Kind, fault.Corrupt)
	case g.Total == 0 || g.Total > MaxRaw:
		return fmt.Errorf("pack of %d raw bytes: %w", g.Total, fault.Corrupt)
	case g.Step < MinStep || g.Step > MaxStep:
		return fmt.Errorf("frame step %d: %w", g.Step, fault.Corrupt)
	case g.List > MaxList:
		return fmt.Errorf("chunk list of %d bytes: %w", g.List, fault.Corrupt)
	case g.First == 0 || g.First > g.Step || g.First > g.Total:
		return fmt.Errorf("first frame of %d bytes: %w", g.First, fault.Corrupt)
	case g.Frames() != frames:
		return fmt.Errorf("%d frames where %d belong: %w", frames, g.Frames(), fault.Corrupt)
	}
	return nil
}

// Frames returns how many frames the raw bytes make.
func (g Geometry) Frames() int {
	if g.Total <= g.First {
		return 1
	}
	return 1 + int((g.Total-g.First+g.Step-1)/g.Step)
}

// FrameOf returns the number of the frame that spans the raw byte at offset.
func (g Geometry) FrameOf(offset uint32) int {
	if offset < g.First {
		return 0
	}
	return 1 + int((offset-g.First)/g.Step)
}

// Span returns the raw bytes [start, end) that frame i spans.
func (g Geometry) Span(i int) (start, end uint32) {
	if i == 0 {
		return 0, min(g.First, g.Total)
	}
	start = g.First + uint32(i-1)*g.Step
	return start, min(start+g.Step, g.Total)
}

// Marshal returns the 20 bytes that are sealed into the head.
func (g Geometry) Marshal() []byte {
	b := make([]byte, 0, GeometrySize)
	for _, n := range []uint32{g.First, g.Step, g.Total, g.List} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return append(b, byte(g.Kind), 0, 0, 0)
}

// GeometrySize is the length of a marshalled geometry in bytes.
const GeometrySize = 20

// ParseGeometry reads what Marshal wrote; Validate comes next.
func ParseGeometry(b []byte) (Geometry, error) {
	if len(b) != GeometrySize || b[17]|b[18]|b[19] != 0 {
		return Geometry{}, fmt.Errorf("geometry of %d bytes: %w", len(b), fault.Corrupt)
	}
	n := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	return Geometry{First: n(0), Step: n(1), Total: n(2), List: n(3), Kind: Kind(b[16])}, nil
}
