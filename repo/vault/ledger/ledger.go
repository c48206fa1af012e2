package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Options say whose ledger is opened and how.
type Options struct {
	Repository [16]byte
	Memory     string // file of this machine's memory; "": it has none

	// Fold is called with every entry in order, once it is verified. It must
	// not call the Ledger.
	Fold func(*Entry)

	// Accept takes the vault's ledger as it is if it lacks entries that this
	// machine remembers, and forgets those, instead of failing with a
	// *RollbackError.
	Accept bool
}

// Ledger is a chain as far as it was read. Its methods may be called by
// several goroutines.
type Ledger struct {
	store store.Store
	opt   Options

	mu         sync.Mutex
	head       Head
	memory     *memory
	remembered Head // what the machine knew when the ledger was opened
	accepted   bool // what the vault lacked of that
	forgetful  error
	damaged    []uint64
}

// RollbackError says that a vault's ledger lacks entries that this machine has
// verified before. It wraps fault.Rollback.
type RollbackError struct {
	Remembered Head     // what the machine remembers
	Common     Head     // up to where the vault's ledger is the same
	Lost       []*Entry // what it lacks
}

// Error implements error.
func (e *RollbackError) Error() string {
	return fmt.Sprintf("this machine remembers %d entries of the ledger, of which the vault has the first %d: %v",
		e.Remembered.Number, e.Common.Number, fault.Rollback)
}

// Unwrap returns fault.Rollback.
func (e *RollbackError) Unwrap() error { return fault.Rollback }

