package seal

import (
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// OfReaders derives the key of something that a machine keeps for itself of what
// it has read. Whoever has Keys alone, as a machine in sealed use, cannot derive
// it: p is the private key of the repository's first epoch.
func (k *Keys) OfReaders(p *Private, label string) Key {
	ikm := append(slices.Clone(p.Key), k.Seal[:]...)
	return Key(expand(ikm, k.Repository[:], "tidemark v1 local "+label, len(Key{})))
}

// SealLocal seals the content of a file that a machine keeps for itself: magic,
// 12 random bytes, and the content, AES-256-GCM with magic as additional data.
func SealLocal(key Key, magic string, plain []byte) []byte {
	out := append(make([]byte, 0, len(magic)+len(plain)+Overhead), magic...)
	out = out[:len(magic)+12]
	_, _ = rand.Read(out[len(magic):])
	return newBox(key[:], nil).aead.Seal(out, out[len(magic):], plain, []byte(magic))
}

// OpenLocal opens what SealLocal sealed, in its place. What is damaged, has
// another magic or another key is fault.Corrupt.
func OpenLocal(key Key, magic string, sealed []byte) ([]byte, error) {
	head := len(magic) + 12
	if len(sealed) < head || string(sealed[:len(magic)]) != magic {
		return nil, fmt.Errorf("open local file: not one of %q: %w", magic, fault.Corrupt)
	}
	plain, err := newBox(key[:], nil).aead.Open(sealed[head:head], sealed[len(magic):head], sealed[head:], []byte(magic))
	if err != nil {
		return nil, fmt.Errorf("open local file: damaged, or of other keys: %w", fault.Corrupt)
	}
	return plain, nil
}
