package keep

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Options say how a repository is collected.
type Options struct {
	Repository [16]byte
	// Key signs what is appended to the ledger. A dry run needs none.
	Key ed25519.PrivateKey
	// Counts is the file in which this machine keeps its counts; "": it keeps none.
	Counts string
	// Machine is this machine's clock. It decides nothing; see package retain.
	Machine func() time.Time
	// Full counts everything anew, whatever the file says.
	Full bool
	// DryRun makes the plan and changes nothing.
	DryRun bool
	// Workers is how many objects are deleted at a time; 0: 8.
	Workers int
	// Progress, if set, is told what is being done, and of how many.
	Progress func(what string, done, total int)
}

// collector is one run.
type collector struct {
	store   store.Store
	book    *retain.Book
	o       Options
	reading retain.Reading
	now     int64
	warned  []string // by plans that were made again
}

// errAgain says that somebody changed what the plan was made from.
var errAgain = errors.New("the repository changed while it was collected")

// most bounds the points that one run removes.
const most = 20_000

// Prune removes the points whose time is over, and collects what no point
// needs: the package comment and FORMAT.md, section 9, say how. It may run
// beside backups, mounts and other runs of itself, and be killed at any moment.
// It returns the plan, which is also what it did unless that is an error.
func Prune(ctx context.Context, s store.Store, book *retain.Book, o Options) (*Plan, error) {
	if o.Workers == 0 {
		o.Workers = 8
	}
	c := &collector{store: s, book: book, o: o}
	var err error
	for range 100 {
		var p *Plan
		if p, err = c.run(ctx); !errors.Is(err, errAgain) {
			if p != nil {
				p.Warnings = append(c.warned, p.Warnings...)
			}
			return p, err
		}
	}
	return nil, fmt.Errorf("prune: %w: %w", err, fault.Unavailable)
}

func (c *collector) run(ctx context.Context) (*Plan, error) {
	before := c.book.Ledger().Head()
	v, err := c.look(ctx)
	if errors.Is(err, fault.NotExist) {
		// A page of a point that another collector has removed since this one read
		// the ledger, perhaps: it may have slept for days.
		if err := c.book.Refresh(ctx); err != nil {
			return nil, fmt.Errorf("prune: %w", err)
		}
		if c.book.Ledger().Head() != before {
			return nil, errAgain
		}
	}
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	c.now = v.now
	p := v.decide()
	if err := c.judge(ctx, v, p); err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	p.Recount = v.recounted
	if c.o.DryRun {
		return p, nil
	}
	if err := c.act(ctx, v, p); err != nil {
		return p, fmt.Errorf("prune: %w", err)
	}
	return p, nil
}

func (c *collector) progress(what string, done, total int) {
	if c.o.Progress != nil {
		c.o.Progress(what, done, total)
	}
}

// act does what the plan says, in an order in which it may end anywhere: what
// makes something garbage is durable before the garbage goes.
func (c *collector) act(ctx context.Context, v *view, p *Plan) error {
	// Before anything goes that the counts were made from.
	if err := v.counts.save(c.o.Counts); err != nil {
		p.warn("the next run will count everything anew: %v", err)
	}
	if p.Suspended != "" {
		return nil
	}
	steps := []func(context.Context, *view, *Plan) error{c.expire, c.mend, c.eraseAll, c.drop, c.remove, c.condemn, c.move, c.foldRounds}
	for _, step := range steps {
		if err := step(ctx, v, p); err != nil {
			return err
		}
	}
	if err := v.counts.save(c.o.Counts); err != nil {
		p.warn("the next run will count everything anew: %v", err)
	}
	if _, err := c.book.Ledger().Tidy(ctx); err != nil {
		p.warn("old entries of the ledger stay: %v", err)
	}
	return nil
}

// say appends records to the ledger.
func (c *collector) say(ctx context.Context, records ...ledger.Record) error {
	_, err := c.book.Append(ctx, c.o.Key, c.reading, func(*retain.State, retain.Verdict) ([]ledger.Record, error) { return records, nil })
	return err
}

