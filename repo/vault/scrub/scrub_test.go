package scrub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

// clock is a clock that tests turn.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func (w *world) state(t *testing.T, path string) *scrub.State {
	t.Helper()
	s, err := scrub.OpenState(path, w.id)
	must(t, err)
	return s
}

// scrub runs a scrub of a store as this world's repository.
func (w *world) scrub(t *testing.T, s store.Store, o scrub.Options) *scrub.Report {
	t.Helper()
	o.Repository = w.id
	if o.Now == nil {
		o.Now = newClock().Now
	}
	r, err := scrub.Run(t.Context(), s, o)
	must(t, err)
	return r
}

func objects(r *scrub.Report) []string {
	var names []string
	for _, f := range r.Findings {
		names = append(names, f.Object)
	}
	return slices.Compact(names)
}

func TestScrubOfAWholePlace(t *testing.T) {
	w := newWorld(t, 1)
	r := w.scrub(t, w.store, scrub.Options{})
	if len(r.Findings) != 0 || r.Points != 2 || r.Packs != len(w.packs)-1 || r.Objects != len(w.names()) || r.Left+r.Fresh+r.NeverPacks != 0 {
		t.Fatalf("%+v", r)
	}
	if id, err := scrub.Identify(t.Context(), w.store); err != nil || id != w.id {
		t.Fatal(id, err)
	}
}

// unproven says whether nothing in an object covers all its bits, so that only
// a machine that has seen it before finds a flipped one.
func unproven(name string) bool {
	return name == "repository" || strings.HasPrefix(name, "keys/") || strings.HasPrefix(name, "intents/")
}

// TestScrubFindsDamage damages every object in every way that disks and people
// know: each is found, in that object and in no other.
func TestScrubFindsDamage(t *testing.T) {
	w := newWorld(t, 1)
	foreign := newWorld(t, 2)
	path := filepath.Join(t.TempDir(), "state")
	w.scrub(t, w.store, scrub.Options{State: w.state(t, path)})
	random := rand.New(rand.NewPCG(5, 6))
	edits := map[string]func(b []byte) []byte{
		"cut to nothing": func([]byte) []byte { return nil },
		"cut by one":     func(b []byte) []byte { return b[:len(b)-1] },
		"cut in half":    func(b []byte) []byte { return b[:len(b)/2] },
		"garbage behind": func(b []byte) []byte { return append(b, storetest.Data(1, 4096)...) },
		"one byte more":  func(b []byte) []byte { return append(b, 0) },
		"zeros":          func(b []byte) []byte { return make([]byte, len(b)) },
		"zero sector":    func(b []byte) []byte { clear(b[len(b)/2 : min(len(b), len(b)/2+512)]); return b },
	}
	for i := range 20 {
		edits[fmt.Sprintf("flip %d", i)] = func(b []byte) []byte { b[random.IntN(len(b))] ^= 1 << random.IntN(8); return b }
	}
	for i, name := range w.names() {
		if at := slices.Index(foreign.names(), name); at >= 0 {
			edits["foreign"] = func([]byte) []byte { return foreign.bytes(name) }
		} else {
			delete(edits, "foreign")
		}
		var twin string // another object of the kind
		for _, other := range w.names() {
			if other != name && strings.Split(other, "/")[0] == strings.Split(name, "/")[0] {
				twin = other
			}
		}
		if twin != "" {
			edits["swapped"] = func([]byte) []byte { return w.bytes(twin) }
		} else {
			delete(edits, "swapped")
		}
		for what, edit := range edits {
			s := w.store.Clone()
			before := w.bytes(name)
			must(t, s.Tamper(name, edit))
			if after, _ := store.ReadAll(t.Context(), s, name, 64<<20); bytes.Equal(after, before) {
				continue // zeros over zeros
			}
			for _, known := range []bool{true, false} {
				o := scrub.Options{Workers: 1 + i%3}
				if known {
					o.State = w.state(t, path)
				} else if unproven(name) && (strings.HasPrefix(what, "flip") || what == "zero sector" || what == "foreign") {
					continue
				}
				r := w.scrub(t, s, o)
				if got := objects(r); !slices.Equal(got, []string{name}) {
					t.Errorf("%s, %s, known %v: found in %q", name, what, known, got)
				}
			}
		}
	}
}

