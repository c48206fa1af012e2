package keep

import (
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// Has says whether a frame of a pack is absent.
func (a *Absent) Has(id pack.ID, frame int) bool {
	masks, ok := a.frames[id]
	return ok && (frame >= len(masks) || masks[frame] != 0)
}

// NeedsAny says whether a Need asks for any absent frame.
func (a *Absent) NeedsAny(n *live.Need) bool {
	absent := a.frames[n.Pack]
	if len(absent) == 0 {
		return false
	}
	for i, m := range n.Masks() {
		if m != 0 && (i >= len(absent) || absent[i] != 0) {
			return true
		}
	}
	return false
}
