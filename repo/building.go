package repo

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/index"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// shape is how packs of a kind are made.
type shape struct {
	step   uint32
	target int // stored bytes at which a pack is closed
	effort seal.Effort
}

// Steps and efforts from measurements. Files of /usr/share in frames of 128 KiB,
// 512 KiB, 1 and 2 MiB shrink to 0.421, 0.400, 0.388 and 0.380 of their size;
// they wait for the disk, so that there is time for the careful level. A large
// file waits for the processor: at the fast level, frames of 512 KiB are 6 %
// larger than at the careful one, in 2/3 of the time; those of 256 KiB would be
// 2 % larger again. Of an image 4 KiB are read at a time: in frames of 128, 256
// and 512 KiB it takes 1.08, 1.04 and 1.02 of what restic takes, and gives 1,
// 0.82 and 0.44 times as many random reads.
var shapes = [pack.NumKinds]shape{
	pack.Small:  {step: 2 << 20, target: 16 << 20, effort: seal.Careful},
	pack.Large:  {step: 512 << 10, target: 16 << 20, effort: seal.Fast},
	pack.Blocks: {step: 256 << 10, target: 16 << 20, effort: seal.Careful},
	pack.Pages:  {step: 64 << 10, target: 16 << 20, effort: seal.Careful},
}

const (
	maxPackRaw    = 128 << 20 // what compresses well fills raw bytes before stored ones
	maxPackChunks = 32768     // keeps chunk lists below 1 MiB
	// firstRoom is what an object under way begins with: most runs store little.
	// What is longer gets the room of a whole pack at once, and headRoom before
	// its frames, so that the head, whose size is known last, is put there
	// without moving 16 MiB. Only a pack of thousands of tiny files has a longer
	// one.
	firstRoom = 64 << 10
	headRoom  = 256 << 10
)

// building is a pack that is being filled.
type building struct {
	id     pack.ID
	kind   pack.Kind
	shape  *shape
	first  uint32
	box    *seal.Box
	commit [32]byte

	// Of the goroutine that stores:
	at     uint32 // raw offset of the next byte
	start  uint32 // of the frame that is being filled
	raw    []byte // that frame's bytes so far, after room for a head
	next   uint32 // its number
	chunks []index.Chunk

	mu      sync.Mutex
	object  []byte // before bytes of room, then the frames in order
	before  int    // 0, or headRoom
	lengths []uint32
	hashes  [][32]byte
	early   map[uint32][]byte // sealed frames whose turn has not come
	frames  int               // frames handed to workers; -1 until the pack is closed
	total   uint32

	stored chan struct{} // closed once the pack is durable and in the index
}

// frameJob is a frame for the workers.
type frameJob struct {
	pack   *building
	number uint32
	span   uint32 // bytes that the frame spans
	raw    []byte
}

// room returns the open pack of a kind, after closing one that is full.
func (w *Writer) room(kind pack.Kind, n int) (*building, error) {
	b := w.open[kind]
	if b != nil && b.full(n) {
		if err := w.closePack(kind); err != nil {
			return nil, err
		}
		b = nil
	}
	if b == nil {
		select {
		case w.slots <- struct{}{}:
		case <-w.ctx.Done():
			return nil, w.failure()
		}
		b = w.newPack(kind)
		w.open[kind] = b
	}
	return b, nil
}

func (b *building) full(n int) bool {
	b.mu.Lock()
	stored := len(b.object) - b.before
	done := len(b.lengths)
	b.mu.Unlock()
	// Frames on their way count as if nothing shrank: a pack then ends a
	// little early rather than late.
	onTheWay := (int(b.next) - done) * int(b.shape.step)
	return stored+onTheWay/2 >= b.shape.target || int(b.at)+n > maxPackRaw || len(b.chunks) >= maxPackChunks
}

func (w *Writer) newPack(kind pack.Kind) *building {
	s := &w.shapes[kind]
	b := &building{id: pack.NewID(w.run), kind: kind, shape: s, first: s.step, early: make(map[uint32][]byte), frames: -1, stored: make(chan struct{})}
	if kind == pack.Small || kind == pack.Large {
		b.first = s.step/8 + rand.Uint32N(s.step-s.step/8) + 1
	}
	b.box, b.commit = w.r.keys.Pack(w.session, b.id)
	b.object = take(w.objects, firstRoom)
	b.begin()
	return b
}

// whole is the room that an object of its shape takes.
func (b *building) whole() int { return headRoom + b.shape.target + int(b.shape.step)*3/2 }

// begin leaves room for the head in a buffer that has room for a whole pack.
func (b *building) begin() {
	if b.before = 0; cap(b.object) >= b.whole() {
		b.before = headRoom
	}
	b.object = b.object[:b.before]
}

