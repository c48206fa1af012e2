package keep

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// The file in which a collector keeps its counts:
//
//	magic "tidmCNT" 01, repository (16)
//	uvarint n, for each point: uvarint sequence, root (32)
//	uvarint n, for each page: hash (32), uvarint count
//	uvarint n, for each pack: ID (16), uvarint frames, then runs until those
//	  are covered: uvarint count, uvarint length
//	uvarint n, for each pack or container judged: ID (16), u64
//	uvarint n, for each moved pack: ID (16), uvarint generation, uvarint n, containers (16 each)
//	SHA-256 of everything before
//
// It may be lost at any time, and one that is not whole is as good as none:
// then everything is counted anew.
const (
	magicCounts = "tidmCNT\x01"
	maxCounts   = 2 << 30
)

func (c *counts) marshal() []byte {
	b := append([]byte(magicCounts), c.repository[:]...)
	b = binary.AppendUvarint(b, uint64(len(c.roots)))
	for n, root := range c.roots {
		b = binary.AppendUvarint(b, n)
		b = append(b, root[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(c.pages)))
	for h, n := range c.pages {
		b = append(b, h[:]...)
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.AppendUvarint(b, uint64(len(c.frames)))
	for id, frames := range c.frames {
		b = append(b, id[:]...)
		b = binary.AppendUvarint(b, uint64(len(frames)))
		for i := 0; i < len(frames); {
			k := i + 1
			for k < len(frames) && frames[k] == frames[i] {
				k++
			}
			b = binary.AppendUvarint(b, uint64(frames[i]))
			b = binary.AppendUvarint(b, uint64(k-i))
			i = k
		}
	}
	b = binary.AppendUvarint(b, uint64(len(c.judged)))
	for id, n := range c.judged {
		b = append(b, id[:]...)
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(c.moved)))
	for id, m := range c.moved {
		b = append(b, id[:]...)
		b = binary.AppendUvarint(b, uint64(m.generation))
		b = binary.AppendUvarint(b, uint64(len(m.containers)))
		for _, container := range m.containers {
			b = append(b, container[:]...)
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// countsReader reads fields; after a failure all are zero.
type countsReader struct {
	b   []byte
	bad bool
}

func (r *countsReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *countsReader) uvarint(limit uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	if r.bad || size <= 0 || n > limit {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count reads the length of a list whose records take least bytes at least.
func (r *countsReader) count(least int) int { return int(r.uvarint(uint64(len(r.b) / least))) }

func (r *countsReader) id() pack.ID { return pack.ID(r.take(16)) }

// parseCounts reads what marshal wrote.
func parseCounts(b []byte, repository [16]byte) (*counts, error) {
	bad := fmt.Errorf("counts of a collector: %w", fault.Corrupt)
	n := len(b) - sha256.Size
	if n < 24 || string(b[:8]) != magicCounts || [16]byte(b[8:24]) != repository || sha256.Sum256(b[:n]) != [32]byte(b[n:]) {
		return nil, bad
	}
	c := newCounts(repository)
	r := &countsReader{b: b[24:n]}
	for range r.count(33) {
		n := r.uvarint(1 << 48)
		c.roots[n] = live.Hash(r.take(32))
	}
	pages := r.count(33)
	c.pages = make(map[live.Hash]pageCount, pages)
	for range pages {
		h := live.Hash(r.take(32))
		c.pages[h] = pageCount(r.uvarint(1<<32 - 1))
	}
	for range r.count(19) {
		id := r.id()
		frames := make([]uint32, r.uvarint(pack.MaxFrames))
		for i := 0; i < len(frames) && !r.bad; {
			value, length := r.uvarint(1<<32-1), int(r.uvarint(pack.MaxFrames))
			if length == 0 || i+length > len(frames) {
				return nil, bad
			}
			for range length {
				frames[i] = uint32(value)
				i++
			}
		}
		c.frames[id] = frames
	}
	for range r.count(24) {
		id := r.id()
		c.judged[id] = binary.LittleEndian.Uint64(r.take(8))
	}
	for range r.count(18) {
		id := r.id()
		m := movedPack{generation: uint32(r.uvarint(pack.MaxGeneration))}
		for range r.count(16) {
			m.containers = append(m.containers, r.id())
		}
		c.moved[id] = m
	}
	if r.bad || len(r.b) > 0 {
		return nil, bad
	}
	return c, nil
}

// loadCounts reads a collector's file. ok is false, and the counts are empty,
// if there is none or it is of no use.
func loadCounts(path string, repository [16]byte) (c *counts, ok bool) {
	if path != "" {
		if info, err := os.Stat(path); err == nil && info.Size() <= maxCounts {
			if b, err := os.ReadFile(path); err == nil {
				if c, err := parseCounts(b, repository); err == nil {
					return c, true
				}
			}
		}
	}
	return newCounts(repository), false
}

// save writes the file. It spares the next run work, so that a failure is the
// caller's to tell and no reason to stop.
func (c *counts) save(path string) error {
	if path == "" {
		return nil
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := durable.WriteFile(path, c.marshal(), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func compareIDs(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) }

func compareHashes(a, b live.Hash) int { return bytes.Compare(a[:], b[:]) }
