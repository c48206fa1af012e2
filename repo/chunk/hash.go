package chunk

import (
	"sync"

	"github.com/zeebo/blake3"
)

// Key is the secret under which chunks of one repository are named.
type Key [32]byte

// String hides the key, so that it cannot end up in a log by accident.
func (Key) String() string { return "secret" }

// GoString hides the key from %#v.
func (Key) GoString() string { return "secret" }

// Sum returns the ID of a chunk. It sets up a Hasher of some 10 KiB for each
// call: who names many chunks keeps a Hasher.
func (k *Key) Sum(data []byte) ID { return NewHasher(k).Sum(data) }

// Hasher names chunks under one key without setting it up, or allocating,
// for each of them. It is for one goroutine at a time.
type Hasher struct {
	h   *blake3.Hasher
	out [32]byte // here, because a local one would move to the heap
}

// NewHasher returns a Hasher for key.
func NewHasher(key *Key) *Hasher {
	return &Hasher{h: newKeyed((*[32]byte)(key))}
}

// Sum returns the ID of a chunk.
func (h *Hasher) Sum(data []byte) ID {
	h.Begin()
	h.Add(data)
	return h.ID()
}

// Begin begins a chunk that comes in pieces.
func (h *Hasher) Begin() { h.h.Reset() }

// Add adds the next piece.
func (h *Hasher) Add(piece []byte) { h.h.Write(piece) } // never fails

// ID returns the ID of all pieces since Begin.
func (h *Hasher) ID() ID {
	h.h.Sum(h.out[:0])
	return ID(h.out[:len(ID{})])
}

// newKeyed is blake3.NewKeyed, which fails only for keys that are not of 32
// bytes.
func newKeyed(key *[32]byte) *blake3.Hasher {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic("chunk: blake3 refuses a key of 32 bytes: " + err.Error())
	}
	return h
}

// Hashers names chunks for many goroutines: it keeps Hashers that are free.
type Hashers struct {
	free sync.Pool // *Hasher
}

// NewHashers returns Hashers for key.
func NewHashers(key Key) *Hashers {
	h := &Hashers{}
	h.free.New = func() any { return NewHasher(&key) }
	return h
}

// Sum returns the ID of a chunk.
func (h *Hashers) Sum(data []byte) ID {
	hasher := h.Take()
	defer h.Give(hasher)
	return hasher.Sum(data)
}

// Take returns a Hasher for the caller alone, until it gives it back.
func (h *Hashers) Take() *Hasher { return h.free.Get().(*Hasher) }

// Give takes a Hasher back.
func (h *Hashers) Give(hasher *Hasher) { h.free.Put(hasher) }
