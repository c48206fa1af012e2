package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"maps"
	"math"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

func sampleState() (state, map[chunk.ID]place) {
	s := state{
		point: point.ID{1}, sequence: 2, pagesN: 3, pagesLen: 5000, sideN: 4, entries: 17, level: 1,
		root: []byte("root page"), devices: []uint64{5, math.MaxUint64},
	}
	return s, map[chunk.ID]place{{1}: {0, 4096}, {2}: {4096, 904}}
}

// FuzzState: a copy's state is whole or refused, and names nothing outside of
// its file of pages. Its hash is put right, so that what is behind it is
// tried, too.
func FuzzState(f *testing.F) {
	id := seal.RepositoryID{9}
	s, known := sampleState()
	b := s.marshal(id, known)
	old, err := parseState(b, id)
	if err != nil || !maps.Equal(old.known, known) || old.sequence != s.sequence || !bytes.Equal(old.root, s.root) || len(old.devices) != 2 {
		f.Fatalf("%+v %v", old, err)
	}
	if _, err := parseState(b, seal.RepositoryID{8}); !errors.Is(err, fault.Corrupt) {
		f.Fatalf("of another repository: %v", err)
	}
	f.Add(b[:len(b)-32])
	f.Add(b[:stateFixed])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b)
		old, err := parseState(append(bytes.Clone(b), sum[:]...), id)
		if err != nil {
			if !errors.Is(err, fault.Corrupt) {
				t.Fatalf("%v", err)
			}
			return
		}
		if old.pagesLen > math.MaxInt64 || old.entries > math.MaxInt64/sideSize {
			t.Fatalf("%+v", old.state)
		}
		for id, p := range old.known {
			if p.length > table.MaxPage || p.offset > math.MaxInt64 || p.offset+uint64(p.length) > old.pagesLen {
				t.Fatalf("page %s at %+v of %d", id, p, old.pagesLen)
			}
		}
		again, err := parseState(old.marshal(id, old.known), id)
		if err != nil || !maps.Equal(again.known, old.known) || !bytes.Equal(again.root, old.root) {
			t.Fatalf("%+v became %+v, %v", old, again, err)
		}
	})
}