// grow makes room for n bytes more: that of a whole pack, when the first is
// full.
func (b *building) grow(n int) {
	if len(b.object)+n <= cap(b.object) || cap(b.object) >= b.whole() {
		return
	}
	whole := make([]byte, headRoom+len(b.object)-b.before, max(b.whole(), headRoom+len(b.object)-b.before+n))
	copy(whole[headRoom:], b.object[b.before:])
	b.object, b.before = whole, headRoom
}

// end returns where the frame that is being filled ends.
func (b *building) end() uint32 {
	if b.next == 0 {
		return b.first
	}
	return b.start + b.shape.step
}

// append puts a chunk into the pack.
func (w *Writer) append(b *building, id chunk.ID, data []byte) (table.Address, error) {
	whole := b.kind == pack.Blocks || b.kind == pack.Pages
	if whole && b.at > b.start && uint32(len(data)) > b.end()-b.at {
		if err := w.endFrame(b); err != nil { // it would cross a step
			return table.Address{}, err
		}
	}
	a := table.Address{Pack: b.id, Offset: b.at, Length: uint32(len(data))}
	b.chunks = append(b.chunks, index.Chunk{ID: id, Offset: a.Offset, Length: a.Length})
	for len(data) > 0 {
		if b.raw == nil {
			b.raw = take(w.raws[b.kind], seal.HeadRoom+int(b.shape.step))[:seal.HeadRoom]
		}
		n := min(int(b.end()-b.at), len(data))
		b.raw = append(b.raw, data[:n]...)
		b.at += uint32(n)
		data = data[n:]
		if b.at == b.end() {
			if err := w.endFrame(b); err != nil {
				return table.Address{}, err
			}
		}
	}
	return a, nil
}

// endFrame hands the frame that is being filled to the workers, full or not.
func (w *Writer) endFrame(b *building) error {
	end := b.end()
	job := frameJob{pack: b, number: b.next, span: end - b.start, raw: b.raw}
	b.raw, b.start, b.at = nil, end, end
	b.next++
	return w.hand(job)
}

func (w *Writer) hand(job frameJob) error {
	select {
	case w.jobs <- job:
		return nil
	case <-w.ctx.Done():
		return w.failure()
	}
}

// closePack ends the open pack of a kind; it is put once its frames are sealed.
func (w *Writer) closePack(kind pack.Kind) error {
	b := w.open[kind]
	if b == nil {
		return nil
	}
	w.open[kind] = nil
	var last *frameJob
	if b.at > b.start { // the last frame ends with the pack
		last = &frameJob{pack: b, number: b.next, span: b.at - b.start, raw: b.raw}
		b.raw = nil
		b.next++
	} // else it was full: none ends early without another chunk behind it
	// What is durable goes first: a run of days closes packs by the hundred
	// thousand, and each holds its chunk list.
	w.closed = append(slices.DeleteFunc(w.closed, (*building).isStored), b)
	w.useLater()
	b.mu.Lock()
	b.frames, b.total = int(b.next), b.at
	ready := last == nil && len(b.lengths) == b.frames
	b.mu.Unlock()
	if last != nil {
		return w.hand(*last)
	}
	if ready {
		return w.handPack(b)
	}
	return nil
}

// isStored says whether the pack is durable and in the index.
func (b *building) isStored() bool {
	select {
	case <-b.stored:
		return true
	default:
		return false
	}
}

func (w *Writer) handPack(b *building) error {
	select {
	case w.uploads <- b:
		return nil
	case <-w.ctx.Done():
		return w.failure()
	}
}

// sealFrames is a worker: it compresses and seals frames.
func (w *Writer) sealFrames() error {
	var sealer *seal.Sealer
	var of *building
	for {
		var job frameJob
		select {
		case job = <-w.jobs:
		case <-w.ctx.Done():
			return nil
		}
		b := job.pack
		if of != b {
			of, sealer = b, b.box.Sealer()
		}
		kind := seal.DataFrame
		if b.kind == pack.Pages {
			kind = seal.PageFrame
		}
		encoder := w.encoder()
		plain := encoder.EncodeInPlace(job.raw, b.shape.effort, int(b.shape.step))
		sealed := sealer.Seal(take(w.frames, seal.Overhead+len(plain)), plain, seal.AD{Pack: b.id, Number: job.number, Kind: kind, Raw: job.span})
		w.encoders <- encoder
		give(w.raws[b.kind], job.raw)
		if b.place(job.number, sealed, w.frames) {
			if err := w.handPack(b); err != nil {
				return err
			}
		}
	}
}

