package scrub

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Itself returns a Source that undoes one flipped bit: memory and cables damage
// so, and the hashes in small objects tell when the right bit was found. It
// tries all of them, for some seconds at most.
func Itself() Source { return itself{} }

type itself struct{}

// flipWork bounds the bytes that are hashed to find a flipped bit: those of an
// object of 20 KiB.
const flipWork = 8 * (20 << 10) * (20 << 10)

// Name implements Source.
func (itself) Name() string { return "itself, where one bit had flipped" }

// Object implements Source.
func (itself) Object(ctx context.Context, name string, own []byte) ([]byte, error) {
	s := shapeOf(name)
	if s.verify == nil || s.unproven || len(s.frames(name, nil)) > 0 {
		return nil, fault.NotExist // nothing tells, or it is done head and frames apart
	}
	return own, unflip(ctx, own, len(own), func() bool { return s.verify(name, own) == nil })
}

// Frame implements Source.
func (itself) Frame(ctx context.Context, f pack.Stored, own []byte) ([]byte, error) {
	if len(own) != int(f.Length) {
		return nil, fault.NotExist
	}
	return own, unflip(ctx, own, len(own), func() bool { return sha256.Sum256(own) == f.Hash })
}

// unflip flips the bits of b[:n], one after the other, until they are right.
func unflip(ctx context.Context, b []byte, n int, right func() bool) error {
	if 8*int64(n)*int64(n) > flipWork {
		return fmt.Errorf("%d bytes are too many to look for a flipped bit: %w", n, fault.NotExist)
	}
	for i := range n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for bit := range 8 {
			b[i] ^= 1 << bit
			if right() {
				return nil
			}
			b[i] ^= 1 << bit
		}
	}
	return fault.NotExist
}

// unflipHead undoes a flipped bit in what stands before the frames of an
// object. The length of that part may be what is damaged, so that it is
// guessed.
func unflipHead(ctx context.Context, own []byte, right func() bool) bool {
	guess := len(own)
	if n, err := pack.Need(own); err == nil {
		guess = n
	} else if n, err := pack.ContainerNeed(own); err == nil {
		guess = n
	}
	for _, n := range []int{guess, 20 << 10, 8 << 10} { // from a right guess to the least that helps
		if n = min(n, len(own)); unflip(ctx, own, n, right) == nil {
			return true
		}
		if 8*int64(n)*int64(n) <= flipWork {
			break
		}
	}
	return false
}
