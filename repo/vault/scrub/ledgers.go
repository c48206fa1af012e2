package scrub

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Ledgers returns as a Source the copies of a place's ledger that its replica
// keeps. Every place has a ledger of its own, and each entry proves those before
// it by their hashes: a copy counts only if a later entry is the same in both,
// or, where the place has none that is later, the last one before.
func Ledgers(name string, own, replica store.Store, repository [16]byte) Source {
	return &ledgers{name: name, own: own, repository: repository, read: func(ctx context.Context) ([]chain, error) {
		copies, err := ledger.Copies(ctx, replica)
		if err != nil {
			return nil, err
		}
		var out []chain
		for _, s := range copies {
			c := chain{}
			// A copy that is damaged is good up to there.
			_, _ = ledger.Open(ctx, s, ledger.Options{Repository: repository, Fold: c.add})
			out = append(out, c)
		}
		return out, ctx.Err()
	}}
}

// Remembered returns as a Source the entries of the ledger that a machine
// remembers in its file of memory. It has verified them all.
func Remembered(memory string, own store.Store, repository [16]byte) Source {
	return &ledgers{name: "what this machine remembers of the ledger", own: own, repository: repository, trusted: true, read: func(ctx context.Context) ([]chain, error) {
		c := chain{}
		if memory != "" {
			// The store need not agree: what is remembered comes first.
			_, _ = ledger.Open(ctx, own, ledger.Options{Repository: repository, Memory: memory, Fold: c.add})
		}
		return []chain{c}, ctx.Err()
	}}
}

// chain is a ledger's entries by their numbers.
type chain map[uint64]*ledger.Entry

func (c chain) add(e *ledger.Entry) { c[e.Number] = e }

type ledgers struct {
	name       string
	own        store.Store
	repository [16]byte
	trusted    bool
	read       func(context.Context) ([]chain, error)
	chains     []chain // nil: not read so far
}

// Name implements Source.
func (l *ledgers) Name() string { return l.name }

// Frame implements Source.
func (*ledgers) Frame(context.Context, pack.Stored, []byte) ([]byte, error) {
	return nil, fault.NotExist
}

// Object implements Source.
func (l *ledgers) Object(ctx context.Context, name string, _ []byte) ([]byte, error) {
	last, roll, err := ledger.ParseName(name)
	if err != nil {
		return nil, fault.NotExist
	}
	if l.chains == nil {
		if l.chains, err = l.read(ctx); err != nil {
			return nil, err
		}
	}
	first := last
	if roll {
		first = last - ledger.RollSize + 1
	}
	var right chain // of the place itself; read when it is asked for
	for _, c := range l.chains {
		b := c.object(first, last, roll)
		if b == nil {
			continue
		}
		if right == nil && !l.trusted {
			if right, err = readable(ctx, l.own, l.repository); err != nil {
				return nil, err
			}
		}
		if l.trusted || c.proves(right, first, last) {
			return b, nil
		}
	}
	return nil, fault.NotExist
}

// object puts an object of the ledger together; nil if the chain lacks an entry.
func (c chain) object(first, last uint64, roll bool) []byte {
	var b bytes.Buffer
	for n := first; n <= last; n++ {
		e := c[n]
		if e == nil {
			return nil
		}
		if roll {
			b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(e.Bytes()))))
		}
		b.Write(e.Bytes())
	}
	return b.Bytes()
}

// proves says whether the chain's entries from first to last are those of a
// ledger of which the entries in right can be read.
func (c chain) proves(right chain, first, last uint64) bool {
	before := uint64(0)
	for _, n := range slices.Sorted(maps.Keys(right)) {
		switch {
		case n < first:
			before = n
		case n >= last && c[n] != nil:
			if c[n].Hash == right[n].Hash {
				return true
			}
		}
	}
	later := slices.ContainsFunc(slices.Collect(maps.Keys(right)), func(n uint64) bool { return n > last })
	return !later && before > 0 && c[before] != nil && c[before].Hash == right[before].Hash
}

// readable returns the entries of a place's ledger that can be read and are
// right by themselves.
func readable(ctx context.Context, s store.Store, repository [16]byte) (chain, error) {
	out := chain{}
	for o, err := range s.List(ctx, ledger.Prefix) {
		if err != nil {
			return nil, fmt.Errorf("list ledger: %w", err)
		}
		if _, _, err := ledger.ParseName(o.Name); err != nil || !strings.HasPrefix(o.Name, ledger.Prefix) {
			continue
		}
		b, err := store.ReadAll(ctx, s, o.Name, shapeOf(o.Name).limit)
		if ctx.Err() != nil || err != nil && away(err) {
			return nil, err
		}
		if err != nil || len(check(o.Name, b, repository)) > 0 {
			continue
		}
		entries, err := entriesOf(o.Name, b)
		if err != nil {
			continue
		}
		for _, e := range entries {
			out.add(e)
		}
	}
	return out, nil
}
