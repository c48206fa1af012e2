package keep

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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

	seen uint64 // every round up to this one was read, or a fold that stands for it
	fold uint64 // the last round that the newest fold stands for; 0: there is none
}

// Unread is a round, or a fold, that is damaged.
type Unread struct {
	Name string
	Err  error
}

// newAbsent returns one that names nothing.
func newAbsent() *Absent {
	return &Absent{frames: map[pack.ID][]uint8{}, pages: map[live.Hash]bool{}}
}

// listing is what is there of rounds.
type listing struct {
	fold      uint64          // the newest; those below it do not count
	folds     []store.Object  // all of them, ascending
	condemned map[uint64]bool // rounds above the newest fold
	dropped   map[uint64]bool
	old       []store.Object // rounds that the newest fold stands for
	last      uint64         // the greatest number of all
	seen      uint64         // up to this number none is missing
}

// rounds returns the numbers of those that a reader must know, ascending.
func (l *listing) rounds() []uint64 {
	var out []uint64
	for n := range l.condemned {
		out = append(out, n)
	}
	for n := range l.dropped {
		if !l.condemned[n] {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// listRounds lists the rounds. A listing is not made in one moment: one that
// shows a round and not the one before it was overtaken, and is made again. A
// round that is missing for good is damage: it is as if it had named nothing,
// for collectors, too, so that what it named stays.
func listRounds(ctx context.Context, s store.Store) (*listing, error) {
	for tries := 0; ; tries++ {
		l := &listing{condemned: map[uint64]bool{}, dropped: map[uint64]bool{}}
		var rounds []store.Object
		for o, err := range s.List(ctx, Rounds) {
			if err != nil {
				return nil, fmt.Errorf("list rounds of collection: %w", err)
			}
			n, kind, ok := parseRoundName(o.Name)
			if !ok {
				continue
			}
			l.last = max(l.last, n)
			if kind == kindFolded {
				l.folds, l.fold = append(l.folds, o), max(l.fold, n)
				continue
			}
			rounds = append(rounds, o)
		}
		for _, o := range rounds {
			n, kind, _ := parseRoundName(o.Name)
			switch {
			case n <= l.fold:
				l.old = append(l.old, o)
			case kind == kindDropped:
				l.dropped[n] = true
			default:
				l.condemned[n] = true
			}
		}
		for l.seen = l.fold; l.condemned[l.seen+1] || l.dropped[l.seen+1]; l.seen++ {
		}
		if l.seen == l.last || tries == 3 {
			l.seen = l.last
			return l, nil
		}
	}
}

// parseRoundName returns number and kind of a round, or of a fold, that is
// stored under name.
func parseRoundName(name string) (number uint64, kind string, ok bool) {
	digits, kind, _ := strings.Cut(strings.TrimPrefix(name, Rounds), "-")
	n, err := strconv.ParseUint(digits, 16, 64)
	ok = err == nil && len(digits) == 16 && n > 0 && (kind == kindCondemned || kind == kindDropped || kind == kindFolded)
	return n, kind, ok && fmt.Sprintf("%s%016x-%s", Rounds, n, kind) == name
}

// ReadRounds reads all rounds of a repository. Those that are damaged are no
// error: see Unread.
func ReadRounds(ctx context.Context, s store.Store, repository [16]byte) (*Absent, error) {
	a, _, err := readRounds(ctx, s, repository)
	return a, err
}

// ReadDropped reads what collections have dropped, and nothing else: it may still
// be there, beside what is needed, but nothing can need it any more.
func ReadDropped(ctx context.Context, s store.Store, repository [16]byte) (*Absent, error) {
	_, r, err := readRounds(ctx, s, repository)
	if err != nil {
		return nil, err
	}
	a := newAbsent()
	if r.folded != nil {
		a.addFold(r.folded)
	}
	for _, round := range r.dropped {
		a.Add(round)
	}
	return a, nil
}

func readRounds(ctx context.Context, s store.Store, repository [16]byte) (*Absent, *roundReader, error) {
	for tries := 0; ; tries++ {
		l, err := listRounds(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		// One that is not there was folded and deleted since it was listed. If
		// that is so again and again, it is lost.
		r := &roundReader{store: s, repository: repository, lost: tries == 5}
		a, err := r.all(ctx, l)
		if !errors.Is(err, fault.NotExist) {
			return a, r, err
		}
	}
}

// roundReader reads the rounds of a listing.
type roundReader struct {
	store      store.Store
	repository [16]byte
	lost       bool // what is not there is damage

	open    []*Round // condemned, and not dropped
	dropped []*Round
	folded  *Fold    // nil: none, or it is damaged
	damaged []uint64 // rounds that must be mended; see collector.mend
}

// bad says whether an error is about what is stored, and not about reaching it.
func (r *roundReader) bad(err error) bool {
	return errors.Is(err, fault.Corrupt) || errors.Is(err, fault.TooLarge) || r.lost && errors.Is(err, fault.NotExist)
}

func (r *roundReader) all(ctx context.Context, l *listing) (*Absent, error) {
	a := newAbsent()
	a.seen, a.fold = l.seen, l.fold
	if l.fold > 0 {
		f, err := readFold(ctx, r.store, r.repository, l.fold)
		switch {
		case r.bad(err):
			a.unread = append(a.unread, Unread{foldName(l.fold), err})
		case err != nil:
			return nil, err
		default:
			r.folded = f
			a.addFold(f)
		}
	}
	for _, n := range l.rounds() {
		if err := r.round(ctx, l, a, n); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// round reads one round: what was dropped, or if that is not there, or damaged,
// what was condemned, which names more.
func (r *roundReader) round(ctx context.Context, l *listing, a *Absent, n uint64) error {
	var first error
	for _, dropped := range []bool{true, false} {
		if dropped && !l.dropped[n] || !dropped && !l.condemned[n] {
			continue
		}
		round, err := readRound(ctx, r.store, r.repository, n, dropped)
		if r.bad(err) {
			if first == nil {
				first = err
			}
			continue
		}
		if err != nil {
			return err
		}
		a.Add(round)
		switch name := (&Round{Number: n, Dropped: true}).Name(); {
		case dropped:
			r.dropped = append(r.dropped, round)
		case first != nil:
			a.covered = append(a.covered, Unread{name, first})
			r.damaged = append(r.damaged, n)
		default:
			r.open = append(r.open, round)
		}
		return nil
	}
	name := (&Round{Number: n, Dropped: l.dropped[n]}).Name()
	a.unread = append(a.unread, Unread{name, first})
	r.damaged = append(r.damaged, n)
	return nil
}

func readRound(ctx context.Context, s store.Store, repository [16]byte, n uint64, dropped bool) (*Round, error) {
	name := (&Round{Number: n, Dropped: dropped}).Name()
	b, err := store.ReadAll(ctx, s, name, maxRound)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	r, err := ParseRound(b)
	if err == nil && (r.Repository != repository || r.Number != n || r.Name() != name) {
		err = fmt.Errorf("round of another name or repository: %w", fault.Corrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return r, nil
}

func readFold(ctx context.Context, s store.Store, repository [16]byte, n uint64) (*Fold, error) {
	name := foldName(n)
	b, err := store.ReadAll(ctx, s, name, maxRound)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	f, err := ParseFold(b)
	if err == nil && (f.Repository != repository || f.Number != n) {
		err = fmt.Errorf("fold of another name or repository: %w", fault.Corrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return f, nil
}

// Add makes what a round names absent. A pack of which a round names every
// frame that it knows is absent as a whole, however many frames others know.
func (a *Absent) Add(r *Round) { a.add(r.Frames, r.Pages) }

func (a *Absent) addFold(f *Fold) {
	for i := range f.Rounds {
		a.add(f.Rounds[i].Frames, f.Rounds[i].Pages)
	}
}

func (a *Absent) add(frames []live.Need, pages []live.Hash) {
	for i := range frames {
		a.frames[frames[i].Pack] = union(a.frames[frames[i].Pack], frames[i].Masks())
	}
	for _, p := range pages {
		a.pages[p] = true
	}
}

// union joins what two rounds say of one pack's frames. It may change both.
func union(a, b []uint8) []uint8 {
	if len(a) < len(b) {
		a, b = b, a
	}
	beyond := uint8(0)
	if whole(b) && len(b) > 0 {
		beyond = 255
	}
	for i := range a {
		if i < len(b) {
			a[i] |= b[i]
		} else {
			a[i] |= beyond
		}
	}
	return a
}

// whole says whether no frame is left out.
func whole(masks []uint8) bool { return !slices.Contains(masks, 0) }

// Outdated says whether later, which was read after a, may keep quiet about
// something that went while a was in use: it has a fold that stands for rounds
// that a knows nothing of, and folds forget what is gone for long.
func (a *Absent) Outdated(later *Absent) bool { return later.fold > a.seen }

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

// wholly says whether a pack, or a container, is absent as a whole.
func (a *Absent) wholly(id pack.ID) bool {
	masks, ok := a.frames[id]
	return ok && whole(masks)
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
