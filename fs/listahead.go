package fs

import (
	"context"
	"sync"

	"github.com/tidemark-backup/tidemark/repo/table"
)

// A walk through a point lists its folders in the order of the table, so the
// pages it will want next are those behind the last listing. listAhead reads
// them into the cache while the walker looks at what it got.
type listAhead struct {
	mu      sync.Mutex
	tick    uint64
	walks   [8]stream[uint32] // by slot; next, asked and streak count entries
	running int
	wait    sync.WaitGroup
	ctx     context.Context // ends with the Tree, as the goroutines do
	stop    context.CancelFunc
}

const (
	walkGap     = 4096 // entries that a walk may skip and still be one
	walkStreak  = 3    // listings in a row before pages are read ahead
	walkWindow  = 4096 // entries read ahead
	maxReaders  = 2
	walkQuantum = walkWindow / 4
)

func (l *listAhead) init() { l.ctx, l.stop = context.WithCancel(context.Background()) }

// listed notes that the entries [from, to) of a point have been listed.
func (l *listAhead) listed(tree *table.Tree, slot uint32, from, to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick++
	s, known := pick(l.walks[:], slot, l.tick)
	if known && from+walkGap >= s.next && from <= s.next+walkGap {
		s.streak++
		s.next = max(s.next, to)
	} else {
		s.streak, s.next, s.asked = 0, to, to
	}
	begin := max(s.asked, s.next)
	end := min(s.next+walkWindow, tree.Count())
	if s.streak < walkStreak || begin+walkQuantum > end || l.running >= maxReaders || l.ctx.Err() != nil {
		return
	}
	s.asked = end
	l.running++
	l.wait.Go(func() {
		l.warm(tree, begin, end)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.running--
	})
}

// warm reads entries into the cache. Whoever wants them meets errors again.
func (l *listAhead) warm(tree *table.Tree, begin, end uint64) {
	for _, err := range tree.Range(l.ctx, begin, end) {
		if err != nil {
			return
		}
	}
}

// Close ends what the tree does beside its calls. Calls still work after it.
func (t *Tree) Close() {
	t.listing.stop()
	t.listing.wait.Wait()
}