// expire writes down which points are gone for good. From then on nothing
// brings them back; and if somebody has just said that one stays, the plan is
// made again, since it counted with its going.
func (c *collector) expire(ctx context.Context, v *view, _ *Plan) error {
	if len(v.expire) == 0 {
		return nil
	}
	_, err := c.book.Append(ctx, c.o.Key, c.reading, func(s *retain.State, now retain.Verdict) ([]ledger.Record, error) {
		due := map[ledger.Removed]bool{}
		for _, d := range s.Plan(now) {
			p := d.Point
			switch d.Action {
			case retain.Expire:
				due[ledger.Removed{Sequence: p.Sequence, Point: p.ID, Live: p.Live, Why: ledger.Expired}] = true
			case retain.Erase:
				due[ledger.Removed{Sequence: p.Sequence, Point: p.ID, Live: p.Live, Why: ledger.WasDeleted}] = true
			}
		}
		var records []ledger.Record
		for _, r := range v.expire {
			if _, gone := s.Gone(r.Sequence); gone {
				continue
			}
			if !due[r] {
				return nil, errAgain
			}
			records = append(records, r)
		}
		return records, nil
	})
	return err
}

// eraseAll deletes the objects of removed points, if they are theirs.
func (c *collector) eraseAll(ctx context.Context, _ *view, p *Plan) error {
	var gone []Deletion
	for _, e := range p.erase {
		b, err := store.ReadAll(ctx, c.store, e.object.Name, point.MaxObject)
		if errors.Is(err, fault.NotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", e.object.Name, err)
		}
		h, _, err := point.Parse(b)
		if err == nil && h.ID != e.id {
			p.warn("%s holds another point than the one that was removed; it stays", e.object.Name)
			continue
		}
		gone = append(gone, Deletion{Name: e.object.Name, Bytes: e.object.Size, Why: "its point was removed"})
	}
	p.Delete = append(gone, p.Delete...)
	return c.deleteAll(ctx, gone)
}

// drop puts what becomes of condemned rounds. Where another collector was
// faster, its word counts, and the plan is made again from that.
func (c *collector) drop(ctx context.Context, v *view, p *Plan) error {
	var said []ledger.Record
	for n := range v.rounds.dropped {
		if r, ok := v.said[n]; !ok || r.Dropped < 0 {
			said = append(said, ledger.Dropped{Round: n}) // its collector was killed
		}
	}
	lost := false
	for _, r := range p.dropped {
		err := c.store.Put(ctx, r.Name(), r.Marshal())
		if lost = lost || errors.Is(err, fault.Exist); err != nil && !errors.Is(err, fault.Exist) {
			return err
		}
		said = append(said, ledger.Dropped{Round: r.Number})
	}
	slices.SortFunc(said, func(a, b ledger.Record) int {
		return int(a.(ledger.Dropped).Round) - int(b.(ledger.Dropped).Round)
	})
	if len(said) > 0 {
		if err := c.say(ctx, said...); err != nil {
			return err
		}
	}
	return again(!lost)
}

// remove deletes what is dropped, and what was moved long ago. Whether what it
// was moved to is there, and will stay, is seen from rounds that are read after
// the moved records: another collector may have taken a container for garbage
// before it was named. And what no round names any more is not deleted: who
// slept for a year must not take away what others have made since.
func (c *collector) remove(ctx context.Context, v *view, p *Plan) error {
	if len(p.Delete) == 0 {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(p.Delete), func(d Deletion) bool { return d.still == nil })
	done := len(p.Delete) - len(left)
	p.Delete = slices.DeleteFunc(p.Delete, func(d Deletion) bool { return d.still != nil })
	for some := range slices.Chunk(left, 2000) {
		if same, err := c.unchanged(ctx, v); err != nil || !same {
			return errors.Join(err, again(same))
		}
		var err error
		if v.absent, err = ReadRounds(ctx, c.store, c.o.Repository); err != nil {
			return err
		}
		some = slices.DeleteFunc(slices.Clone(some), func(d Deletion) bool { return !d.still() })
		if err := c.deleteAll(ctx, some); err != nil {
			return err
		}
		p.Delete = append(p.Delete, some...)
		c.progress("deleting", len(p.Delete)-done, len(left))
	}
	var moved []ledger.Record
	var ids []pack.ID
	for _, id := range sortedIDs(v.moving) {
		if v.moving[id]+grace <= v.now && (v.settled(id) || p.gone.wholly(id)) {
			ids = append(ids, id)
		}
	}
	for some := range slices.Chunk(ids, 50_000) {
		moved = append(moved, ledger.Compacted{Step: ledger.Done, Packs: some})
	}
	if len(moved) > 0 {
		return c.say(ctx, moved...)
	}
	return nil
}

// again is errAgain unless all is the same.
func again(same bool) error {
	if same {
		return nil
	}
	return errAgain
}

