package repo

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// A frame is hollow if the last points of this machine's jobs need something
// of it, and less than a quarter. A collector keeps it whole for that little;
// so the writer stores what is left of it again, and it dies with the older
// points that need more of it. Which points are kept the writer does not know
// (it would have to read them all), and need not: the sooner what is left moves
// on, the sooner the frame dies.
//
// Each run chooses some of the hollow frames, as many as its budget allows, at
// random, so that what cannot be moved (an unreadable file) does not stand in
// the way for ever. What lies in a chosen frame is no hit for dedup, and a file
// that would be taken over from the last point is read again if enough of it
// lies there (Hollow). The choice does not change during the run: hard links of
// one file must all move or all stay.
type hollow struct {
	frames map[pack.ID][]bool // chosen ones
	left   atomic.Int64       // bytes that may still be stored again

	live, dead int64 // raw bytes of the chosen frames, for the log and tests
}

// HollowLimits bound what a run stores again so that hollow frames die.
type HollowLimits struct {
	Worth int64 // dead bytes in hollow frames below which nothing is done; the same for pages by themselves
	Floor int64 // bytes that a run stores again beside half of what was new in the run before
}

// defaultHollow: what wastes less than 16 MiB is left alone, so that small
// repositories stay as they are. Files rewritten evenly make a quarter of what
// is new again so; half lets it catch up.
func defaultHollow() HollowLimits { return HollowLimits{Worth: 16 << 20, Floor: 32 << 20} }

// hollowShare is the share, in 255ths, below which a frame is hollow.
const hollowShare = 64

type hollowFrame struct {
	pack       pack.ID
	frame      int
	live, dead int64
}

// chooseHollow chooses the hollow frames of a run.
func (w *Writer) chooseHollow(known *needed, o HollowLimits) *hollow {
	h := &hollow{frames: make(map[pack.ID][]bool)}
	var content, pages []hollowFrame
	for id, shares := range known.shares {
		p, ok := w.packOf(id)
		if !ok || p.Frames() != len(shares) {
			continue
		}
		for i, s := range shares {
			if s == 0 || s >= hollowShare {
				continue
			}
			start, end := p.Span(i)
			live := int64(end-start) * int64(s) / wholeFrame
			f := hollowFrame{pack: id, frame: i, live: live, dead: int64(end-start) - live}
			if p.Kind == pack.Pages {
				pages = append(pages, f)
			} else {
				content = append(content, f)
			}
		}
	}
	budget := o.Floor + int64(known.fresh/2)
	for _, some := range [][]hollowFrame{pages, content} {
		if dead(some) >= o.Worth {
			h.choose(some, budget, w.run, known.shares)
		}
	}
	// What nobody needs in a chosen frame may be wanted again, too.
	h.left.Store(2 * budget)
	return h
}

func dead(frames []hollowFrame) int64 {
	sum := int64(0)
	for i := range frames {
		sum += frames[i].dead
	}
	return sum
}

// choose takes frames at random until their live bytes reach the budget.
func (h *hollow) choose(frames []hollowFrame, budget int64, run uint64, all map[pack.ID][]uint8) {
	slices.SortFunc(frames, func(a, b hollowFrame) int {
		if c := bytes.Compare(a.pack[:], b.pack[:]); c != 0 {
			return c
		}
		return a.frame - b.frame
	})
	random := rand.New(rand.NewPCG(run, uint64(len(frames))))
	random.Shuffle(len(frames), func(i, k int) { frames[i], frames[k] = frames[k], frames[i] })
	for i := range frames {
		f := &frames[i]
		if h.live+f.live > budget {
			return
		}
		if h.frames[f.pack] == nil {
			h.frames[f.pack] = make([]bool, len(all[f.pack]))
		}
		h.frames[f.pack][f.frame] = true
		h.live += f.live
		h.dead += f.dead
	}
}

// has says whether any of some raw bytes of a pack lies in a chosen frame.
func (h *hollow) has(id pack.ID, g pack.Geometry, offset, length uint32) bool {
	chosen := h.frames[id]
	if chosen == nil || length == 0 {
		return false
	}
	for i := g.FrameOf(offset); i <= g.FrameOf(offset+length-1) && i < len(chosen); i++ {
		if chosen[i] {
			return true
		}
	}
	return false
}

// Renews says whether any frame is to die: else Hollow is false for all.
func (w *Writer) Renews() bool { return len(w.hollow.frames) > 0 }

// Hollow says whether some content, or a page, lies in a frame that this run
// wants to die, so that it should be stored again rather than taken over. Like
// Usable it may be called beside the other methods.
func (w *Writer) Hollow(a table.Address) bool {
	if !w.Renews() {
		return false
	}
	p, ok := w.packOf(a.Pack)
	return ok && w.hollow.has(a.Pack, p.Geometry, a.Offset, a.Length)
}

// Renewed returns how many bytes were stored again, so that hollow frames die.
func (w *Writer) Renewed() int64 { return w.renewed.Load() }