// TestScrubFindsWhatIsMissing removes each object that something needs.
func TestScrubFindsWhatIsMissing(t *testing.T) {
	w := newWorld(t, 1)
	for _, name := range w.names() {
		s := w.store.Clone()
		must(t, s.Delete(t.Context(), name))
		want := []string{name}
		switch strings.Split(name, "/")[0] {
		case "keys", "gc", "intents":
			want = nil
		case "moved", "containers": // the pack of which they are
			want = []string{w.packs[3].Name()}
		}
		if name == ledger.Name(4) {
			want = nil // nobody but who has seen it misses the last one
		}
		r := w.scrub(t, s, scrub.Options{})
		if got := objects(r); !slices.Equal(got, want) {
			t.Errorf("without %s: found %q", name, got)
		}
		if len(want) > 0 && r.Findings[0].Kind != scrub.Missing {
			t.Errorf("without %s: %v", name, r.Findings[0])
		}
		if len(want) > 0 && strings.HasPrefix(want[0], "packs/") && r.Findings[0].Point == 0 {
			t.Errorf("without %s: no point is named", name)
		}
	}
	if id, err := scrub.Identify(t.Context(), mem.New()); !errors.Is(err, fault.NotExist) {
		t.Error(id, err)
	}
}

// TestScrubRolls damages a ledger of rolls.
func TestScrubRolls(t *testing.T) {
	w := newWorld(t, 1)
	for _, name := range w.names() {
		if strings.HasPrefix(name, ledger.Prefix) {
			must(t, w.store.Delete(t.Context(), name))
		}
	}
	w.ledger(300)
	for n := range uint64(200) {
		must(t, w.store.Delete(t.Context(), ledger.Name(n+1)))
	}
	if r := w.scrub(t, w.store, scrub.Options{}); len(r.Findings) > 0 {
		t.Fatal(r.Findings)
	}
	other := newWorld(t, 1)
	other.ledger(300)
	roll := ledger.RollName(256)
	for what, c := range map[string]struct {
		name string
		edit func([]byte) []byte
		want string
	}{
		"roll flipped":        {roll, flip, roll},
		"roll cut":            {roll, func(b []byte) []byte { return b[:len(b)-7] }, roll},
		"roll longer":         {roll, func(b []byte) []byte { return append(b, b[:4]...) }, roll},
		"roll gone":           {roll, nil, roll},
		"a single in it gone": {ledger.Name(250), nil, ""},
		"a single gone":       {ledger.Name(260), nil, ledger.Name(260)},
		"a single replaced":   {ledger.Name(270), func([]byte) []byte { return other.bytes(ledger.Name(270)) }, ledger.Name(270)},
	} {
		s := w.store.Clone()
		if c.edit != nil {
			must(t, s.Tamper(c.name, c.edit))
		} else {
			must(t, s.Delete(t.Context(), c.name))
		}
		var want []string
		if c.want != "" {
			want = []string{c.want}
		}
		if got := objects(w.scrub(t, s, scrub.Options{})); !slices.Equal(got, want) {
			t.Errorf("%s: found %q", what, got)
		}
	}
}

// TestScrubForeignPacks leaves objects of another repository, and names that
// nobody knows.
func TestScrubForeignPacks(t *testing.T) {
	w, other := newWorld(t, 1), newWorld(t, 2)
	w.put(other.packs[0].Name(), other.bytes(other.packs[0].Name()))
	w.put("points/0000000000000009", other.bytes("points/0000000000000001"))
	w.put("lost/and/found", []byte("x"))
	r := w.scrub(t, w.store, scrub.Options{})
	if len(r.Findings) != 2 || r.Findings[0].Kind != scrub.Foreign || !slices.Equal(r.Unknown, []string{"lost/and/found"}) {
		t.Fatalf("%v, unknown %q", r.Findings, r.Unknown)
	}
}

// TestScrubNamesEachFrame damages frames of a pack.
func TestScrubNamesEachFrame(t *testing.T) {
	w := newWorld(t, 1)
	name := w.packs[1].Name()
	must(t, w.store.Tamper(name, func(b []byte) []byte {
		h, err := pack.Parse(b)
		must(t, err)
		for _, i := range []int{1, 4} {
			at, n := h.Frame(i)
			b[at+n-1] ^= 1
		}
		return b
	}))
	r := w.scrub(t, w.store, scrub.Options{})
	if len(r.Findings) != 2 || r.Findings[0].Frame != 1 || r.Findings[1].Frame != 4 || r.Findings[0].Object != name {
		t.Fatal(r.Findings)
	}
}

