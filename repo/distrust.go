package repo

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// A machine remembers which frames and live pages a check found damaged, in the
// file damaged of its Local, until a check finds them whole. Its runs treat them as those
// that a collector has condemned: no hit for dedup, nothing to take over. What
// they held is read and stored again, so that points after the check are whole.
// The file is a round of collection with the number 0, which the vault has none
// of. One that cannot be read is as good as none: the next check writes it anew.

const maxDamage = 64 << 20

func (l Local) damagedPath() string { return filepath.Join(l.Dir, "damaged") }

// damaged returns the frames that checks found damaged; nil if there are none.
func (l Local) damaged(id seal.RepositoryID) *keep.Round {
	info, err := os.Stat(l.damagedPath())
	if err != nil || info.Size() > maxDamage {
		return nil
	}
	b, err := os.ReadFile(l.damagedPath())
	if err != nil {
		return nil
	}
	r, err := keep.ParseRound(b)
	if err != nil || r.Repository != id {
		return nil
	}
	return r
}

// remember writes down what the check found damaged, and what earlier ones
// found that it did not read.
func (c *checker) remember() error {
	l := *c.o.Local
	needs := make(map[pack.ID]live.Need)
	if before := l.damaged(c.r.ID); before != nil {
		for _, n := range before.Frames {
			_, there := c.objects[n.Pack]
			if there && !c.read[n.Pack] {
				needs[n.Pack] = n
			}
		}
	}
	for id, b := range c.bad {
		if _, there := c.objects[id]; there { // else the index forgets it anyway
			frames := 0
			if p := c.heads[id]; p != nil {
				frames = p.Frames()
			}
			needs[id] = b.need(id, frames)
		}
	}
	if len(needs) == 0 && len(c.badLive) == 0 {
		if err := os.Remove(l.damagedPath()); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return fmt.Errorf("remember damage: %w", err)
		}
		return nil
	}
	r := &keep.Round{Repository: c.r.ID}
	for _, n := range needs {
		r.Frames = append(r.Frames, n)
	}
	r.Pages = slices.SortedFunc(maps.Keys(c.badLive), compareHashes)
	slices.SortFunc(r.Frames, func(a, b live.Need) int { return bytes.Compare(a.Pack[:], b.Pack[:]) })
	b := r.Marshal()
	if len(b) > maxDamage {
		return fmt.Errorf("remember damage of %d packs: %w", len(needs), fault.TooLarge)
	}
	if err := durable.MkdirAll(l.Dir, 0o700); err != nil {
		return fmt.Errorf("remember damage: %w", err)
	}
	if err := durable.WriteFile(l.damagedPath(), b, 0o600); err != nil {
		return fmt.Errorf("remember damage: %w", err)
	}
	return nil
}

// need returns the damaged frames as those of a round. Of a pack without a
// head nobody knows how many it has (0): frames beyond those named are absent,
// too.
func (b *badPack) need(id pack.ID, frames int) live.Need {
	if b.whole || frames == 0 {
		return live.Need{Pack: id, Frames: 1, Runs: []live.Run{{Need: 255, Length: 1}}}
	}
	n := live.Need{Pack: id, Frames: uint32(frames)}
	for i := range frames {
		mask := uint8(0)
		if b.frames[i] {
			mask = 255
		}
		if k := len(n.Runs); k > 0 && n.Runs[k-1].Need == mask {
			n.Runs[k-1].Length++
		} else {
			n.Runs = append(n.Runs, live.Run{Need: mask, Length: 1})
		}
	}
	return n
}
