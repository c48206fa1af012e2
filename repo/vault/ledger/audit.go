package ledger

import (
	"context"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Report tells what Verify saw.
type Report struct {
	Head    Head
	Singles int // entries that are objects of their own
	Rolls   int
	Signers map[Signer]uint64 // with how many entries each signed
	Faults  []error           // what is damaged; after the first, the chain may not have been read to its end
}

// Verify reads the whole ledger of a store, whatever a machine remembers, and
// checks every signature, and that entries which stand in a roll, too, are the
// same there. fold gets each entry that follows from those before.
func Verify(ctx context.Context, s store.Store, repository [16]byte, fold func(*Entry)) (*Report, error) {
	var r *Report
	err := again(ctx, s, func(there *listing) error {
		// Listed again, it goes on with what was folded already.
		if r == nil {
			r = &Report{Signers: map[Signer]uint64{}}
		}
		r.Singles, r.Rolls = len(there.singles), len(there.rolls)
		return there.batches(ctx, s, r.Head.Number, func(batch []*Entry) error {
			if err := verify(batch, r.Head, repository, true); err != nil {
				return err
			}
			if err := there.compare(ctx, s, batch); err != nil {
				return err
			}
			for _, e := range batch {
				r.Signers[e.Signer]++
				fold(e)
			}
			r.Head = batch[len(batch)-1].Head()
			return nil
		})
	})
	switch kind := fault.KindOf(err); {
	case err == nil:
	case r != nil && (kind == fault.Corrupt || kind == fault.TooLarge):
		r.Faults = append(r.Faults, err)
	default:
		return nil, fmt.Errorf("verify ledger: %w", err)
	}
	return r, nil
}

// compare holds the entries of a roll against those that are left beside it.
func (l *listing) compare(ctx context.Context, s store.Store, batch []*Entry) error {
	if !l.rolls[rollOf(batch[0].Number)] {
		return nil
	}
	for _, e := range batch {
		if !l.singles[e.Number] {
			continue
		}
		single, err := readSingle(ctx, s, e.Number)
		if err != nil {
			return err
		}
		if single.Hash != e.Hash {
			return fmt.Errorf("%s is not what its roll holds: %w", Name(e.Number), fault.Corrupt)
		}
	}
	return nil
}
