package ledger

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Copied is where a replica keeps copies of other places' ledgers, each in a
// folder that the hash of its first entry names. The replica's own ledger says
// nothing of them; they are there so that the other place's can be healed.
const Copied = "copied/"

// folder returns where the copy of a ledger is that begins with an entry.
func folder(first Hash) string { return Copied + hex.EncodeToString(first[:8]) + "/" }

// OfCopy returns the name that a copied object has in its own place.
func OfCopy(name string) (string, error) {
	rest, ok := strings.CutPrefix(name, Copied)
	digits, own, slash := strings.Cut(rest, "/")
	b, err := hex.DecodeString(digits)
	if !ok || !slash || err != nil || len(b) != 8 || hex.EncodeToString(b) != digits {
		return "", fmt.Errorf("parse name of a ledger's copy %q: %w", name, fault.Invalid)
	}
	_, _, err = ParseName(own)
	return own, err
}

// within shows what lies below a folder as if it were all.
type within struct {
	store.Store
	folder string
}

// Put implements store.Store.
func (w within) Put(ctx context.Context, name string, data []byte) error {
	return w.Store.Put(ctx, w.folder+name, data)
}

// Get implements store.Store.
func (w within) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	return w.Store.Get(ctx, w.folder+name, offset, dst)
}

// Delete implements store.Store.
func (w within) Delete(ctx context.Context, name string) error {
	return w.Store.Delete(ctx, w.folder+name)
}

// List implements store.Store.
func (w within) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for o, err := range w.Store.List(ctx, w.folder+prefix) {
			o.Name = strings.TrimPrefix(o.Name, w.folder)
			if !yield(o, err) {
				return
			}
		}
	}
}

// Copies returns the copies of ledgers in a place, as stores to Open them from.
func Copies(ctx context.Context, s store.Store) ([]store.Store, error) {
	var out []store.Store
	last := ""
	for o, err := range s.List(ctx, Copied) {
		if err != nil {
			return nil, fmt.Errorf("list copies of ledgers: %w", err)
		}
		own, err := OfCopy(o.Name)
		if at := strings.TrimSuffix(o.Name, own); err == nil && at != last {
			out, last = append(out, within{s, at}), at
		}
	}
	return out, nil
}

// Copy brings the copy of a place's ledger in another place up to date, and
// returns the objects and the bytes that it put. The ledger begins with the entry
// first, and its reader has seen it up to head. It may be repeated, and killed
// anywhere. Entries that are damaged, or another repository's, are not copied.
func Copy(ctx context.Context, from, to store.Store, repository [16]byte, first Hash, head Head) (objects, bytes int64, err error) {
	c := &copying{from: from, to: within{to, folder(first)}, repository: repository}
	have, err := list(ctx, c.to)
	if err == nil && have.last < head.Number {
		err = again(ctx, from, func(there *listing) error { return c.run(ctx, there, have) })
	}
	if err != nil {
		err = fmt.Errorf("copy the ledger: %w", err)
	}
	return c.objects.Load(), c.bytes.Load(), err
}

type copying struct {
	from           store.Store
	to             within
	repository     [16]byte
	objects, bytes atomic.Int64
}

func (c *copying) run(ctx context.Context, there, have *listing) error {
	if same, err := c.same(ctx, there, have); err != nil {
		return err
	} else if !same {
		// The place went back in time, and went on from there.
		if err := c.clear(ctx, have); err != nil {
			return err
		}
		have = &listing{singles: map[uint64]bool{}, rolls: map[uint64]bool{}}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for n := range there.rolls {
		if !have.rolls[n] {
			group.Go(func() error { return c.object(gctx, RollName(n), n-RollSize+1, n) })
		}
	}
	for n := range there.singles {
		if !have.singles[n] && !there.rolls[rollOf(n)] && !have.rolls[rollOf(n)] {
			group.Go(func() error { return c.object(gctx, Name(n), n, n) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for n := range have.singles {
		if end := rollOf(n); have.rolls[end] || there.rolls[end] {
			if err := c.to.Delete(ctx, Name(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry reads one entry, from its roll if there is one.
func (c *copying) entry(ctx context.Context, s store.Store, in *listing, n uint64) (*Entry, error) {
	if end := rollOf(n); in.rolls[end] {
		batch, err := readRoll(ctx, s, end)
		if err != nil {
			return nil, err
		}
		return batch[n-(end-RollSize+1)], nil
	}
	return readSingle(ctx, s, n)
}

// same says whether the copy is one of the same history, as its last entry that
// both have tells. A copy that cannot be read is none.
func (c *copying) same(ctx context.Context, there, have *listing) (bool, error) {
	n := min(there.last, have.last)
	if n == 0 {
		return true, nil
	}
	mine, err := c.entry(ctx, c.from, there, n)
	if err != nil {
		return false, err
	}
	copied, err := c.entry(ctx, c.to, have, n)
	switch kind := fault.KindOf(err); {
	case err == nil:
		return copied.Hash == mine.Hash, nil
	case errors.Is(err, fault.NotExist), kind == fault.Corrupt, kind == fault.TooLarge:
		return false, nil
	}
	return false, err
}

func (c *copying) clear(ctx context.Context, have *listing) error {
	for n := range have.singles {
		if err := c.to.Delete(ctx, Name(n)); err != nil {
			return err
		}
	}
	for n := range have.rolls {
		if err := c.to.Delete(ctx, RollName(n)); err != nil {
			return err
		}
	}
	return nil
}

// object copies an object that holds entries, after all were verified.
func (c *copying) object(ctx context.Context, name string, first, last uint64) error {
	b, err := store.ReadAll(ctx, c.from, name, MaxRoll)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	var entries []*Entry
	if first < last {
		entries, err = parseRoll(b, last)
	} else {
		var e *Entry
		e, err = Parse(b)
		entries = []*Entry{e}
	}
	for i := 0; i < len(entries) && err == nil; i++ {
		e := entries[i]
		if e.Number != first+uint64(i) || e.Repository != c.repository {
			err = fmt.Errorf("holds entry %d of repository %x: %w", e.Number, e.Repository[:4], fault.Corrupt)
		} else {
			err = e.Verify()
		}
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	err = c.to.Put(ctx, name, b)
	if errors.Is(err, fault.Exist) { // damaged, or that of another history
		if err = c.to.Delete(ctx, name); err == nil {
			err = c.to.Put(ctx, name, b)
		}
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", c.to.folder+name, err)
	}
	c.objects.Add(1)
	c.bytes.Add(int64(len(b)))
	return nil
}
