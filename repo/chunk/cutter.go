package chunk

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Params are the lengths of chunks, in bytes. All writers of a repository
// use the same.
type Params struct {
	Min int // no chunk is shorter, save a file's last; at least 64
	Avg int // about the mean; above Min, at least 128
	Max int // no chunk is longer; at least Avg
}

// DefaultParams are those of general files.
func DefaultParams() Params {
	return Params{Min: 32 << 10, Avg: 128 << 10, Max: 512 << 10}
}

// maxMax bounds Max, so that lengths of chunks always fit formats and memory.
const maxMax = 1 << 30

// Validate returns fault.Invalid if the lengths make no sense together.
func (p Params) Validate() error {
	if p.Min < window || p.Avg < 2*window || p.Avg <= p.Min || p.Max < p.Avg || p.Max > maxMax {
		return fmt.Errorf("check chunk lengths %+v: %w", p, fault.Invalid)
	}
	return nil
}

const (
	window   = 64      // bytes behind a position that decide whether it is a cut
	lane     = 1 << 11 // positions that are hashed in a row; affects speed only
	gearText = "tidemark gear v1\x00\x00"
)

// Cutter decides where chunks end; see the package comment for the rule. It
// never changes and may be used by many goroutines.
type Cutter struct {
	gear             [256]uint64
	hard, easy       uint64 // a position is a cut if its hash is below
	min, normal, max int
}

// NewCutter returns a Cutter whose gear table comes from key. It panics if p
// is not valid: parameters are constants, or validated when they are read.
func NewCutter(key *[32]byte, p Params) *Cutter {
	if err := p.Validate(); err != nil {
		panic(err)
	}
	c := &Cutter{
		hard:   math.MaxUint64 / (4 * uint64(p.Avg)),
		easy:   math.MaxUint64 / uint64(p.Avg/4),
		min:    p.Min,
		normal: max(p.Min, p.Avg-3*p.Avg/16),
		max:    p.Max,
	}
	h := newKeyed(key)
	h.WriteString(gearText)
	var table [8 * 256]byte
	h.Digest().Read(table[:]) // never fails
	for i := range c.gear {
		c.gear[i] = binary.LittleEndian.Uint64(table[8*i:])
	}
	return c
}

// Max returns the length that no chunk exceeds.
func (c *Cutter) Max() int { return c.max }

// Cut returns the length of the first chunk of data. Unless data ends where
// the file ends, it must hold at least Max bytes: what follows could move the
// cut otherwise. Cut returns 0 only if data is empty.
func (c *Cutter) Cut(data []byte) int {
	end := min(len(data), c.max)
	if end <= c.min {
		return end
	}
	normal := min(c.normal, end)
	if at := c.find(data, c.min, normal, c.hard); at < normal {
		return at
	}
	return c.find(data, normal, end, c.easy)
}

// find returns the least position in [from, to) whose hash is below limit,
// or to. from is at least window.
//
// A gear hash is one long chain of additions, so a single one leaves most of
// the processor idle. As a hash forgets everything older than 64 bytes, four
// lanes a fixed way apart are hashed side by side. A hit in a later lane is
// the answer only if what lies before it, and was not looked at yet, has none.
//
// These three read byte after byte what hashers and sealers read, too: there
// the race detector looks, and here it would only take its time.
//
//go:norace
func (c *Cutter) find(data []byte, from, to int, limit uint64) int {
	gear := &c.gear
	if to-from < 4*lane {
		return c.findFew(data, from, to, limit)
	}
	h0 := c.warm(data, from)
	for ; to-from >= 4*lane; from += 4 * lane {
		d := data[from-1:]
		d0 := (*[lane]byte)(d)
		d1 := (*[lane]byte)(d[1*lane:])
		d2 := (*[lane]byte)(d[2*lane:])
		d3 := (*[lane]byte)(d[3*lane:])
		h1 := c.warm(data, from+1*lane)
		h2 := c.warm(data, from+2*lane)
		h3 := c.warm(data, from+3*lane)
		for i := range lane {
			h0 = h0<<1 + gear[d0[i]]
			h1 = h1<<1 + gear[d1[i]]
			h2 = h2<<1 + gear[d2[i]]
			h3 = h3<<1 + gear[d3[i]]
			if h0 < limit {
				return from + i
			}
			if h1 < limit {
				return c.findFew(data, from+i, from+i+1*lane, limit)
			}
			if h2 < limit {
				return c.findFew(data, from+i, from+i+2*lane, limit)
			}
			if h3 < limit {
				return c.findFew(data, from+i, from+i+3*lane, limit)
			}
		}
		h0 = h3 // the next block begins where the last lane ended
	}
	return c.findFew(data, from, to, limit)
}

// findFew is find for few positions.
//
//go:norace
func (c *Cutter) findFew(data []byte, from, to int, limit uint64) int {
	if from >= to {
		return to
	}
	h := c.warm(data, from)
	for i, b := range data[from-1 : to-1] {
		h = h<<1 + c.gear[b]
		if h < limit {
			return from + i
		}
	}
	return to
}

// warm returns the state from which one more step, over data[at-1], gives
// the hash of position at.
//
//go:norace
func (c *Cutter) warm(data []byte, at int) uint64 {
	var h uint64
	for _, b := range data[at-window : at-1] {
		h = h<<1 + c.gear[b]
	}
	return h
}
