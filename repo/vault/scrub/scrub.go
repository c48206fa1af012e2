package scrub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Options say how a scrub goes about it.
type Options struct {
	Repository [16]byte
	// State is what is known from earlier scrubs, and is kept up to date; nil:
	// nothing, and nothing is kept.
	State *State
	// MaxAge passes over what was found whole so short a time ago; 0: nothing.
	MaxAge time.Duration
	// MaxTime ends the scrub after that time; the next one goes on with what
	// was not scrubbed for longest. 0: when all is done.
	MaxTime time.Duration
	// Rate bounds the bytes read in a second; 0: as fast as it goes.
	Rate int64
	// Workers is how many objects are read at once; 0: 2.
	Workers int
	// Now is the time.
	Now func() time.Time
	// Found, if set, is told of each finding at once, one at a time.
	Found func(Finding)
	// Progress, if set, is told how far it has come, by several goroutines.
	Progress func(Progress)
	// Whole, if set, is given each pack that was found whole; it may not keep
	// the bytes.
	Whole func(ctx context.Context, id pack.ID, object []byte) error
}

// Progress is how far a scrub has come.
type Progress struct {
	Objects, Bytes           int64 // done
	TotalObjects, TotalBytes int64
}

// Report is what a scrub saw.
type Report struct {
	Findings []Finding // sorted by object and frame
	Points   int       // whose needs were looked at
	Objects  int       // read
	Packs    int       // among them
	Bytes    int64
	Fresh    int      // objects passed over, since they were scrubbed not long ago
	Left     int      // objects that it did not come to
	Healing  []string // objects whose healing was cut short
	Unknown  []string // names that no version known here uses, the first 100
	Dropped  int      // frames that are damaged, and that a collection has dropped: no finding

	PacksThere int
	NeverPacks int // packs never scrubbed by this machine
	// OldestNever is when the oldest of those was stored, by the place's clock.
	OldestNever time.Time
	OldestPack  time.Time // when the pack that waits longest was scrubbed; zero: none ever
}

const (
	piece      = 4 << 20 // bytes of one read
	saveEvery  = 30 * time.Second
	maxUnknown = 100
	maxRounds  = 3 // of gathering what points need, beside collections
)

// run is one scrub.
type run struct {
	store   store.Store
	o       Options
	limiter limiter
	begin   time.Time

	mu       sync.Mutex
	report   *Report
	progress Progress
	saved    time.Time

	listed  []object
	early   map[string]bool // objects read while the needs of points were gathered
	missing map[string]bool // objects found missing

	droppedMu sync.Mutex
	dropped   *keep.Absent // nil: not read so far
}

// Run reads what is stored and compares it with what it says of itself, and
// looks whether all that points need is there. What is damaged is in the
// report. An error means that it could not go on; what was scrubbed until then
// is kept in the State all the same, and a report is returned, too.
//
// Backups and collections may run beside it: what vanishes while no point needs
// it is no finding.
func Run(ctx context.Context, s store.Store, o Options) (*Report, error) {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.State == nil {
		o.State = newState(o.Repository)
	}
	r := &run{o: o, report: &Report{}, begin: o.Now(), saved: o.Now(), early: map[string]bool{}, missing: map[string]bool{}}
	r.limiter.rate, r.limiter.now = o.Rate, o.Now
	r.store = metered{s, r}
	err := errors.Join(r.all(ctx), o.State.save())
	r.ages()
	slices.SortFunc(r.report.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Object, b.Object), cmp.Compare(a.Frame, b.Frame))
	})
	if err != nil {
		return r.report, fmt.Errorf("scrub: %w", err)
	}
	return r.report, nil
}

