// Package seal holds the keys of a repository and what they do: wrapping the
// secrets with a passphrase (Slot), deriving keys (Derive), sealing a run's
// session key to a public key (Session), and sealing and opening frames.
//
// Three things are kept apart, so that a thief of one gains little:
//
//	root secret ──HKDF──► Keys: IDs, cutting, MACs, and half of every pack key
//	private key ──HPKE──► session keys: the other half
//	passphrase ──Argon2id─► Slot: holds both, wrapped
//
// A server in sealed use has Keys and the public key: it writes and forgets.
// Reading needs the private key too. The package stores nothing and talks to
// nobody; formats are those of FORMAT.md, section 3.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/zeebo/blake3"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Key is a secret of 32 bytes.
type Key [32]byte

// RepositoryID tells repositories apart; it is random and not secret.
type RepositoryID [16]byte

// Keys are derived from the root secret. They are enough to write, not to
// open what was written.
type Keys struct {
	Repository                                    RepositoryID
	ChunkID, PageID, Gear, Table                  Key
	Seal, IndexSeal, IndexNonce, PointMAC, RepMAC Key
}

// labelled names each key by its label in HKDF, in the order in which they
// are marshalled.
func (k *Keys) labelled() []struct {
	label string
	key   *Key
} {
	return []struct {
		label string
		key   *Key
	}{
		{"chunk id", &k.ChunkID}, {"page id", &k.PageID}, {"gear", &k.Gear}, {"table", &k.Table},
		{"seal", &k.Seal}, {"index seal", &k.IndexSeal}, {"index nonce", &k.IndexNonce},
		{"point mac", &k.PointMAC}, {"repository mac", &k.RepMAC},
	}
}

// Derive makes the keys of a repository from its root secret.
func Derive(root Key, id RepositoryID) *Keys {
	k := &Keys{Repository: id}
	for _, l := range k.labelled() {
		copy(l.key[:], expand(root[:], id[:], "tidemark v1 "+l.label, len(l.key)))
	}
	return k
}

// Marshal returns the keys as a server keeps them: the repository's ID and
// nine keys.
func (k *Keys) Marshal() []byte {
	b := append([]byte(nil), k.Repository[:]...)
	for _, l := range k.labelled() {
		b = append(b, l.key[:]...)
	}
	return b
}

// ParseKeys reads what Marshal wrote.
func ParseKeys(b []byte) (*Keys, error) {
	k := &Keys{}
	if len(b) != len(k.Repository)+len(k.labelled())*len(Key{}) {
		return nil, fmt.Errorf("parse keys: %d bytes: %w", len(b), fault.Corrupt)
	}
	b = b[copy(k.Repository[:], b):]
	for _, l := range k.labelled() {
		b = b[copy(l.key[:], b):]
	}
	return k, nil
}

// expand is HKDF-SHA256 (RFC 5869).
func expand(ikm, salt []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, ikm, salt, info, n)
	if err != nil { // only for more than 255 blocks
		panic(err)
	}
	return out
}

// MAC is keyed BLAKE3 over the parts of a message that others bound.
func MAC(key Key, message []byte) [32]byte {
	return Sum(key, message)
}

// Sum is keyed BLAKE3 with 32 bytes of output.
func Sum(key Key, message []byte) [32]byte {
	h := keyed(key)
	_, _ = h.Write(message)
	var out [32]byte
	h.Sum(out[:0])
	return out
}

// Equal compares MACs in constant time.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

func keyed(key Key) *blake3.Hasher {
	h, err := blake3.NewKeyed(key[:])
	if err != nil { // only for keys that are not 32 bytes
		panic(err)
	}
	return h
}

// What is sealed, FORMAT.md 3.6.
const (
	DataFrame uint8 = 1
	PageFrame uint8 = 2
	Body      uint8 = 3
	Geometry  uint8 = 16
	ChunkList uint8 = 17
)

// Overhead is what sealing adds to a plain text: nonce and tag.
const Overhead = 12 + 16

// AD is what a sealed thing is bound to.
type AD struct {
	Pack   pack.ID // origin pack, or the body's ID
	Number uint32  // frame number
	Kind   uint8
	Raw    uint32 // raw length in bytes
}

func (a *AD) bytes() (out [25]byte) {
	copy(out[:], a.Pack[:])
	binary.LittleEndian.PutUint32(out[16:], a.Number)
	out[20] = a.Kind
	binary.LittleEndian.PutUint32(out[21:], a.Raw)
	return out
}

// Box seals and opens with one pair of frame key and nonce key. Open may be
// called by several goroutines at once; for sealing, each takes a Sealer.
type Box struct {
	block    cipher.Block
	aead     cipher.AEAD
	nonceKey Key
}

func newBox(frameKey, nonceKey []byte) *Box {
	block, err := aes.NewCipher(frameKey)
	if err != nil { // only for other key sizes
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	b := &Box{block: block, aead: aead}
	copy(b.nonceKey[:], nonceKey)
	return b
}

// Index returns the box of geometry and chunk lists, which every writer opens.
func (k *Keys) Index() *Box { return newBox(k.IndexSeal[:], k.IndexNonce[:]) }

// Pack returns the box of a pack (or of a point's body) and the commitment
// that its head carries.
func (k *Keys) Pack(session Key, id pack.ID) (*Box, [32]byte) {
	ikm := make([]byte, 0, 64)
	ikm = append(append(ikm, session[:]...), k.Seal[:]...)
	out := expand(ikm, k.Repository[:], "tidemark v1 pack"+string(id[:]), 96)
	return newBox(out[:32], out[32:64]), [32]byte(out[64:])
}

// Open opens what a Sealer sealed and appends the plain text to dst, whose
// spare capacity must not overlap sealed. It fails with fault.Corrupt.
func (b *Box) Open(dst, sealed []byte, ad AD) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, fmt.Errorf("open sealed bytes: %d of them: %w", len(sealed), fault.Corrupt)
	}
	head := ad.bytes()
	plain, err := b.aead.Open(dst, sealed[:12], sealed[12:], head[:])
	if err != nil {
		return nil, fmt.Errorf("open sealed bytes: wrong tag: %w", fault.Corrupt)
	}
	return plain, nil
}

// Sealer seals for one goroutine.
type Sealer struct {
	box    *Box
	hasher *blake3.Hasher
}

// Sealer returns a new sealer of the box.
func (b *Box) Sealer() *Sealer { return &Sealer{box: b, hasher: keyed(b.nonceKey)} }

// Seal appends the sealed plain text, Overhead bytes longer, to dst. The nonce
// is a keyed hash of everything that is sealed: even a machine that was
// reverted, and draws the same session key and pack ID for other content, never
// seals two different things with one nonce.
func (s *Sealer) Seal(dst, plain []byte, ad AD) []byte {
	head := ad.bytes()
	s.hasher.Reset()
	_, _ = s.hasher.Write(head[:])
	_, _ = s.hasher.Write(plain)
	var sum [32]byte
	s.hasher.Sum(sum[:0])
	dst = append(dst, sum[:12]...)
	return s.box.aead.Seal(dst, sum[:12], plain, head[:])
}
