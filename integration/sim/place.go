package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

var _ store.Store = (*Place)(nil)

// maxObject is more than any object of a test has.
const maxObject = 64 << 20

// Op is one operation on a Place, as its watcher sees it.
type Op struct {
	N    int64 // from 1, over all verbs
	Verb mem.Verb
	Name string // the prefix of a List
	Size int    // bytes to put, or asked for
}

// String returns the operation in one line.
func (o Op) String() string { return fmt.Sprintf("%d %s %s", o.N, o.Verb, o.Name) }

// Changes says whether the operation changes what is stored.
func (o Op) Changes() bool { return o.Verb == mem.Put || o.Verb == mem.Delete }

// Fate is what becomes of an operation. The zero Fate is success.
type Fate struct {
	Before error // nothing is done, and this is the answer
	After  error // it is carried out, and this is the answer
	Short  bool  // a Get delivers half of the bytes that there are
	Twice  bool  // the message came twice: a Put or Delete is carried out two times
}

// Watcher decides the fate of each operation before it is carried out. It may
// block, and may take Snapshots of the Place. It is called by several
// goroutines at a time.
type Watcher func(Op) Fate

// Place is a store in memory that a Watcher watches, with a clock of its own.
type Place struct {
	store *mem.Store

	// The clock has no lock: the store below asks for it with its own held.
	nanos atomic.Int64

	mu      sync.Mutex
	watch   Watcher
	ops     int64
	deleted map[string][]byte // since the last Settle
	flying  map[*flight]bool  // Puts and Deletes that have begun
}

// flight is an operation under way.
type flight struct {
	name string
	data []byte
	put  bool
}

// NewPlace returns an empty Place, where it is now.
func NewPlace(now time.Time) *Place {
	p := &Place{store: mem.New(), deleted: map[string][]byte{}, flying: map[*flight]bool{}}
	p.nanos.Store(now.UnixNano())
	p.store.SetClock(p.clock)
	return p
}

func (p *Place) clock() time.Time { return time.Unix(0, p.nanos.Load()) }

// Now is the clock of the place.
func (p *Place) Now(context.Context) (time.Time, error) { return p.clock(), nil }

// Advance moves the clock of the place.
func (p *Place) Advance(d time.Duration) { p.nanos.Add(int64(d)) }

// Watch puts w in place of the watcher before; nil for none. Operations are
// numbered from 1 again.
func (p *Place) Watch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch, p.ops = w, 0
}

// Ops returns how many operations there were since the last call of Watch.
func (p *Place) Ops() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ops
}

// Settle makes all deletions so far survive.
func (p *Place) Settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.deleted)
}

// Mem returns the store below, which nobody watches.
func (p *Place) Mem() *mem.Store { return p.store }

// Share is how much survives a loss of power of what no one had been promised:
// operations under way, and deletions.
type Share uint8

// The shares.
const (
	Nothing Share = iota
	Half          // which half follows from a seed
	All
	NumShares = int(All) + 1
)

// String returns the share in words.
func (s Share) String() string { return [...]string{"nothing", "half", "all"}[s] }

func (s Share) keeps(seed uint64, name string) bool {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", seed, name)
	return s == All || s == Half && h.Sum64()%2 == 0
}

// Snapshot returns the Place as it is after a loss of power now: no watcher, and
// of what was not promised only a share. All is what a killed process leaves
// whose last messages arrived.
func (p *Place) Snapshot(kept Share, seed uint64) *Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &Place{store: p.store.Clone(), deleted: map[string][]byte{}, flying: map[*flight]bool{}}
	c.nanos.Store(p.nanos.Load())
	c.store.SetClock(c.clock)
	ctx := context.Background()
	for name, data := range p.deleted {
		if !kept.keeps(seed, name) {
			_ = c.store.Put(ctx, name, data) // other bytes: it was put again since
		}
	}
	for f := range p.flying {
		switch {
		case !kept.keeps(seed+1, f.name):
		case f.put:
			_ = c.store.Put(ctx, f.name, f.data)
		default:
			_ = c.store.Delete(ctx, f.name)
		}
	}
	return c
}

// begin numbers an operation and asks for its fate.
func (p *Place) begin(op Op, f *flight) Fate {
	p.mu.Lock()
	p.ops++
	op.N = p.ops
	watch := p.watch
	if f != nil {
		p.flying[f] = true
	}
	p.mu.Unlock()
	if watch == nil {
		return Fate{}
	}
	return watch(op)
}

func (p *Place) end(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.flying, f)
}

// Put implements store.Store.
func (p *Place) Put(ctx context.Context, name string, data []byte) error {
	f := &flight{name: name, data: data, put: true}
	defer p.end(f)
	fate := p.begin(Op{Verb: mem.Put, Name: name, Size: len(data)}, f)
	if fate.Before != nil {
		return fate.Before
	}
	err := p.store.Put(ctx, name, data)
	if fate.Twice && err == nil {
		err = p.store.Put(ctx, name, data)
	}
	if err == nil {
		p.mu.Lock()
		delete(p.deleted, name)
		p.mu.Unlock()
	}
	return errors.Join(err, fate.After)
}

// Get implements store.Store.
func (p *Place) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	fate := p.begin(Op{Verb: mem.Get, Name: name, Size: len(dst)}, nil)
	if fate.Before != nil {
		return 0, fate.Before
	}
	n, err := p.store.Get(ctx, name, offset, dst)
	if fate.Short {
		n /= 2
	}
	return n, errors.Join(err, fate.After)
}

// List implements store.Store.
func (p *Place) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		fate := p.begin(Op{Verb: mem.List, Name: prefix}, nil)
		if fate.Before != nil {
			yield(store.Object{}, fate.Before)
			return
		}
		for o, err := range p.store.List(ctx, prefix) {
			if !yield(o, err) || err != nil {
				return
			}
		}
		if fate.After != nil { // the listing broke off
			yield(store.Object{}, fate.After)
		}
	}
}

// Delete implements store.Store.
func (p *Place) Delete(ctx context.Context, name string) error {
	f := &flight{name: name}
	defer p.end(f)
	fate := p.begin(Op{Verb: mem.Delete, Name: name}, f)
	if fate.Before != nil {
		return fate.Before
	}
	data, err := store.ReadAll(ctx, p.store, name, maxObject)
	if err != nil && !errors.Is(err, fault.NotExist) {
		return err
	}
	if err == nil {
		p.mu.Lock()
		p.deleted[name] = data
		p.mu.Unlock()
	}
	return errors.Join(p.store.Delete(ctx, name), fate.After)
}
