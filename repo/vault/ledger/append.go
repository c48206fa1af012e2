package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Plan says what the next entry of a ledger that ends with head shall say, and
// its time. No records: nothing is to be written.
type Plan func(head Head) (time int64, records []Record, err error)

// Append appends an entry, signed with key, and returns once it is durable and
// folded; nil if there was nothing to say. plan is called again, after what is
// new was folded, when somebody else was faster. An error may come although
// the entry was stored: whoever tries again plans on what is there then.
func (l *Ledger) Append(ctx context.Context, key ed25519.PrivateKey, plan Plan) (*Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range 100 {
		time, records, err := plan(l.head)
		if err != nil || len(records) == 0 {
			return nil, err
		}
		if !SetsClock(records) {
			time = max(time, l.head.Time)
		}
		e := &Entry{Repository: l.opt.Repository, Number: l.head.Number + 1, Previous: l.head.Hash, Time: time, Records: records}
		if err := e.Sign(key); err != nil {
			return nil, err
		}
		err = l.put(ctx, e)
		if errors.Is(err, fault.Exist) {
			if err := l.refresh(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("append to ledger: %w", err)
		}
		l.take([]*Entry{e})
		if e.Number%RollSize == 0 {
			// Whoever tidies makes the rolls that are missing.
			_ = l.roll(ctx, e.Number)
		}
		return e, nil
	}
	return nil, fmt.Errorf("append to ledger: a hundred others were faster: %w", fault.Unavailable)
}

// put stores an entry; fault.Exist if its number is another entry's. The
// entries of a roll may be gone, so that a name that is free proves nothing
// where there is a roll: who slept between reading and writing would write
// into the past.
func (l *Ledger) put(ctx context.Context, e *Entry) error {
	if err := l.store.Put(ctx, Name(e.Number), e.raw); err != nil {
		return err
	}
	end := rollOf(e.Number)
	batch, err := readRoll(ctx, l.store, end)
	if errors.Is(err, fault.NotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if batch[e.Number-(end-RollSize+1)].Hash == e.Hash {
		return nil
	}
	if err := l.store.Delete(ctx, Name(e.Number)); err != nil {
		return err
	}
	return fmt.Errorf("%s is in a roll: %w", Name(e.Number), fault.Exist)
}

// roll puts the roll that ends with entry n.
func (l *Ledger) roll(ctx context.Context, n uint64) error {
	batch, err := readSingles(ctx, l.store, n-RollSize+1, n)
	if err != nil {
		return err
	}
	var b []byte
	for i, e := range batch {
		if i > 0 && e.Previous != batch[i-1].Hash {
			return fmt.Errorf("ledger entry %d does not follow the one before: %w", e.Number, fault.Corrupt)
		}
		b = e.appendTo(b)
	}
	if len(b) > MaxRoll {
		return nil
	}
	if err := l.store.Put(ctx, RollName(n), b); err != nil {
		return fmt.Errorf("put %s: %w", RollName(n), err)
	}
	return nil
}

// Tidy makes the rolls that are missing and deletes the entries that are in
// one, save the newest roll's: readers and writers under way still look for
// them there. It returns how many objects it deleted.
func (l *Ledger) Tidy(ctx context.Context) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	there, err := list(ctx, l.store)
	if err != nil {
		return 0, err
	}
	deleted := 0
	for end := uint64(RollSize); end+RollSize <= l.head.Number; end += RollSize {
		first := end - RollSize + 1
		if !there.rolls[end] {
			if err := l.roll(ctx, end); err != nil {
				return deleted, fmt.Errorf("tidy ledger: %w", err)
			}
			continue // the entries go the next time
		}
		n, err := l.thin(ctx, there, first, end)
		if deleted += n; err != nil {
			return deleted, fmt.Errorf("tidy ledger: %w", err)
		}
	}
	return deleted, nil
}

// thin deletes the entries of a roll, after it was read back.
func (l *Ledger) thin(ctx context.Context, there *listing, first, end uint64) (int, error) {
	var names []string
	for n := first; n <= end; n++ {
		if there.singles[n] {
			names = append(names, Name(n))
		}
	}
	if len(names) == 0 {
		return 0, nil
	}
	batch, err := readRoll(ctx, l.store, end)
	if err != nil {
		return 0, err
	}
	if err := verify(batch, Head{Number: first - 1, Hash: batch[0].Previous}, l.opt.Repository, false); err != nil {
		return 0, err
	}
	for i, name := range names {
		if err := l.store.Delete(ctx, name); err != nil {
			return i, err
		}
	}
	return len(names), nil
}
