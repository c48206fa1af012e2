package keep

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// Plan is what a collection will do, or has done.
type Plan struct {
	Now       int64  // vault's time, Unix seconds
	Suspended string // why nothing is removed at this time; "" if that is not so

	Expired  []Expiry     // points that are removed for good
	Drop     []RoundPlan  // rounds whose wait is over
	Waiting  []RoundPlan  // rounds whose wait is not
	Delete   []Deletion   // objects
	Condemn  RoundPlan    // of round 0 if nothing is
	Compact  []Compaction // packs and containers whose needed frames move
	Fold     uint64       // rounds up to this one are folded; 0: none
	Recount  bool         // everything was counted anew
	Warnings []string     // what did not go as it should, and costs room only
	Moved    int64        // bytes put for compactions

	erase     []erasure
	dropped   []*Round    // what Drop describes
	condemned *Round      // what Condemn describes; nil: nothing
	gone      *Absent     // what is dropped once Drop is done
	moves     []*movement // what Compact describes
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// Expiry is a point that is removed for good.
type Expiry struct {
	Sequence uint64
	ID       point.ID
	Why      string
}

// RoundPlan tells what a round names.
type RoundPlan struct {
	Round  uint64
	Packs  int   // whole packs
	Parts  int   // packs of which it names a part of the frames
	Frames int   // all frames of which the number is known
	Pages  int   // live pages
	Bytes  int64 // stored; of parts their share of the frames
	Until  int64 // when the wait is over, vault's time; 0: it is
}

// Deletion is an object that nothing needs any more.
type Deletion struct {
	Name  string
	Bytes int64
	Why   string

	still  func() bool // asked right before it is deleted; nil: it is done already
	stored int64       // when it was stored, by the place's clock; of what lies beside packs
}

// Compaction is a pack or a container whose needed frames are moved.
type Compaction struct {
	Name       string
	Kept, Dead int64 // bytes
}

// Bytes returns how many bytes the plan deletes.
func (p *Plan) Bytes() int64 {
	var n int64
	for i := range p.Delete {
		n += p.Delete[i].Bytes
	}
	return n
}

// decide makes the plan, but for compactions. It reads nothing and changes
// nothing.
func (v *view) decide() *Plan {
	p := &Plan{Now: v.now, gone: newAbsent()}
	p.gone.addAll(v.dropped)
	if v.verdict.Suspended {
		p.Suspended = v.verdict.Why
		return p
	}
	for _, n := range v.damaged {
		p.warn("round %d of collection is damaged, and is ended: what it named is looked at anew", n)
	}
	if v.damagedFold {
		p.warn("the fold of rounds up to %d is damaged, and is made anew", v.rounds.fold)
	}
	p.erase = slices.Clone(v.erase)
	for _, r := range v.expire {
		p.Expired = append(p.Expired, Expiry{r.Sequence, r.Point, v.why[r.Sequence]})
		if o, there := v.points[r.Sequence]; there && r.Sequence < v.highest {
			p.erase = append(p.erase, erasure{r.Sequence, r.Point, o})
		}
	}
	v.nameContainers(v.dropped)
	v.drop(p)
	v.spare(p.gone)
	v.nameContainers(p.gone)
	p.Delete = append(append(p.Delete, v.fell...), v.fallen...)
	v.deletions(p)
	v.condemn(p)
	v.fold(p)
	return p
}

// spare takes out of what is dropped whatever somebody needs all the same. In
// a repository that only its own writers write to that is nothing. In a replica
// points come with live pages and frames that were dropped there before, and
// that were put once more for them.
func (v *view) spare(gone *Absent) {
	for id, masks := range gone.frames {
		needed := max(len(v.counts.frames[id]), len(v.claims.frames[id]))
		if _, container := v.containers[id]; container || needed == 0 {
			continue
		}
		for len(masks) < needed && whole(masks) {
			masks = append(masks, 255)
		}
		for i := range masks {
			if v.needs(id, i) {
				masks[i] = 0
			}
		}
		gone.frames[id] = masks
	}
	for h := range gone.pages {
		if v.counts.needsPage(h) || v.claims.pages[h] {
			delete(gone.pages, h)
		}
	}
}

func (a *Absent) addAll(o *Absent) {
	for id, masks := range o.frames {
		a.frames[id] = union(a.frames[id], slices.Clone(masks))
	}
	for h := range o.pages {
		a.pages[h] = true
	}
}

// drop decides what becomes of the rounds that are condemned. While nobody can
// tell what a point needs nothing is dropped: what is condemned only can still be
// released, and what was dropped before no point came to need.
func (v *view) drop(p *Plan) {
	for _, name := range v.unreadable {
		p.warn("%s is no point of this repository, or a damaged one without a receipt, and nobody knows what it needs: until it is gone, what was found to be garbage waits. `tidemark repair` heals it; if it does not belong there, delete it", name)
	}
	for _, name := range v.foreign {
		p.warn("%s belongs to another repository or under another number; it counts for nothing here: delete it", name)
	}
	for _, r := range v.open {
		said, ok := v.said[r.Number]
		if !ok || len(v.unreadable) > 0 || said.Condemned < 0 || said.Condemned+grace > v.now {
			w := v.describe(r)
			if w.Until = v.now + grace; ok && said.Condemned >= 0 {
				w.Until = said.Condemned + grace
			}
			p.Waiting = append(p.Waiting, w)
			continue
		}
		d := v.release(r)
		p.dropped = append(p.dropped, d)
		p.gone.Add(d)
		p.Drop = append(p.Drop, v.describe(d))
	}
}

// release returns what of a condemned round nobody needs: it is dropped.
func (v *view) release(r *Round) *Round {
	d := &Round{Repository: r.Repository, Number: r.Number, Dropped: true}
	for i := range r.Frames {
		f := &r.Frames[i]
		if _, container := v.containers[f.Pack]; container {
			if !v.namesContainer(f.Pack) {
				d.Frames = append(d.Frames, *f)
			}
			continue
		}
		masks := f.Masks()
		some := false
		for k := range masks {
			if masks[k] != 0 && v.needs(f.Pack, k) {
				masks[k] = 0
			}
			some = some || masks[k] != 0
		}
		// Of a pack that is named as a whole by one frame, others may be needed.
		if some && !(whole(masks) && v.needsBeyond(f.Pack, len(masks))) {
			d.Frames = append(d.Frames, live.Need{Pack: f.Pack, Frames: f.Frames, Runs: runsOf(masks)})
		}
	}
	for _, h := range r.Pages {
		if !v.counts.needsPage(h) && !v.claims.pages[h] {
			d.Pages = append(d.Pages, h)
		}
	}
	return d
}

func runsOf(masks []uint8) []live.Run {
	var runs []live.Run
	for _, m := range masks {
		if k := len(runs); k > 0 && runs[k-1].Need == m {
			runs[k-1].Length++
		} else {
			runs = append(runs, live.Run{Need: m, Length: 1})
		}
	}
	return runs
}

// needs says whether a point or an intent needs a frame.
func (v *view) needs(id pack.ID, frame int) bool {
	if v.counts.needs(id, frame) {
		return true
	}
	claimed := v.claims.frames[id]
	return frame < len(claimed) && claimed[frame] != 0
}

func (v *view) needsBeyond(id pack.ID, from int) bool {
	for i := from; i < max(len(v.counts.frames[id]), len(v.claims.frames[id])); i++ {
		if v.needs(id, i) {
			return true
		}
	}
	return false
}

// nameContainers finds the containers that a moved record names which counts,
// or may yet, of packs that are not gone as a whole.
func (v *view) nameContainers(gone *Absent) {
	v.named = map[pack.ID]bool{}
	for id, m := range v.counts.moved {
		if gone.wholly(id) {
			continue
		}
		for _, c := range m.containers {
			v.named[c] = true
		}
	}
}

func (v *view) namesContainer(id pack.ID) bool { return v.named[id] || v.shielded[id] }

// describe counts what a round names.
func (v *view) describe(r *Round) RoundPlan {
	out := RoundPlan{Round: r.Number, Pages: len(r.Pages)}
	for i := range r.Frames {
		f := &r.Frames[i]
		masks := f.Masks()
		named := 0
		for _, m := range masks {
			if m != 0 {
				named++
			}
		}
		out.Frames += named
		size := v.packs[f.Pack].size
		if c, ok := v.containers[f.Pack]; ok {
			size = c.size
		}
		if named == len(masks) {
			out.Packs++
			out.Bytes += size
		} else {
			out.Parts++
			out.Bytes += size * int64(named) / int64(len(masks))
		}
	}
	for _, h := range r.Pages {
		out.Bytes += v.pages[h].size
	}
	return out
}

// deletions finds the objects of which everything is dropped.
func (v *view) deletions(p *Plan) {
	add := func(name string, size int64, why string, still func() bool) {
		p.Delete = append(p.Delete, Deletion{Name: name, Bytes: size, Why: why, still: still})
	}
	wholly := func(id pack.ID) func() bool { return func() bool { return v.absent.wholly(id) } }
	for id, o := range v.packs {
		if p.gone.wholly(id) {
			add(id.Name(), o.size, "no point needs it", wholly(id))
		}
	}
	for id, list := range v.beside {
		for _, o := range list {
			switch {
			case p.gone.wholly(id):
				add(o.Name, o.Bytes, "no point needs its pack", wholly(id))
			case v.orphaned(id, o):
				// Parity is for the pack's own object, and can be made anew.
				add(o.Name, o.Bytes, "its pack is gone", func() bool { return true })
			}
		}
	}
	for id, records := range v.moved {
		if p.gone.wholly(id) {
			for _, r := range records {
				add(pack.MovedName(id, r.generation), r.size, "no point needs its pack", wholly(id))
			}
		}
	}
	for id, o := range v.containers {
		if p.gone.wholly(id) {
			add(pack.ContainerName(id), o.size, "nothing in it is needed", wholly(id))
		}
	}
	for h, o := range v.pages {
		if p.gone.pages[h] {
			add(live.Name(h), o.size, "no point needs it", func() bool { return v.absent.pages[h] })
		}
	}
	for id, since := range v.moving {
		if since+grace > v.now || !v.settled(id) || p.gone.wholly(id) {
			continue
		}
		settled := func() bool { return v.settled(id) }
		if o, ok := v.packs[id]; ok {
			add(id.Name(), o.size, "its frames were moved", settled)
		}
		for _, o := range v.beside[id] {
			add(o.Name, o.Bytes, "its frames were moved", settled)
		}
		records := v.moved[id]
		for _, r := range records[:len(records)-1] {
			add(pack.MovedName(id, r.generation), r.size, "its frames were moved again", settled)
		}
	}
	slices.SortFunc(p.Delete, func(a, b Deletion) int { return strings.Compare(a.Name, b.Name) })
}

// orphaned says whether an object is parity of a pack that is gone: it was put,
// or put back, when its pack was being deleted. That of a pack that points need
// and that is lost stays: who looks for damage tells of it.
func (v *view) orphaned(id pack.ID, o Deletion) bool {
	_, there := v.packs[id]
	if there || !strings.HasPrefix(o.Name, parityPrefix) || !v.old(stored{modified: o.stored}, fresh) {
		return false
	}
	return v.settled(id) || len(v.moved[id]) == 0 && !v.needsBeyond(id, 0)
}

// condemn finds what nobody needs and no round names yet.
func (v *view) condemn(p *Plan) {
	r := &Round{}
	for id, o := range v.packs {
		v.condemnPack(r, id, o)
	}
	for id, records := range v.moved {
		if _, ok := v.packs[id]; !ok {
			v.condemnPack(r, id, records[len(records)-1].stored)
		}
	}
	for id, o := range v.containers {
		if !v.namesContainer(id) && !v.absent.Has(id, 0) && v.old(o, fresh) {
			r.Frames = append(r.Frames, allOf(id, 1))
		}
	}
	for h, o := range v.pages {
		if !v.claims.pages[h] && !v.absent.pages[h] && v.old(o, fresh) {
			r.Pages = append(r.Pages, h)
		}
	}
	slices.SortFunc(r.Frames, func(a, b live.Need) int { return compareIDs(a.Pack, b.Pack) })
	slices.SortFunc(r.Pages, compareHashes)
	if r.bound(); r.empty() {
		return
	}
	p.Condemn = v.describe(r)
	p.Condemn.Until = v.now + grace
	p.condemned = r
}

// fullRound is how many bytes of a round are filled at most. What is more waits
// for the next run.
const fullRound = 16 << 20

func (r *Round) bound() {
	size := 0
	for i := range r.Frames {
		if size += len(live.AppendNeed(nil, &r.Frames[i])); size > fullRound {
			r.Frames = r.Frames[:i]
			break
		}
	}
	if most := (2*fullRound - size) / 32; len(r.Pages) > most {
		r.Pages = r.Pages[:most]
	}
}

func allOf(id pack.ID, frames int) live.Need {
	return live.Need{Pack: id, Frames: uint32(frames), Runs: []live.Run{{Need: 255, Length: uint32(frames)}}}
}

// condemnPack adds what of a pack is garbage to a round.
func (v *view) condemnPack(r *Round, id pack.ID, o stored) {
	if v.absent.wholly(id) {
		return
	}
	counted, claimed := v.counts.frames[id], v.claims.frames[id]
	n := max(len(counted), len(claimed))
	if n == 0 {
		// It may be of a run under way: nobody can tell until it is old. Were it
		// condemned now, that run would have to send it again.
		if v.old(o, fresh) {
			r.Frames = append(r.Frames, allOf(id, max(1, len(v.absent.frames[id]))))
		}
		return
	}
	var masks []uint8
	for i := range n {
		if !v.needs(id, i) && !v.absent.Has(id, i) {
			if masks == nil {
				masks = make([]uint8, n)
			}
			masks[i] = 255
		}
	}
	if masks != nil {
		r.Frames = append(r.Frames, live.Need{Pack: id, Frames: uint32(n), Runs: runsOf(masks)})
	}
}

// oldFold says whether nobody can be about to read what a fold stands for. Of
// one that was stored while a clock ran ahead the ledger tells.
func (v *view) oldFold(o stored, round uint64) bool {
	if v.ahead(o) {
		said, ok := v.said[round]
		return ok && said.Dropped >= 0 && said.Dropped+foldAfter+foldLife <= v.now
	}
	return v.old(o, foldLife)
}

// fold decides whether rounds are folded, and which.
func (v *view) fold(p *Plan) {
	last := v.rounds.fold
	for n := last + 1; n <= v.rounds.last; n++ {
		said, ok := v.said[n]
		if !ok || said.Dropped < 0 || said.Dropped+foldAfter > v.now || !v.rounds.dropped[n] {
			break
		}
		last = n
	}
	if last-v.rounds.fold >= foldLeast {
		p.Fold = last
	}
	// What a fold stands for goes when nobody can be about to read it.
	for i, f := range v.rounds.folds {
		n, _, _ := parseRoundName(f.Name)
		if n == v.rounds.fold && v.oldFold(storedOf(f), n) {
			for _, o := range append(slices.Clone(v.rounds.folds[:i]), v.rounds.old...) {
				p.Delete = append(p.Delete, Deletion{
					Name: o.Name, Bytes: o.Size, Why: fmt.Sprintf("round %d stands for it", n), still: func() bool { return v.absent.fold >= n },
				})
			}
		}
	}
}
