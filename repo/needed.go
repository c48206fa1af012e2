package repo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// A machine remembers, for each job, how much of which frames the job's last
// point needs, in the file needed/JOB of its Local. The eighths of a live set
// would not do: a frame of small files of which one in twenty is left has some
// of it in every eighth. The file is advice: without it no frame is hollow, and
// the next run writes it anew.
//
// It names the pages of that point's live set, too, which need not be put again.
//
//	magic `tidmNED` 01, repository ID 16, u64 bytes of content that were new,
//	u32 packs, u32 live pages, per pack a leaf record of a live set (FORMAT.md, 7)
//	in which a frame's need is its share in 255ths, rounded up; 32 bytes per
//	live page, ascending; SHA-256 of all that
type needed struct {
	fresh  uint64
	shares map[pack.ID][]uint8 // per frame, in 255ths
	pages  map[live.Hash]bool
}

const (
	magicNeeded = "tidmNED\x01"
	maxNeeded   = 256 << 20 // bytes of one file: some 100 TB of a machine's data
	wholeFrame  = 255
)

func (l Local) neededPath(job string) string { return filepath.Join(l.Dir, "needed", job) }

// shareOf returns how much of a frame of span bytes is needed, in 255ths, of
// which count bytes were named and the eighths of mask were touched. Both say
// too much: what two files share was named twice.
func shareOf(mask uint8, count, span uint32) uint8 {
	part := uint32(span) * uint32(bits.OnesCount8(mask)) / 8
	part = max(1, min(count, part, span))
	return uint8((uint64(part)*wholeFrame + uint64(span) - 1) / uint64(span))
}

// usedPack is a pack of the live set. Of each frame it counts the bytes that
// were named; not for fixed blocks, whose eighths tell it all.
type usedPack struct {
	pack.Geometry
	bytes []uint32
}

func newUsed(g pack.Geometry) *usedPack {
	u := &usedPack{Geometry: g}
	if g.Kind != pack.Blocks {
		u.bytes = make([]uint32, g.Frames())
	}
	return u
}

// count adds raw bytes that were named.
func (u *usedPack) count(offset, length uint32) {
	if u.bytes == nil {
		return
	}
	end := offset + length
	for i := u.FrameOf(offset); i < len(u.bytes); i++ {
		first, last := u.Span(i)
		if first >= end {
			break
		}
		n := min(end, last) - max(offset, first)
		u.bytes[i] += min(n, 1<<32-1-u.bytes[i])
	}
}

// shares returns the share of each frame of a pack of the live set.
func (u *usedPack) shares(masks []uint8) []uint8 {
	out := make([]uint8, len(masks))
	for i, m := range masks {
		if m == 0 {
			continue
		}
		start, end := u.Span(i)
		count := end - start
		if u.bytes != nil {
			count = u.bytes[i]
		}
		out[i] = shareOf(m, count, end-start)
	}
	return out
}

// Remember writes down, after Commit, what the machine's next run of the job
// should know. A failure costs that run time or room, and nothing else.
func (w *Writer) Remember() error {
	if w.job == "" {
		return nil
	}
	return w.writeNeeded()
}

// writeNeeded remembers what the point just committed needs.
func (w *Writer) writeNeeded() error {
	n := &needed{fresh: uint64(w.fresh.Load()), shares: make(map[pack.ID][]uint8), pages: w.pagesPut}
	for need := range w.live.All() {
		if u := w.used[need.Pack]; u != nil {
			n.shares[need.Pack] = u.shares(need.Masks())
		}
	}
	b := n.marshal(w.r.ID)
	path := w.local.neededPath(w.job)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("remember what the point needs: %w", err)
	}
	if err := durable.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("remember what the point needs: %w", err)
	}
	return nil
}

// needed reads what the last points of all of the machine's jobs need: of a
// frame the sum, and what was new in the last run of one job. Files that
// cannot be read are passed over.
func (l Local) needed(id seal.RepositoryID, job string) *needed {
	sum := &needed{shares: make(map[pack.ID][]uint8), pages: make(map[live.Hash]bool)}
	names, err := os.ReadDir(filepath.Dir(l.neededPath(job)))
	if err != nil {
		return sum
	}
	for _, name := range names {
		info, err := name.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxNeeded {
			continue
		}
		b, err := os.ReadFile(l.neededPath(name.Name()))
		if err != nil {
			continue
		}
		n, err := parseNeeded(b, id)
		if err != nil {
			continue
		}
		if name.Name() == job {
			sum.fresh = n.fresh
		}
		for id, shares := range n.shares {
			sum.add(id, shares)
		}
		maps.Copy(sum.pages, n.pages)
	}
	return sum
}

func (n *needed) add(id pack.ID, shares []uint8) {
	before := n.shares[id]
	if len(before) != len(shares) {
		n.shares[id] = shares
		return
	}
	for i, s := range shares {
		before[i] += min(s, wholeFrame-before[i])
	}
}

func (n *needed) marshal(id seal.RepositoryID) []byte {
	b := append([]byte(magicNeeded), id[:]...)
	b = binary.LittleEndian.AppendUint64(b, n.fresh)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(n.shares)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(n.pages)))
	for _, id := range slices.SortedFunc(maps.Keys(n.shares), func(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) }) {
		record := live.NeedOf(id, n.shares[id])
		b = live.AppendNeed(b, &record)
	}
	for _, h := range slices.SortedFunc(maps.Keys(n.pages), compareHashes) {
		b = append(b, h[:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func parseNeeded(b []byte, id seal.RepositoryID) (*needed, error) {
	const fixed = 8 + 16 + 8 + 4 + 4
	end := len(b) - sha256.Size
	if end < fixed || string(b[:8]) != magicNeeded || seal.RepositoryID(b[8:24]) != id || sha256.Sum256(b[:end]) != [32]byte(b[end:]) {
		return nil, fmt.Errorf("what the last point needs: %w", fault.Corrupt)
	}
	n := &needed{fresh: binary.LittleEndian.Uint64(b[24:]), shares: make(map[pack.ID][]uint8), pages: make(map[live.Hash]bool)}
	packs := binary.LittleEndian.Uint32(b[32:])
	pages := uint64(binary.LittleEndian.Uint32(b[36:]))
	rest := b[fixed:end]
	last := []byte(nil)
	for range packs {
		need, after, err := live.DecodeNeed(rest)
		if err == nil && bytes.Compare(last, need.Pack[:]) >= 0 && last != nil {
			err = fmt.Errorf("packs out of order: %w", fault.Corrupt)
		}
		if err != nil {
			return nil, fmt.Errorf("what the last point needs: %w", err)
		}
		last = bytes.Clone(need.Pack[:])
		n.shares[need.Pack], rest = need.Masks(), after
	}
	if uint64(len(rest)) != pages*32 {
		return nil, fmt.Errorf("what the last point needs: %d bytes for %d live pages: %w", len(rest), pages, fault.Corrupt)
	}
	for last = nil; len(rest) > 0; rest = rest[32:] {
		if last != nil && bytes.Compare(last, rest[:32]) >= 0 {
			return nil, fmt.Errorf("what the last point needs: live pages out of order: %w", fault.Corrupt)
		}
		last = rest[:32]
		n.pages[live.Hash(last)] = true
	}
	return n, nil
}

func compareHashes(a, b live.Hash) int { return bytes.Compare(a[:], b[:]) }
