package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// points copies the points that are missing.
func (r *run) points(ctx context.Context) error {
	there, err := sequences(ctx, r.from)
	if err != nil {
		return err
	}
	if err := r.compare(ctx, there); err != nil {
		return err
	}
	todo := r.missing(there)
	r.total = len(todo)
	r.tell()
	for _, n := range todo {
		err := r.point(ctx, n)
		r.report.Objects, r.report.Bytes = int(r.copied.objects.Load()), r.copied.bytes.Load()
		if err != nil {
			return err
		}
	}
	return nil
}

// missing returns the sequences of the points to copy, in their order.
func (r *run) missing(there map[uint64]store.Object) []uint64 {
	wanted := func(uint64) bool { return true }
	if r.o.Points != nil {
		wanted = func(n uint64) bool { return slices.Contains(r.o.Points, n) }
	}
	over := r.over()
	var todo []uint64
	r.book.View(func(s *retain.State) {
		for n := range there {
			_, gone := s.Gone(n)
			_, have := r.have.points[n]
			switch {
			case have:
				r.report.There++
			case gone:
				r.report.Gone++
			case !wanted(n):
			case over[n]:
				r.report.Expired++
			default:
				todo = append(todo, n)
			}
		}
	})
	slices.Sort(todo)
	if !r.o.OldestFirst {
		slices.Reverse(todo)
	}
	return todo
}

// over returns the points that the source's next prune removes.
func (r *run) over() map[uint64]bool {
	over := map[uint64]bool{}
	if r.source == nil {
		return over
	}
	now := r.o.Now().Unix()
	for _, d := range r.source.Plan(r.source.Judge(retain.Reading{Place: now, Machine: now})) {
		if d.Action == retain.Expire || d.Action == retain.Erase {
			over[d.Point.Sequence] = true
		}
	}
	return over
}

// compare looks whether the two places have the same points under the same
// numbers: a source that went back in time and wrote others has not.
func (r *run) compare(ctx context.Context, there map[uint64]store.Object) error {
	differs := func(n uint64) {
		r.problem(point.Name(n), n, fmt.Errorf("the replica has another point under this number, so the repository went back in time since; the replica's stays: %w", fault.Rollback))
	}
	newest := uint64(0)
	r.book.View(func(s *retain.State) {
		for n, o := range there {
			size, have := r.have.points[n]
			if !have {
				continue
			}
			newest = max(newest, n)
			if size != o.Size {
				differs(n)
			} else if r.source != nil {
				if a, b := r.source.Point(n), s.Point(n); a != nil && b != nil && a.ID != b.ID {
					differs(n)
				}
			}
		}
	})
	if newest == 0 {
		return nil
	}
	name := point.Name(newest)
	a, errA := store.ReadAll(ctx, r.from, name, point.MaxObject)
	b, errB := store.ReadAll(ctx, r.to, name, point.MaxObject)
	if errA != nil && !damaged(ctx, errA) {
		return errA
	}
	h, _, errA := point.Parse(a)
	i, _, errB2 := point.Parse(b)
	if errA == nil && errB == nil && errB2 == nil && h.ID != i.ID {
		differs(newest)
	}
	return nil
}

// point copies one point. What is damaged at its source is a problem, and no
// error.
func (r *run) point(ctx context.Context, n uint64) error {
	name := point.Name(n)
	object, err := store.ReadAll(ctx, r.from, name, point.MaxObject)
	if errors.Is(err, fault.NotExist) {
		return nil // removed since it was listed
	}
	var h *point.Header
	if err == nil {
		h, _, err = point.Parse(object)
	}
	if err == nil && (h.Sequence != n || h.Repository != r.id) {
		err = fmt.Errorf("it holds point %d of repository %x: %w", h.Sequence, h.Repository[:4], fault.Corrupt)
	}
	if err == nil {
		err = r.whole(ctx, h, object)
	}
	switch {
	case err == nil:
		r.report.Copied = append(r.report.Copied, n)
		r.tell()
		return nil
	case isReplicas(err) && errors.Is(err, fault.Exist) && !errors.Is(err, errNamed):
		r.problem(name, n, fmt.Errorf("the replica has another point under this number, so the repository went back in time since; the replica's stays: %w", fault.Rollback))
		return nil
	case errors.Is(err, errNamed):
		return nil // the object that is damaged has been named
	case isReplicas(err), !damaged(ctx, err):
		return fmt.Errorf("%s: %w", name, err)
	}
	r.problem(name, n, err)
	return nil
}

