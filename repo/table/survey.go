package table

import (
	"context"
	"fmt"
	"iter"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Upper is an upper page of a table.
type Upper struct {
	Ref   *Ref // nil for the root page
	Level int  // of the pages that it names; 0: leaves
	Refs  []Ref
}

// Uppers yields the upper pages, each after those that it names. skip is asked
// before a page is opened, but for the root page; of a page for which it says
// true nothing is yielded, nor of what is below it. A table of one page has none.
// After an error, yielded with a zero Upper, nothing follows.
func (t *Tree) Uppers(ctx context.Context, skip func(*Ref) bool) iter.Seq2[Upper, error] {
	return func(yield func(Upper, error) bool) {
		if t.top == nil {
			return
		}
		var walk func(u Upper) bool
		walk = func(u Upper) bool {
			for i := 0; u.Level > 0 && i < len(u.Refs); i++ {
				ref := &u.Refs[i]
				if skip(ref) {
					continue
				}
				n, err := t.pages.node(ctx, ref, false)
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					yield(Upper{}, err)
					return false
				}
				if !walk(Upper{Ref: ref, Level: u.Level - 1, Refs: n.refs}) {
					return false
				}
			}
			return yield(u, nil)
		}
		walk(Upper{Level: t.root.Level - 1, Refs: t.top.refs})
	}
}

// Name is what an entry is called. Its bytes are not to be kept.
type Name struct {
	Key    []byte
	Shared int // bytes that Key has in common with the key before, as many as can be
	Kind   Kind
}

// Names gives the names of the leaf that ref names to use, in order. That takes a
// third of the time that entries take, and puts nothing into the cache. An error
// may come after some names.
func (t *Tree) Names(ctx context.Context, ref *Ref, use func(Name)) error {
	raw, err := t.pages.fetch(ctx, ref)
	if err != nil {
		return err
	}
	n, err := EachName(raw, use)
	if err == nil && uint64(n) != ref.Count {
		err = fmt.Errorf("%d entries, not %d: %w", n, ref.Count, fault.Corrupt)
	}
	if err != nil {
		return fmt.Errorf("page %s in pack %s: %w", ref.ID, ref.Pack, err)
	}
	return nil
}

// EachName is Names of a page of entries, and returns how many they are. What
// DecodeLeaf refuses is fault.Corrupt.
func EachName(page []byte, use func(Name)) (int, error) {
	r := leafReaders.Get().(*leafReader)
	defer leafReaders.Put(r)
	r.begin(page)
	n := r.n
	for i := 0; r.why == "" && i < n; i++ {
		var e Entry
		r.entry = i
		if r.read(&e); r.why == "" {
			use(Name{r.arena[r.keyAt : r.keyAt+r.keyLen], r.shared, e.Kind})
		}
	}
	r.close()
	if r.why != "" {
		return 0, fmt.Errorf("decode page of entries: %s: %w", r.why, fault.Corrupt)
	}
	return n, nil
}