// TestIdentifyWithDamagedRepository lets the packs say whose they are.
func TestIdentifyWithDamagedRepository(t *testing.T) {
	w := newWorld(t, 1)
	for _, edit := range []func([]byte) []byte{
		func(b []byte) []byte { b[9] ^= 1; return b },
		func(b []byte) []byte { b[0] ^= 1; return b },
		func([]byte) []byte { return nil },
	} {
		s := w.store.Clone()
		must(t, s.Tamper("repository", edit))
		if id, err := scrub.Identify(t.Context(), s); err != nil || id != w.id {
			t.Fatal(id, err)
		}
		if got := objects(w.scrub(t, s, scrub.Options{})); !slices.Equal(got, []string{"repository"}) {
			t.Fatal(got)
		}
	}
}

// TestScrubInParts scrubs a little at a time, each time by a new process, until
// all was read, and then begins with the oldest again.
func TestScrubInParts(t *testing.T) {
	w := newWorld(t, 1)
	path := filepath.Join(t.TempDir(), "below", "state")
	time := newClock()
	s := &slow{Store: w.store, clock: time}
	seen := map[string]int{}
	var mu sync.Mutex // the chain is read by several at once
	s.read = func(name string) {
		mu.Lock()
		defer mu.Unlock()
		seen[name]++
	}
	rounds := 0
	for ; ; rounds++ {
		o := scrub.Options{State: w.state(t, path), Now: time.Now, MaxAge: month, MaxTime: 5 * minute, Workers: 1}
		r := w.scrub(t, s, o)
		if len(r.Findings) > 0 || rounds > 30 {
			t.Fatalf("round %d: %+v", rounds, r)
		}
		if r.NeverPacks > 0 && r.OldestNever.IsZero() {
			t.Fatalf("nobody knows how old the packs are that were never scrubbed: %+v", r)
		}
		if r.Left == 0 {
			if r.NeverPacks != 0 || r.OldestPack.IsZero() || !r.OldestNever.IsZero() {
				t.Fatalf("at the end: %+v", r)
			}
			break
		}
		time.turn(day)
	}
	if rounds < 2 {
		t.Errorf("all was read in %d rounds", rounds+1)
	}
	for _, name := range w.names() {
		again := strings.HasPrefix(name, ledger.Prefix) || strings.HasPrefix(name, pack.MovedPrefix) // once to see what it says
		if seen[name] != 1 && !(again && seen[name] == 2) {
			t.Errorf("%s was read %d times", name, seen[name])
		}
	}
	time.turn(month)
	var order []string
	s.read = func(name string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, name)
	}
	w.scrub(t, s, scrub.Options{State: w.state(t, path), Now: time.Now, MaxAge: month - 3*day, Workers: 1, MaxTime: 5 * minute})
	if len(order) == 0 || len(order) == len(w.names()) {
		t.Errorf("after a month: %q", order)
	}
}

const (
	minute = time.Minute
	day    = 24 * time.Hour
	month  = 30 * day
)

// slow is a store that takes a minute for each object.
type slow struct {
	store.Store
	clock *clock
	read  func(name string)
}

func (s *slow) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	if offset == 0 && len(dst) > 0 {
		s.clock.turn(minute)
		s.read(name)
	}
	return s.Store.Get(ctx, name, offset, dst)
}

// TestScrubKeepsDamageInMind: what was found damaged is not fresh.
func TestScrubKeepsDamageInMind(t *testing.T) {
	w := newWorld(t, 1)
	path := filepath.Join(t.TempDir(), "state")
	name := w.packs[2].Name()
	must(t, w.store.Tamper(name, flip))
	for range 3 {
		r := w.scrub(t, w.store, scrub.Options{State: w.state(t, path), MaxAge: month})
		if !slices.Equal(objects(r), []string{name}) {
			t.Fatal(r.Findings)
		}
	}
	must(t, w.store.Tamper(name, flip))
	if r := w.scrub(t, w.store, scrub.Options{State: w.state(t, path), MaxAge: month}); len(r.Findings) != 0 || r.Packs != 1 {
		t.Fatalf("%+v", r)
	}
}

