// Package mem is a store in memory, for tests: it keeps every promise of
// package store except that it lasts, and can be told to fail, to be slow and
// to count.
//
// A hook sees each operation before it is carried out and decides its fate:
// refused, carried out, or carried out and reported as failed (the lost
// reply). A writer is tested by failing each of its steps in both ways.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

var (
	_ store.Store    = (*Store)(nil)
	_ store.Replacer = (*Store)(nil)
	_ store.Clock    = (*Store)(nil)
)

// Verb is one of the operations of a store.
type Verb string

// The verbs.
const (
	Put     Verb = "put"
	Get     Verb = "get"
	List    Verb = "list"
	Delete  Verb = "delete"
	Replace Verb = "replace" // counted with the Puts
)

// Op is one operation, as a hook sees it.
type Op struct {
	N      int64 // number of the operation, from 1, over all verbs
	Verb   Verb
	Name   string // the prefix of a List
	Offset int64  // of a Get
	Size   int    // bytes to put, or asked for
}

// Hook decides the fate of an operation. With an error in before nothing is
// done and the caller gets that error; otherwise it is carried out, and with
// an error in after it is reported as failed all the same. Hooks run on the
// caller's goroutine, several at a time, without locks held: a hook may block
// and may use the store.
type Hook func(Op) (before, after error)

// FailAt returns a Hook that fails the n-th operation (from 1) with err, once:
// carried out if stored, else refused.
func FailAt(n int64, stored bool, err error) Hook {
	return func(op Op) (before, after error) {
		switch {
		case op.N != n:
			return nil, nil
		case stored:
			return nil, err
		}
		return err, nil
	}
}

// listPage is how many objects a remote store tells at once: List counts a
// round trip for each such page begun.
const listPage = 1000

// Counts is what a store was asked so far, failed operations included.
type Counts struct {
	Puts, Gets, Lists, Deletes int64 // round trips; Lists counts pages of 1,000
	In                         int64 // bytes given to Put
	Out                        int64 // bytes delivered by Get
}

// RoundTrips is how often somebody had to wait for an answer.
func (c Counts) RoundTrips() int64 { return c.Puts + c.Gets + c.Lists + c.Deletes }

// Store is a store in memory. The zero Store is not usable: see New.
type Store struct {
	mu      sync.Mutex
	objects map[string]object
	names   []string // of all objects, sorted
	hook    Hook
	latency time.Duration
	clock   func() time.Time
	ops     int64
	counts  Counts
}

type object struct {
	data     []byte // never changed in place: readers copy without the lock
	modified time.Time
}

// New returns an empty store that never fails and answers at once.
func New() *Store {
	return &Store{objects: map[string]object{}, clock: time.Now}
}

// SetHook puts hook in place of the one before; nil for none.
func (s *Store) SetHook(hook Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// SetLatency makes every round trip take d.
func (s *Store) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// SetClock makes now the clock of the place, for Now and Object.Modified.
func (s *Store) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = now
}

// Now implements store.Clock. It is no operation that a hook sees.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock(), ctx.Err()
}

// Counts returns what the store was asked since it was made, or since
// ResetCounts.
func (s *Store) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// ResetCounts starts counting anew; operations are numbered from 1 again.
func (s *Store) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.ops = Counts{}, 0
}

// Tamper puts what edit returns in place of the object's bytes, as a failing
// disk or a hostile vault does. edit gets a copy that it may change in place.
// fault.NotExist if there is no such object.
func (s *Store) Tamper(name string, edit func([]byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if !ok {
		return fmt.Errorf("tamper with object %s: %w", name, fault.NotExist)
	}
	o.data = edit(bytes.Clone(o.data))
	s.objects[name] = o
	return nil
}

// Clone returns a store with the same objects, and with no hook, latency or
// counts: what another reader would find if everything stopped now.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := New()
	c.objects, c.names = maps.Clone(s.objects), slices.Clone(s.names)
	return c
}

// begin counts the operation, waits as long as a round trip takes and asks the
// hook. lost is the error to report once the operation is carried out.
func (s *Store) begin(ctx context.Context, op Op) (lost, err error) {
	s.mu.Lock()
	s.ops++
	op.N = s.ops
	switch op.Verb {
	case Put, Replace:
		s.counts.Puts++
		s.counts.In += int64(op.Size)
	case Get:
		s.counts.Gets++
	case List:
		s.counts.Lists++
	case Delete:
		s.counts.Deletes++
	}
	hook, latency := s.hook, s.latency
	s.mu.Unlock()
	if err := wait(ctx, latency); err != nil {
		return nil, fmt.Errorf("%s %s: %w", op.Verb, op.Name, err)
	}
	if hook == nil {
		return nil, nil
	}
	err, lost = hook(op)
	return lost, err
}

// wait returns after d, or when ctx is done.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := store.ValidName(name); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	lost, err := s.begin(ctx, Op{Verb: Put, Name: name, Size: len(data)})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[name]; !ok {
		s.set(name, data)
	} else if !bytes.Equal(o.data, data) {
		return fmt.Errorf("put %s: %w with other bytes", name, fault.Exist)
	}
	return lost
}

// Replace implements store.Replacer.
func (s *Store) Replace(ctx context.Context, name string, data []byte) error {
	if err := store.ValidName(name); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	lost, err := s.begin(ctx, Op{Verb: Replace, Name: name, Size: len(data)})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(name, data)
	return lost
}

// set makes data an object's bytes. The lock is held.
func (s *Store) set(name string, data []byte) {
	if _, ok := s.objects[name]; !ok {
		i, _ := slices.BinarySearch(s.names, name)
		s.names = slices.Insert(s.names, i, name)
	}
	s.objects[name] = object{data: bytes.Clone(data), modified: s.clock()}
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	if err := store.ValidName(name); err != nil {
		return 0, fmt.Errorf("get: %w", err)
	}
	if offset < 0 {
		return 0, fmt.Errorf("get %s: offset %d: %w", name, offset, fault.Invalid)
	}
	lost, err := s.begin(ctx, Op{Verb: Get, Name: name, Offset: offset, Size: len(dst)})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	o, ok := s.objects[name]
	s.mu.Unlock()
	if !ok {
		return 0, fmt.Errorf("get %s: %w", name, fault.NotExist)
	}
	n := 0
	if offset < int64(len(o.data)) {
		n = copy(dst, o.data[offset:])
	}
	s.mu.Lock()
	s.counts.Out += int64(n)
	s.mu.Unlock()
	return n, lost
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		after := ""
		for {
			lost, err := s.begin(ctx, Op{Verb: List, Name: prefix})
			if err == nil {
				err = lost // a listing has nothing to store: no reply, no names
			}
			if err != nil {
				yield(store.Object{}, err)
				return
			}
			page := s.page(prefix, after)
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
			}
			if len(page) < listPage {
				return
			}
			after = page[len(page)-1].Name
		}
	}
}

// page returns the objects of one round trip: those that come after the name
// after.
func (s *Store) page(prefix, after string) []store.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, found := slices.BinarySearch(s.names, max(prefix, after))
	if found && after >= prefix {
		from++
	}
	var page []store.Object
	for _, name := range s.names[from:] {
		if len(page) == listPage || !strings.HasPrefix(name, prefix) {
			break
		}
		o := s.objects[name]
		page = append(page, store.Object{Name: name, Size: int64(len(o.data)), Modified: o.modified})
	}
	return page
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := store.ValidName(name); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	lost, err := s.begin(ctx, Op{Verb: Delete, Name: name})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	if i, found := slices.BinarySearch(s.names, name); found {
		s.names = slices.Delete(s.names, i, i+1)
	}
	return lost
}
