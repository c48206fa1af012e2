package seal

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

func TestFieldInverse(t *testing.T) {
	one := field{hi: 1 << 63}
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		a := field{random.Uint64(), random.Uint64()}
		if a.times(one) != a || a.times(a.inverse()) != one {
			t.Fatalf("%x", a)
		}
	}
}

// TestUndo damages one block in every way and place, or a bit of the nonce.
func TestUndo(t *testing.T) {
	box, _ := Derive(Key{1}, RepositoryID{2}).Pack(Key{3}, pack.ID{4})
	random := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{0, 1, 15, 16, 17, 100, 4096, 70_001} {
		plain := make([]byte, n)
		for i := range plain {
			plain[i] = byte(random.Uint32())
		}
		ad := AD{Pack: pack.ID{4}, Number: 7, Kind: DataFrame, Raw: uint32(n)}
		sealed := box.Sealer().Seal(nil, plain, ad)
		sum := sha256.Sum256(sealed)
		for range 40 {
			hurt := bytes.Clone(sealed)
			at := random.IntN(len(sealed))
			hurt[at] ^= 1 << random.IntN(8)
			if at >= 12 && random.IntN(2) == 0 { // some bytes of one block
				first := 12 + (at-12)/16*16
				for i := range random.IntN(12) {
					if p := first + (at+i)%16; p < len(hurt)-16 && at < len(hurt)-16 {
						hurt[p] ^= byte(random.Uint32())
					}
				}
			}
			if got := box.Undo(hurt, ad, sum); !bytes.Equal(got, sealed) {
				t.Fatalf("%d bytes, damaged at %d: not undone", len(sealed), at)
			}
		}
		for range 5 { // two blocks are too much, and nothing wrong comes of it
			hurt := bytes.Clone(sealed)
			hurt[random.IntN(len(sealed))] ^= 1
			hurt[random.IntN(len(sealed))] ^= 2
			if got := box.Undo(hurt, ad, sum); got != nil && !bytes.Equal(got, sealed) {
				t.Fatal("something else came of it")
			}
		}
		if box.Undo(sealed[:len(sealed)-1], ad, sum) != nil {
			t.Fatal("a byte that is missing was undone")
		}
	}
}

func BenchmarkUndo(b *testing.B) {
	box, _ := Derive(Key{1}, RepositoryID{2}).Pack(Key{3}, pack.ID{4})
	plain := make([]byte, 512<<10)
	ad := AD{Pack: pack.ID{4}, Kind: DataFrame, Raw: 512 << 10}
	sealed := box.Sealer().Seal(nil, plain, ad)
	sum := sha256.Sum256(sealed)
	sealed[30] ^= 4
	for b.Loop() {
		if box.Undo(sealed, ad, sum) == nil {
			b.Fatal("not undone")
		}
	}
}