// Open reads a repository's ledger: what the machine remembers from its own
// file, the rest from the store. It may be empty. A damaged one is
// fault.Corrupt, one of a later version fault.Unsupported, one that went back
// in time a *RollbackError.
func Open(ctx context.Context, s store.Store, o Options) (*Ledger, error) {
	m, err := loadMemory(o.Memory, o.Repository)
	if err != nil {
		return nil, err
	}
	l := &Ledger{store: s, opt: o, memory: m, remembered: m.head}
	err = again(ctx, s, func(there *listing) error { return l.resume(ctx, there) })
	if _, back := errors.AsType[*RollbackError](err); back && o.Accept {
		l.accepted = true
		l.memory = &memory{path: o.Memory, repository: o.Repository}
		if err = l.memory.write(nil); err == nil {
			err = again(ctx, s, func(there *listing) error { return l.read(ctx, there) })
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return l, nil
}

// resume holds what the machine remembers against the store, then folds it,
// then reads what is new.
func (l *Ledger) resume(ctx context.Context, there *listing) error {
	if l.head.Number == 0 && l.memory.head.Number > 0 {
		same, err := l.stillThere(ctx, there)
		if err != nil {
			return err
		}
		if !same {
			return l.wentBack(ctx)
		}
		l.memory.entries(l.opt.Fold)
		l.head = l.memory.head
		there.last = max(there.last, l.head.Number)
	}
	return l.read(ctx, there)
}

// stillThere says whether the store has the last entry that the machine
// remembers. A listing alone is not believed, whatever it shows.
func (l *Ledger) stillThere(ctx context.Context, there *listing) (bool, error) {
	n := l.memory.head.Number
	var e *Entry
	var err error
	if there.last > n {
		e, err = l.entry(ctx, there, n+1)
		if err == nil && e.Previous == l.memory.head.Hash {
			return true, nil
		}
	}
	if err == nil {
		e, err = l.entry(ctx, there, n)
	}
	switch {
	case errors.Is(err, fault.NotExist) && (there.singles[n] || there.rolls[rollOf(n)]):
		return false, err // it went into a roll meanwhile: list again
	case errors.Is(err, fault.NotExist):
		return false, nil
	case fault.KindOf(err) == fault.Corrupt && there.last <= n:
		// Damage is no journey through time, and the machine knows better.
		l.damaged = append(l.damaged, n)
		return true, nil
	case err != nil:
		return false, err
	}
	return e.Hash == l.memory.head.Hash, nil
}

// entry reads and verifies one entry. What is the memory's was verified before.
func (l *Ledger) entry(ctx context.Context, there *listing, n uint64) (*Entry, error) {
	var e *Entry
	if end := rollOf(n); there.rolls[end] {
		batch, err := readRoll(ctx, l.store, end)
		if err != nil {
			return nil, err
		}
		e = batch[n-(end-RollSize+1)]
	} else {
		var err error
		if e, err = readSingle(ctx, l.store, n); err != nil {
			return nil, err
		}
	}
	if e.Hash == l.memory.head.Hash {
		return e, nil
	}
	return e, e.Verify()
}

// wentBack finds out what the vault lacks.
func (l *Ledger) wentBack(ctx context.Context) error {
	var remembered []*Entry
	l.memory.entries(func(e *Entry) { remembered = append(remembered, e) })
	back := &RollbackError{Remembered: l.memory.head}
	// Whatever keeps the vault's ledger from being read: what was read so far
	// tells where it parts.
	_ = again(ctx, l.store, func(there *listing) error {
		var head Head
		return there.batches(ctx, l.store, 0, func(batch []*Entry) error {
			if err := verify(batch, head, l.opt.Repository, false); err != nil {
				return err
			}
			for _, e := range batch {
				if e.Number > uint64(len(remembered)) || remembered[e.Number-1].Hash != e.Hash {
					return fault.Rollback
				}
				back.Common = e.Head()
			}
			head = batch[len(batch)-1].Head()
			return nil
		})
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	back.Lost = remembered[back.Common.Number:]
	return back
}

// read reads what comes after the head, and folds it.
func (l *Ledger) read(ctx context.Context, there *listing) error {
	return there.batches(ctx, l.store, l.head.Number, func(batch []*Entry) error {
		if err := verify(batch, l.head, l.opt.Repository, false); err != nil {
			return err
		}
		l.take(batch)
		return nil
	})
}

// take makes verified entries part of the ledger.
func (l *Ledger) take(batch []*Entry) {
	for _, e := range batch {
		l.opt.Fold(e)
	}
	l.head = batch[len(batch)-1].Head()
	if err := l.memory.add(batch); err != nil {
		l.forgetful = err
		l.memory.path = "" // a memory with a gap would be worth nothing
	}
}

// Refresh reads what others have appended.
func (l *Ledger) Refresh(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refresh(ctx)
}

func (l *Ledger) refresh(ctx context.Context) error {
	err := again(ctx, l.store, func(there *listing) error {
		if there.last < l.head.Number {
			if err := l.missing(ctx); err != nil {
				return err
			}
		}
		return l.read(ctx, there)
	})
	if err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	return nil
}

// missing fails if the last entry is gone, which a listing shows that ends
// before it. Listings alone are not believed.
func (l *Ledger) missing(ctx context.Context) error {
	_, err := readSingle(ctx, l.store, l.head.Number)
	if errors.Is(err, fault.NotExist) {
		return fmt.Errorf("entry %d, which was there before, is gone: %w", l.head.Number, fault.Rollback)
	}
	return nil // damaged, or the store is ill: that is not for here
}

// Head returns where the ledger ends.
func (l *Ledger) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Remembered returns what this machine knew of the ledger when it was opened;
// the zero Head says that it cannot tell whether the vault went back in time.
func (l *Ledger) Remembered() Head { return l.remembered }

// Accepted says whether the vault lacked something that this machine
// remembered, and has now forgotten.
func (l *Ledger) Accepted() bool { return l.accepted }

// Memory returns why this machine's memory could not be written, nil if it
// could.
func (l *Ledger) Memory() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forgetful
}

// Damaged returns the entries that are damaged in the store and known to this
// machine.
func (l *Ledger) Damaged() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.damaged)
}
