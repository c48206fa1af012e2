package keep_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// A world is a repository without keys: its frames hold numbers of chunks in
// the clear, and the writers that work on it follow FORMAT.md, section 9, step
// by step, with the code that package repo uses.

var repository = [16]byte{7}

const day = 24 * time.Hour

type world struct {
	t     testing.TB
	store *mem.Store
	key   ed25519.PrivateKey

	operator *retain.Book

	mu     sync.Mutex
	now    time.Time
	chunks map[pack.ID][]int    // which chunk is in each frame
	kept   map[uint64]live.Hash // points whose writers were told that they are whole
	gone   map[uint64]bool      // points that the ledger has removed
}

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, store: mem.New(), key: ed25519.NewKeyFromSeed(make([]byte, 32)), now: time.Unix(1_800_000_000, 0),
		chunks: map[pack.ID][]int{}, kept: map[uint64]live.Hash{}, gone: map[uint64]bool{},
	}
	w.store.SetClock(w.clock)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// sleep lets time pass, and has the operator confirm that it did.
func (w *world) sleep(d time.Duration) {
	w.mu.Lock()
	w.now = w.now.Add(d)
	now := w.now.Unix()
	w.mu.Unlock()
	w.say(w.t.Context(), func(*retain.State) []ledger.Record { return []ledger.Record{ledger.Clock{Place: now, Machine: now}} })
}

// open opens the ledger. An actor that has it open reads on.
func (w *world) open(ctx context.Context, s store.Store) (*retain.Book, error) {
	if a, ok := s.(*actor); ok {
		if a.book != nil {
			return a.book, a.book.Refresh(ctx)
		}
		var err error
		a.book, err = retain.Open(ctx, s, retain.Options{Repository: repository})
		return a.book, err
	}
	return retain.Open(ctx, s, retain.Options{Repository: repository})
}

// say appends to the ledger.
func (w *world) say(ctx context.Context, plan func(*retain.State) []ledger.Record) {
	w.t.Helper()
	var err error
	if w.operator == nil {
		w.operator, err = w.open(ctx, w.store)
	} else {
		err = w.operator.Refresh(ctx)
	}
	book := w.operator
	if err != nil {
		w.t.Fatal(err)
	}
	reading := retain.Reading{Place: w.clock().Unix(), Machine: w.clock().Unix()}
	if _, err := book.Append(ctx, w.key, reading, func(s *retain.State, _ retain.Verdict) ([]ledger.Record, error) { return plan(s), nil }); err != nil {
		w.t.Fatal(err)
	}
}

// remove deletes a point by hand; its grace is the least.
func (w *world) remove(sequences ...uint64) {
	w.t.Helper()
	w.say(w.t.Context(), func(*retain.State) []ledger.Record {
		var out []ledger.Record
		for _, n := range sequences {
			out = append(out, ledger.Deleted{Sequence: n, Why: ledger.ByHand, GoneAfter: w.clock().Add(14 * day).Unix()})
		}
		return out
	})
}

