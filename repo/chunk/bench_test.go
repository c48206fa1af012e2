package chunk

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// random returns n reproducible bytes that do not shrink.
func random(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	data := make([]byte, n)
	rand.NewChaCha8(key).Read(data)
	return data
}

func BenchmarkCut(b *testing.B) {
	data := random(1, 64<<20)
	c := NewCutter(&[32]byte{1}, DefaultParams())
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for rest := data; len(rest) > 0; {
			rest = rest[c.Cut(rest):]
		}
	}
}

func BenchmarkHasher(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 128 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := random(1, size)
			h := NewHasher(&Key{1})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				h.Sum(data)
			}
		})
	}
}
