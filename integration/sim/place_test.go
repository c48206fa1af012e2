package sim

import (
	"errors"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

// A Place that nobody watches keeps every promise of a store.
func TestPlaceIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return NewPlace(time.Now()) })
}

// What a power cut takes: operations under way and deletions, by the share.
func TestSnapshot(t *testing.T) {
	p := NewPlace(time.Unix(1e9, 0))
	ctx := t.Context()
	for _, name := range []string{"packs/kept", "packs/deleted"} {
		if err := p.Put(ctx, name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Delete(ctx, "packs/deleted"); err != nil {
		t.Fatal(err)
	}
	var after [NumShares]*Place
	p.Watch(func(op Op) Fate {
		if op.Verb == mem.Put {
			for s := range after {
				after[s] = p.Snapshot(Share(s), 1)
			}
		}
		return Fate{After: fault.Unavailable}
	})
	if err := p.Put(ctx, "packs/flying", []byte("x")); !errors.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	for s, want := range map[Share]map[string]bool{
		Nothing: {"packs/kept": true, "packs/deleted": true, "packs/flying": false},
		All:     {"packs/kept": true, "packs/deleted": false, "packs/flying": true},
		Half:    {"packs/kept": true},
	} {
		for name, there := range want {
			if _, err := after[s].Get(ctx, name, 0, make([]byte, 9)); (err == nil) != there {
				t.Errorf("%s kept: %s: %v", s, name, err)
			}
		}
	}
	p.Watch(nil)
	if _, err := p.Get(ctx, "packs/flying", 0, make([]byte, 1)); err != nil {
		t.Error("the lost reply lost the object: ", err)
	}
}
