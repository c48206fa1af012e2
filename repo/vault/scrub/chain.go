package scrub

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// chain reads the ledger from end to end, and finds points that it keeps and
// that are not there. A point is removed in the ledger before its object goes:
// so what is missing is missed only if the ledger, read again, still keeps it.
func (r *run) chain(ctx context.Context) error {
	state, err := r.fold(ctx)
	if err != nil || state == nil {
		return err
	}
	var lost []uint64
	for _, p := range state.Kept() {
		there, err := exists(ctx, r.store, point.Name(p.Sequence))
		if err != nil {
			return err
		}
		if !there {
			lost = append(lost, p.Sequence)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	if state, err = r.fold(ctx); err != nil || state == nil {
		return err
	}
	for _, n := range lost {
		if state.Point(n) != nil {
			r.add(Finding{Object: point.Name(n), Frame: -1, Kind: Missing, Err: bad("the ledger keeps point %d, and it is not there", n), Point: n})
		}
	}
	return nil
}

// fold reads the whole ledger. Of one that is damaged it notes where; the state
// then is nil.
func (r *run) fold(ctx context.Context) (*retain.State, error) {
	state := &retain.State{}
	_, err := ledger.Open(ctx, r.store, ledger.Options{Repository: r.o.Repository, Fold: state.Fold})
	switch {
	case err == nil:
		return state, nil
	case ctx.Err() != nil || away(err):
		return nil, fmt.Errorf("read ledger: %w", err)
	case errors.Is(err, fault.Unsupported):
		return nil, nil // a later version's: its objects are compared all the same
	}
	return nil, r.broken(ctx)
}

// broken names what breaks the chain: what is missing, or what does not follow
// the entry before although it is right by itself. What is damaged is found
// when all is read.
func (r *run) broken(ctx context.Context) error {
	there := map[uint64]*ledger.Entry{}
	end := uint64(0)
	for _, o := range r.listed {
		n, _, err := ledger.ParseName(o.name)
		if err != nil || !strings.HasPrefix(o.name, ledger.Prefix) {
			continue
		}
		var buf []byte // entries keep it
		data, err := r.read(ctx, o.name, o.size, &buf)
		if err != nil && away(err) {
			return err
		}
		if err != nil || len(r.check(o.name, data)) > 0 {
			return nil
		}
		entries, err := entriesOf(o.name, data)
		if err != nil {
			return err
		}
		for _, e := range entries {
			there[e.Number] = e
		}
		end = max(end, n)
	}
	for n := uint64(1); n <= end; n++ {
		if there[n] == nil {
			n = r.gap(n, end, there)
		} else if before := there[n-1]; before != nil && there[n].Previous != before.Hash {
			r.add(Finding{Object: ledger.Name(n), Frame: -1, Kind: Foreign, Err: bad("it does not follow entry %d: one of the two was replaced", n-1)})
			return nil
		}
	}
	return nil
}

// entriesOf returns the entries of an object that check found right.
func entriesOf(name string, data []byte) ([]*ledger.Entry, error) {
	if _, roll, _ := ledger.ParseName(name); roll {
		return parseRoll(data)
	}
	e, err := ledger.Parse(data)
	return []*ledger.Entry{e}, err
}

// gap notes that entries from n on are missing, and returns the last of them.
func (r *run) gap(n, end uint64, there map[uint64]*ledger.Entry) uint64 {
	first := n
	for n < end && there[n+1] == nil && n%ledger.RollSize != 0 {
		n++
	}
	name := ledger.Name(first)
	if block := (first + ledger.RollSize - 1) / ledger.RollSize * ledger.RollSize; block <= end && first != n {
		name = ledger.RollName(block)
	}
	r.add(Finding{Object: name, Frame: -1, Kind: Missing, Err: bad("the ledger goes on to entry %d, and entries %d to %d are not there", end, first, n)})
	return n
}
