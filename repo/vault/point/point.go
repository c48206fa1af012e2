// Package point describes recovery points as everybody sees them, with no key:
// the public header with its chain, its live set and its signature. What a
// point holds is sealed in the body that follows; this package only carries
// it. The bytes are those of FORMAT.md, section 8.
package point

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/signed"
)

// ID names a point: the SHA-256 of its header.
type ID [32]byte

// String returns the ID as 64 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first 8 digits, as people see them.
func (id ID) Short() string { return hex.EncodeToString(id[:4]) }

// Prefix is where points are in a store.
const Prefix = "points/"

// Name returns the name of the object of a sequence number.
func Name(sequence uint64) string { return fmt.Sprintf("%s%016x", Prefix, sequence) }

// MaxSequence is the greatest number of a point.
const MaxSequence = 1<<48 - 1

// ParseName returns the sequence number of the point that is stored under name.
func ParseName(name string) (uint64, error) {
	digits, ok := strings.CutPrefix(name, Prefix)
	n, err := strconv.ParseUint(digits, 16, 64)
	if !ok || err != nil || n == 0 || n > MaxSequence || Name(n) != name {
		return 0, fmt.Errorf("parse point name %q: %w", name, fault.Invalid)
	}
	return n, nil
}

// Warnings is the flag of a point that was written with warnings.
const Warnings uint16 = 1

const (
	magic      = "tidmPNT\x01"
	fixed      = 240
	maxSession = 2048
	// MaxBody bounds the raw bytes of a body.
	MaxBody = 16 << 20
	// MaxObject bounds a point's object in bytes.
	MaxObject = MaxBody + MaxBody/8 + 4096
)

// Header is the public part of a point.
type Header struct {
	Repository [16]byte
	Sequence   uint64
	Server     [16]byte
	Previous   ID       // of the point before, zero for none
	Live       [32]byte // SHA-256 of the live set's root page
	Flags      uint16
	Epoch      uint32
	BodyID     pack.ID
	Commitment [32]byte
	BodyRaw    uint32 // raw length of the body
	Device     ed25519.PublicKey
	BodySum    [32]byte // SHA-256 of the sealed body
	Session    []byte   // sealed session key
	BodySize   uint32   // length of the sealed body

	MAC       [32]byte
	Signature [64]byte
	ID        ID // of the marshalled header
}

// signedPart returns the header's bytes before MAC and signature.
func (h *Header) signedPart() []byte {
	b := append(make([]byte, 0, fixed+len(h.Session)+96), magic...)
	b = append(b, h.Repository[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.Sequence)
	b = append(b, h.Server[:]...)
	b = append(b, h.Previous[:]...)
	b = append(b, h.Live[:]...)
	b = binary.LittleEndian.AppendUint16(b, h.Flags)
	b = binary.LittleEndian.AppendUint32(b, h.Epoch)
	b = append(b, h.BodyID[:]...)
	b = append(b, h.Commitment[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Session)))
	b = binary.LittleEndian.AppendUint32(b, h.BodySize)
	b = binary.LittleEndian.AppendUint32(b, h.BodyRaw)
	b = append(b, h.Device...)
	b = append(b, h.BodySum[:]...)
	return append(b, h.Session...)
}

// MACInput returns what the MAC covers.
func (h *Header) MACInput() []byte { return h.signedPart() }

// Sign sets MAC, signature and ID, and returns the header's bytes; the sealed
// body follows them in the object. mac is that of MACInput.
func (h *Header) Sign(mac [32]byte, device ed25519.PrivateKey) []byte {
	h.MAC = mac
	b := append(h.signedPart(), mac[:]...)
	copy(h.Signature[:], ed25519.Sign(device, b))
	b = append(b, h.Signature[:]...)
	h.ID = sha256.Sum256(b)
	return b
}

// Parse reads a point's object, checks bounds, the device's signature and the
// body's hash, and returns the header and the sealed body. Whether the device
// is one of the repository's, only the MAC says, to those who have its key.
func Parse(b []byte) (*Header, []byte, error) {
	if len(b) < fixed+96 || string(b[:8]) != magic {
		return nil, nil, fmt.Errorf("not a point of version 1: %w", fault.Corrupt)
	}
	s := int(binary.LittleEndian.Uint16(b[166:]))
	size, raw := binary.LittleEndian.Uint32(b[168:]), binary.LittleEndian.Uint32(b[172:])
	if s > maxSession || raw > MaxBody || uint64(len(b)) != uint64(fixed+s+96)+uint64(size) {
		return nil, nil, fmt.Errorf("point of %d bytes, body of %d: %w", len(b), size, fault.Corrupt)
	}
	h := &Header{
		Repository: [16]byte(b[8:24]), Sequence: binary.LittleEndian.Uint64(b[24:]), Server: [16]byte(b[32:48]),
		Previous: ID(b[48:80]), Live: [32]byte(b[80:112]), Flags: binary.LittleEndian.Uint16(b[112:]),
		Epoch: binary.LittleEndian.Uint32(b[114:]), BodyID: pack.ID(b[118:134]), Commitment: [32]byte(b[134:166]),
		BodySize: size, BodyRaw: raw, Device: ed25519.PublicKey(b[176:208:208]), BodySum: [32]byte(b[208:240]),
		Session: b[fixed : fixed+s : fixed+s],
		MAC:     [32]byte(b[fixed+s : fixed+s+32]), Signature: [64]byte(b[fixed+s+32 : fixed+s+96]),
		ID: sha256.Sum256(b[:fixed+s+96]),
	}
	if !signed.Verify(h.Device, b[:fixed+s+32], h.Signature[:]) {
		return nil, nil, fmt.Errorf("point's signature is wrong: damaged or forged: %w", fault.Corrupt)
	}
	// After the signature: one flipped bit is damage and no later version.
	if h.Flags&^Warnings != 0 {
		return nil, nil, fmt.Errorf("point with flags %#x: %w", h.Flags, fault.Unsupported)
	}
	body := b[fixed+s+96:]
	if sha256.Sum256(body) != h.BodySum {
		return nil, nil, fmt.Errorf("point's body does not match its hash: %w", fault.Corrupt)
	}
	return h, body, nil
}
