package live

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Where pages end: bytes below which none does, and their average.
const (
	minimum = 4096
	average = 16384
	unit    = 1 << 50 // ⌊2^64 / average⌋
	// leastRefs keeps upper pages from having one record; they are long
	// before they may end, so that it never bites.
	leastRefs = 4
)

// WriteOptions say what is known about pages before they are put. The zero
// value puts every page.
type WriteOptions struct {
	// Absent tells that a page is named by a collector's round and must be
	// written under another salt; nil: none is.
	Absent func(Hash) bool

	// Salt is the least salt to write pages with.
	Salt uint16

	// Known tells that a page is in the store, so that putting it is
	// pointless; nil: nothing is known. Pages of the point before are known.
	Known func(Hash) bool
}

// Written is a stored live set.
type Written struct {
	Root  Hash
	Pages []Hash // all of its pages, children before parents
	Put   int    // pages that were put, known ones not among them
	Bytes int64  // of those
}

// Write stores a live set and returns once it is durable. Of two Sets with
// equal content it makes equal pages. Errors are the store's.
func Write(ctx context.Context, s store.Store, set *Set, o WriteOptions) (*Written, error) {
	w := writer{store: s, options: o, done: &Written{}}
	var refs []ref
	var p pageMaker
	for n := range set.All() {
		record := AppendNeed(nil, &n)
		p.add(record, n.Pack, 1)
		if p.ends(len(record), binary.LittleEndian.Uint64(n.Pack[8:])) {
			if err := w.end(ctx, &p, &refs); err != nil {
				return nil, err
			}
		}
	}
	if p.n > 0 || len(refs) == 0 {
		if err := w.end(ctx, &p, &refs); err != nil {
			return nil, err
		}
	}
	for len(refs) > 1 {
		if p.level++; p.level == maxLevels {
			return nil, fmt.Errorf("live set of %d packs: %w", set.Len(), fault.TooLarge)
		}
		var up []ref
		for i := range refs {
			r := &refs[i]
			record := appendRef(nil, r)
			p.add(record, r.first, r.packs)
			if p.n >= leastRefs && p.ends(len(record), binary.LittleEndian.Uint64(r.page[:])) {
				if err := w.end(ctx, &p, &up); err != nil {
					return nil, err
				}
			}
		}
		if p.n > 0 {
			if err := w.end(ctx, &p, &up); err != nil {
				return nil, err
			}
		}
		refs = up
	}
	w.done.Root = refs[0].page
	return w.done, nil
}

// pageMaker gathers the records of one page.
type pageMaker struct {
	level   int
	n       int
	records []byte
	first   pack.ID
	packs   uint64
}

func (p *pageMaker) add(record []byte, first pack.ID, packs uint64) {
	if p.n == 0 {
		p.first = first
	}
	p.records = append(p.records, record...)
	p.packs += packs
	p.n++
}

// ends tells whether the page ends after a record of e bytes that hashes to h
// (FORMAT.md, 6.5 and 7).
func (p *pageMaker) ends(e int, h uint64) bool {
	s := len(p.records)
	if s >= 4*average || s < minimum {
		return s >= 4*average
	}
	if s >= average {
		e *= 4
	}
	over, threshold := bits.Mul64(uint64(e), unit)
	if over != 0 {
		threshold = 1<<64 - 1
	}
	return h < threshold
}

// writer puts pages.
type writer struct {
	store   store.Store
	options WriteOptions
	done    *Written
}

// end puts the page that p holds, appends its ref to refs and empties p.
func (w *writer) end(ctx context.Context, p *pageMaker, refs *[]ref) error {
	for salt := int(w.options.Salt); salt < 1<<16; salt++ {
		b := append(appendHead(nil, p.level, uint16(salt), p.n), p.records...)
		h := hashOf(b)
		if w.options.Absent != nil && w.options.Absent(h) {
			continue
		}
		if w.options.Known == nil || !w.options.Known(h) {
			err := w.store.Put(ctx, Name(h), b)
			if errors.Is(err, fault.Exist) {
				continue // other bytes have the name of these: they are damaged
			}
			if err != nil {
				return fmt.Errorf("put live page %s: %w", h, err)
			}
			w.done.Put++
			w.done.Bytes += int64(len(b))
		}
		w.done.Pages = append(w.done.Pages, h)
		*refs = append(*refs, ref{first: p.first, page: h, packs: p.packs})
		p.n, p.packs, p.records = 0, 0, p.records[:0]
		return nil
	}
	return fmt.Errorf("live page of pack %s is absent under every salt: %w", p.first, fault.TooLarge)
}

