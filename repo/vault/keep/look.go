package keep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// What a collection waits for, in seconds of the vault's time.
const (
	hour = 3600
	day  = 24 * hour

	grace     = day       // between condemning and dropping; between moving and deleting
	fresh     = day       // what was stored later may be of a run under way
	claimLife = 30 * day  // of an intent
	foldAfter = 7 * day   // between dropping and folding
	foldLife  = 30 * day  // of rounds that are folded
	memory    = 365 * day // of what is gone, in folds

	foldLeast = 16 // rounds that are folded at a time
)

// stored is an object that a listing showed.
type stored struct {
	size     int64
	modified int64 // Unix seconds, by the place's clock
}

// record is a moved record that a listing showed.
type record struct {
	generation uint32
	stored
}

// claims is what intents need beside what points do.
type claims struct {
	frames map[pack.ID][]uint8
	pages  map[live.Hash]bool
}

// erasure is an object of a point that was removed.
type erasure struct {
	sequence uint64
	id       point.ID
	object   store.Object
}

// view is all that a plan is made from. It is read in the order that FORMAT.md,
// section 9, prescribes: intents before points, and both before anything is
// decided.
type view struct {
	now     int64
	asked   int64            // when, by the machine's clock
	machine func() time.Time // that clock
	verdict retain.Verdict
	expire  []ledger.Removed
	why     map[uint64]string

	listed     map[string]bool // names of intents and points
	fallen     []Deletion      // intents that are old
	fell       []Deletion      // those that were deleted for that
	erase      []erasure
	points     map[uint64]store.Object
	highest    uint64   // sequence of an object of a point
	unreadable []string // objects of points that have no receipt and cannot be read
	foreign    []string // objects that are whole points of another name or repository
	counts     *counts
	recounted  bool
	claims     claims

	rounds      *listing
	said        map[uint64]retain.Round // what the ledger says of rounds
	open        []*Round                // condemned, and not dropped
	damaged     []uint64                // rounds that are to be mended
	damagedFold bool
	absent      *Absent // all that is condemned or dropped
	dropped     *Absent // what is dropped

	packs      map[pack.ID]stored
	moved      map[pack.ID][]record // ascending generations
	containers map[pack.ID]stored
	beside     map[pack.ID][]Deletion // copies and parity of packs
	pages      map[live.Hash]stored   // those that no point needs
	shielded   map[pack.ID]bool       // containers of records that may still be needed
	named      map[pack.ID]bool       // containers of the newest records; see nameContainers
	moving     map[pack.ID]int64      // since when, by the ledger
}

// old says whether an object was stored that long ago. One that was stored more
// than a day after now was so while a clock ran ahead, and would stay fresh until
// time catches up: it counts as old. The waits spare writers a pass; nothing
// that a point needs rests on them.
func (v *view) old(o stored, age int64) bool { return o.modified+age <= v.now || v.ahead(o) }

// ahead reckons with a collector that slept since it asked for the time: what was
// stored meanwhile is young, and a claim among it is of a run that goes on.
func (v *view) ahead(o stored) bool {
	slept := max(0, v.machine().Unix()-v.asked)
	return o.modified > v.now+slept+day
}

func storedOf(o store.Object) stored { return stored{o.Size, o.Modified.Unix()} }

// readClaims lists the intents, the old ones apart, and reads what the others
// claim. In a run that acts the old ones are deleted before this: a writer that
// comes back after that sees that its claim has fallen, and one that came
// before has its point before the points are listed.
func (c *collector) readClaims(ctx context.Context, v *view) ([]live.Hash, error) {
	// One that vanishes before it is read has its point by then, or one of the
	// same run with a higher number: that costs the run a pass if it is missed.
	for range 3 {
		roots, vanished, err := c.readListedClaims(ctx, v)
		if err != nil || !vanished {
			return roots, err
		}
	}
	roots, _, err := c.readListedClaims(ctx, v)
	return roots, err
}

func (c *collector) readListedClaims(ctx context.Context, v *view) (roots []live.Hash, vanished bool, err error) {
	v.fallen = nil
	for o, err := range c.store.List(ctx, intents) {
		if err != nil {
			return nil, false, fmt.Errorf("list intents: %w", err)
		}
		if v.old(storedOf(o), claimLife) && !v.verdict.Suspended {
			v.fallen = append(v.fallen, Deletion{Name: o.Name, Bytes: o.Size, Why: "a claim of a run that never ended"})
			continue
		}
		b, err := store.ReadAll(ctx, c.store, o.Name, sizeIntent)
		if errors.Is(err, fault.NotExist) {
			vanished = true
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", o.Name, err)
		}
		i, err := ParseIntent(b)
		if err != nil || i.Repository != c.o.Repository || i.Name() != o.Name {
			return nil, false, fmt.Errorf("%s is damaged, so nobody knows what it claims; delete it when no backup is running: %w", o.Name, fault.Corrupt)
		}
		v.listed[o.Name] = true
		roots = append(roots, i.Live)
	}
	return roots, vanished, nil
}

