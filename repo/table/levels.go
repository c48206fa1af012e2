package table

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// refList keeps the references of one level until the level is complete,
// because hints are known only then. It packs them: some 45 bytes for each,
// so 1,000,000 leaf pages, or about 100 million entries, take 45 MiB.
type refList struct {
	blocks [][]byte
	n      int
	packs  []pack.ID
	index  map[pack.ID]int
	prev   []byte // separator before
}

const refBlock = 64 << 10

// add appends a reference. asked tells that its hint is known, so that the
// Sink is not to be asked.
func (l *refList) add(r *Ref, asked bool) {
	i, known := l.index[r.Pack]
	if !known {
		if l.index == nil {
			l.index = make(map[pack.ID]int)
		}
		i = len(l.packs)
		l.packs = append(l.packs, r.Pack)
		l.index[r.Pack] = i
	}
	shared := commonPrefix(l.prev, r.Separator)
	most := len(r.Separator) - shared + 8*binary.MaxVarintLen64 + len(r.ID) + 1
	if n := len(l.blocks); n == 0 || cap(l.blocks[n-1])-len(l.blocks[n-1]) < most {
		l.blocks = append(l.blocks, make([]byte, 0, max(refBlock, most)))
	}
	last := len(l.blocks) - 1
	b := binary.AppendUvarint(l.blocks[last], uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(r.Separator)-shared))
	b = append(b, r.Separator[shared:]...)
	for _, v := range [...]uint64{r.Count, uint64(i), uint64(r.Offset), uint64(r.Length)} {
		b = binary.AppendUvarint(b, v)
	}
	b = append(b, r.ID[:]...)
	if asked {
		b = append(b, 1)
		b = binary.AppendUvarint(b, uint64(r.HintOffset))
		b = binary.AppendUvarint(b, uint64(r.HintLength))
	} else {
		b = append(b, 0)
	}
	l.blocks[last] = b
	l.prev = append(l.prev[:0], r.Separator...)
	l.n++
}

// each calls f with every reference, which is valid until f returns. Memory
// is given up on the way: a list is read once.
func (l *refList) each(f func(r *Ref, asked bool) error) error {
	var sep []byte
	for i := range l.blocks {
		b := l.blocks[i]
		l.blocks[i] = nil
		next := func() uint64 {
			v, n := binary.Uvarint(b)
			b = b[n:]
			return v
		}
		for len(b) > 0 {
			var r Ref
			sep = sep[:next()]
			rest := next()
			sep = append(sep, b[:rest]...)
			b = b[rest:]
			r.Separator = sep
			r.Count, r.Pack = next(), l.packs[next()]
			r.Offset, r.Length = uint32(next()), uint32(next())
			b = b[copy(r.ID[:], b):]
			asked := b[0] == 1
			if b = b[1:]; asked {
				r.HintOffset, r.HintLength = uint32(next()), uint32(next())
			}
			if err := f(&r, asked); err != nil {
				return err
			}
		}
	}
	return nil
}

// level takes the pages of one level. The first page is held back until
// there is a second: alone, it is the root, which is not stored.
type level struct {
	sink Sink
	ids  *chunk.Hasher // under the page key
	list refList
	held []byte // the first page, unless it is in the list
	ref  Ref    // of the page held: separator and count
}

// add takes a page. separator and count are its Ref's.
func (l *level) add(ctx context.Context, page, separator []byte, count uint64) error {
	ref := Ref{Separator: separator, Count: count}
	if l.list.n == 0 && l.held == nil {
		l.held, l.ref = append([]byte(nil), page...), ref
		l.ref.Separator = append([]byte(nil), separator...)
		return nil
	}
	if err := l.release(ctx); err != nil {
		return err
	}
	return l.put(ctx, page, &ref)
}

// release stores the page held back.
func (l *level) release(ctx context.Context) error {
	if l.held == nil {
		return nil
	}
	held := l.held
	l.held = nil
	return l.put(ctx, held, &l.ref)
}

func (l *level) put(ctx context.Context, page []byte, ref *Ref) error {
	if len(page) > MaxPage {
		return fmt.Errorf("page of %d bytes: %w", len(page), fault.TooLarge)
	}
	ref.ID = l.ids.Sum(page)
	a, err := l.sink.Put(ctx, page, ref.ID)
	if err != nil {
		return fmt.Errorf("store page %s: %w", ref.ID, err)
	}
	if int(a.Length) != len(page) || !validAddress(a.Offset, uint64(a.Length)) {
		return fmt.Errorf("store page %s of %d bytes at %d+%d: %w", ref.ID, len(page), a.Offset, a.Length, fault.Internal)
	}
	ref.Address = a
	l.list.add(ref, false)
	return nil
}

// raise makes the upper pages over a complete level and returns the level of
// them. With hints it asks the Sink for those that it does not have.
func (l *level) raise(ctx context.Context, cut *cutter, hints bool) (*level, error) {
	up := &level{sink: l.sink, ids: l.ids}
	var w refWriter
	var page, sep []byte
	count := uint64(0)
	end := func() error {
		page = w.appendPage(page[:0], refPage)
		w.reset()
		return up.add(ctx, page, sep, count)
	}
	err := l.list.each(func(r *Ref, asked bool) error {
		if hints && !asked {
			r.HintOffset, r.HintLength = l.sink.Hint(r.Address)
			if !validHint(uint64(r.HintOffset), uint64(r.HintLength)) {
				r.HintOffset, r.HintLength = 0, 0
			}
		}
		if w.n == 0 {
			sep, count = append(sep[:0], r.Separator...), 0
		}
		before := w.counted()
		w.add(r)
		count += r.Count
		if w.n >= leastRefs && cut.ends(w.counted(), w.keys, w.counted()-before, r.ID[:]) {
			return end()
		}
		return nil
	})
	if err == nil && w.n > 0 {
		err = end()
	}
	return up, err
}
