package replicate

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// counter counts what was put.
type counter struct{ objects, bytes atomic.Int64 }

func (c *counter) add(n int64) {
	c.objects.Add(1)
	c.bytes.Add(n)
}

// list takes stock of a place.
func list(ctx context.Context, s store.Store) (*inventory, error) {
	v := &inventory{packs: map[pack.ID]bool{}, pages: map[[32]byte]bool{}, points: map[uint64]int64{}, keys: map[string]bool{}, done: map[[32]byte]bool{}}
	for _, prefix := range []string{place.HealedName(pack.Prefix), pack.Prefix} {
		for o, err := range s.List(ctx, prefix) {
			if err != nil {
				return nil, err
			}
			if id, err := pack.ParseName(strings.TrimPrefix(o.Name, place.Healed)); err == nil {
				v.packs[id] = true
			}
		}
	}
	var err error
	if v.moved, err = place.Generations(ctx, s); err != nil {
		return nil, err
	}
	for o, err := range s.List(ctx, live.Prefix) {
		if err != nil {
			return nil, err
		}
		if h, err := live.ParseName(o.Name); err == nil {
			v.pages[h] = true
		}
	}
	points, err := sequences(ctx, s)
	if err != nil {
		return nil, err
	}
	for n, o := range points {
		v.points[n], v.newest = o.Size, max(v.newest, n)
	}
	for o, err := range s.List(ctx, prefixKeys+"slot-") {
		if err != nil {
			return nil, err
		}
		v.keys[o.Name] = true
	}
	return v, nil
}

// prefixIntents is where intents are.
const prefixIntents = "intents/"

// server is what a replicator's intents have in the place of a server.
var server = [16]byte{'r', 'e', 'p', 'l', 'i', 'c', 'a', 't', 'e'}

// tidy removes intents that killed runs have left: those whose points are there.
// Others may be of runs that go on, and fall by themselves.
func (r *run) tidy(ctx context.Context) error {
	var names []string
	for o, err := range r.to.List(ctx, prefixIntents) {
		if err != nil {
			return atReplica(err)
		}
		names = append(names, o.Name)
	}
	if len(names) == 0 {
		return nil
	}
	roots := map[live.Hash]bool{}
	r.book.View(func(s *retain.State) {
		for _, p := range s.Kept() {
			if _, there := r.have.points[p.Sequence]; there {
				roots[p.Live] = true
			}
		}
	})
	for _, name := range names {
		b, err := store.ReadAll(ctx, r.to, name, 4096)
		if errors.Is(err, fault.NotExist) {
			continue
		}
		if err != nil {
			return atReplica(err)
		}
		i, err := keep.ParseIntent(b)
		if err == nil && i.Server == server && i.Repository == r.id && roots[i.Live] {
			if err := r.to.Delete(ctx, name); err != nil {
				return atReplica(err)
			}
		}
	}
	return nil
}
