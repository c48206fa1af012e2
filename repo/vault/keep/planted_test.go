package keep_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// planted are mistakes that the schedules must find.
var planted = map[string]*bug{
	// What is garbage is condemned and dropped in one go: nobody else sees of it
	// before it is dropped.
	"no wait": {put: func(a *actor, ctx context.Context, name string, data []byte) error {
		if strings.HasSuffix(name, "-condemned") {
			a.held[name] = data
			return nil
		}
		if strings.HasSuffix(name, "-dropped") {
			for name, data := range a.held {
				_ = a.put(ctx, name, data)
			}
			clear(a.held)
		}
		return a.put(ctx, name, data)
	}, list: func(a *actor, ctx context.Context, prefix string, list []store.Object) []store.Object {
		if prefix == keep.Rounds {
			for name, data := range a.held {
				list = append(list, store.Object{Name: name, Size: int64(len(data))})
			}
			slices.SortFunc(list, func(a, b store.Object) int { return strings.Compare(a.Name, b.Name) })
			list = slices.CompactFunc(list, func(a, b store.Object) bool { return a.Name == b.Name })
		}
		return list
	}},
	// Intents are not looked at.
	"intents ignored": {list: func(_ *actor, _ context.Context, prefix string, list []store.Object) []store.Object {
		if prefix == "intents/" {
			return nil
		}
		return list
	}},
	// A listing of points is remembered.
	"old listing": {list: func(a *actor, _ context.Context, prefix string, list []store.Object) []store.Object {
		if prefix == point.Prefix {
			if a.stale == nil {
				a.stale = append([]store.Object{{}}, list...)
			}
			return a.stale[1:]
		}
		return list
	}},
	// Claims fall after points were listed.
	"late fall": {from: 390, del: func(a *actor, ctx context.Context, name string) bool {
		if strings.HasPrefix(name, "intents/") {
			a.held[name] = nil
			return true
		}
		return false
	}, list: func(a *actor, ctx context.Context, prefix string, list []store.Object) []store.Object {
		if prefix == "intents/" {
			var out []store.Object
			for _, o := range list {
				if _, fallen := a.held[o.Name]; !fallen {
					out = append(out, o)
				}
			}
			list = out
		}
		if prefix == live.Prefix {
			for name, b := range a.held {
				if b == nil {
					_ = a.Store.Delete(ctx, name)
					delete(a.held, name)
				}
			}
		}
		return list
	}},
	// A writer does not read the rounds again once it has claimed.
	"rounds not read again": {blind: true},
}

func TestPlantedBugsAreFound(t *testing.T) {
	for name, b := range planted {
		t.Run(name, func(t *testing.T) {
			for seed, out := range runAll(t, b.from, b.from+20_000, b) {
				if out.lost == "" {
					continue
				}
				if without := run(t, seed, nil); without.lost != "" {
					t.Fatalf("seed %d, with no bug: %s", seed, without.lost)
				}
				t.Logf("| %s | keep | %d schedules, from %d on | %s |", name, seed+1-b.from, b.from, out.lost)
				return
			}
			t.Error("it was not found")
		})
	}
}

// between is a store on which a backup begins just before a collector condemns,
// and ends between the two listings of a later one.
type between struct {
	store.Store
	w           *world
	pointsFirst bool // planted: points are listed before intents
	begin, end  func()
	points      []store.Object // as they were listed too early
}

func (b *between) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasSuffix(name, "-condemned") && b.begin != nil {
		b.begin()
		b.begin = nil
	}
	return b.Store.Put(ctx, name, data)
}

func (b *between) Now(context.Context) (time.Time, error) { return b.w.clock(), nil }

func (b *between) all(ctx context.Context, prefix string) []store.Object {
	var out []store.Object
	for o, err := range b.Store.List(ctx, prefix) {
		if err != nil {
			b.w.t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func (b *between) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		list := b.all(ctx, prefix)
		switch {
		case prefix == point.Prefix && b.points != nil:
			list = b.points
		case prefix == "intents/" && b.end != nil && b.begin == nil && b.pointsFirst:
			b.points = b.all(ctx, point.Prefix)
			b.end()
			b.end, list = nil, b.all(ctx, prefix)
		case prefix == point.Prefix && b.end != nil && b.begin == nil && b.looked():
			b.end() // intents were listed, points come now
			b.end, list = nil, b.all(ctx, prefix)
		}
		for _, o := range list {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// looked says whether a round is condemned, so that the listings are those of a
// run that may finish it.
func (b *between) looked() bool { return len(b.w.names(keep.Rounds)) > 0 }

// A point is put, and its intent deleted, between the two listings of a
// collector that finishes a round which was condemned after the backup had read
// the rounds. In the right order that is seen, in the other one it is not.
func TestPointBetweenTheListings(t *testing.T) {
	for _, pointsFirst := range []bool{false, true} {
		w := newWorld(t)
		first := w.write(1, 2, 3)
		w.write(9)
		w.remove(first)
		w.sleep(15 * day)
		paused, resume, done := make(chan bool), make(chan bool), make(chan error)
		b := &between{Store: w.store, w: w, pointsFirst: pointsFirst}
		b.begin = func() {
			backup := w.writer(&pausing{Store: w.store, paused: paused, resume: resume}, 3)
			go func() {
				_, err := backup.backup([]int{1, 2, 3})
				done <- err
			}()
			<-paused
		}
		b.end = func() {
			resume <- true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		for range 3 {
			if _, err := w.pruneOn(t.Context(), b, keep.Options{}); err != nil && !pointsFirst {
				t.Fatal(err)
			}
			w.sleep(25 * time.Hour)
		}
		if b.end != nil || b.begin != nil {
			t.Fatal("the backup did not come in between")
		}
		w.readRemoved()
		if lost := w.lost(t.Context()); (lost != "") != pointsFirst {
			t.Errorf("points first: %v; %q", pointsFirst, lost)
		}
	}
}

// pausing is the store of a backup that is held up before it puts its point.
type pausing struct {
	store.Store
	paused, resume chan bool
}

func (p *pausing) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, point.Prefix) {
		p.paused <- true
		<-p.resume
	}
	return p.Store.Put(ctx, name, data)
}
