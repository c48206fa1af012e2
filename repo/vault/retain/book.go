package retain

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Book is an open ledger and its State. Its methods may be called by several
// goroutines.
type Book struct {
	ledger     *ledger.Ledger
	store      store.Store
	repository [16]byte

	mu    sync.Mutex
	state *State
}

// Options say whose Book is opened and how; see ledger.Options.
type Options struct {
	Repository [16]byte
	Memory     string
	Accept     bool
}

// Open reads a repository's ledger. A vault that went back in time is
// fault.Rollback, and the error names the points that are missing.
func Open(ctx context.Context, s store.Store, o Options) (*Book, error) {
	b := &Book{store: s, repository: o.Repository, state: &State{}}
	l, err := ledger.Open(ctx, s, ledger.Options{
		Repository: o.Repository, Memory: o.Memory, Accept: o.Accept, Fold: func(e *ledger.Entry) { b.state.Fold(e) },
	})
	if back, ok := errors.AsType[*ledger.RollbackError](err); ok {
		return nil, fmt.Errorf("%s: %w", lost(back), err)
	}
	if err != nil {
		return nil, err
	}
	b.ledger = l
	return b, nil
}

// Ledger returns the ledger.
func (b *Book) Ledger() *ledger.Ledger { return b.ledger }

// View calls do with the State, which must not be changed, nor kept.
func (b *Book) View(do func(*State)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do(b.state)
}

// Refresh reads what others have appended.
func (b *Book) Refresh(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ledger.Refresh(ctx)
}

// Read reads the clocks. A place that has none counts as having the machine's.
func (b *Book) Read(ctx context.Context, machine time.Time) (Reading, error) {
	r := Reading{Place: machine.Unix(), Machine: machine.Unix()}
	if c, ok := b.store.(store.Clock); ok {
		now, err := c.Now(ctx)
		if err != nil {
			return r, fmt.Errorf("read the vault's clock: %w", err)
		}
		r.Place = now.Unix()
	}
	return r, nil
}

// Append appends what plan wants to say at the vault's now; nothing, and nil,
// if that is nothing. plan is called again when somebody else was faster. It
// must not call the Book.
func (b *Book) Append(ctx context.Context, key ed25519.PrivateKey, r Reading, plan func(*State, Verdict) ([]ledger.Record, error)) (*ledger.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ledger.Append(ctx, key, func(ledger.Head) (int64, []ledger.Record, error) {
		v := b.state.Judge(r)
		records, err := plan(b.state, v)
		if ledger.SetsClock(records) {
			v.Now = b.state.confirmedTime(r)
		} else if b.state.stands(r, records) {
			records = slices.Insert(records, 0, ledger.Record(ledger.Standing{}))
		}
		return v.Now, records, err
	})
}

// Arrival is a point that has come, or that has no receipt yet.
type Arrival struct {
	Sequence uint64
	ID       point.ID
	Live     [32]byte
	Until    int64 // an end that was asked for; 0: none
	// Stored is when the place says that the point's object was stored, for
	// one that is adopted; 0 for one that comes now.
	Stored int64
}

// Admit gives receipts to points that have none; ascending sequences. A point
// under the number of another one is fault.Exist.
func (b *Book) Admit(ctx context.Context, key ed25519.PrivateKey, r Reading, arrivals []Arrival) (*ledger.Entry, error) {
	return b.Append(ctx, key, r, func(s *State, v Verdict) ([]ledger.Record, error) {
		// The tags of one depend on those of the ones before.
		trial := s
		if len(arrivals) > 1 {
			trial = s.clone()
		}
		var records []ledger.Record
		for _, a := range arrivals {
			if known := trial.Point(a.Sequence); trial.Known(a.Sequence) && (known == nil || known.ID != a.ID) {
				return nil, fmt.Errorf("point %s has the number %d of another one, which the ledger knows: %w", a.ID.Short(), a.Sequence, fault.Exist)
			} else if known != nil {
				// Somebody adopted it, and did not know what was asked for.
				if a.Until > endOf(slices.DeleteFunc(slices.Clone(known.Tags), func(t ledger.Tag) bool { return t.Tier != ledger.Until })) {
					records = append(records, ledger.Extended{Sequence: a.Sequence, Until: clamp(a.Until)})
				}
				continue
			} else if len(records) == maxBatch {
				continue
			}
			at := v.Latest
			if a.Stored > 0 {
				// Not before the ledger began, if it has: the place's clock was behind.
				at = min(at, max(a.Stored, trial.arrivalBefore(a.Sequence), trial.First))
			}
			at = clamp(at)
			record := ledger.Receipt{Sequence: a.Sequence, Point: a.ID, Live: a.Live, Arrival: at, Tags: trial.Assign(at, a.Until)}
			records = append(records, record)
			if trial != s {
				f := &folding{State: trial, entry: &ledger.Entry{Time: v.Now}}
				f.init()
				f.receipt(record)
			}
		}
		return records, nil
	})
}

// arrivalBefore returns when the point before a sequence arrived, 0 if that is
// not known.
func (s *State) arrivalBefore(sequence uint64) int64 {
	i, _ := slices.BinarySearch(s.order, sequence)
	if i == 0 {
		return 0
	}
	return s.points[s.order[i-1]].Arrival
}
