package scrub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/reedsolomon"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

const (
	magicParity  = "tidmPAR\x01"
	prefixParity = "parity/"
	headParity   = 52
	dataShards   = 100 // so that a parity shard is one percent
	// MaxParity bounds the parity of a pack, in percent of its size.
	MaxParity = 100
)

// ParityName returns the name of the object that holds a pack's parity.
func ParityName(id pack.ID) string { return prefixParity + id.Name()[len(pack.Prefix):] }

// Parity returns the parity of a pack's object: Reed-Solomon over 100 runs of
// its bytes, so that damage to as many runs as there are percent heals. The
// bytes are those of FORMAT.md, 9.5.
func Parity(repository [16]byte, id pack.ID, object []byte, percent int) ([]byte, error) {
	if percent < 1 || percent > MaxParity || len(object) == 0 || len(object) > pack.MaxObject {
		return nil, fmt.Errorf("parity of %d percent for %d bytes: %w", percent, len(object), fault.Invalid)
	}
	size := (len(object) + dataShards - 1) / dataShards
	shards := cut(object, size, dataShards)
	for range percent {
		shards = append(shards, make([]byte, size))
	}
	code, err := reedsolomon.New(dataShards, percent, reedsolomon.WithMaxGoroutines(1))
	if err == nil {
		err = code.Encode(shards)
	}
	if err != nil {
		return nil, fmt.Errorf("parity of pack %s: %w", id, err)
	}
	b := append([]byte(magicParity), repository[:]...)
	b = append(b, id[:]...)
	for _, n := range []int{len(object), size} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	b = binary.LittleEndian.AppendUint16(b, dataShards)
	b = binary.LittleEndian.AppendUint16(b, uint16(percent))
	for _, s := range shards {
		sum := sha256.Sum256(s)
		b = append(b, sum[:]...)
	}
	sum := sha256.Sum256(b)
	b = append(b, sum[:]...)
	for _, s := range shards[dataShards:] {
		b = append(b, s...)
	}
	return b, nil
}

// cut cuts bytes into n shards of a size; zeros stand for what is not there.
func cut(object []byte, size, n int) [][]byte {
	shards := make([][]byte, n)
	for i := range shards {
		from, to := min(i*size, len(object)), min((i+1)*size, len(object))
		if shards[i] = object[from:to:to]; to-from < size {
			shards[i] = append(bytes.Clone(object[from:to]), make([]byte, size-to+from)...)
		}
	}
	return shards
}

// parity is a decoded object of parity.
type parity struct {
	id         pack.ID
	size       int // of the pack's object
	shard      int
	data, more int // shards
	sums       [][32]byte
	shards     []byte
}

// parseParity reads what Parity made; the parity shards themselves may be
// damaged.
func parseParity(b []byte) (*parity, error) {
	if len(b) < headParity || string(b[:8]) != magicParity {
		return nil, bad("no parity of version 1")
	}
	n := func(at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	p := &parity{
		id: pack.ID(b[24:40]), size: n(40), shard: n(44),
		data: int(binary.LittleEndian.Uint16(b[48:])), more: int(binary.LittleEndian.Uint16(b[50:])),
	}
	if p.data == 0 || p.more == 0 || p.data+p.more > 256 || p.size == 0 || p.size > pack.MaxObject ||
		p.shard != (p.size+p.data-1)/p.data || len(b) != headParity+32*(p.data+p.more+1)+p.more*p.shard {
		return nil, bad("parity of impossible sizes")
	}
	head := headParity + 32*(p.data+p.more)
	if sha256.Sum256(b[:head]) != [32]byte(b[head:head+32]) {
		return nil, bad("head of parity does not match its hash")
	}
	for i := range p.data + p.more {
		p.sums = append(p.sums, [32]byte(b[headParity+32*i:]))
	}
	p.shards = b[head+32:]
	return p, nil
}

func verifyParity(name string, data []byte) error {
	p, err := parseParity(data)
	if err != nil {
		return err
	}
	if ParityName(p.id) != name {
		return bad("it is that of pack %s", p.id)
	}
	for i, s := range cut(p.shards, p.shard, p.more) {
		if sha256.Sum256(s) != p.sums[p.data+i] {
			return bad("shard %d of the parity does not match its SHA-256", i)
		}
	}
	return nil
}

// heal returns the pack's object from what is left of it.
func (p *parity) heal(own []byte) ([]byte, error) {
	shards := append(cut(own[:min(len(own), p.size)], p.shard, p.data), cut(p.shards, p.shard, p.more)...)
	lost := 0
	for i := range shards {
		if sha256.Sum256(shards[i]) != p.sums[i] {
			shards[i] = nil
			lost++
		}
	}
	if lost > p.more {
		return nil, bad("%d of %d shards are damaged, and parity heals %d", lost, len(shards), p.more)
	}
	code, err := reedsolomon.New(p.data, p.more, reedsolomon.WithMaxGoroutines(1))
	if err == nil {
		err = code.ReconstructData(shards)
	}
	if err != nil {
		return nil, fmt.Errorf("heal pack %s from its parity: %w", p.id, err)
	}
	return bytes.Join(shards[:p.data], nil)[:p.size], nil
}

// MakeParity puts the parity of a pack, unless it is there.
func MakeParity(ctx context.Context, s store.Store, repository [16]byte, id pack.ID, object []byte, percent int) (made bool, err error) {
	if there, err := exists(ctx, s, ParityName(id)); there || err != nil {
		return false, err
	}
	b, err := Parity(repository, id, object, percent)
	if err != nil {
		return false, err
	}
	if err := s.Put(ctx, ParityName(id), b); err != nil && !errors.Is(err, fault.Exist) {
		return false, fmt.Errorf("put parity of pack %s: %w", id, err)
	}
	return true, nil
}

// FromParity returns the parity in a store as a Source.
func FromParity(s store.Store) Source { return paritySource{s} }

type paritySource struct{ store store.Store }

// Name implements Source.
func (paritySource) Name() string { return "parity" }

// Frame implements Source.
func (paritySource) Frame(context.Context, pack.Stored, []byte) ([]byte, error) {
	return nil, fault.NotExist
}

// Object implements Source.
func (p paritySource) Object(ctx context.Context, name string, own []byte) ([]byte, error) {
	id, err := pack.ParseName(name)
	if err != nil {
		return nil, fault.NotExist
	}
	b, err := store.ReadAll(ctx, p.store, ParityName(id), maxParityObject)
	if err != nil {
		return nil, err
	}
	decoded, err := parseParity(b)
	if err != nil {
		return nil, err
	}
	return decoded.heal(own)
}

// maxParityObject bounds an object of parity in bytes.
const maxParityObject = pack.MaxObject + 1<<20
