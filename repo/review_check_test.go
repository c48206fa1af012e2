package repo

import (
	"math/rand/v2"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// covers says the same as a look at each byte.
func TestCoversWholeChunks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 9))
	for range 300 {
		p := &checkedPack{opened: &opened{}}
		owner := []int{} // of each byte: a chunk's number, -1 in a gap
		for i := range 1 + random.IntN(8) {
			if random.IntN(3) == 0 {
				p.gaps = append(p.gaps, gap{uint32(len(owner)), uint32(len(owner))})
				for range 1 + random.IntN(3) {
					owner = append(owner, -1)
				}
				p.gaps[len(p.gaps)-1].to = uint32(len(owner))
			}
			p.starts = append(p.starts, uint32(len(owner)))
			for range 1 + random.IntN(3) {
				owner = append(owner, i)
			}
		}
		p.Geometry = pack.Geometry{Total: uint32(len(owner))}
		border := func(at int) bool { return at == 0 || at == len(owner) || owner[at] != owner[at-1] }
		for from := range owner {
			whole := border(from)
			for to := from + 1; to <= len(owner); to++ {
				whole = whole && owner[to-1] >= 0
				if got := p.covers(uint32(from), uint32(to-from)); got != (whole && border(to)) {
					t.Fatalf("%v: bytes %d to %d: %v", owner, from, to, got)
				}
			}
		}
	}
}
