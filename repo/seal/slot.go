package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/memory"
)

// SlotID names a slot.
type SlotID [8]byte

// String returns the ID as 16 hexadecimal digits.
func (id SlotID) String() string { return hex.EncodeToString(id[:]) }

// SlotKind says what opens a slot.
type SlotKind uint8

// The kinds of slot.
const (
	Passphrase SlotKind = iota
	Recovery
)

// Cost is what a guess at a passphrase costs: Argon2id's parameters.
type Cost struct {
	Passes    uint32
	MemoryKiB uint32
	Lanes     uint8
}

// DefaultCost takes about 0.15 s on a small server.
func DefaultCost() Cost { return Cost{Passes: 3, MemoryKiB: 64 << 10, Lanes: 4} }

func (c Cost) validate() error {
	if c.Passes < 1 || c.Passes > 64 || c.Lanes < 1 || c.Lanes > 64 ||
		c.MemoryKiB < 8<<10 || c.MemoryKiB > 2<<20 || uint64(c.Passes)*uint64(c.MemoryKiB) > 32<<20 {
		return fmt.Errorf("key slot: Argon2id with t=%d, m=%d KiB, p=%d is out of bounds: %w", c.Passes, c.MemoryKiB, c.Lanes, fault.Corrupt)
	}
	return nil
}

// Secrets are what a slot keeps.
type Secrets struct {
	Root    Key
	Private []Private // ascending epochs
}

// Slot is the stored form of secrets wrapped by a passphrase, keys/slot-….
type Slot struct {
	Repository RepositoryID
	ID         SlotID
	Kind       SlotKind
	Created    int64 // Unix seconds by the client's clock
	Cost       Cost
	Label      string // clear text, ≤ 64 bytes

	salt       [16]byte
	commitment [32]byte
	nonce      [12]byte
	sealed     []byte
}

const (
	magicSlot  = "tidmSLT\x01"
	kdfArgon2  = 1
	maxLabel   = 64
	maxSecrets = 64 << 10
)

// MinPassphrase is the least length of a passphrase in characters.
const MinPassphrase = 16

// NewRecoveryKey draws a recovery key: 256 bits as groups of letters and
// digits, to be printed and locked away.
func NewRecoveryKey() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])
	var groups []string
	for ; len(text) > 4; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return strings.Join(append(groups, text), "-")
}

// CanonicalRecoveryKey forgives how people type a recovery key: case,
// dashes, blanks. It returns false for what is none.
func CanonicalRecoveryKey(typed []byte) ([]byte, bool) {
	t := bytes.ToUpper(typed)
	t = bytes.Map(func(r rune) rune {
		if strings.ContainsRune("- \t\r\n", r) {
			return -1
		}
		return r
	}, t)
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(string(t))
	return t, err == nil && len(b) == 32
}

// NewSlot wraps secrets with a passphrase (or, for Recovery, with what
// CanonicalRecoveryKey returned).
func NewSlot(id RepositoryID, kind SlotKind, label string, created int64, cost Cost, passphrase []byte, secrets *Secrets) (*Slot, error) {
	if len(label) > maxLabel {
		return nil, fmt.Errorf("make key slot: label longer than %d bytes: %w", maxLabel, fault.Invalid)
	}
	if err := cost.validate(); err != nil {
		return nil, err
	}
	s := &Slot{Repository: id, Kind: kind, Created: created, Cost: cost, Label: label}
	_, _ = rand.Read(s.ID[:])
	_, _ = rand.Read(s.salt[:])
	aead, nonceKey, commitment := s.keys(passphrase)
	s.commitment = commitment
	plain := secrets.Marshal()
	// As with frames: a reverted machine that draws the same salt again must
	// not seal other secrets with the same nonce.
	nonce := Sum(nonceKey, append(s.head(), plain...))
	copy(s.nonce[:], nonce[:])
	s.sealed = aead.Seal(nil, s.nonce[:], plain, s.head())
	return s, nil
}

