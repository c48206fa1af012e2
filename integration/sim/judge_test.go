package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// prune collects, on one of the vault's machines.
func (w *world) prune(ctx context.Context, a *actor) error { return w.collect(ctx, a, w.primary) }

// pruneReplica collects the replica, by its own rules.
func (w *world) pruneReplica(ctx context.Context, a *actor) error {
	if _, err := w.replica.Mem().Get(ctx, "repository", 0, nil); err != nil {
		return nil // there is none yet
	}
	return w.collect(ctx, a, w.replica)
}

func (w *world) collect(ctx context.Context, a *actor, place *Place) error {
	a.dir = filepath.Join(w.dir, a.name)
	s := w.mutant.collector(&wire{place, a})
	device, err := repo.Local{Dir: a.dir}.Device()
	if err != nil {
		return err
	}
	if w.mutant.before != nil {
		if err := w.mutant.before(ctx, w, a, s, device); err != nil {
			return err
		}
	}
	book, err := retain.Open(ctx, s, retain.Options{Repository: w.repository, Memory: filepath.Join(a.dir, "ledger")})
	if err != nil {
		return err
	}
	_, err = keep.Prune(ctx, s, book, keep.Options{
		Repository: w.repository, Key: device.Key, Counts: filepath.Join(a.dir, "counts"), Workers: 2,
		Machine: func() time.Time { return w.truth.Add(w.skew) },
	})
	return err
}