// TestScrubWhenReadingFails: one object that cannot be read is a finding, a
// place that does not answer an error, and what was done is kept.
func TestScrubWhenReadingFails(t *testing.T) {
	w := newWorld(t, 1)
	for _, name := range w.names() {
		eio := errors.New("input/output error")
		w.store.SetHook(func(op mem.Op) (error, error) {
			if op.Verb == mem.Get && op.Name == name {
				return eio, nil
			}
			return nil, nil
		})
		r := w.scrub(t, w.store, scrub.Options{})
		if len(r.Findings) != 1 || r.Findings[0].Object != name || r.Findings[0].Kind != scrub.Unreadable {
			t.Errorf("%s: %v", name, r.Findings)
		}
	}
	path := filepath.Join(t.TempDir(), "state")
	done := 0
	for n := int64(1); ; n++ {
		w.store.ResetCounts()
		w.store.SetHook(func(op mem.Op) (error, error) {
			if op.N >= n {
				return fault.Unavailable, nil
			}
			return nil, nil
		})
		r, err := scrub.Run(t.Context(), w.store, scrub.Options{Repository: w.id, State: w.state(t, path), MaxAge: month, Now: newClock().Now})
		if err == nil {
			break
		}
		if !errors.Is(err, fault.Unavailable) || len(r.Findings) > 0 {
			t.Fatal(r, err)
		}
		done += r.Objects
	}
	if w.store.SetHook(nil); done < len(w.names()) {
		t.Errorf("%d objects were read by scrubs that failed, of %d", done, len(w.names()))
	}
}

// TestScrubBesideACollector removes points, and then what only they needed, at
// every moment of a scrub, and commits new ones: nothing of it is a finding.
func TestScrubBesideACollector(t *testing.T) {
	for n := int64(1); ; n++ {
		w := newWorld(t, 1)
		hit := false
		w.store.ResetCounts()
		w.store.SetHook(func(op mem.Op) (error, error) {
			if op.N != n {
				return nil, nil
			}
			hit = true
			w.store.SetHook(nil)
			removes(t, w, 2)
			for _, name := range []string{w.packs[4].Name(), w.packs[5].Name(), "intents/000000000000004d-0001"} {
				must(t, w.store.Delete(t.Context(), name))
			}
			id, b := makePackOf(w.id, 5000, 2, 100)
			w.put(id.Name(), b)
			w.point(3, []pack.ID{w.packs[0], id})
			return nil, nil
		})
		r := w.scrub(t, w.store, scrub.Options{Workers: 1})
		if len(r.Findings) > 0 {
			t.Fatalf("changed at operation %d: %v", n, r.Findings)
		}
		if !hit {
			return
		}
	}
}

// removes removes a point as a collector does: the ledger first.
func removes(t *testing.T, w *world, sequence uint64) {
	h, _, err := point.Parse(w.bytes(point.Name(sequence)))
	must(t, err)
	l, err := ledger.Open(t.Context(), w.store, ledger.Options{Repository: w.id, Fold: func(*ledger.Entry) {}})
	must(t, err)
	_, err = l.Append(t.Context(), w.device, func(head ledger.Head) (int64, []ledger.Record, error) {
		return head.Time, []ledger.Record{ledger.Release{Sequence: sequence}, ledger.Removed{Sequence: sequence, Point: h.ID, Live: h.Live, Why: ledger.Expired}}, nil
	})
	must(t, err)
	must(t, w.store.Delete(t.Context(), point.Name(sequence)))
}

// TestScrubLimit reads no faster than it may.
func TestScrubLimit(t *testing.T) {
	w := newWorld(t, 1)
	start := time.Now()
	r := w.scrub(t, w.store, scrub.Options{Rate: 600_000, Now: time.Now})
	past := time.Since(start)
	if least := time.Duration(float64(r.Bytes)/600_000*float64(time.Second)) * 7 / 10; past < least {
		t.Errorf("%d bytes in %v at 600 kB/s", r.Bytes, past)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start = time.Now()
	if _, err := scrub.Run(ctx, w.store, scrub.Options{Repository: w.id, Rate: 1000, Now: time.Now}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if past := time.Since(start); past > 5*time.Second {
		t.Errorf("it took %v to stop", past)
	}
}