// unchanged says whether the intents and the points that are listed are those
// that the plan was made from. Of a point that was copied here, with a live
// page or a frame that had been dropped, the collector must know.
func (c *collector) unchanged(ctx context.Context, v *view) (bool, error) {
	for _, prefix := range []string{intents, point.Prefix} {
		for o, err := range c.store.List(ctx, prefix) {
			if err != nil {
				return false, fmt.Errorf("list %s: %w", prefix, err)
			}
			if !v.listed[o.Name] {
				return false, nil
			}
		}
	}
	return true, nil
}

// deleteAll deletes objects side by side.
func (c *collector) deleteAll(ctx context.Context, list []Deletion) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.o.Workers)
	for _, d := range list {
		group.Go(func() error { return c.store.Delete(ctx, d.Name) })
	}
	return group.Wait()
}

// condemn puts the round of what nobody needs, under the first number that is
// free. What two collectors condemn at a time, both may drop.
func (c *collector) condemn(ctx context.Context, v *view, p *Plan) error {
	var said []ledger.Record
	for _, r := range v.open {
		if s, ok := v.said[r.Number]; !ok || s.Condemned < 0 {
			said = append(said, ledger.Condemned{Round: r.Number}) // its collector was killed
		}
	}
	if r := p.condemned; r != nil {
		r.Repository = c.o.Repository
		for r.Number = v.rounds.last + 1; ; r.Number++ {
			err := c.store.Put(ctx, r.Name(), r.Marshal())
			if err == nil {
				break
			}
			if !errors.Is(err, fault.Exist) {
				return err
			}
		}
		p.Condemn.Round = r.Number
		said = append(said, ledger.Condemned{Round: r.Number})
	}
	if len(said) == 0 {
		return nil
	}
	return c.say(ctx, said...)
}

// move compacts, and writes down which packs were moved by a run that was
// killed before it could.
func (c *collector) move(ctx context.Context, v *view, p *Plan) error {
	var found []pack.ID
	for id := range v.moved {
		_, there := v.packs[id]
		if _, known := v.moving[id]; !known && (there || len(v.moved[id]) > 1) && v.settled(id) {
			found = append(found, id)
		}
	}
	slices.SortFunc(found, compareIDs)
	for some := range slices.Chunk(found, 50_000) {
		if err := c.say(ctx, ledger.Compacted{Step: ledger.Moved, Packs: some}); err != nil {
			return err
		}
	}
	return c.compact(ctx, p)
}

// foldRounds puts a fold of old rounds.
func (c *collector) foldRounds(ctx context.Context, v *view, p *Plan) error {
	if p.Fold == 0 {
		return nil
	}
	f := &Fold{Repository: c.o.Repository, Number: p.Fold}
	if v.rounds.fold > 0 {
		before, err := readFold(ctx, c.store, c.o.Repository, v.rounds.fold)
		if err != nil {
			return err
		}
		for i := range before.Rounds {
			r := &before.Rounds[i]
			r.Time = min(r.Time, v.now) // a clock had been ahead
			if r.Time+memory <= v.now {
				v.forget(r)
			}
		}
		f.Rounds = before.Rounds
	}
	for n := v.rounds.fold + 1; n <= p.Fold; n++ {
		r, err := readRound(ctx, c.store, c.o.Repository, n, true)
		if err != nil {
			return err
		}
		f.Rounds = append(f.Rounds, Folded{Number: n, Time: v.said[n].Dropped, Frames: r.Frames, Pages: r.Pages})
	}
	f.Rounds = slices.DeleteFunc(f.Rounds, func(r Folded) bool { return len(r.Frames)+len(r.Pages) == 0 })
	b := f.Marshal()
	if len(b) > maxRound {
		p.warn("%d rounds are not folded, they would make an object of %d bytes", p.Fold-v.rounds.fold, len(b))
		return nil
	}
	if err := c.store.Put(ctx, f.Name(), b); err != nil && !errors.Is(err, fault.Exist) {
		return err
	}
	return nil
}

// forget takes out of a folded round what is gone for so long that nobody can
// be about to delete it, or to use it.
func (v *view) forget(r *Folded) {
	r.Frames = slices.DeleteFunc(r.Frames, func(n live.Need) bool {
		_, a := v.packs[n.Pack]
		_, b := v.containers[n.Pack]
		return !a && !b && len(v.moved[n.Pack]) == 0
	})
	r.Pages = slices.DeleteFunc(r.Pages, func(h live.Hash) bool {
		_, there := v.pages[h]
		return !there && !v.counts.needsPage(h)
	})
}
