package backup_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

var (
	often = repo.Step{Bytes: 1, Time: time.Hour}
	never = repo.Step{Bytes: 1 << 60, Time: 1 << 60}
)

// long writes so much that a run stores several packs.
func (m *machine) long() {
	m.t.Helper()
	for i := range 40 {
		m.write(fmt.Sprintf("large/%02d", i), noise(uint64(i), 2<<20))
	}
}

func (m *machine) claiming(ctx context.Context, step repo.Step) (*backup.Summary, error) {
	r := m.open()
	return backup.Run(ctx, r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: later, Claim: step})
}

func (m *machine) collector() *collector {
	return &collector{t: m.t, store: m.store, repository: m.open().ID, random: rand.New(rand.NewPCG(1, 1))}
}

// waitFor waits until so many intents and packs are there.
func (m *machine) waitFor(intents, packs int) {
	for range 1000 {
		if len(m.names("intents/")) >= intents && len(m.names("packs/")) >= packs {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A collector that condemns and deletes all that nobody claims, in the middle
// of a long first run, takes nothing of what was stored before the last claim.
func TestLongRunBesideACollector(t *testing.T) {
	for name, step := range map[string]repo.Step{"often": often, "never": never} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.long()
			c := m.collector()
			var packs, most atomic.Int32
			survived := 0
			m.store.SetHook(func(op mem.Op) (error, error) {
				if op.Verb == mem.Put && strings.HasPrefix(op.Name, "intents/") {
					most.Store(max(most.Load(), int32(len(m.names("intents/"))+1)))
				}
				if op.Verb == mem.Put && strings.HasPrefix(op.Name, "packs/") && packs.Add(1) == 4 {
					if step == often {
						m.waitFor(1, 2)
					}
					before := m.names("packs/")
					c.collect()
					after := m.names("packs/")
					for _, name := range before {
						if slices.Contains(after, name) {
							survived++
						}
					}
				}
				return nil, nil
			})
			s, err := m.claiming(t.Context(), step)
			m.store.SetHook(nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d packs survived, at most %d intents, %d bytes new in the last pass", survived, most.Load(), s.BytesNew)
			switch {
			case step == never && survived > 0:
				t.Error("there is nothing to claim for, the test is of no use")
			case step == often && (survived == 0 || most.Load() > 3):
				t.Errorf("%d packs survived, %d intents at a time", survived, most.Load())
			}
			if left := m.names("intents/"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			m.whole()
		})
	}
}

// What a killed run has claimed survives a collector, the next run finds it,
// and removes the claims when it has its point; a job on other folders does not.
func TestClaimsOfAKilledRun(t *testing.T) {
	m := newMachine(t)
	m.long()
	ctx, kill := context.WithCancel(t.Context())
	var packs atomic.Int32
	m.store.SetHook(func(op mem.Op) (error, error) {
		if op.Verb == mem.Put && strings.HasPrefix(op.Name, "packs/") && packs.Add(1) == 5 {
			m.waitFor(1, 3)
			kill()
		}
		return nil, nil
	})
	if _, err := m.claiming(ctx, often); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	m.store.SetHook(nil)
	claims := m.names("intents/")
	if len(claims) == 0 {
		t.Fatal("a run that died left no claim")
	}
	m.collector().collect()
	if n := len(m.names("packs/")); n < 2 {
		t.Fatalf("%d packs survived", n)
	}
	other := *m
	other.src = quiet(t)
	other.write("f", noise(1, 1000))
	other.backup()
	if left := m.names("intents/"); !slices.Equal(left, claims) {
		t.Errorf("another job left %v of %v", left, claims)
	}
	s, err := m.claiming(t.Context(), often)
	if err != nil {
		t.Fatal(err)
	}
	if s.BytesNew > 80<<20-20<<20 {
		t.Errorf("%d bytes were sent again", s.BytesNew)
	}
	if left := m.names("intents/"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	m.whole()
}

// A short run claims once, just before its point.
func TestShortRunClaimsOnce(t *testing.T) {
	m := newMachine(t)
	m.sources()
	var claims atomic.Int32
	m.store.SetHook(func(op mem.Op) (error, error) {
		if op.Verb == mem.Put && strings.HasPrefix(op.Name, "intents/") {
			claims.Add(1)
		}
		return nil, nil
	})
	m.backup()
	if n := claims.Load(); n != 1 {
		t.Errorf("%d claims", n)
	}
}