func (w *world) prune(o keep.Options) *keep.Plan {
	w.t.Helper()
	p, err := w.pruneOn(w.t.Context(), w.store, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) pruneOn(ctx context.Context, s store.Store, o keep.Options) (*keep.Plan, error) {
	book, err := w.open(ctx, s)
	if err != nil {
		return nil, err
	}
	o.Repository, o.Key, o.Machine, o.Workers = repository, w.key, w.clock, 1
	return keep.Prune(ctx, s, book, o)
}

// frameBytes is the stored frame of a chunk in a pack.
func frameBytes(id pack.ID, frame, chunk int) []byte {
	b := make([]byte, 300+37*(chunk%7))
	copy(b, id[:])
	binary.LittleEndian.PutUint32(b[16:], uint32(frame))
	binary.LittleEndian.PutUint32(b[20:], uint32(chunk))
	return b
}

func geometry(frames int) pack.Geometry {
	return pack.Geometry{First: pack.MinStep, Step: pack.MinStep, Total: uint32(frames) * pack.MinStep}
}

// writer is one run.
type writer struct {
	*world
	store  store.Store
	ctx    context.Context
	server [16]byte
	run    uint64
	random *rand.Rand
	blind  bool // planted: it does not read the rounds again
}

var errRepeat = errors.New("condemned; again")

// backup writes a point that needs some chunks.
func (w *writer) backup(want []int) (uint64, error) {
	for range 8 {
		n, err := w.pass(want)
		if !errors.Is(err, errRepeat) {
			return n, err
		}
	}
	return 0, fmt.Errorf("condemned again and again: %w", fault.Unavailable)
}

func (w *writer) pass(want []int) (uint64, error) {
	absent, err := keep.ReadRounds(w.ctx, w.store, repository)
	if err != nil {
		return 0, err
	}
	set, err := w.save(want, absent)
	if err != nil {
		return 0, err
	}
	written, err := live.Write(w.ctx, w.store, set, live.WriteOptions{Absent: absent.Page})
	if err != nil {
		return 0, err
	}
	i := &keep.Intent{Repository: repository, Server: w.server, Run: w.run, Number: 1, Live: written.Root}
	if err := w.store.Put(w.ctx, i.Name(), i.Marshal()); err != nil {
		if errors.Is(err, fault.Exist) {
			w.run++
			return 0, errRepeat
		}
		return 0, err
	}
	outdated := func() (bool, error) {
		later, err := keep.ReadRounds(w.ctx, w.store, repository)
		return err == nil && (absent.Outdated(later) || later.Hits(set, written.Pages)), err
	}
	if !w.blind {
		if bad, err := outdated(); err != nil {
			return 0, err
		} else if bad {
			_ = w.store.Delete(w.ctx, i.Name())
			return 0, errRepeat
		}
	}
	n, id, err := w.putPoint(i)
	if err != nil {
		return 0, err
	}
	if gone, err := keep.Gone(w.ctx, w.store, i); err != nil {
		return 0, err
	} else if gone {
		if bad, err := outdated(); err != nil || bad {
			return 0, errors.Join(err, fault.Corrupt)
		}
		i = nil
	}
	w.mu.Lock()
	w.world.kept[n] = written.Root
	w.mu.Unlock()
	if i != nil {
		_ = w.store.Delete(w.ctx, i.Name())
	}
	return n, w.receive(n, id, written.Root)
}

// save stores what is not there, and returns what the point needs.
func (w *writer) save(want []int, absent *keep.Absent) (*live.Set, error) {
	set := live.NewSet()
	there, err := w.find(absent)
	if err != nil {
		return nil, err
	}
	var fresh []int
	for _, chunk := range want {
		at, ok := there[chunk]
		if !ok {
			fresh = append(fresh, chunk)
			continue
		}
		if err := set.Add(at.id, geometry(at.frames), uint32(at.frame)*pack.MinStep, pack.MinStep); err != nil {
			return nil, err
		}
	}
	for some := range slices.Chunk(fresh, 3) {
		id, err := w.putPack(some)
		if err != nil {
			return nil, err
		}
		if err := set.Add(id, geometry(len(some)), 0, uint32(len(some))*pack.MinStep); err != nil {
			return nil, err
		}
	}
	return set, nil
}

type found struct {
	id            pack.ID
	frame, frames int
}

// find is what a writer's index knows after it was brought up to date.
func (w *writer) find(absent *keep.Absent) (map[int]found, error) {
	packs := map[pack.ID]bool{}
	for o, err := range w.store.List(w.ctx, pack.Prefix) {
		if err != nil {
			return nil, err
		}
		if id, err := pack.ParseName(o.Name); err == nil {
			packs[id] = true
		}
	}
	moved, err := place.Generations(w.ctx, w.store)
	if err != nil {
		return nil, err
	}
	out := map[int]found{}
	add := func(id pack.ID, has func(int) bool) {
		w.mu.Lock()
		chunks := w.chunks[id]
		w.mu.Unlock()
		for i, chunk := range chunks {
			if has(i) && !absent.Needs(id, geometry(len(chunks)), uint32(i)*pack.MinStep, pack.MinStep) {
				out[chunk] = found{id, i, len(chunks)}
			}
		}
	}
	for id := range packs {
		if moved[id] == 0 {
			add(id, func(int) bool { return true })
		}
	}
	for id, g := range moved {
		m, err := place.Read(w.ctx, w.store, repository, id, g)
		if errors.Is(err, fault.NotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		add(id, func(i int) bool { _, _, _, ok := m.Find(i); return ok })
	}
	return out, nil
}

func (w *writer) putPack(chunks []int) (pack.ID, error) {
	id := pack.NewID(w.run)
	for i := range 8 { // from the seed, so that a schedule can be had again
		id[8+i] = byte(w.random.IntN(256))
	}
	h := &pack.Head{Repository: repository, ID: id, Epoch: 1}
	var frames []byte
	for i, chunk := range chunks {
		b := frameBytes(id, i, chunk)
		h.Lengths = append(h.Lengths, uint32(len(b)))
		h.Hashes = append(h.Hashes, sha256.Sum256(b))
		frames = append(frames, b...)
	}
	w.mu.Lock()
	w.chunks[id] = slices.Clone(chunks)
	w.mu.Unlock()
	return id, w.store.Put(w.ctx, id.Name(), append(h.Marshal(), frames...))
}

func (w *writer) putPoint(i *keep.Intent) (uint64, point.ID, error) {
	for range 20 {
		book, err := w.open(w.ctx, w.store)
		if err != nil {
			return 0, point.ID{}, err
		}
		var n uint64
		book.View(func(s *retain.State) { n = s.Highest() })
		for o, err := range w.store.List(w.ctx, point.Prefix) {
			if err != nil {
				return 0, point.ID{}, err
			}
			if k, err := point.ParseName(o.Name); err == nil {
				n = max(n, k)
			}
		}
		h := &point.Header{
			Repository: repository, Sequence: n + 1, Live: i.Live, BodyID: pack.NewID(w.run), Device: w.key.Public().(ed25519.PublicKey),
			BodySum: sha256.Sum256(nil),
		}
		object := h.Sign([32]byte{}, w.key)
		if gone, err := keep.Gone(w.ctx, w.store, i); err != nil {
			return 0, point.ID{}, err
		} else if gone {
			return 0, point.ID{}, errRepeat
		}
		err = w.store.Put(w.ctx, point.Name(n+1), object)
		if errors.Is(err, fault.Exist) {
			continue
		}
		return n + 1, h.ID, err
	}
	return 0, point.ID{}, fault.Unavailable
}

// receive writes the receipt.
func (w *writer) receive(n uint64, id point.ID, root live.Hash) error {
	book, err := w.open(w.ctx, w.store)
	if err != nil {
		return err
	}
	now := w.clock().Unix()
	_, err = book.Admit(w.ctx, w.key, retain.Reading{Place: now, Machine: now}, []retain.Arrival{{Sequence: n, ID: id, Live: root}})
	return err
}

func (w *world) writer(s store.Store, seed uint64) *writer {
	random := rand.New(rand.NewPCG(seed, 1))
	// Runs that begin in one microsecond, on several machines, have one number.
	return &writer{world: w, store: s, ctx: w.t.Context(), server: [16]byte{byte(random.Uint32())}, run: uint64(w.clock().UnixMicro()), random: random}
}

// write is a backup that nobody disturbs.
func (w *world) write(want ...int) uint64 {
	w.t.Helper()
	n, err := w.writer(w.store, uint64(w.clock().UnixNano())+uint64(len(w.chunks))).backup(want)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// note sees what is put into the ledger, so that the world knows which points
// may lose their frames.
func (w *world) note(name string, b []byte) {
	if !strings.HasPrefix(name, ledger.Prefix) {
		return
	}
	e, err := ledger.Parse(b)
	if err != nil {
		return
	}
	for _, r := range e.Records {
		if r, ok := r.(ledger.Removed); ok {
			w.mu.Lock()
			w.gone[r.Sequence] = true
			w.mu.Unlock()
		}
	}
}

// lost tells which kept point lacks what, "" if none does.
func (w *world) lost(ctx context.Context) string {
	s := w.store.Clone()
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, root := range w.kept {
		if w.gone[n] {
			continue
		}
		if _, err := s.Get(ctx, point.Name(n), 0, nil); err != nil {
			return fmt.Sprintf("point %d: %v", n, err)
		}
		for need, err := range live.Walk(ctx, s, root, nil) {
			if err != nil {
				return fmt.Sprintf("point %d: %v", n, err)
			}
			p, err := place.Find(ctx, s, repository, need.Pack)
			if err != nil {
				return fmt.Sprintf("point %d: %v", n, err)
			}
			for i, m := range need.Masks() {
				if m == 0 {
					continue
				}
				object, offset, length, ok := p.Frame(i)
				b := make([]byte, length)
				k, err := place.Get(ctx, s, object, int64(offset), b)
				if !ok || err != nil || k != len(b) || string(b) != string(frameBytes(need.Pack, i, w.chunks[need.Pack][i])) {
					return fmt.Sprintf("point %d lacks frame %d of pack %s: in %s: %v %v", n, i, need.Pack, object, ok, err)
				}
			}
		}
	}
	return ""
}

func (w *world) whole() {
	w.t.Helper()
	w.readRemoved()
	if lost := w.lost(w.t.Context()); lost != "" {
		w.t.Fatal(lost)
	}
}

// readRemoved asks the ledger which points may lose their frames.
func (w *world) readRemoved() {
	w.t.Helper()
	book, err := w.open(w.t.Context(), w.store)
	if err != nil {
		w.t.Fatal(err)
	}
	book.View(func(s *retain.State) {
		for n := range w.kept {
			_, w.gone[n] = s.Gone(n)
		}
	})
}

// names lists objects.
func (w *world) names(prefix string) []string {
	var out []string
	for o, err := range w.store.List(w.t.Context(), prefix) {
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, o.Name)
	}
	return out
}
