package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
)

// Undo looks for damage to a sealed thing that it can undo with the keys alone,
// and undoes it: any within one block of 16 bytes (of which up to 12 may be
// wrong), or one flipped bit of the nonce. sum is the SHA-256 that the whole
// must have, which proves the result. It returns nil if it finds none.
//
// GCM's tag is a polynomial in H over the blocks of the ciphertext. If block k
// of m differs by E from what was sealed, the tag that the damaged bytes should
// have differs from the one that they carry by E·H^(m-k+2). So each k gives one
// E, and nearly all of them are noise: those that are not change few bytes.
func (b *Box) Undo(sealed []byte, ad AD, sum [32]byte) []byte {
	if len(sealed) < Overhead {
		return nil
	}
	out := bytes.Clone(sealed)
	if b.undoNonce(out, ad, sum) || b.undoBlock(out, ad, sum) {
		return out
	}
	return nil
}

// undoNonce tries each bit of the nonce.
func (b *Box) undoNonce(sealed []byte, ad AD, sum [32]byte) bool {
	for i := range 12 * 8 {
		sealed[i/8] ^= 1 << (i % 8)
		if sha256.Sum256(sealed) == sum {
			return true
		}
		sealed[i/8] ^= 1 << (i % 8)
	}
	return false
}

// undoBlock tries each block of the ciphertext, and the tag.
func (b *Box) undoBlock(sealed []byte, ad AD, sum [32]byte) bool {
	nonce, body, tag := sealed[:12], sealed[12:len(sealed)-16], sealed[len(sealed)-16:]
	counter := append(bytes.Clone(nonce), 0, 0, 0, 2)
	plain := make([]byte, len(body))
	cipher.NewCTR(b.block, counter).XORKeyStream(plain, body)
	head := ad.bytes()
	computed := b.aead.Seal(nil, nonce, plain, head[:])[len(body):]
	s := element(tag).xor(element(computed))
	if s == (field{}) {
		return false // nothing of this kind is wrong
	}
	var h [16]byte
	b.block.Encrypt(h[:], h[:])
	inverse := element(h[:]).inverse()
	// The tag itself, and then the blocks from the last one on.
	if try(tag, s, sealed, sum) {
		return true
	}
	e := s.times(inverse)
	for k := (len(body) - 1) / 16; k >= 0; k-- {
		e = e.times(inverse)
		if try(body[16*k:min(16*k+16, len(body))], e, sealed, sum) {
			return true
		}
	}
	return false
}

// try adds e to a block and says whether the whole is right then; else it takes
// it back.
func try(block []byte, e field, sealed []byte, sum [32]byte) bool {
	const most = 12 // changed bytes; 16 random ones have as few by chance in 1 of 10^6 cases
	var change [16]byte
	binary.BigEndian.PutUint64(change[:], e.hi)
	binary.BigEndian.PutUint64(change[8:], e.lo)
	changed := 0
	for i, c := range change {
		if c != 0 {
			changed++
			if i >= len(block) {
				return false
			}
		}
	}
	if changed > most {
		return false
	}
	for i := range block {
		block[i] ^= change[i]
	}
	if sha256.Sum256(sealed) == sum {
		return true
	}
	for i := range block {
		block[i] ^= change[i]
	}
	return false
}

// field is an element of GF(2^128) as GCM has it: bit 0 is the highest one of
// hi. Its time depends on its values, which is harmless here: who runs it has
// the keys, and nobody else asks.
type field struct{ hi, lo uint64 }

func element(b []byte) field {
	return field{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (a field) xor(b field) field { return field{a.hi ^ b.hi, a.lo ^ b.lo} }

// times multiplies, as in NIST SP 800-38D, 6.3.
func (a field) times(b field) field {
	var z field
	for _, word := range [2]uint64{a.hi, a.lo} {
		for range 64 {
			if word>>63 == 1 {
				z = z.xor(b)
			}
			word <<= 1
			low := b.lo & 1
			b.lo = b.lo>>1 | b.hi<<63
			b.hi >>= 1
			if low == 1 {
				b.hi ^= 0xe1 << 56
			}
		}
	}
	return z
}

// inverse is a^(2^128-2).
func (a field) inverse() field {
	z := field{hi: 1 << 63} // one
	square := a
	for i := range 128 {
		if i > 0 {
			z = z.times(square)
		}
		square = square.times(square)
	}
	return z
}
