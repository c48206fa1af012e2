package repo

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// bigLive commits a point whose live set has many pages, and returns how many
// of those were put.
func bigLive(t *testing.T, s *mem.Store, r *Repository, l Local, packs int) (p *Point, puts int) {
	t.Helper()
	w, err := r.NewWriter(t.Context(), l, WriterOptions{Now: time.Now(), Job: "job", Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range packs {
		var id pack.ID
		binary.BigEndian.PutUint64(id[:], uint64(i))
		binary.LittleEndian.PutUint64(id[8:], (uint64(i)+1)*0x9e3779b97f4a7c15)
		if err := w.live.AddNeed(live.NeedOf(id, []uint8{1, 2, 4, 255})); err != nil {
			t.Fatal(err)
		}
	}
	s.SetHook(func(op mem.Op) (error, error) {
		if op.Verb == mem.Put && strings.HasPrefix(op.Name, live.Prefix) {
			puts++
		}
		return nil, nil
	})
	p = w.commit(t)
	s.SetHook(nil)
	if err := w.Remember(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return p, puts
}

// Pages of a live set that the last run put are not put again, unless they are
// not there any more, or a check has found them damaged.
func TestLivePagesArePutOnce(t *testing.T) {
	s, r, _ := newTest(t)
	l := r.Local(t.TempDir())
	const packs = 8000
	first, puts := bigLive(t, s, r, l, packs)
	if puts < 6 {
		t.Fatalf("%d pages are too few", puts)
	}
	second, again := bigLive(t, s, r, l, packs)
	t.Logf("%d pages put, then %d", puts, again)
	// The page of the run's own pack, and the root.
	if again > 3 {
		t.Errorf("%d pages were put again", again)
	}
	set, err := live.Load(t.Context(), s, second.Live)
	if err != nil || set.Len() < packs {
		t.Fatal(err)
	}

	// One that is gone.
	var pages []live.Hash
	for _, err := range live.Walk(t.Context(), s, first.Live, func(h live.Hash) bool { pages = append(pages, h); return false }) {
		if err != nil {
			t.Fatal(err)
		}
	}
	victim := pages[len(pages)/2]
	if err := s.Delete(t.Context(), live.Name(victim)); err != nil {
		t.Fatal(err)
	}
	third, again := bigLive(t, s, r, l, packs)
	if _, err := live.Load(t.Context(), s, third.Live); err != nil || again > 4 {
		t.Errorf("with one page gone %d were put: %v", again, err)
	}

	// One that is damaged: the check remembers it, and the next run writes it
	// under another salt.
	if err := s.Tamper(live.Name(victim), func(b []byte) []byte { b[20] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(t.Context(), r, CheckOptions{Local: &l}); err != nil {
		t.Fatal(err)
	}
	fourth, _ := bigLive(t, s, r, l, packs)
	if _, err := live.Load(t.Context(), s, fourth.Live); err != nil {
		t.Errorf("after the check the point has a damaged live page still: %v", err)
	}
}