func (r *run) all(ctx context.Context) error {
	reached := r.o.MaxAge > 0 && r.begin.Sub(r.o.State.reached()) < r.o.MaxAge
	var needs *reach
	if !reached {
		// What points need is gathered before the packs are listed: those of a
		// point are durable before it is.
		needs = newReach(r)
		if err := needs.points(ctx); err != nil {
			return err
		}
	}
	if err := r.list(ctx); err != nil {
		return err
	}
	for rounds := 0; !reached && rounds < maxRounds; rounds++ {
		var err error
		if reached, err = needs.compare(ctx); err != nil {
			return err
		}
		if !reached {
			needs = newReach(r)
			needs.again = true
			if err := needs.points(ctx); err != nil {
				return err
			}
		}
	}
	if needs != nil {
		if err := r.chain(ctx); err != nil {
			return err
		}
	}
	if needs != nil && reached && len(r.report.Findings) == 0 {
		r.o.State.setReached(r.begin)
	}
	return r.objects(ctx)
}

// ages tells how long packs have waited.
func (r *run) ages() {
	for i := range r.listed {
		if !strings.HasPrefix(r.listed[i].name, pack.Prefix) {
			continue
		}
		r.report.PacksThere++
		last := r.o.State.last(r.listed[i].name)
		if last.IsZero() {
			r.report.NeverPacks++
			if stored := r.listed[i].stored; r.report.OldestNever.IsZero() || stored.Before(r.report.OldestNever) {
				r.report.OldestNever = stored
			}
		} else if r.report.OldestPack.IsZero() || last.Before(r.report.OldestPack) {
			r.report.OldestPack = last
		}
	}
}

// object is one object that is there.
type object struct {
	name   string
	size   int64
	stored time.Time // by the place's clock
	last   time.Time // found whole
}

// list lists what is there, and forgets what is not.
func (r *run) list(ctx context.Context) error {
	var all []object
	there := false
	for o, err := range r.store.List(ctx, "") {
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		if name, healing := strings.CutPrefix(o.Name, place.Healed); healing {
			r.report.Healing = append(r.report.Healing, name)
		} else if shapeOf(o.Name).verify == nil {
			if len(r.report.Unknown) < maxUnknown {
				r.report.Unknown = append(r.report.Unknown, o.Name)
			}
			continue
		}
		all = append(all, object{name: o.Name, size: o.Size, stored: o.Modified})
		there = there || o.Name == nameRepository
	}
	if !there {
		r.add(Finding{Object: nameRepository, Frame: -1, Kind: Missing, Err: bad("without it nothing can be read")})
	}
	r.o.State.retain(func(yield func(string) bool) {
		for i := range all {
			if !yield(all[i].name) {
				return
			}
		}
	})
	for i := range all {
		all[i].last = r.o.State.last(all[i].name)
	}
	r.listed = all
	return nil
}

