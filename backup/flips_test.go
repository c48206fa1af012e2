package backup_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
)

// TestFlippedBits flips 300 bits (2,000 in the long programme), one in each
// copy of a repository, over all kinds of objects: each is found, in its object
// and in no other, and the object is healed byte by byte, with no key: from a
// replica, or by undoing the flip in what a replica has not.
func TestFlippedBits(t *testing.T) {
	m := newMachine(t)
	for i := range 40 {
		m.write(fmt.Sprintf("text/%02d", i), []byte(strings.Repeat(fmt.Sprintln("line", i), 300)))
	}
	m.write("noise", noise(1, 700_000))
	for i := range 4 {
		m.write(fmt.Sprint("new", i), noise(uint64(i+2), 30_000))
		m.backup()
	}
	id := [16]byte(m.open().ID)
	round := keep.Round{Repository: id, Number: 1, Frames: []live.Need{{Frames: 9, Runs: []live.Run{{Need: 255, Length: 9}}}}}
	intent := keep.Intent{Repository: id, Run: 1, Number: 1}
	for name, b := range map[string][]byte{round.Name(): round.Marshal(), intent.Name(): intent.Marshal()} {
		if err := m.store.Put(t.Context(), name, b); err != nil {
			t.Fatal(err)
		}
	}
	replica := m.store.Clone()
	state := filepath.Join(t.TempDir(), "scrub")
	open := func() *scrub.State {
		s, err := scrub.OpenState(state, id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	clean, err := scrub.Run(t.Context(), m.store, scrub.Options{Repository: id, State: open(), Now: time.Now})
	if err != nil || len(clean.Findings) > 0 {
		t.Fatal("a false alarm:", clean.Findings, err)
	}
	remembered, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	flips := 300
	if os.Getenv("TIDEMARK_LONG") != "" {
		flips = 2000
	}
	names := objects(t, m.store, "")
	random := rand.New(rand.NewPCG(1, 2026))
	start := time.Now()
	folders := map[string]int{}
	for i := range flips {
		name := names[i%len(names)]
		folders[strings.Split(name, "/")[0]]++
		s := m.store.Clone()
		if err := s.Tamper(name, func(b []byte) []byte { b[random.IntN(len(b))] ^= 1 << random.IntN(8); return b }); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(state, remembered, 0o600); err != nil {
			t.Fatal(err)
		}
		o := scrub.RepairOptions{Sources: []scrub.Source{scrub.Replica("replica", replica, id), scrub.Itself()}}
		o.Repository, o.State, o.Now = id, open(), time.Now
		d, err := scrub.Repair(t.Context(), s, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range d.Scrub.Findings {
			if f.Object != name {
				t.Fatalf("flip %d in %s: found in %v", i, name, f)
			}
		}
		if len(d.Scrub.Findings) == 0 || len(d.Left) > 0 {
			t.Fatalf("flip %d in %s: findings %v, left %v, why %v", i, name, d.Scrub.Findings, d.Left, d.Why)
		}
		want := m.store
		if strings.HasPrefix(name, "intents/") { // a damaged claim is removed
			want = m.store.Clone()
			if err := want.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		sameObjects(t, s, want)
	}
	t.Logf("%d flips over %v in %v", flips, folders, time.Since(start).Round(time.Millisecond))
	if len(folders) < 8 {
		t.Errorf("not all kinds of objects: %v", folders)
	}
}

// Beside backups that run and points that are deleted, a scrub finds nothing.
func TestScrubBesideBackups(t *testing.T) {
	m := newMachine(t)
	m.write("first", noise(1, 500_000))
	m.backup()
	id := [16]byte(m.open().ID)
	done := make(chan struct{})
	scrubs := make(chan int)
	go func() {
		n := 0
		defer func() { scrubs <- n }()
		for {
			r, err := scrub.Run(t.Context(), m.store, scrub.Options{Repository: id, Now: time.Now})
			if err != nil || len(r.Findings) > 0 {
				t.Errorf("scrub %d: %v, %v", n, r.Findings, err)
				return
			}
			n++
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	for i := range 12 {
		m.write(fmt.Sprint("file", i%5), noise(uint64(i+100), 200_000))
		m.backup()
	}
	close(done)
	if n := <-scrubs; n < 12 {
		t.Errorf("only %d scrubs ran beside 12 backups", n)
	}
}
