package keep

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Absent is what a writer must not rely on: the frames and live pages that
// collectors have condemned or dropped. ReadRounds makes it.
//
// A round that is damaged may name anything that was stored before it, but
// nothing that a point needs which is still there: a collector releases that
// before it drops, and the writers of later points have seen the round, too. So
// then the caller says with Trust what points need, and all else is absent;
// what it has stored itself since it is for the caller to except.
type Absent struct {
	frames  map[pack.ID][]uint8
	pages   map[live.Hash]bool
	unread  []Unread
	covered []Unread // damaged, but another object of the round says as much
	trusted *live.Set
}

// Unread is a round that is damaged.
type Unread struct {
	Name string
	Err  error
}

// ReadRounds reads all rounds of a repository. Those that are damaged are no
// error: see Unread.
func ReadRounds(ctx context.Context, s store.Store, repository [16]byte) (*Absent, error) {
	condemned, dropped := map[uint64]string{}, map[uint64]string{}
	a := &Absent{frames: map[pack.ID][]uint8{}, pages: map[live.Hash]bool{}}
	for object, err := range s.List(ctx, rounds) {
		if err != nil {
			return nil, fmt.Errorf("list rounds of collection: %w", err)
		}
		digits, kind, _ := strings.Cut(strings.TrimPrefix(object.Name, rounds), "-")
		n, err := strconv.ParseUint(digits, 16, 64)
		if err != nil || len(digits) != 16 {
			continue
		}
		switch kind {
		case "condemned":
			condemned[n] = object.Name
		case "dropped":
			dropped[n] = object.Name
		}
	}
	for _, n := range slices.Sorted(maps.Keys(condemned)) {
		if _, ok := dropped[n]; !ok {
			dropped[n] = condemned[n]
		}
	}
	for _, n := range slices.Sorted(maps.Keys(dropped)) {
		err := a.read(ctx, s, repository, n, dropped[n])
		if bad(err) && condemned[n] != "" && condemned[n] != dropped[n] {
			a.covered = append(a.covered, Unread{dropped[n], err})
			if err = a.read(ctx, s, repository, n, condemned[n]); err == nil { // it names more
				continue
			}
			a.covered = a.covered[:len(a.covered)-1]
		}
		switch {
		case bad(err):
			a.unread = append(a.unread, Unread{dropped[n], err})
		case err != nil:
			return nil, err
		}
	}
	return a, nil
}

// bad says whether an error is about what is stored, and not about reaching it.
func bad(err error) bool {
	return errors.Is(err, fault.Corrupt) || errors.Is(err, fault.TooLarge) || errors.Is(err, fault.NotExist)
}

// Unread returns the rounds that are damaged, in order.
func (a *Absent) Unread() []Unread { return a.unread }

// Damaged returns all rounds that are damaged: also those of which what was
// condemned can be read, and stands for what was dropped.
func (a *Absent) Damaged() []Unread { return append(slices.Clone(a.unread), a.covered...) }

// Trust says what the points that are there need. It matters only if there are
// damaged rounds.
func (a *Absent) Trust(set *live.Set) {
	if len(a.unread) > 0 {
		a.trusted = set
	}
}

// Salt returns the salt of which to write live pages at least: 0, unless a
// round is damaged. It may name pages that were written before, under low salts.
func (a *Absent) Salt() uint16 {
	if len(a.unread) == 0 {
		return 0
	}
	h := sha256.New()
	for i := range a.unread {
		h.Write([]byte(a.unread[i].Name + "\n"))
	}
	sum := h.Sum(nil)
	const least, most = 256, 60_000
	return least + (uint16(sum[0])<<8|uint16(sum[1]))%(most-least)
}

// New says whether a round is damaged that was not when before was read.
func (a *Absent) New(before *Absent) bool {
	return slices.ContainsFunc(a.unread, func(u Unread) bool {
		return !slices.ContainsFunc(before.unread, func(b Unread) bool { return b.Name == u.Name })
	})
}

func (a *Absent) read(ctx context.Context, s store.Store, repository [16]byte, n uint64, name string) error {
	b, err := store.ReadAll(ctx, s, name, maxRound)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	r, err := ParseRound(b)
	if err == nil && (r.Repository != repository || r.Number != n || r.Name() != name) {
		err = fmt.Errorf("round of another name or repository: %w", fault.Corrupt)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	a.Add(r)
	return nil
}

// Add makes what a round names absent.
func (a *Absent) Add(r *Round) {
	for i := range r.Frames {
		f := &r.Frames[i]
		masks := f.Masks()
		old := a.frames[f.Pack]
		if len(old) > len(masks) { // two rounds that disagree about the pack
			old, masks = masks, old
		}
		for i, m := range old {
			masks[i] |= m
		}
		a.frames[f.Pack] = masks
	}
	for _, p := range r.Pages {
		a.pages[p] = true
	}
}

// Needs says whether raw bytes of a pack need an absent frame.
func (a *Absent) Needs(id pack.ID, g pack.Geometry, offset, length uint32) bool {
	if len(a.frames) == 0 && a.trusted == nil || length == 0 {
		return false
	}
	masks := a.frames[id]
	for i := g.FrameOf(offset); i <= g.FrameOf(offset+length-1); i++ {
		if masks != nil && (i >= len(masks) || masks[i] != 0) || a.trusted != nil && !a.trusted.Has(id, i) {
			return true
		}
	}
	return false
}

// Any says whether any frame of a pack is absent, or may be.
func (a *Absent) Any(id pack.ID) bool {
	if len(a.frames[id]) > 0 || len(a.unread) == 0 {
		return len(a.frames[id]) > 0
	}
	if a.trusted == nil {
		return true
	}
	_, needed := a.trusted.Get(id)
	return !needed
}

// Page says whether a live page is absent.
func (a *Absent) Page(h live.Hash) bool { return a.pages[h] }

// Hits says whether a live set needs anything that a round names: a frame of
// set, or one of its pages.
func (a *Absent) Hits(set *live.Set, pages []live.Hash) bool {
	if slices.ContainsFunc(pages, a.Page) {
		return true
	}
	for id, masks := range a.frames {
		need, ok := set.Get(id)
		if !ok {
			continue
		}
		for i, m := range need.Masks() {
			if m != 0 && (i >= len(masks) || masks[i] != 0) {
				return true
			}
		}
	}
	return false
}