// arrivals lists the points and returns those that have no receipt. They are
// kept: the next backup gives them one, which can tell whether somebody with the
// repository's keys wrote them.
func (c *collector) arrivals(ctx context.Context, v *view) ([]retain.Arrival, error) {
	var highest uint64
	there := map[uint64]store.Object{}
	for o, err := range c.store.List(ctx, point.Prefix) {
		if err != nil {
			return nil, fmt.Errorf("list points: %w", err)
		}
		if n, err := point.ParseName(o.Name); err == nil {
			there[n], highest = o, max(highest, n)
			v.listed[o.Name] = true
		}
	}
	var unknown []store.Object
	c.book.View(func(s *retain.State) {
		for n, o := range there {
			r, gone := s.Gone(n)
			switch {
			case gone && n < highest:
				v.erase = append(v.erase, erasure{n, r.ID, o})
			case gone:
				// It stays until another one has a higher number, so that no
				// writer takes this one.
			case !s.Known(n):
				unknown = append(unknown, o)
			}
		}
	})
	v.points, v.highest = there, highest
	slices.SortFunc(unknown, func(a, b store.Object) int { return strings.Compare(a.Name, b.Name) })
	var out []retain.Arrival
	for _, o := range unknown {
		a, err := c.arrival(ctx, v, o)
		switch kind := fault.KindOf(err); {
		case errors.Is(err, fault.NotExist):
		case errors.Is(err, errForeign):
			v.foreign = append(v.foreign, o.Name)
		case kind == fault.Corrupt, kind == fault.TooLarge, kind == fault.Unsupported:
			v.unreadable = append(v.unreadable, o.Name)
		case err != nil:
			return nil, err
		default:
			out = append(out, a)
		}
	}
	return out, nil
}

// errForeign says that an object is a whole point, and not the one of its name.
var errForeign = errors.New("another point or another repository's")

// arrival reads a point that has no receipt. What is no point is fault.Corrupt.
func (c *collector) arrival(ctx context.Context, v *view, o store.Object) (retain.Arrival, error) {
	b, err := store.ReadAll(ctx, c.store, o.Name, point.MaxObject)
	if errors.Is(err, fault.NotExist) {
		b, err = store.ReadAll(ctx, c.store, place.HealedName(o.Name), point.MaxObject)
	}
	if err != nil {
		return retain.Arrival{}, fmt.Errorf("read %s: %w", o.Name, err)
	}
	h, _, err := point.Parse(b)
	if err == nil && (h.Repository != c.o.Repository || point.Name(h.Sequence) != o.Name) {
		// By its signature it is just what it was when it was made: another's. No
		// reader takes it for a point of this name.
		err = errForeign
	}
	if err != nil {
		return retain.Arrival{}, fmt.Errorf("read %s: %w", o.Name, err)
	}
	// Whoever wrote it had put its live set before. A round that has dropped that
	// since proves that its claim had fallen.
	if _, err := live.Read(ctx, c.store, h.Live); errors.Is(err, fault.NotExist) && !v.dropped.Page(h.Live) {
		return retain.Arrival{}, fmt.Errorf("read %s: its live set is missing: %w", o.Name, fault.Corrupt)
	} else if err != nil && !errors.Is(err, fault.NotExist) {
		return retain.Arrival{}, fmt.Errorf("read %s: %w", o.Name, err)
	}
	return retain.Arrival{Sequence: h.Sequence, ID: h.ID, Live: h.Live, Stored: max(o.Modified.Unix(), 1)}, nil
}

// look reads everything that a plan needs. Unless the run is a dry one claims
// that have fallen are deleted.
func (c *collector) look(ctx context.Context) (*view, error) {
	if err := c.book.Refresh(ctx); err != nil {
		return nil, err
	}
	reading, err := c.book.Read(ctx, c.o.Machine())
	if err != nil {
		return nil, err
	}
	c.reading = reading
	v := &view{
		machine: c.o.Machine,
		listed:  map[string]bool{},
		why:     map[uint64]string{}, said: map[uint64]retain.Round{}, packs: map[pack.ID]stored{}, moved: map[pack.ID][]record{},
		containers: map[pack.ID]stored{}, beside: map[pack.ID][]Deletion{}, pages: map[live.Hash]stored{}, moving: map[pack.ID]int64{},
	}
	// A round that is finished must have been condemned before intents are
	// listed. So what the ledger says of rounds is taken here, and no later.
	c.book.View(func(s *retain.State) {
		v.verdict = s.Judge(reading)
		for _, r := range s.Rounds() {
			v.said[r.Number] = r
		}
		for _, m := range s.Compactions() {
			v.moving[m.Pack] = m.At
		}
	})
	v.now, v.asked = v.verdict.Now, reading.Machine
	if err := c.readRounds(ctx, v); err != nil {
		return nil, err
	}
	if err := c.fall(ctx, v); err != nil {
		return nil, err
	}
	claimed, err := c.readClaims(ctx, v)
	if err != nil {
		return nil, err
	}
	if err := c.readPoints(ctx, v); err != nil {
		return nil, err
	}
	if err := c.readClaimed(ctx, v, claimed); err != nil {
		return nil, err
	}
	return v, c.list(ctx, v)
}