// objects reads all that is due, what was not read for longest first.
func (r *run) objects(ctx context.Context) error {
	var due []object
	for _, o := range r.listed {
		if r.early[o.name] {
			continue
		}
		if r.o.MaxAge > 0 && r.begin.Sub(o.last) < r.o.MaxAge {
			r.report.Fresh++
			continue
		}
		due = append(due, o)
		r.progress.TotalBytes += o.size
	}
	r.progress.TotalObjects = int64(len(due))
	slices.SortStableFunc(due, func(a, b object) int { return a.last.Compare(b.last) })
	jobs := make(chan object)
	group, ctx := errgroup.WithContext(ctx)
	for range r.o.Workers {
		group.Go(func() error {
			var buf []byte
			for o := range jobs {
				if err := r.object(ctx, o, &buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(jobs)
		for i, o := range due {
			if r.o.MaxTime > 0 && r.o.Now().Sub(r.begin) >= r.o.MaxTime {
				r.report.Left = len(due) - i
				return nil
			}
			select {
			case jobs <- o:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return group.Wait()
}

// object reads and checks one object.
func (r *run) object(ctx context.Context, o object, buf *[]byte) error {
	data, err := r.read(ctx, o.name, o.size, buf)
	switch {
	case errors.Is(err, fault.NotExist):
		return r.done(o, nil) // gone since; whether something needs it is seen elsewhere
	case errors.Is(err, fault.TooLarge):
		return r.done(o, []Finding{{Object: o.name, Frame: -1, Kind: Damaged, Err: err}})
	case err != nil && away(err):
		return err
	case err != nil:
		return r.done(o, []Finding{{Object: o.name, Frame: -1, Kind: Unreadable, Err: err}})
	}
	findings, err := r.passDropped(ctx, o.name, data, r.check(o.name, data))
	if err != nil {
		return err
	}
	if len(findings) == 0 && r.o.Whole != nil {
		if id, err := pack.ParseName(o.name); err == nil {
			if err := r.o.Whole(ctx, id, data); err != nil {
				return err
			}
		}
	}
	return r.done(o, findings)
}

// away says whether an error is about the place and not about one object.
func away(err error) bool {
	switch fault.KindOf(err) {
	case fault.Canceled, fault.Unavailable:
		return true
	}
	return false
}

// check returns what is wrong with the bytes of an object.
func (r *run) check(name string, data []byte) []Finding {
	if inner, healing := strings.CutPrefix(name, place.Healed); healing {
		if err := Verify(inner, data); err != nil {
			return []Finding{{Object: name, Frame: -1, Kind: Damaged, Err: err}}
		}
		return nil
	}
	findings := check(name, data, r.o.Repository)
	if len(findings) == 0 && shapeOf(name).unproven {
		if err := r.o.State.proof(name, data); err != nil {
			findings = []Finding{{Object: name, Frame: -1, Kind: Damaged, Err: err}}
		}
	}
	return findings
}

// done notes that an object was read.
func (r *run) done(o object, findings []Finding) error {
	now := r.o.Now()
	r.o.State.found(o.name, len(findings) == 0, now)
	r.add(findings...)
	r.mu.Lock()
	r.report.Objects++
	if strings.HasPrefix(o.name, pack.Prefix) {
		r.report.Packs++
	}
	r.progress.Objects++
	r.progress.Bytes += o.size
	p := r.progress
	save := now.Sub(r.saved) >= saveEvery
	if save {
		r.saved = now
	}
	r.mu.Unlock()
	if r.o.Progress != nil {
		r.o.Progress(p)
	}
	if save {
		return r.o.State.save()
	}
	return nil
}

// add notes findings.
func (r *run) add(findings ...Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range findings {
		r.report.Findings = append(r.report.Findings, f)
		if leads(f.Object) {
			r.o.State.setReached(time.Time{}) // what it led to is not known any more
		}
		if r.o.Found != nil {
			r.o.Found(f)
		}
	}
}

// read reads a whole object in pieces into buf, which grows.
func (r *run) read(ctx context.Context, name string, size int64, buf *[]byte) ([]byte, error) {
	limit := shapeOf(strings.TrimPrefix(name, place.Healed)).limit
	if size > limit {
		return nil, fmt.Errorf("%d bytes, more than such an object can have: %w", size, fault.TooLarge)
	}
	if int64(cap(*buf)) < size+1 {
		*buf = make([]byte, size+1)
	}
	b := (*buf)[:size+1] // one more tells whether it is longer
	have := 0
	for have < len(b) {
		n, err := r.store.Get(ctx, name, int64(have), b[have:min(have+piece, len(b))])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		have += n
	}
	return b[:have], nil
}

// metered is a store whose reads are counted and wait for the limiter.
type metered struct {
	store.Store
	run *run
}

// Get implements store.Store.
func (m metered) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	if err := m.run.limiter.wait(ctx, len(dst)); err != nil {
		return 0, fmt.Errorf("get %s: %w", name, err)
	}
	n, err := m.Store.Get(ctx, name, offset, dst)
	m.run.mu.Lock()
	m.run.report.Bytes += int64(n)
	m.run.mu.Unlock()
	return n, err
}
