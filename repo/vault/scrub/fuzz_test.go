package scrub

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// FuzzParity: any bytes are refused, or are parity that heals only what its
// hashes say. The hash of the head is made right, so that what comes behind it is
// reached.
func FuzzParity(f *testing.F) {
	object := bytes.Repeat([]byte("a frame of a pack; "), 300)
	for _, percent := range []int{1, 7, 100} {
		b, err := Parity([16]byte{1}, pack.ID{2}, object, percent)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, object)
		f.Add(b[:len(b)-1], object[:len(object)/2])
	}
	f.Add([]byte(magicParity), []byte{})
	f.Fuzz(func(t *testing.T, b, own []byte) {
		if len(b) >= headParity {
			k := int(b[48]) + int(b[49])<<8 + int(b[50]) + int(b[51])<<8
			if head := headParity + 32*k; len(b) >= head+32 {
				b = bytes.Clone(b)
				sum := sha256.Sum256(b[:head])
				copy(b[head:], sum[:])
			}
		}
		p, err := parseParity(b)
		if err != nil {
			return
		}
		if p.size > len(b)*256 || len(p.sums) != p.data+p.more || len(p.shards) != p.more*p.shard {
			t.Fatalf("%d bytes of parity for a pack of %d", len(b), p.size)
		}
		before := bytes.Clone(own)
		healed, err := p.heal(own)
		if !bytes.Equal(own, before) {
			t.Fatal("what is left of a pack was changed")
		}
		if err != nil {
			return
		}
		if len(healed) != p.size {
			t.Fatalf("healed %d bytes of %d", len(healed), p.size)
		}
		_ = verifyParity(ParityName(p.id), b)
	})
}
