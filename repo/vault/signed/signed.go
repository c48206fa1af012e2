// Package signed checks signatures, and remembers some that were right.
//
// A program looks at the same points and the same ends of ledgers again and
// again, and each check takes 50 µs. A signature that was right once is right
// for ever, so nobody can tell what is remembered but by the clock. One that was
// wrong is not remembered.
package signed

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// table holds hashes of what was right, each in the slot that its first bytes
// name. It is lost when the collector wants its memory.
type table [512][sha256.Size]byte

var tables = sync.Pool{New: func() any { return new(table) }}

// Verify says whether key signed message.
func Verify(key ed25519.PublicKey, message, signature []byte) bool {
	if len(key) != ed25519.PublicKeySize || len(signature) != ed25519.SignatureSize {
		return false
	}
	h := sha256.New() // of lengths that are fixed, then the rest
	h.Write(key)
	h.Write(signature)
	h.Write(message)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	t := tables.Get().(*table)
	defer tables.Put(t)
	slot := &t[binary.LittleEndian.Uint16(sum[:])%uint16(len(t))]
	if *slot == sum {
		return true
	}
	right := ed25519.Verify(key, message, signature)
	if right {
		*slot = sum
	}
	return right
}
