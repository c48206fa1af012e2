package repo

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Writer writes one point: it stores chunks and pages into packs, keeps the
// point's live set, and commits. Its methods are for one goroutine; behind
// them, workers compress and seal frames, and uploaders put packs.
//
//	Store ─► open pack of the kind ─► frames ─► workers ─► object ─► uploaders ─► index
//
// A pack enters the index only when it is durable. Until then its chunks are
// found in pending. What a killed Writer leaves are whole packs that no point
// names; the next Writer finds them, and their chunks need not be sent again.
type Writer struct {
	r       *Repository
	local   Local
	device  *Device
	job     string // "" if nothing is remembered of it
	hollow  *hollow
	index   *index.Index
	absent  *keep.Absent
	live    *live.Set
	run     uint64
	session seal.Key
	sealed  []byte // session key, sealed

	shapes [pack.NumKinds]shape

	open  [pack.NumKinds]*building
	pages map[pack.ID]*pagesPack
	used  map[pack.ID]*usedPack // packs of the live set
	later []table.Address       // to be added to it once their packs are durable

	group    *errgroup.Group
	ctx      context.Context // of the group: done once something failed
	stop     context.CancelFunc
	jobs     chan frameJob
	uploads  chan *building
	slots    chan struct{}              // a token per pack in memory
	objects  chan []byte                // free buffers of packs
	raws     [pack.NumKinds]chan []byte // free buffers of frames
	frames   chan []byte                // free buffers of sealed frames
	encoders chan *seal.Encoder         // free ones
	closed   []*building                // packs on their way
	claims   claims

	pagesBefore, pagesPut map[live.Hash]bool // of live sets: of the job's last point, of this one

	mu      sync.Mutex
	pending map[chunk.ID]table.Address
	own     map[pack.ID]pack.Geometry // packs that this run has stored

	until       time.Time // an end of the point's life that was asked for
	receipt     ledger.Receipt
	unreceipted error // why there is no receipt

	stored  atomic.Int64
	fresh   atomic.Int64
	renewed atomic.Int64
}

// WriterOptions bound a Writer.
type WriterOptions struct {
	Workers   int // compressing and sealing; 0: one per processor
	Uploaders int // 0: 2
	PackSize  int // stored bytes at which a pack is closed; 0: 16 MiB. Slow links want less
	FrameSize int // raw bytes of a frame of content, at least 4 KiB; 0: as the kind wants
	Now       time.Time
	Until     time.Time // the point lives at least so long; zero: as the policy says

	// Job names what is backed up: the machine's earlier runs with that name
	// saved the same folders. It is a name of a file; "" if there is none.
	Job    string
	Hollow HollowLimits // zero: the default
	// Alone says that no other run of the job is alive: the caller holds a lock.
	Alone bool
	Claim Step // zero: the default
}

// maxPacks bounds the packs in memory, open ones and those on their way. It
// must not be less than the kinds, or one kind would wait for another for ever.
// More than two kinds are seldom open at a time.
const maxPacks = pack.NumKinds

// NewWriter begins a run. It brings the index up to date with the packs in the
// store, which finds what a killed run left, and needs no private key.
func (r *Repository) NewWriter(ctx context.Context, l Local, o WriterOptions) (*Writer, error) {
	if !r.CanWrite() {
		return nil, fmt.Errorf("write to repository: %w", fault.Locked)
	}
	if o.Workers == 0 {
		o.Workers = processors()
	}
	if o.Uploaders == 0 {
		o.Uploaders = 2
	}
	w := &Writer{
		r: r, local: l, live: live.NewSet(), run: uint64(o.Now.UnixMicro()), until: o.Until,
		pages: make(map[pack.ID]*pagesPack), used: make(map[pack.ID]*usedPack), job: o.Job, hollow: &hollow{},
		pending: make(map[chunk.ID]table.Address), own: make(map[pack.ID]pack.Geometry), shapes: shapes,
		jobs: make(chan frameJob, o.Workers), uploads: make(chan *building), slots: make(chan struct{}, maxPacks),
		objects: make(chan []byte, maxPacks), frames: make(chan []byte, 2*o.Workers+2), encoders: make(chan *seal.Encoder, o.Workers+1),
	}
	for i := range w.raws {
		if o.PackSize > 0 {
			w.shapes[i].target = o.PackSize
		}
		if o.FrameSize > 0 && pack.Kind(i) != pack.Pages {
			w.shapes[i].step = uint32(o.FrameSize)
		}
		w.raws[i] = make(chan []byte, 2*o.Workers+2)
	}
	record := ""
	if o.Alone && o.Job != "" {
		record = l.claimsPath(o.Job)
	}
	w.claims = newClaims(o.Claim, record, o.Now)
	var err error
	if w.device, err = l.Device(); err != nil {
		return nil, err
	}
	if w.session, w.sealed, err = r.epoch.NewSession(); err != nil {
		return nil, err
	}
	if w.absent, err = r.readRounds(ctx); err != nil {
		return nil, err
	}
	if d := l.damaged(r.ID); d != nil {
		w.absent.Add(d)
	}
	if w.index, err = r.syncIndex(ctx, l, w.absent); err != nil {
		return nil, err
	}
	if w.job != "" {
		if o.Hollow == (HollowLimits{}) {
			o.Hollow = defaultHollow()
		}
		known := l.needed(r.ID, w.job)
		w.pagesBefore = known.pages
		w.hollow = w.chooseHollow(known, o.Hollow)
	}
	inner, stop := context.WithCancel(ctx)
	w.stop = stop
	w.group, w.ctx = errgroup.WithContext(inner)
	for range o.Workers {
		w.group.Go(w.sealFrames)
	}
	for range o.Uploaders {
		w.group.Go(w.upload)
	}
	return w, nil
}