// encoder returns an encoder that nobody uses. Give it back to w.encoders: to make
// the tables of one takes longer than to encode a small file, or a point.
func (w *Writer) encoder() *seal.Encoder {
	select {
	case e := <-w.encoders:
		return e
	default:
		return seal.NewEncoder()
	}
}

// place puts a sealed frame into the object, in order, and says whether the
// object now has all of its frames. Its buffer is given back to free.
func (b *building) place(number uint32, sealed []byte, free chan []byte) bool {
	sum := sha256.Sum256(sealed)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hashes = longer(b.hashes, int(number)+1)
	b.hashes[number] = sum
	if int(number) != len(b.lengths) {
		b.early[number] = sealed
		return false
	}
	for sealed != nil {
		b.grow(len(sealed))
		b.object = append(b.object, sealed...)
		b.lengths = append(b.lengths, uint32(len(sealed)))
		give(free, sealed)
		n := uint32(len(b.lengths))
		sealed = b.early[n]
		delete(b.early, n)
	}
	return len(b.lengths) == b.frames
}

func longer(s [][32]byte, n int) [][32]byte {
	for len(s) < n {
		s = append(s, [32]byte{})
	}
	return s
}

// upload is a worker: it finishes objects and puts them.
func (w *Writer) upload() error {
	for {
		select {
		case b := <-w.uploads:
			if err := w.put(b); err != nil {
				return err
			}
		case <-w.ctx.Done():
			return nil
		}
	}
}

func (w *Writer) put(b *building) error {
	list := marshalChunks(b.chunks)
	g := pack.Geometry{First: min(b.first, b.total), Step: b.shape.step, Total: b.total, List: uint32(len(list)), Kind: b.kind}
	if err := g.Validate(b.frames); err != nil {
		return fmt.Errorf("build pack %s: %w", b.id, err)
	}
	sealer := w.r.keys.Index().Sealer()
	h := pack.Head{Repository: w.r.ID, ID: b.id, Epoch: w.r.epoch.Number, Commitment: b.commit, Session: w.sealed, Lengths: b.lengths, Hashes: b.hashes}
	copy(h.Geometry[:], sealer.Seal(nil, g.Marshal(), seal.AD{Pack: b.id, Kind: seal.Geometry, Raw: pack.GeometrySize}))
	var encoder seal.Encoder
	h.ChunkList = sealer.Seal(nil, encoder.Encode(nil, list, seal.Store, 0), seal.AD{Pack: b.id, Kind: seal.ChunkList, Raw: g.List})
	head := h.Marshal()
	object := b.object
	if len(head) <= b.before {
		object = object[b.before-len(head):]
		copy(object, head)
	} else {
		object = append(head, object[b.before:]...)
	}
	if err := w.r.store.Put(w.ctx, b.id.Name(), object); err != nil {
		return fmt.Errorf("store pack: %w", err)
	}
	w.stored.Add(int64(len(object)))
	if b.kind == pack.Pages {
		w.rememberPages(b, uint32(len(head)))
	}
	return w.enter(b, index.Pack{ID: b.id, Geometry: g, Size: uint32(len(object))})
}

// enter makes a durable pack known, and gives back its memory.
func (w *Writer) enter(b *building, p index.Pack) error {
	if _, err := w.index.Add(p, b.chunks); err != nil {
		return fmt.Errorf("add pack to index: %w", err)
	}
	w.claimed(p.ID, p.Geometry)
	w.mu.Lock()
	for i := range b.chunks {
		if w.pending[b.chunks[i].ID].Pack == b.id {
			delete(w.pending, b.chunks[i].ID)
		}
	}
	w.mu.Unlock()
	give(w.objects, b.object)
	b.object = nil
	<-w.slots
	close(b.stored)
	return nil
}

// take returns an empty buffer of at least n bytes of capacity. Free buffers
// are kept in channels and not in a sync.Pool, which would give 16 MiB back to
// the collector and take it again, pack after pack.
func take(free chan []byte, n int) []byte {
	select {
	case b := <-free:
		if cap(b) >= n {
			return b[:0]
		}
	default:
	}
	return make([]byte, 0, n)
}

func give(free chan []byte, b []byte) {
	select {
	case free <- b:
	default:
	}
}

// marshalChunks writes a chunk list, FORMAT.md 4.5.
func marshalChunks(chunks []index.Chunk) []byte {
	b := binary.AppendUvarint(make([]byte, 0, 8+len(chunks)*20), uint64(len(chunks)))
	end := uint32(0)
	for i := range chunks {
		c := &chunks[i]
		b = binary.AppendUvarint(b, uint64(c.Offset-end))
		b = binary.AppendUvarint(b, uint64(c.Length))
		b = append(b, c.ID[:]...)
		end = c.Offset + c.Length
	}
	return b
}
