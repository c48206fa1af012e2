package walk

import (
	"errors"
)

// worker is the scratch memory of one goroutine that lists and stats.
type worker struct {
	w     *walker
	buf   []byte
	names nameList
	order []uint32
	kids  []byte
}

func newWorker(w *walker) *worker {
	return &worker{w: w, buf: make([]byte, direntBuffer)}
}

// do does one piece of work. head says that the consumer needs it now.
func (k *worker) do(t task, head bool) {
	if t.part != nil {
		k.stat(t.n, t.part)
		return
	}
	k.list(t.n, head)
}

// list lists a folder and tells the walker. By then the descriptor is not in
// use any more: the consumer may release the folder at once.
func (k *worker) list(n *node, head bool) {
	again := n.opened
	fd, err := k.open(n)
	if err != nil {
		k.w.listed(n, listing{part: n.failed(err)})
		return
	}
	r := k.listOpen(n, fd, again, head)
	n.h.unpin()
	k.w.listed(n, r)
}

// listOpen reads the names of a folder, or of a giant one the next range of
// names. A folder of ordinary size is stat'ed at once.
func (k *worker) listOpen(n *node, fd int, again, head bool) listing {
	if n.dev != 0 && n.stat.Dev != n.dev { // mounted since its lstat
		return listing{part: n.newPart(0, 0)}
	}
	if n.upDev != 0 && n.stat.Dev != n.upDev && isMadeUp(fd) {
		if n.full = false; n.roots == nil {
			return listing{part: n.newPart(0, 0)}
		}
	}
	if !n.full {
		return listing{part: k.listSteps(n, fd)}
	}
	limit := k.w.headNames
	if !head {
		limit = k.w.aheadNames
	}
	if k.names.memory() > scratchMax {
		k.names = nameList{}
	}
	l := &k.names
	l.reset(n.last, limit)
	err := n.h.readNames(fd, l, k.buf, again, !head)
	if errors.Is(err, errBig) {
		return listing{tooBig: true}
	}
	l.sort()
	if n.last == "" && k.w.o.Enter != nil {
		n.note = k.w.o.Enter(&Folder{Path: n.h.path, Stat: n.stat, h: &n.h, names: l, whole: !l.cut}, n.above)
	}
	if len(l.recs) > k.w.sliceLen || l.cut {
		return listing{parts: n.cutParts(l, k.w.sliceLen, err), names: l.handOver(), head: head}
	}
	p := n.newPart(0, len(l.recs))
	p.Err = err
	k.fill(n, p, l, fd)
	p.charge = entrySize*len(p.Entries) + len(l.buf)
	return listing{part: p}
}

// open opens the folder, or pins it if it was opened before.
func (k *worker) open(n *node) (int, error) {
	if n.opened {
		return n.h.pin()
	}
	fd, st, err := n.h.open()
	if err == nil {
		n.opened, n.stat = true, st
	}
	return fd, err
}

// stat does one slice of a big folder.
func (k *worker) stat(n *node, p *part) {
	fd, err := n.h.pin()
	if err != nil {
		p.Err = err
	} else {
		k.fill(n, p, n.names, fd)
		n.h.unpin()
	}
	w := k.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partDone(n, p)
	if n.done++; n.done == len(n.parts) {
		w.consumed(n.nameCharge)
		n.nameCharge, n.names = 0, nil
		w.passDone(n)
	}
	w.tell(n)
}

// fill makes the entries of a part: lstat, Select, subfolders.
func (k *worker) fill(n *node, p *part, l *nameList, fd int) {
	p.Entries = l.slice(p.from, p.to)
	k.order = l.inodeOrder(k.order, p.from, p.to)
	n.h.lstatAll(fd, p.Entries, k.order)
	p.names, p.whole = l, !l.cut && l.after == ""
	k.choose(n, p)
	p.names = nil
}

// choose asks Select about the entries and notes the folders to enter.
func (k *worker) choose(n *node, p *part) {
	o := &k.w.o
	kept := 0
	k.kids = k.kids[:0]
	all := p.Entries
	for i := range all {
		e := &all[i]
		verdict := Keep
		below := n.full || n.roots.child(e.Name).root
		if o.Select != nil && e.Err == nil && below {
			verdict = o.Select(&p.Folder, e)
		}
		if verdict == Skip {
			continue
		}
		if verdict == Keep && e.Err == nil && e.Stat.IsFolder() {
			k.noteKid(n, p, e)
		}
		if kept < i {
			all[kept] = *e
		}
		kept++
	}
	clear(all[kept:])
	p.Entries = all[:kept:kept]
	if len(k.kids) > 0 {
		p.kids = append([]byte(nil), k.kids...)
	}
}

// noteKid notes that e is to be entered, unless it is on a file system that
// is not wanted.
func (k *worker) noteKid(n *node, p *part, e *Entry) {
	flag := byte(kidSame)
	if k.w.o.OneFileSystem && n.full && e.Stat.Dev != n.stat.Dev {
		if n.roots.child(e.Name) == nil {
			return
		}
		flag = kidCrosses
	}
	k.kids = appendKid(k.kids, flag, e.Name)
	p.kidCount++
}

// listSteps makes the only part of a folder above the roots: the entries that
// lead to them.
func (k *worker) listSteps(n *node, fd int) *part {
	p := n.newPart(0, 0)
	for _, name := range n.roots.names {
		e := Entry{Name: name}
		e.Stat, e.Err = n.h.statAt(fd, name, !n.below && !n.roots.below[name].root)
		p.Entries = append(p.Entries, e)
	}
	k.choose(n, p)
	p.charge = entrySize * len(p.Entries)
	return p
}

func (n *node) newPart(from, to int) *part {
	return &part{Folder: Folder{Path: n.h.path, Stat: n.stat, Note: n.note, h: &n.h}, from: from, to: to}
}

// failed makes the part of a folder that cannot be read.
func (n *node) failed(err error) *part {
	p := n.newPart(0, 0)
	p.Err = err
	return p
}

// cutParts cuts a big folder's names into slices. A failure of the listing is
// told with the last.
func (n *node) cutParts(l *nameList, size int, err error) []*part {
	var parts []*part
	for from := 0; from == 0 || from < len(l.recs); from += size {
		p := n.newPart(from, min(from+size, len(l.recs)))
		p.More = true
		parts = append(parts, p)
	}
	last := parts[len(parts)-1]
	last.More, last.Err = l.cut, err
	return parts
}

// handOver gives the names to a folder that keeps them while its slices are
// stat'ed; the worker begins a new list.
func (l *nameList) handOver() *nameList {
	names := *l
	*l = nameList{}
	return &names
}