// replicate copies to the replica.
func (w *world) replicate(ctx context.Context, a *actor) error {
	a.dir = filepath.Join(w.dir, a.name)
	device, err := repo.Local{Dir: a.dir}.Device()
	if err != nil {
		return err
	}
	from, to := &wire{w.primary, a}, &wire{w.replica, a}
	report, err := replicate.Run(ctx, from, to, replicate.Options{
		Key: device.Key, Workers: 1, Now: func() time.Time { return w.truth.Add(w.skew) },
		SourceMemory: filepath.Join(a.dir, "source"), Memory: filepath.Join(a.dir, "replica"),
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.counts["replicated"] += len(report.Copied)
	w.mu.Unlock()
	if err := w.copied(ctx, report.Copied); err != nil {
		return err
	}
	for _, p := range report.Problems {
		if !errors.Is(p.Err, fault.Unavailable) && !w.foreign(p.Object) {
			return fmt.Errorf("replicate: %s: %w", p.Object, p.Err)
		}
	}
	if w.mutant.after != nil {
		return w.mutant.after(ctx, from, to)
	}
	return nil
}

// copied notes what the replica has taken over.
func (w *world) copied(ctx context.Context, sequences []uint64) error {
	return w.state(ctx, w.replica, func(s *retain.State) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, n := range sequences {
			if p := s.Point(n); p != nil {
				w.copies[p.ID] = w.points[p.ID]
			}
		}
	})
}

// foreign says whether an object is the attacker's.
func (w *world) foreign(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.garbage[name]
}

// attack is a client that uses all it may: it puts garbage under names of every
// kind that clients write, floods points, and claims what is not there.
func (w *world) attack(ctx context.Context, a *actor) error {
	s := &wire{w.primary, a}
	for i := range 1 + w.random.IntN(4) {
		var id pack.ID
		copy(id[:], noise(fmt.Sprint("attack", w.seed, w.runs, i), 16))
		data := noise(fmt.Sprint("garbage", i), 200+w.random.IntN(300))
		forged := &keep.Intent{Repository: w.repository, Run: w.random.Uint64(), Number: 1, Live: live.Hash(noise("nowhere", 32))}
		// Not below points/: what no one can read there and no receipt names
		// stops collections on purpose, until somebody has looked at it. A
		// vault server takes no such thing.
		names := []string{id.Name(), live.Name(live.Hash(noise(fmt.Sprint(i), 32))), forged.Name()}
		which := w.random.IntN(len(names))
		if which == 2 {
			data = forged.Marshal()
		}
		w.mu.Lock()
		w.garbage[names[which]] = true
		w.counts["attacks"]++
		w.mu.Unlock()
		if err := s.Put(ctx, names[which], data); err != nil && !errors.Is(err, fault.Exist) {
			return err
		}
	}
	return nil
}

// converged checks that the replica has all that the primary shows.
func (w *world) converged(ctx context.Context) error {
	has := map[point.ID]bool{}
	err := w.state(ctx, w.replica, func(s *retain.State) {
		for _, p := range s.Kept() {
			has[p.ID] = true
		}
		for _, p := range s.Removed(0) {
			has[p.ID] = true // by its own rules
		}
	})
	if err != nil {
		return err
	}
	stateErr := w.state(ctx, w.primary, func(s *retain.State) {
		v := s.Judge(retain.Reading{Place: w.truth.Unix(), Machine: w.truth.Unix()})
		for _, d := range s.Plan(v) {
			if !has[d.Point.ID] && d.Action == retain.Keep {
				err = fmt.Errorf("the replica lacks point %d: %w", d.Point.Sequence, fault.NotExist)
			}
		}
	})
	return errors.Join(stateErr, err)
}

// confirm is an operator, who says that the clock is right.
func (w *world) confirm(ctx context.Context, a *actor, place *Place) error {
	s := &wire{place, a}
	device, err := repo.Local{Dir: filepath.Join(w.dir, a.name)}.Device()
	if err != nil {
		return err
	}
	memory := filepath.Join(w.dir, "copier", map[*Place]string{w.primary: "source", w.replica: "replica"}[place])
	book, err := retain.Open(ctx, s, retain.Options{Repository: w.repository, Memory: memory})
	if err != nil {
		return err
	}
	reading, err := book.Read(ctx, w.truth)
	if err != nil {
		return err
	}
	_, err = book.Append(ctx, device.Key, reading, func(*retain.State, retain.Verdict) ([]ledger.Record, error) {
		return []ledger.Record{ledger.Clock{Place: reading.Place, Machine: reading.Machine}}, nil
	})
	return err
}

// acknowledged notes what a server was promised by a run. Its receipt counts from
// when it asked for the time, and a machine may sleep before it puts that down.
func (w *world) acknowledged(p *repo.Point, files tree, begin time.Time, receipt ledger.Receipt, unreceipted error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := promise{files: maps.Clone(files), when: begin}
	if unreceipted == nil {
		for _, t := range receipt.Tags {
			kept.life = max(kept.life, time.Duration(t.Expiry-receipt.Arrival)*time.Second)
		}
	}
	w.points[p.ID] = kept
}

// state reads what is new in the ledger of a place. The first time, and in
// judge, everything is read, as by somebody who remembers nothing.
func (w *world) state(ctx context.Context, place *Place, do func(*retain.State)) error {
	w.reading.Lock()
	defer w.reading.Unlock()
	book := w.books[place]
	if book != nil {
		if err := book.Refresh(ctx); err != nil {
			return err
		}
	} else {
		var err error
		if book, err = retain.Open(ctx, place.Mem(), retain.Options{Repository: w.repository}); err != nil {
			return err
		}
		w.books[place] = book
	}
	book.View(do)
	return nil
}

// gone returns the points that a place removed for good, and complains of those
// that lived shorter than promised.
func (w *world) gone(ctx context.Context, place *Place) (map[point.ID]bool, error) {
	gone := map[point.ID]bool{}
	var early error
	err := w.state(ctx, place, func(s *retain.State) {
		if s.Faulty > 0 {
			early = fmt.Errorf("the ledger says what it must not: %v: %w", s.Faults, fault.Corrupt)
		}
		for _, p := range s.Kept() {
			if _, ok := w.received[p.ID]; !ok {
				w.received[p.ID] = w.truth
			}
		}
		for _, r := range s.Removed(0) {
			gone[r.ID] = true
			p, ok := w.points[r.ID]
			if !ok {
				continue
			}
			// A machine that sleeps with the receipt on its way hears of it days later.
			lived := w.truth.Sub(p.when)
			if at, ok := w.received[r.ID]; ok {
				lived = max(lived, w.truth.Sub(at))
			}
			// The least that anybody was promised is a day.
			if lived < max(p.life, 24*time.Hour)-time.Minute {
				early = fmt.Errorf("point %d was removed %v after its arrival, and not %v: %w", r.Sequence, lived, p.life, fault.Corrupt)
			}
		}
	})
	return gone, errors.Join(err, early)
}

// longGone says whether a point was removed a day ago, or longer.
func (w *world) longGone(id point.ID) bool {
	long := false
	err := w.state(context.Background(), w.primary, func(s *retain.State) {
		for _, r := range s.Removed(0) {
			long = long || r.ID == id && w.truth.Unix()-r.At >= 24*3600
		}
	})
	return err == nil && long
}

// judge checks a whole place and every promise that was made of it.
func (w *world) judge(ctx context.Context, place *Place, promises map[point.ID]promise) error {
	r, err := repo.Open(ctx, place.Mem(), repo.Options{Workers: 1})
	if err != nil {
		return err
	}
	if _, err := r.Grant(ctx, repo.Local{Dir: filepath.Join(w.dir, serverName(0))}); err != nil {
		return err
	}
	if err := r.OpenLedger(ctx, repo.Local{}, repo.LedgerOptions{}); err != nil {
		return err
	}
	w.books[place] = r.Book()
	gone, err := w.gone(ctx, place)
	if err != nil {
		return err
	}
	w.counts["removed"] += len(gone)
	report, err := repo.Check(ctx, r, repo.CheckOptions{})
	if err != nil {
		return err
	}
	for _, f := range report.Faults {
		if !w.foreign(f.Object) {
			return fmt.Errorf("check: %s hurts %v: %w", f.Object, f.Files, f.Err)
		}
	}
	points, err := r.Points(ctx)
	if err != nil && len(w.garbage) == 0 {
		return err
	}
	there := map[point.ID]bool{}
	for _, p := range points {
		there[p.ID] = true
		t, err := r.Tree(ctx, p, table.Options{})
		if err != nil {
			return err
		}
		got, err := w.read(ctx, r, t)
		if err == nil {
			err = w.same(p.ID, got)
		}
		if err != nil {
			return err
		}
	}
	for id := range promises {
		if !there[id] && !gone[id] {
			return fmt.Errorf("point %s was promised and is gone: %w", id.Short(), fault.NotExist)
		}
	}
	return w.tidy(ctx, place, points)
}

// tidy checks that what no point needs is gone. What was stored while the clock
// ran ahead counts as fresh until that time comes: that costs room.
func (w *world) tidy(ctx context.Context, place *Place, points []*repo.Point) error {
	ahead := false
	err := w.state(ctx, place, func(s *retain.State) { ahead = s.Head.Time > w.truth.Add(24*time.Hour).Unix() })
	if ahead || err != nil {
		return err // its first entry was written by a wrong clock: it collects when that time comes
	}
	needed, pages := map[pack.ID]bool{}, map[live.Hash]bool{}
	need := func(root live.Hash) error {
		for n, err := range live.Walk(ctx, place.Mem(), root, func(h live.Hash) bool { pages[h] = true; return false }) {
			if err != nil {
				return err
			}
			needed[n.Pack] = true
		}
		return nil
	}
	for _, p := range points {
		if err := need(p.Live); err != nil {
			return err
		}
	}
	var objects []store.Object
	for o, err := range place.Mem().List(ctx, "") {
		if err != nil {
			return err
		}
		if w.foreign(o.Name) {
			continue
		}
		if !o.Modified.After(w.truth) {
			objects = append(objects, o)
			continue
		}
		b, err := store.ReadAll(ctx, place.Mem(), o.Name, maxObject)
		if err != nil {
			return err
		}
		if i, err := keep.ParseIntent(b); err == nil {
			_ = need(i.Live) // as far as it is there
		}
	}
	for _, o := range objects {
		id, notPack := pack.ParseName(o.Name)
		h, notPage := live.ParseName(o.Name)
		if notPack == nil && !needed[id] || notPage == nil && !pages[h] || strings.HasPrefix(o.Name, "intents/") {
			return fmt.Errorf("%s is garbage, and still there: %w", o.Name, fault.Exist)
		}
	}
	return nil
}