// keys derives the slot key's cipher, the nonce key and the commitment from a
// passphrase.
func (s *Slot) keys(passphrase []byte) (cipher.AEAD, Key, [32]byte) {
	if s.Cost.MemoryKiB >= 32<<10 {
		defer memory.Large(int(s.Cost.MemoryKiB) << 10)()
	}
	k := argon2.IDKey(passphrase, s.salt[:], s.Cost.Passes, s.Cost.MemoryKiB, s.Cost.Lanes, 32)
	block, err := aes.NewCipher(expand(k, s.ID[:], "tidemark v1 slot seal", 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead, Key(expand(k, s.ID[:], "tidemark v1 slot nonce", 32)), [32]byte(expand(k, s.ID[:], "tidemark v1 slot commitment", 32))
}

// Open unwraps the secrets: fault.Locked for another passphrase,
// fault.Corrupt for a damaged slot.
func (s *Slot) Open(passphrase []byte) (*Secrets, error) {
	aead, _, commitment := s.keys(passphrase)
	if !Equal(commitment[:], s.commitment[:]) {
		return nil, fmt.Errorf("open key slot %s: %w", s.ID, fault.Locked)
	}
	plain, err := aead.Open(nil, s.nonce[:], s.sealed, s.head())
	if err != nil {
		return nil, fmt.Errorf("open key slot %s: the passphrase is right, but the slot is damaged: %w", s.ID, fault.Corrupt)
	}
	return ParseSecrets(plain)
}

// head returns the bytes that the tag covers: all before the nonce.
func (s *Slot) head() []byte {
	b := append([]byte(magicSlot), s.Repository[:]...)
	b = append(b, s.ID[:]...)
	b = append(b, byte(s.Kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Created))
	b = append(b, kdfArgon2)
	b = binary.LittleEndian.AppendUint32(b, s.Cost.Passes)
	b = binary.LittleEndian.AppendUint32(b, s.Cost.MemoryKiB)
	b = append(b, s.Cost.Lanes)
	b = append(b, s.salt[:]...)
	b = append(b, byte(len(s.Label)))
	b = append(b, s.Label...)
	return append(b, s.commitment[:]...)
}

// Marshal returns the object.
func (s *Slot) Marshal() []byte {
	b := append(s.head(), s.nonce[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.sealed)))
	return append(b, s.sealed...)
}

// ParseSlot reads an object. Costs are checked, so that a forged slot cannot
// take a machine's memory.
func ParseSlot(b []byte) (*Slot, error) {
	if len(b) < 68 || string(b[:8]) != magicSlot {
		return nil, fmt.Errorf("parse key slot: not a slot of version 1: %w", fault.Corrupt)
	}
	l := int(b[67])
	if l > maxLabel || len(b) < 116+l {
		return nil, fmt.Errorf("parse key slot: %d bytes: %w", len(b), fault.Corrupt)
	}
	if b[41] != kdfArgon2 || b[32] > byte(Recovery) {
		return nil, fmt.Errorf("parse key slot: kind %d, derivation %d: %w", b[32], b[41], fault.Unsupported)
	}
	s := &Slot{
		Repository: RepositoryID(b[8:24]), ID: SlotID(b[24:32]), Kind: SlotKind(b[32]),
		Created: int64(binary.LittleEndian.Uint64(b[33:])),
		Cost:    Cost{Passes: binary.LittleEndian.Uint32(b[42:]), MemoryKiB: binary.LittleEndian.Uint32(b[46:]), Lanes: b[50]},
		salt:    [16]byte(b[51:67]), Label: string(b[68 : 68+l]),
		commitment: [32]byte(b[68+l : 100+l]), nonce: [12]byte(b[100+l : 112+l]),
	}
	if c := binary.LittleEndian.Uint32(b[112+l:]); uint64(c) != uint64(len(b)-116-l) || c > maxSecrets {
		return nil, fmt.Errorf("parse key slot: %d bytes of secrets announced: %w", c, fault.Corrupt)
	}
	s.sealed = b[116+l:]
	return s, s.Cost.validate()
}

// Marshal returns the secrets as a slot wraps them, FORMAT.md 3.4.
func (s *Secrets) Marshal() []byte {
	b := append([]byte(nil), s.Root[:]...)
	b = append(b, byte(len(s.Private)))
	for _, p := range s.Private {
		b = binary.LittleEndian.AppendUint32(b, p.Epoch)
		for _, n := range []uint16{p.KEM, p.KDF, p.AEAD} {
			b = binary.LittleEndian.AppendUint16(b, n)
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(len(p.Key)))
		b = append(b, p.Key...)
	}
	return b
}

// ParseSecrets reads what Marshal wrote.
func ParseSecrets(b []byte) (*Secrets, error) {
	if len(b) < 33 {
		return nil, fmt.Errorf("parse secrets: %d bytes: %w", len(b), fault.Corrupt)
	}
	s := &Secrets{Root: Key(b[:32])}
	n := int(b[32])
	b = b[33:]
	for range n {
		if len(b) < 12 {
			return nil, fmt.Errorf("parse secrets: cut short: %w", fault.Corrupt)
		}
		p := Private{Epoch: binary.LittleEndian.Uint32(b), Suite: Suite{
			KEM: binary.LittleEndian.Uint16(b[4:]), KDF: binary.LittleEndian.Uint16(b[6:]), AEAD: binary.LittleEndian.Uint16(b[8:])}}
		l := int(binary.LittleEndian.Uint16(b[10:]))
		if len(b) < 12+l || len(s.Private) > 0 && s.Private[len(s.Private)-1].Epoch >= p.Epoch {
			return nil, fmt.Errorf("parse secrets: private key of epoch %d: %w", p.Epoch, fault.Corrupt)
		}
		p.Key = bytes.Clone(b[12 : 12+l])
		s.Private = append(s.Private, p)
		b = b[12+l:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("parse secrets: %d bytes too many: %w", len(b), fault.Corrupt)
	}
	return s, nil
}