// fall deletes the claims of runs that never ended.
func (c *collector) fall(ctx context.Context, v *view) error {
	if c.o.DryRun {
		return nil
	}
	first := view{listed: map[string]bool{}, now: v.now, asked: v.asked, machine: v.machine, verdict: v.verdict}
	if _, err := c.readClaims(ctx, &first); err != nil {
		return err
	}
	v.fell = first.fallen
	return c.deleteAll(ctx, first.fallen)
}

// readPoints reads which points are kept, and counts what they need.
func (c *collector) readPoints(ctx context.Context, v *view) error {
	unknown, err := c.arrivals(ctx, v)
	if err != nil {
		return err
	}
	roots := map[uint64]live.Hash{}
	for _, a := range unknown {
		roots[a.Sequence] = a.Live
	}
	c.book.View(func(s *retain.State) {
		for _, d := range s.Plan(v.verdict) {
			p := d.Point
			if d.Action == retain.Expire || d.Action == retain.Erase {
				why := ledger.Expired
				if d.Action == retain.Erase {
					why = ledger.WasDeleted
				}
				v.expire = append(v.expire, ledger.Removed{Sequence: p.Sequence, Point: p.ID, Live: p.Live, Why: why})
				v.why[p.Sequence] = d.Why
				continue
			}
			roots[p.Sequence] = p.Live
		}
	})
	if len(v.expire) > most { // the others stay until the next run
		for _, r := range v.expire[most:] {
			roots[r.Sequence] = r.Live
		}
		v.expire = v.expire[:most]
	}
	return c.count(ctx, v, roots)
}

// readRounds reads what was condemned and what was dropped. It comes before
// intents are listed: a round that is finished, or mended, must have been there
// then.
func (c *collector) readRounds(ctx context.Context, v *view) error {
	for tries := 0; ; tries++ {
		l, err := listRounds(ctx, c.store)
		if err != nil {
			return err
		}
		r := &roundReader{store: c.store, repository: c.o.Repository, lost: tries == 5}
		a, err := r.all(ctx, l)
		if errors.Is(err, fault.NotExist) {
			continue
		}
		if err != nil {
			return err
		}
		v.rounds, v.absent, v.open, v.damaged = l, a, r.open, r.damaged
		v.damagedFold = l.fold > 0 && r.folded == nil
		v.dropped = newAbsent()
		if r.folded != nil {
			v.dropped.addFold(r.folded)
		}
		for _, d := range r.dropped {
			v.dropped.Add(d)
		}
		return nil
	}
}

// count brings the counts up to date.
func (c *collector) count(ctx context.Context, v *view, roots map[uint64]live.Hash) error {
	kept, ok := loadCounts(c.o.Counts, c.o.Repository)
	if c.o.Full {
		ok = false
	}
	v.counts = kept
	if ok {
		err := kept.update(ctx, c.store, roots, v.dropped.Page)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errMiscount) {
			return err
		}
	}
	v.counts = newCounts(c.o.Repository)
	v.recounted = true
	return v.counts.update(ctx, c.store, roots, v.dropped.Page)
}

// readClaimed reads what intents need. A page that is not there was dropped by
// an earlier round, which the writer will meet when it reads the rounds again:
// it will not commit that live set.
func (c *collector) readClaimed(ctx context.Context, v *view, roots []live.Hash) error {
	v.claims = claims{map[pack.ID][]uint8{}, map[live.Hash]bool{}}
	for len(roots) > 0 {
		h := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		if v.counts.needsPage(h) || v.claims.pages[h] {
			continue
		}
		v.claims.pages[h] = true
		p, err := live.Read(ctx, c.store, h)
		if errors.Is(err, fault.NotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("live set that a running backup claims: %w", err)
		}
		roots = append(roots, p.Below...)
		for i := range p.Needs {
			n := &p.Needs[i]
			masks := v.claims.frames[n.Pack]
			for k, m := range n.Masks() {
				if k == len(masks) {
					masks = append(masks, 0)
				}
				masks[k] |= m
			}
			v.claims.frames[n.Pack] = masks
		}
	}
	return nil
}
