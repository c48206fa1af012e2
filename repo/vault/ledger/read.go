package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// readers bounds the entries that are read at a time.
const readers = 16

// listing is what a store has of a ledger.
type listing struct {
	singles map[uint64]bool
	rolls   map[uint64]bool // by their last entry
	last    uint64          // greatest number
}

func list(ctx context.Context, s store.Store) (*listing, error) {
	l := &listing{singles: map[uint64]bool{}, rolls: map[uint64]bool{}}
	for object, err := range s.List(ctx, Prefix) {
		if err != nil {
			return nil, fmt.Errorf("list ledger: %w", err)
		}
		n, roll, err := ParseName(object.Name)
		switch {
		case err != nil:
			continue
		case roll:
			l.rolls[n] = true
		default:
			l.singles[n] = true
		}
		l.last = max(l.last, n)
	}
	return l, nil
}

// rollOf returns the last entry of the roll that an entry belongs to.
func rollOf(n uint64) uint64 { return (n + RollSize - 1) / RollSize * RollSize }

// batches calls do with the entries after number from, in order, at most a
// roll of them at a time, parsed and not verified. What vanishes between
// listing and reading has been put into a roll: do may have been called
// before fault.NotExist comes back.
func (l *listing) batches(ctx context.Context, s store.Store, from uint64, do func([]*Entry) error) error {
	for from < l.last {
		end := rollOf(from + 1)
		var batch []*Entry
		var err error
		if l.rolls[end] {
			batch, err = readRoll(ctx, s, end)
		} else {
			batch, err = readSingles(ctx, s, from+1, min(end, l.last))
		}
		if err != nil {
			return err
		}
		batch = slices.DeleteFunc(batch, func(e *Entry) bool { return e.Number <= from })
		if err := do(batch); err != nil {
			return err
		}
		from = batch[len(batch)-1].Number
	}
	return nil
}

// readSingles reads the entries first to last.
func readSingles(ctx context.Context, s store.Store, first, last uint64) ([]*Entry, error) {
	out := make([]*Entry, last-first+1)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i := range out {
		group.Go(func() (err error) {
			out[i], err = readSingle(ctx, s, first+uint64(i))
			return err
		})
	}
	return out, group.Wait()
}

func readSingle(ctx context.Context, s store.Store, n uint64) (*Entry, error) {
	name := Name(n)
	b, err := store.ReadAll(ctx, s, name, MaxEntry)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	e, err := Parse(b)
	if err == nil && e.Number != n {
		err = fmt.Errorf("holds entry %d: %w", e.Number, fault.Corrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return e, nil
}

// readRoll reads the entries of the roll that ends with an entry.
func readRoll(ctx context.Context, s store.Store, last uint64) ([]*Entry, error) {
	name := RollName(last)
	b, err := store.ReadAll(ctx, s, name, MaxRoll)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	entries, err := parseRoll(b, last)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return entries, nil
}

func parseRoll(b []byte, last uint64) ([]*Entry, error) {
	entries := make([]*Entry, 0, RollSize)
	for len(b) > 0 {
		e, rest, err := next(b)
		if err != nil {
			return nil, err
		}
		if len(entries) == RollSize || e.Number != last-RollSize+1+uint64(len(entries)) {
			return nil, fmt.Errorf("entry %d in a roll up to %d: %w", e.Number, last, fault.Corrupt)
		}
		entries, b = append(entries, e), rest
	}
	if len(entries) != RollSize {
		return nil, fmt.Errorf("a roll of %d entries: %w", len(entries), fault.Corrupt)
	}
	return entries, nil
}

// next parses the first of entries that stand back to back.
func next(b []byte) (*Entry, []byte, error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, nil, fmt.Errorf("entries cut short: %w", fault.Corrupt)
	}
	n := binary.LittleEndian.Uint32(b)
	e, err := Parse(b[4 : 4+n])
	return e, b[4+n:], err
}

// appendTo puts an entry behind others, as rolls and memories hold them.
func (e *Entry) appendTo(b []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(e.raw))), e.raw...)
}

// verify checks that a batch follows head, and its signatures: since each
// covers the entry before, that of the last of neighbours of one signer is
// enough, unless all is set.
func verify(batch []*Entry, head Head, repository [16]byte, all bool) error {
	for i, e := range batch {
		if err := e.follows(head, repository); err != nil {
			return err
		}
		head = e.Head()
		if all || i == len(batch)-1 || batch[i+1].Signer != e.Signer {
			if err := e.Verify(); err != nil {
				return err
			}
		}
	}
	return nil
}

// again calls do until it fails for another reason than that an object went
// away between listing and reading, a few times at most: somebody made rolls.
func again(ctx context.Context, s store.Store, do func(*listing) error) error {
	var err error
	for range 4 {
		var l *listing
		if l, err = list(ctx, s); err != nil {
			return err
		}
		if err = do(l); !errors.Is(err, fault.NotExist) {
			return err
		}
	}
	return fmt.Errorf("the ledger has a gap: %w: %w", fault.Corrupt, err)
}
