package keep

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// FuzzIntent: there is one encoding of each intent.
func FuzzIntent(f *testing.F) {
	i := &Intent{Repository: [16]byte{1}, Server: [16]byte{2}, Run: 1 << 60, Number: 3, Live: live.Hash{4}}
	f.Add(i.Marshal())
	f.Add(i.Marshal()[:83])
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := ParseIntent(b)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Fatalf("%v", err)
			}
			return
		}
		if !bytes.Equal(i.Marshal(), b) {
			t.Fatalf("%x became %+v", b, i)
		}
	})
}

func sampleRound() *Round {
	return &Round{
		Repository: [16]byte{1}, Number: 7, Dropped: true,
		Frames: []live.Need{
			{Pack: pack.ID{1}, Frames: 3, Runs: []live.Run{{Need: 0, Length: 1}, {Need: 255, Length: 2}}},
			{Pack: pack.ID{2}, Frames: 1, Runs: []live.Run{{Need: 255, Length: 1}}},
		},
		Pages: []live.Hash{{1}, {2}},
	}
}

// FuzzRound: a round is whole and in order, or refused. Its hash is put right,
// so that what is behind it is tried, too.
func FuzzRound(f *testing.F) {
	b := sampleRound().Marshal()
	f.Add(b[:len(b)-32])
	b = (&Round{}).Marshal()
	f.Add(b[:len(b)-32])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b)
		whole := append(bytes.Clone(b), sum[:]...)
		r, err := ParseRound(whole)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) && !errors.Is(err, fault.TooLarge) {
				t.Fatalf("%v", err)
			}
			return
		}
		if !bytes.Equal(r.Marshal(), whole) {
			t.Fatalf("%x became %+v", whole, r)
		}
		if len(r.Frames)+len(r.Pages) > len(b) {
			t.Fatalf("%d bytes hold %d packs and %d pages", len(b), len(r.Frames), len(r.Pages))
		}
	})
}
