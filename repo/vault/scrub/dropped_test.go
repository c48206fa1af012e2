package scrub_test

import (
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// drop puts a round that names a frame of a pack of so many.
func (w *world) drop(t *testing.T, s *mem.Store, dropped bool, id pack.ID, frame, frames int) {
	t.Helper()
	n := uint64(1)
	for _, name := range listed(t, s) {
		if strings.HasPrefix(name, keep.Rounds) {
			n++ // more than there are: two objects may be of one round
		}
	}
	r := &keep.Round{Repository: w.id, Number: n, Dropped: dropped}
	var runs []live.Run
	for i, need := range []uint8{0, 255, 0} {
		if length := []int{frame, 1, frames - frame - 1}[i]; length > 0 {
			runs = append(runs, live.Run{Need: need, Length: uint32(length)})
		}
	}
	r.Frames = []live.Need{{Pack: id, Frames: uint32(frames), Runs: runs}}
	must(t, s.Put(t.Context(), r.Name(), r.Marshal()))
}

// TestDroppedFramesAreNoDamage: what a collection has dropped lies about until
// its pack goes. It may be damaged, in a pack or in a container; what was only
// condemned may still be claimed by somebody, and may not.
func TestDroppedFramesAreNoDamage(t *testing.T) {
	w := newWorld(t, 1)
	id := w.packs[1]
	whole := w.scrub(t, w.store, scrub.Options{})
	must(t, w.store.Tamper(id.Name(), func(b []byte) []byte {
		h, err := pack.Parse(b)
		must(t, err)
		for _, i := range []int{1, 4} {
			at, _ := h.Frame(i)
			b[at] ^= 1
		}
		return b
	}))
	head, err := store.ReadAll(t.Context(), w.store, id.Name(), 64<<20)
	must(t, err)
	h, err := pack.Parse(head)
	must(t, err)
	for dropped, want := range map[bool]int{false: 2, true: 1} {
		s := w.store.Clone()
		w.drop(t, s, dropped, id, 1, h.Frames())
		r := w.scrub(t, s, scrub.Options{})
		if len(r.Findings) != want || r.Findings[want-1].Frame != 4 || r.Dropped != 2-want {
			t.Errorf("dropped %v: %v, %d passed over", dropped, r.Findings, r.Dropped)
		}
		w.drop(t, s, dropped, id, 4, h.Frames())
		if r := w.scrub(t, s, scrub.Options{}); dropped && (len(r.Findings) > 0 || r.Dropped != 2 || r.Objects <= whole.Objects) {
			t.Errorf("%v, %d passed over, %d objects", r.Findings, r.Dropped, r.Objects)
		}
		if d := w.repair(t, s, scrub.RepairOptions{}); dropped && (len(d.Left) > 0 || len(d.Healed) > 0) {
			t.Errorf("a repair did %+v", d)
		}
	}
	w.droppedInContainer(t)
}

func (w *world) droppedInContainer(t *testing.T) {
	s := newWorld(t, 1).store
	for _, name := range listed(t, s) {
		if !strings.HasPrefix(name, pack.ContainerPrefix) {
			continue
		}
		var f pack.Stored
		must(t, s.Tamper(name, func(b []byte) []byte {
			c, err := pack.ParseContainer(b)
			must(t, err)
			at, _ := c.Frame(0)
			b[at] ^= 1
			f = c.Frames[0]
			return b
		}))
		w.drop(t, s, true, f.Pack, int(f.Frame), int(f.Frame)+1)
		if r := w.scrub(t, s, scrub.Options{}); r.Dropped != 1 || len(r.Findings) > 0 {
			t.Errorf("%s: %v, %d passed over", name, r.Findings, r.Dropped)
		}
		return
	}
	t.Error("there is no container")
}
