// Package pack describes packs as everybody sees them, with no key: the ID,
// the head with its directory of frames, and the sealed parts as bytes.
//
//	head ‖ sealed session key ‖ directory ‖ chunk list ‖ frames
//
// It checks what can be checked without a key (bounds, hashes); it opens
// nothing. The bytes are those of FORMAT.md, section 4.
package pack

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	magic = "tidmPAK\x01"

	// HeadSize is the length of the fixed head in bytes.
	HeadSize = 166
	// HeadRead is how much of a pack a reader asks for at first: head,
	// directory and chunk list of nearly every pack.
	HeadRead = 64 << 10

	sealedGeometry = 48
	maxSession     = 2048
)

// Head is everything of a pack but its frames.
type Head struct {
	Repository [16]byte
	ID         ID
	Epoch      uint32
	Commitment [32]byte
	Geometry   [sealedGeometry]byte // sealed under the index keys
	Session    []byte               // sealed session key
	Lengths    []uint32             // stored length of each frame
	Hashes     [][32]byte           // SHA-256 of each stored frame
	ChunkList  []byte               // sealed under the index keys

	offsets []uint32 // of each frame in the object, and the object's end
}

// NewID draws an ID for a pack of a run.
func NewID(run uint64) ID {
	var id ID
	binary.BigEndian.PutUint64(id[:], run)
	_, _ = rand.Read(id[8:])
	return id
}

// Run returns the number of the run that wrote the pack.
func (id ID) Run() uint64 { return binary.BigEndian.Uint64(id[:]) }

// Name returns the name of the pack's object in a store.
func (id ID) Name() string {
	s := id.String()
	return "packs/" + s[30:] + "/" + s
}

// Prefix is where packs are in a store.
const Prefix = "packs/"

// ParseName returns the ID of the pack that is stored under name.
func ParseName(name string) (ID, error) {
	if len(name) > 32 {
		if id, err := ParseID(name[len(name)-32:]); err == nil && id.Name() == name {
			return id, nil
		}
	}
	return ID{}, fmt.Errorf("parse pack name %q: %w", name, fault.Invalid)
}

// Size returns the length of head, session key, directory and chunk list.
func (h *Head) Size() int {
	return HeadSize + len(h.Session) + 36*len(h.Lengths) + len(h.ChunkList)
}

// Marshal returns the bytes before the first frame.
func (h *Head) Marshal() []byte {
	b := make([]byte, 0, h.Size())
	b = append(b, magic...)
	b = append(b, h.Repository[:]...)
	b = append(b, h.ID[:]...)
	b = binary.LittleEndian.AppendUint32(b, h.Epoch)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.Lengths)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Session)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.ChunkList)))
	b = append(b, h.Commitment[:]...)
	b = append(b, h.Geometry[:]...)
	b = append(b, make([]byte, 32)...)
	b = append(b, h.Session...)
	for _, l := range h.Lengths {
		b = binary.LittleEndian.AppendUint32(b, l)
	}
	for _, sum := range h.Hashes {
		b = append(b, sum[:]...)
	}
	b = append(b, h.ChunkList...)
	sum := headSum(b)
	copy(b[134:], sum[:])
	return b
}

func headSum(b []byte) (sum [32]byte) {
	s := sha256.New()
	s.Write(b[:134])
	s.Write(b[HeadSize:])
	s.Sum(sum[:0])
	return sum
}

// Need returns how long the part before the frames is, from the first
// HeadSize bytes of a pack, and checks them against bounds.
func Need(b []byte) (int, error) {
	if len(b) < HeadSize || string(b[:8]) != magic {
		return 0, fmt.Errorf("not a pack of version 1: %w", fault.Corrupt)
	}
	n := binary.LittleEndian.Uint32(b[44:])
	s := binary.LittleEndian.Uint16(b[48:])
	c := binary.LittleEndian.Uint32(b[50:])
	if n == 0 || n > MaxFrames || s > maxSession || c > MaxList {
		return 0, fmt.Errorf("pack of %d frames, %d bytes of session key, %d of chunk list: %w", n, s, c, fault.Corrupt)
	}
	return HeadSize + int(s) + 36*int(n) + int(c), nil
}

// Parse reads what Marshal wrote, from the first Need bytes of a pack or more,
// and checks bounds and the hash. It keeps b.
func Parse(b []byte) (*Head, error) {
	need, err := Need(b)
	if err != nil {
		return nil, err
	}
	if len(b) < need {
		return nil, fmt.Errorf("pack cut short: %d of %d bytes before the frames: %w", len(b), need, fault.Corrupt)
	}
	b = b[:need:need]
	if sum := headSum(b); sum != [32]byte(b[134:166]) {
		return nil, fmt.Errorf("head of pack does not match its hash: %w", fault.Corrupt)
	}
	n := int(binary.LittleEndian.Uint32(b[44:]))
	s := int(binary.LittleEndian.Uint16(b[48:]))
	h := &Head{
		Repository: [16]byte(b[8:24]), ID: ID(b[24:40]), Epoch: binary.LittleEndian.Uint32(b[40:]),
		Commitment: [32]byte(b[54:86]), Geometry: [sealedGeometry]byte(b[86:134]),
		Session: b[HeadSize : HeadSize+s], Lengths: make([]uint32, n), Hashes: make([][32]byte, n),
		offsets: make([]uint32, n+1),
	}
	lengths, hashes := b[HeadSize+s:], b[HeadSize+s+4*n:]
	h.ChunkList = hashes[32*n:]
	at := uint64(need)
	for i := range n {
		h.Lengths[i] = binary.LittleEndian.Uint32(lengths[4*i:])
		h.Hashes[i] = [32]byte(hashes[32*i:])
		h.offsets[i] = uint32(at)
		at += uint64(h.Lengths[i])
		if at > MaxObject {
			return nil, fmt.Errorf("pack %s is longer than %d bytes: %w", h.ID, MaxObject, fault.Corrupt)
		}
	}
	h.offsets[n] = uint32(at)
	return h, nil
}

// Frames returns the number of frames.
func (h *Head) Frames() int { return len(h.Lengths) }

// Frame returns where stored frame i is in the object. The head must come
// from Parse.
func (h *Head) Frame(i int) (offset, length uint32) { return h.offsets[i], h.Lengths[i] }

// ObjectSize returns the length of the whole object. The head must come from
// Parse.
func (h *Head) ObjectSize() int64 { return int64(h.offsets[len(h.offsets)-1]) }