// Walk yields the Needs of a live set in ascending order of packs. skip, if
// not nil, is asked with the name of each page before it is read, the root's
// first: a page for which it says true is not read, nor is what is below it.
// So points that share pages are walked at the cost of what they do not
// share, and the names of all pages are learnt. A page that is not there is
// fault.NotExist, one that is damaged fault.Corrupt; after an error, yielded
// with a zero Need, nothing follows.
func Walk(ctx context.Context, s store.Store, root Hash, skip func(Hash) bool) iter.Seq2[Need, error] {
	return func(yield func(Need, error) bool) {
		if skip == nil {
			skip = func(Hash) bool { return false }
		}
		w := walker{store: s, skip: skip, yield: yield}
		w.page(ctx, &ref{page: root}, -1)
	}
}

// Load returns the whole live set.
func Load(ctx context.Context, s store.Store, root Hash) (*Set, error) {
	set := NewSet()
	for n, err := range Walk(ctx, s, root, nil) {
		if err != nil {
			return nil, err
		}
		if err := set.AddNeed(n); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// Page is one page of a live set.
type Page struct {
	Needs []Need // of a leaf
	Below []Hash // of an upper page
}

// Read returns one page, whose bytes are those that its name promises. One that
// is not there is fault.NotExist, one that is damaged fault.Corrupt. Whoever
// goes down a whole set by it trusts the writer of the set to have put its
// pages in order; see Walk.
func Read(ctx context.Context, s store.Store, h Hash) (*Page, error) {
	w := walker{store: s}
	p, err := w.read(ctx, &ref{page: h}, anyLevel)
	if err != nil {
		return nil, fmt.Errorf("read live page %s: %w", h, err)
	}
	out := &Page{Needs: p.needs}
	for i := range p.refs {
		out.Below = append(out.Below, p.refs[i].page)
	}
	return out, nil
}

type walker struct {
	store store.Store
	skip  func(Hash) bool
	yield func(Need, error) bool
	any   bool
	last  pack.ID // of the Needs so far, if any
}

// page walks the page that r names, which must be of a level, or is the root
// if that is -1. It returns false when the walk has ended.
func (w *walker) page(ctx context.Context, r *ref, level int) bool {
	if w.skip(r.page) {
		return true
	}
	p, err := w.read(ctx, r, level)
	if err != nil {
		w.yield(Need{}, fmt.Errorf("read live page %s: %w", r.page, err))
		return false
	}
	for i := range p.needs {
		if id := p.needs[i].Pack; w.any && compareIDs(w.last, id) >= 0 {
			w.yield(Need{}, fmt.Errorf("read live page %s: packs are not in order: %w", r.page, fault.Corrupt))
			return false
		}
		w.any, w.last = true, p.needs[i].Pack
		if !w.yield(p.needs[i], nil) {
			return false
		}
	}
	for i := range p.refs {
		if !w.page(ctx, &p.refs[i], p.level-1) {
			return false
		}
	}
	return true
}

// anyLevel is that of a page of which nothing is known but its hash.
const anyLevel = -2

// read gets a page and checks it against what names it.
func (w *walker) read(ctx context.Context, r *ref, level int) (*page, error) {
	b, err := store.ReadAll(ctx, w.store, Name(r.page), maxPage)
	if err != nil {
		return nil, err
	}
	if hashOf(b) != r.page {
		return nil, fmt.Errorf("another SHA-256: %w", fault.Corrupt)
	}
	p, err := decodePage(b)
	if err != nil {
		return nil, err
	}
	if level == anyLevel {
		return p, nil
	}
	if level < 0 {
		if p.level > 0 && len(p.refs) < 2 {
			return nil, fmt.Errorf("root page of one record: %w", fault.Corrupt)
		}
		return p, nil
	}
	if p.level != level || len(p.needs)+len(p.refs) == 0 {
		return nil, fmt.Errorf("level %d, not %d, or empty: %w", p.level, level, fault.Corrupt)
	}
	if first, packs := p.below(); first != r.first || packs != r.packs {
		return nil, fmt.Errorf("%d packs from %s, not %d from %s: %w", packs, first, r.packs, r.first, fault.Corrupt)
	}
	return p, nil
}
