package keep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// parityPrefix is where the parity of packs is.
const parityPrefix = "parity/"

// list reads which objects there are.
func (c *collector) list(ctx context.Context, v *view) error {
	steps := []struct {
		prefix string
		take   func(o store.Object)
	}{
		{pack.Prefix, func(o store.Object) {
			if id, err := pack.ParseName(o.Name); err == nil {
				v.packs[id] = storedOf(o)
			}
		}},
		{pack.MovedPrefix, func(o store.Object) {
			if id, g, err := pack.ParseMovedName(o.Name); err == nil {
				v.moved[id] = append(v.moved[id], record{g, storedOf(o)})
			}
		}},
		// After the records: containers are put before them.
		{pack.ContainerPrefix, func(o store.Object) {
			if id, err := pack.ParseContainerName(o.Name); err == nil {
				v.containers[id] = storedOf(o)
			}
		}},
		{live.Prefix, func(o store.Object) {
			if h, err := live.ParseName(o.Name); err == nil && !v.counts.needsPage(h) {
				v.pages[h] = storedOf(o)
			}
		}},
	}
	for _, prefix := range []string{place.HealedName(pack.Prefix), parityPrefix} {
		for o, err := range c.store.List(ctx, prefix) {
			if err != nil {
				return fmt.Errorf("list %s: %w", prefix, err)
			}
			if id, err := pack.ParseName(pack.Prefix + strings.TrimPrefix(o.Name, prefix)); err == nil {
				v.beside[id] = append(v.beside[id], Deletion{Name: o.Name, Bytes: o.Size, stored: o.Modified.Unix()})
			}
		}
	}
	for _, step := range steps {
		for o, err := range c.store.List(ctx, step.prefix) {
			if err != nil {
				return fmt.Errorf("list %s: %w", step.prefix, err)
			}
			step.take(o)
		}
	}
	return c.readMoved(ctx, v)
}

// readMoved brings up to date what is known of moved packs. Only records that
// are new are read.
func (c *collector) readMoved(ctx context.Context, v *view) error {
	known := v.counts.moved
	for id := range known {
		if len(v.moved[id]) == 0 {
			delete(known, id)
		}
	}
	for _, id := range sortedIDs(v.moved) {
		records := v.moved[id]
		newest := records[len(records)-1].generation
		if known[id].generation == newest {
			continue
		}
		m, err := place.Read(ctx, c.store, c.o.Repository, id, newest)
		if errors.Is(err, fault.NotExist) {
			continue // deleted since; so all frames of the pack are gone
		}
		if err != nil {
			return err
		}
		known[id] = movedPack{newest, m.Containers}
	}
	// Of a pack whose newest record does not count older ones may.
	v.shielded = map[pack.ID]bool{}
	for _, id := range sortedIDs(v.moved) {
		records := v.moved[id]
		if v.settled(id) {
			continue
		}
		for _, r := range records {
			m, err := place.Read(ctx, c.store, c.o.Repository, id, r.generation)
			if errors.Is(err, fault.NotExist) {
				continue
			}
			if err != nil {
				return err
			}
			for _, container := range m.Containers {
				v.shielded[container] = true
			}
		}
	}
	return nil
}

// settled says whether the newest moved record of a pack counts: its containers
// are there, and no round names one.
func (v *view) settled(id pack.ID) bool {
	m, ok := v.counts.moved[id]
	if !ok {
		return false
	}
	return !slices.ContainsFunc(m.containers, func(container pack.ID) bool {
		_, there := v.containers[container]
		return !there || v.absent.Has(container, 0)
	})
}