// Close ends the run. Packs that are durable stay for the next one.
func (w *Writer) Close() error {
	w.stop()
	_ = w.group.Wait() // its error was returned by whoever met it
	return w.index.Close()
}

// Stored returns how many bytes were put into the vault so far.
func (w *Writer) Stored() int64 { return w.stored.Load() }

// Fresh returns how many bytes of content were not there before. What was
// stored again so that hollow frames die is not among them.
func (w *Writer) Fresh() int64 { return w.fresh.Load() }

// found is what is known of a chunk or page.
type found uint8

const (
	unknown  found = iota // or in a frame that a collector has condemned
	inHollow              // in a frame that this run wants to die
	there
)

// Has finds a chunk or page that is stored already and can be relied on.
func (w *Writer) Has(id chunk.ID) (table.Address, bool) {
	a, f := w.find(id)
	return a, f != unknown
}

func (w *Writer) find(id chunk.ID) (table.Address, found) {
	w.mu.Lock()
	a, ok := w.pending[id]
	w.mu.Unlock()
	if ok {
		return a, there
	}
	at, ok := w.index.Lookup(id)
	if !ok {
		return table.Address{}, unknown
	}
	p, ok := w.index.Pack(at.Pack)
	if !ok {
		return table.Address{}, unknown
	}
	a = table.Address{Pack: p.ID, Offset: at.Offset, Length: at.Length}
	switch {
	case w.lacks(a.Pack, p.Geometry, a.Offset, a.Length):
		return table.Address{}, unknown
	case w.hollow.has(a.Pack, p.Geometry, a.Offset, a.Length):
		return a, inHollow
	}
	return a, there
}

// Usable says whether content at an address may be taken over into the new
// point: its pack is in the store, and no collector has condemned it. Unlike
// the other methods it may be called beside them.
func (w *Writer) Usable(id pack.ID, offset, length uint32) bool {
	p, ok := w.packOf(id)
	return ok && !w.lacks(id, p.Geometry, offset, length)
}

func (w *Writer) packOf(id pack.ID) (index.Pack, bool) {
	n, ok := w.index.PackNumber(id)
	if !ok {
		return index.Pack{}, false
	}
	return w.index.Pack(n)
}

// Store stores a chunk, unless it is there, and returns its address and
// whether it was new. It does not keep data.
func (w *Writer) Store(kind pack.Kind, id chunk.ID, data []byte) (table.Address, bool, error) {
	known, f := w.find(id)
	again := f == inHollow && w.hollow.left.Load() >= int64(len(data))
	if f != unknown && !again && int(known.Length) == len(data) {
		return known, false, nil
	}
	b, err := w.room(kind, len(data))
	if err != nil {
		return table.Address{}, false, err
	}
	a, err := w.append(b, id, data)
	if err != nil {
		return table.Address{}, false, err
	}
	switch {
	case again:
		w.hollow.left.Add(-int64(len(data)))
		w.renewed.Add(int64(len(data)))
	case kind != pack.Pages:
		w.fresh.Add(int64(len(data)))
	}
	w.mu.Lock()
	w.pending[id] = a
	w.mu.Unlock()
	return a, true, nil
}

// Flush returns when everything stored so far is durable and in the index.
func (w *Writer) Flush() error {
	for kind := range w.open {
		if err := w.closePack(pack.Kind(kind)); err != nil {
			return err
		}
	}
	return w.settle()
}

// settle waits for the packs on their way.
func (w *Writer) settle() error {
	for _, b := range w.closed {
		select {
		case <-b.stored:
		case <-w.ctx.Done():
			return w.failure()
		}
	}
	w.closed = w.closed[:0]
	return nil
}

// failure returns why the workers stopped.
func (w *Writer) failure() error { return context.Cause(w.ctx) }