// errNamed says that a point cannot be copied, and that why has been noted.
var errNamed = errors.New("something that the point needs cannot be copied")

// whole makes a point that is proven whole in the replica.
func (r *run) whole(ctx context.Context, h *point.Header, object []byte) error {
	needs, pages, err := r.livePages(ctx, h)
	if err != nil {
		return err
	}
	intent, err := r.claim(ctx, h)
	if err != nil {
		return err
	}
	// Read after the claim is durable: what is condemned later than this, the
	// claim releases again.
	absent, err := keep.ReadRounds(ctx, r.to, r.id)
	if err != nil {
		return atReplica(err)
	}
	if err := r.packs(ctx, h.Sequence, needs, absent); err != nil {
		return errors.Join(err, r.release(ctx, intent, err))
	}
	if err := r.put(ctx, point.Name(h.Sequence), object); err != nil {
		if errors.Is(err, fault.Exist) {
			return errors.Join(err, r.release(ctx, intent, errNamed))
		}
		return err
	}
	if err := r.settle(ctx, h, intent, absent, pages); err != nil {
		return err
	}
	r.have.points[h.Sequence] = int64(len(object))
	for h := range pages {
		r.have.done[h] = true
	}
	if err := r.receipt(ctx, h.Sequence, h.ID, h.Live); err != nil {
		return err
	}
	return r.release(ctx, intent, nil)
}

// livePages copies the pages of a point's live set, and returns what they need
// that this run has not looked after yet.
func (r *run) livePages(ctx context.Context, h *point.Header) (needs []live.Need, pages map[live.Hash][]byte, err error) {
	pages = map[live.Hash][]byte{}
	// No page is passed over for being in the replica: what a killed run left
	// there may lack its packs.
	skip := func(page live.Hash) bool { return r.have.done[page] }
	for p, err := range live.Pages(ctx, r.from, h.Live, skip) {
		if err != nil {
			return nil, nil, r.fromLive(ctx, h.Sequence, err)
		}
		if !r.have.pages[p.Page] {
			if err := r.put(ctx, live.Name(p.Page), p.Bytes); err != nil {
				return nil, nil, err
			}
			r.have.pages[p.Page] = true
		}
		pages[p.Page] = p.Bytes
		needs = append(needs, p.Needs...)
	}
	return needs, pages, nil
}

// fromLive names a live page that cannot be read.
func (r *run) fromLive(ctx context.Context, sequence uint64, err error) error {
	if !damaged(ctx, err) {
		return err
	}
	r.problem(fmt.Sprintf("live set of %s", point.Name(sequence)), sequence, err)
	return errNamed
}

// claim puts an intent for a point's live set.
func (r *run) claim(ctx context.Context, h *point.Header) (*keep.Intent, error) {
	for range 100 {
		i := &keep.Intent{Repository: r.id, Server: server, Run: r.intent, Number: 1, Live: h.Live}
		r.intent++
		err := r.put(ctx, i.Name(), i.Marshal())
		if err == nil || !errors.Is(err, fault.Exist) {
			return i, err
		}
	}
	return nil, atReplica(fmt.Errorf("a hundred others claimed in the same moment: %w", fault.Unavailable))
}

// release gives a claim up. One that stays for a failure costs room for 30 days.
func (r *run) release(ctx context.Context, i *keep.Intent, after error) error {
	if after != nil && !errors.Is(after, errNamed) {
		return nil // what was copied for the point stays claimed for the next run
	}
	return atReplica(r.to.Delete(ctx, i.Name()))
}

// settle looks, once a point is there, whether its claim held until then: a
// machine that slept for a month may have lost it. And a collector that was
// under way before the claim may have deleted live pages that had been dropped:
// they have no other name, so they are put again.
func (r *run) settle(ctx context.Context, h *point.Header, i *keep.Intent, before *keep.Absent, pages map[live.Hash][]byte) error {
	for page, b := range pages {
		if before.Page(page) {
			if err := r.put(ctx, live.Name(page), b); err != nil {
				return err
			}
		}
	}
	gone, err := keep.Gone(ctx, r.to, i)
	if err != nil || !gone {
		return atReplica(err)
	}
	return atReplica(fmt.Errorf("the claim on %s fell while it was copied, after a month: its packs may be gone; run it again: %w", point.Name(h.Sequence), fault.Unavailable))
}

// frames says which frames a Need asks for.
func frames(n *live.Need) []int {
	var out []int
	for i, m := range n.Masks() {
		if m != 0 {
			out = append(out, i)
		}
	}
	return out
}
