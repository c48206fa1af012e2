package keep_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// planted are mistakes that the schedules must find.
var planted = map[string]*bug{
	// Points are listed, then intents: one that commits in between is missed.
	"points before intents": {from: 320, list: func(a *actor, ctx context.Context, prefix string, list []store.Object) []store.Object {
		switch prefix {
		case "intents/":
			if a.stale == nil {
				a.stale = append([]store.Object{{}}, a.all(ctx, point.Prefix)...)
			}
		case point.Prefix:
			if a.stale != nil {
				list, a.stale = a.stale[1:], nil
			}
		}
		return list
	}},
	// What is garbage is condemned and dropped in one go: nobody else sees of it
	// before it is dropped.
	"no wait": {put: func(a *actor, ctx context.Context, name string, data []byte) error {
		if strings.HasSuffix(name, "-condemned") {
			a.held[name] = data
			return nil
		}
		if strings.HasSuffix(name, "-dropped") {
			for name, data := range a.held {
				_ = a.put(ctx, name, data)
			}
			clear(a.held)
		}
		return a.put(ctx, name, data)
	}, list: func(a *actor, ctx context.Context, prefix string, list []store.Object) []store.Object {
		if prefix == keep.Rounds {
			for name, data := range a.held {
				list = append(list, store.Object{Name: name, Size: int64(len(data))})
			}
			slices.SortFunc(list, func(a, b store.Object) int { return strings.Compare(a.Name, b.Name) })
			list = slices.CompactFunc(list, func(a, b store.Object) bool { return a.Name == b.Name })
		}
		return list
	}},
	// Intents are not looked at.
	"intents ignored": {list: func(_ *actor, _ context.Context, prefix string, list []store.Object) []store.Object {
		if prefix == "intents/" {
			return nil
		}
		return list
	}},
	// A listing of points is remembered.
	"old listing": {list: func(a *actor, _ context.Context, prefix string, list []store.Object) []store.Object {
		if prefix == point.Prefix {
			if a.stale == nil {
				a.stale = append([]store.Object{{}}, list...)
			}
			return a.stale[1:]
		}
		return list
	}},
	// Claims fall after points were listed.
	"late fall": {from: 390, del: func(a *actor, ctx context.Context, name string) bool {
		if strings.HasPrefix(name, "intents/") {
			a.held[name] = nil
			return true
		}
		return false
	}, list: func(a *actor, ctx context.Context, prefix string, list []store.Object) []store.Object {
		if prefix == "intents/" {
			var out []store.Object
			for _, o := range list {
				if _, fallen := a.held[o.Name]; !fallen {
					out = append(out, o)
				}
			}
			list = out
		}
		if prefix == live.Prefix {
			for name, b := range a.held {
				if b == nil {
					_ = a.Store.Delete(ctx, name)
					delete(a.held, name)
				}
			}
		}
		return list
	}},
	// A writer does not read the rounds again once it has claimed.
	"rounds not read again": {blind: true},
}

func TestPlantedBugsAreFound(t *testing.T) {
	for name, b := range planted {
		t.Run(name, func(t *testing.T) {
			for seed := b.from; seed < b.from+20_000; seed++ {
				if out := run(t, seed, b); out.lost != "" {
					if without := run(t, seed, nil); without.lost != "" {
						t.Fatalf("seed %d, with no bug: %s", seed, without.lost)
					}
					t.Logf("seed %d: %s", seed, out.lost)
					return
				}
			}
			t.Error("it was not found")
		})
	}
}
