package walk

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

const (
	sliceLen      = 8192     // entries that are stat'ed as one piece of work
	inodeOrderMin = 32       // fewer names are stat'ed as they come
	aheadMax      = 8 << 20  // bytes ready ahead of the consumer
	aheadNames    = 2 << 20  // bytes of names that a worker may read ahead
	headNames     = 24 << 20 // and that the folder at the head may use
	growStep      = 1 << 20  // bytes of names from which on lists grow in large steps
	scratchMax    = 4 << 20  // bytes of names that a worker keeps for reuse
	nodeCharge    = 1 << 10  // bytes that a folder itself takes, roughly
	direntBuffer  = 32 << 10

	entrySize = int(unsafe.Sizeof(Entry{}))
)

// walker is one walk.
type walker struct {
	ctx   context.Context // of the call of Walk, within which it lives
	o     Options
	table *table

	// headNames and friends, which tests make smaller.
	headNames, aheadNames, aheadMax, sliceLen int

	mu    sync.Mutex
	rouse sync.Cond // something to do, or room, or the end: for workers
	ready sync.Cond // something on the head is done: for the consumer
	todo  *node     // folders with work, in table order
	head  *node     // what the consumer waits for, or nil
	ahead int       // bytes ready or begun and not consumed
	full  bool      // ahead reached the maximum, and is not yet down to half
	idle  int       // workers that wait
	stop  bool
}

func newWalker(ctx context.Context, o Options) *walker {
	if o.Workers <= 0 {
		o.Workers = min(max(4, 2*runtime.GOMAXPROCS(0)), 16)
	}
	w := &walker{ctx: ctx, o: o, table: newTable(newPlaces(o.Elsewhere)),
		headNames: headNames, aheadNames: aheadNames, aheadMax: aheadMax, sliceLen: sliceLen}
	w.rouse.L = &w.mu
	w.ready.L = &w.mu
	return w
}

// task is one piece of work: listing a folder, or one of its slices.
type task struct {
	n    *node
	part *part // nil: list
}

// run is the body of the sequence that Walk returns.
func (w *walker) run(yield func(*Folder, error) bool) {
	roots, errs := plantRoots(w.o.Roots)
	for _, err := range errs {
		if !yield(nil, err) {
			return
		}
	}
	top := &node{roots: roots, full: roots.root, below: roots.root, phase: toList}
	top.h.init(w.table, nil, "/\x00"[:1], !roots.root)
	w.todo = top

	var workers sync.WaitGroup
	for range w.o.Workers {
		workers.Go(w.work)
	}
	defer func() {
		w.mu.Lock()
		w.stop = true
		w.rouse.Broadcast()
		w.mu.Unlock()
		workers.Wait()
	}()
	if !w.consume(top, yield) {
		w.table.close()
	}
}

// consume yields all folders in order. It returns false if the walk was left.
func (w *walker) consume(top *node, yield func(*Folder, error) bool) bool {
	self := newWorker(w)
	if !w.consumeNode(self, top, yield) {
		return false
	}
	stack := []*node{top}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		kid := w.nextKid(n)
		if kid == nil {
			n.h.release()
			stack[len(stack)-1] = nil
			stack = stack[:len(stack)-1]
			continue
		}
		if !w.consumeNode(self, kid, yield) {
			return false
		}
		stack = append(stack, kid)
	}
	return true
}

// nextKid returns the subfolder that comes next in the folder n, begun by a
// worker or not, or nil.
func (w *walker) nextKid(n *node) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n.first == nil && n.kidCount > 0 {
		w.takeKid(n).phase = toList
	}
	k := n.first
	if k != nil {
		if n.first = k.sibling; n.first == nil {
			n.tail = nil
		}
		k.sibling = nil
		w.consumed(k.charge)
		k.charge = 0
	}
	return k
}

// consumeNode yields the slices of one folder.
func (w *walker) consumeNode(self *worker, n *node, yield func(*Folder, error) bool) bool {
	for i := 0; ; i++ {
		if err := w.ctx.Err(); err != nil {
			yield(nil, fmt.Errorf("walk: %w", err))
			return false
		}
		p := w.await(self, n, i)
		more := p.More
		if !yield(&p.Folder, nil) {
			return false
		}
		w.mu.Lock()
		w.consumed(p.charge)
		w.mu.Unlock()
		if !more {
			return true
		}
	}
}

