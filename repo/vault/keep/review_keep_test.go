package keep

import (
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// Rounds that disagree about how many frames a pack has take nothing back from
// each other, in whatever order they are read.
func TestRoundsThatDisagree(t *testing.T) {
	id := pack.ID{1}
	g := pack.Geometry{First: pack.MinStep, Step: pack.MinStep, Total: 4 * pack.MinStep}
	for range 10 { // they are read in random order
		s := mem.New()
		for i, needs := range [][]live.Run{{{Need: 0, Length: 2}, {Need: 255, Length: 1}, {Need: 0, Length: 1}}, {{Need: 255, Length: 1}}} {
			r := Round{Number: uint64(i + 1), Frames: []live.Need{{Pack: id, Runs: needs}}}
			for _, run := range needs {
				r.Frames[0].Frames += run.Length
			}
			if err := s.Put(t.Context(), r.Name(), r.Marshal()); err != nil {
				t.Fatal(err)
			}
		}
		a, err := ReadRounds(t.Context(), s, [16]byte{})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []bool{true, true, true, true} {
			if got := a.Needs(id, g, uint32(i)*pack.MinStep, 1); got != want {
				t.Fatalf("frame %d absent: %v", i, got)
			}
		}
	}
}
