//go:build linux

package mount

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store/local"
)

// ahead is a place whose clock is ahead.
type ahead struct {
	*local.Dir
	by time.Duration
}

func (a *ahead) Now(context.Context) (time.Time, error) { return a.now(), nil }

func (a *ahead) now() time.Time { return time.Now().Add(a.by) }

// say appends to the ledger; the operator confirms the clock.
func (a *ahead) say(t *testing.T, repository [16]byte, key ed25519.PrivateKey, records ...ledger.Record) {
	t.Helper()
	b, err := retain.Open(t.Context(), a, retain.Options{Repository: repository})
	if err != nil {
		t.Fatal(err)
	}
	now := a.now().Unix()
	records = append(records, ledger.Clock{Place: now, Machine: now})
	_, err = b.Append(t.Context(), key, retain.Reading{Place: now, Machine: now}, func(*retain.State, retain.Verdict) ([]ledger.Record, error) { return records, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// A file that is open in a mount is read on while its packs are compacted and
// what was there before is deleted.
func TestOpenFileWhilePacksAreCompacted(t *testing.T) {
	p := newPlace(t)
	random := rand.NewChaCha8([32]byte{1})
	content := make([]byte, 96<<20)
	if _, err := io.ReadFull(random, content); err != nil {
		t.Fatal(err)
	}
	write := func() {
		if err := os.WriteFile(filepath.Join(p.source, "big"), content, 0o644); err != nil {
			t.Fatal(err)
		}
		p.backup()
	}
	write()
	for at := 4 << 20; at < len(content); at += 16 << 20 { // three quarters are new
		if _, err := io.ReadFull(random, content[at:at+12<<20]); err != nil {
			t.Fatal(err)
		}
	}
	write()
	p.mount(false)
	points, err := os.ReadDir(p.dir)
	if err != nil || len(points) < 2 {
		t.Fatal(points, err)
	}
	f, err := os.Open(filepath.Join(p.dir, "latest", p.source, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(content))
	if _, err := io.ReadFull(f, got[:1<<20]); err != nil {
		t.Fatal(err)
	}
	s, err := local.Open(p.vault)
	if err != nil {
		t.Fatal(err)
	}
	a := &ahead{Dir: s}
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	a.say(t, p.repo.ID, key, ledger.Deleted{Sequence: 1, Why: ledger.ByHand, GoneAfter: a.now().Unix() + 15*24*3600})
	a.by = 16 * 24 * time.Hour
	moved, deleted, at := 0, 0, 1<<20
	for range 5 {
		a.say(t, p.repo.ID, key)
		b, err := retain.Open(t.Context(), a, retain.Options{Repository: p.repo.ID})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := keep.Prune(t.Context(), a, b, keep.Options{Repository: p.repo.ID, Key: key, Machine: a.now})
		if err != nil {
			t.Fatal(err)
		}
		moved += len(plan.Compact)
		for _, d := range plan.Delete {
			if _, err := pack.ParseName(d.Name); err == nil {
				deleted++
			}
		}
		if _, err := io.ReadFull(f, got[at:at+8<<20]); err != nil {
			t.Fatal(err)
		}
		at += 8 << 20
		a.by += 25 * time.Hour
	}
	if _, err := io.ReadFull(f, got[at:]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Error("other bytes")
	}
	if moved < 3 || deleted < 3 {
		t.Errorf("%d objects were compacted, %d packs deleted", moved, deleted)
	}
}