// await returns part i of the folder at the head: done by a worker, or here.
func (w *walker) await(self *worker, n *node, i int) *part {
	// No deferred Unlock here and in work: callbacks run without the lock, and
	// if one panics there is none to undo.
	w.mu.Lock()
	for {
		if i < len(n.parts) && n.parts[i].done {
			p := n.parts[i]
			n.parts[i] = nil
			w.head = nil
			w.mu.Unlock()
			return p
		}
		var t task
		var ok bool
		switch {
		case n.phase == toList:
			n.phase = inList
			t, ok = task{n: n}, true
		case n.phase == toStat && n.taken <= i:
			t, ok = w.takePart(n), true
		default:
			t, ok = w.nextTask()
		}
		if !ok {
			w.head = n
			w.ready.Wait()
			continue
		}
		w.mu.Unlock()
		self.do(t, t.n == n)
		w.mu.Lock()
	}
}

// consumed gives back room, and wakes the workers when there is enough to be
// worth it. The caller holds mu.
func (w *walker) consumed(bytes int) {
	w.ahead -= bytes
	if w.full && w.ahead < w.aheadMax/2 {
		w.full = false
		w.rouse.Broadcast()
	}
}

// nextTask takes the first piece of work in table order, if there is room for
// what it yields. Folders that somebody works on stand in the list, too, but
// there are no more of them than workers; and of those too big to be listed
// ahead no more than fit the room. The caller holds mu.
func (w *walker) nextTask() (task, bool) {
	if w.full {
		return task{}, false
	}
	if w.ahead >= w.aheadMax {
		w.full = true
		return task{}, false
	}
	for n := w.todo; n != nil; n = n.next {
		switch n.phase {
		case toList:
			if !n.headOnly {
				n.phase = inList
				return task{n: n}, true
			}
		case toStat:
			return w.takePart(n), true
		case toEnter:
			return task{n: w.takeKid(n)}, true
		}
	}
	return task{}, false
}

// takePart takes the next slice of a big folder. The caller holds mu.
func (w *walker) takePart(n *node) task {
	p := n.parts[n.taken]
	if n.taken++; n.taken == len(n.parts) {
		n.phase = inStat
	}
	p.charge = entrySize * (p.to - p.from)
	w.ahead += p.charge
	return task{n: n, part: p}
}

// work is the life of one worker.
func (w *walker) work() {
	k := newWorker(w)
	w.mu.Lock()
	for !w.stop {
		t, ok := w.nextTask()
		if !ok {
			w.idle++
			w.rouse.Wait()
			w.idle--
			continue
		}
		w.mu.Unlock()
		k.do(t, false)
		w.mu.Lock()
	}
	w.mu.Unlock()
}

// listing is what listing a folder gave.
type listing struct {
	part   *part     // done: the folder, or the rest of it
	names  *nameList // or else names, of which
	parts  []*part   // these slices are to be stat'ed
	head   bool      // the consumer listed it: names have a bound of their own
	tooBig bool      // or nothing: the folder is left to the consumer, so that
	// there is only one such list of names in memory
}

// listed takes in what listing n gave. The caller does not hold mu.
func (w *walker) listed(n *node, r listing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.consumed(n.nameCharge) // of its postponement
	n.nameCharge = 0
	switch {
	case r.tooBig:
		n.phase, n.headOnly = toList, true
		n.nameCharge = w.aheadNames
		w.ahead += n.nameCharge
	case r.names != nil:
		n.addParts(r.parts...)
		n.phase, n.names = toStat, r.names
		n.more, n.last = r.names.cut, r.names.last()
		if !r.head {
			n.nameCharge = r.names.memory()
			w.ahead += n.nameCharge
		}
		w.wake(len(r.parts) - 1)
	default:
		n.addParts(r.part)
		n.taken, n.done, n.more = len(n.parts), len(n.parts), false
		w.ahead += r.part.charge
		w.partDone(n, r.part)
		w.passDone(n)
	}
	w.tell(n)
}

// partDone notes that p is ready. The caller holds mu.
func (w *walker) partDone(n *node, p *part) {
	p.done = true
	n.kidCount += p.kidCount
	n.kids[p.index], p.kids = p.kids, nil
}

// passDone goes on to the next range of names, or to the subfolders. The
// caller holds mu.
func (w *walker) passDone(n *node) {
	if n.more {
		n.phase, n.headOnly = toList, true
		return
	}
	if n.kidCount == 0 {
		w.finish(n)
		return
	}
	n.phase = toEnter
	w.wake(n.kidCount - 1)
}

// wake wakes idle workers for pieces of work beyond the one that who found
// them takes. The caller holds mu.
func (w *walker) wake(pieces int) {
	for range min(pieces, w.idle) {
		w.rouse.Signal()
	}
}

// tell wakes the consumer if it waits for n. The caller holds mu.
func (w *walker) tell(n *node) {
	if w.head == n {
		w.head = nil
		w.ready.Signal()
	}
}
