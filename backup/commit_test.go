package backup_test

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/table"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// Every operation of a run fails, once refused and once with its reply lost.
// The run may fail; it never hangs, and the next one makes a whole point.
func TestEveryStepFailsTwice(t *testing.T) {
	m := newMachine(t)
	m.write("a/inline", []byte("inline"))
	m.write("a/small", noise(1, 5000))
	m.write("large", noise(2, 2<<20))
	m.backup()
	m.write("a/small", noise(3, 5000))
	m.write("new", noise(4, 3000))
	before := m.store.Clone()
	state := m.state
	for _, fresh := range []bool{false, true} { // with and without local state
		for n := int64(1); ; n++ {
			end := false
			for _, stored := range []bool{false, true} {
				t.Run(fmt.Sprintf("fresh %v operation %d stored %v", fresh, n, stored), func(t *testing.T) {
					end = !failAt(t, before.Clone(), m.src, state, fresh, n, stored)
				})
			}
			if end {
				break
			}
		}
	}
}

// failAt says whether there was an n-th operation.
func failAt(t *testing.T, s *mem.Store, src, state string, fresh bool, n int64, stored bool) bool {
	m := &machine{t: t, store: s, state: t.TempDir(), src: src}
	if !fresh {
		copyTree(t, state, m.state)
	}
	r := m.open()
	s.ResetCounts()
	s.SetHook(mem.FailAt(n, stored, fmt.Errorf("injected: %w", fault.Unavailable)))
	done := make(chan error, 1)
	go func() {
		_, err := m.tryOn(r)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, fault.Unavailable) {
			t.Errorf("%v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the run hangs")
	}
	s.SetHook(nil)
	c := s.Counts()
	m.backup()
	m.whole()
	return n <= c.RoundTrips()
}

// What runs cost in round trips. Numbers rise only with a reason.
func TestRoundTripsOfARun(t *testing.T) {
	m := newMachine(t)
	m.sources()
	measure := func() mem.Counts {
		r := m.open()
		m.store.ResetCounts()
		if _, err := m.tryOn(r); err != nil {
			t.Fatal(err)
		}
		return m.store.Counts()
	}
	first := measure()
	packs := int64(len(m.names("packs/")))
	lives := int64(len(m.names("live/")))
	// Put: packs, live pages, intent, point, receipt. List: ledger, rounds and
	// packs, rounds again, points, and where packs were moved. Get: is the live
	// set's page there, is there a roll of the ledger, is the intent still there.
	if first.Puts != packs+lives+3 || first.Lists > 7 || first.Gets > lives+3 || first.Deletes != 1 {
		t.Errorf("a first backup of %d packs took %+v", packs, first)
	}
	t.Logf("first: %+v", first)
	second := measure()
	t.Logf("unchanged: %+v", second)
	if second.Puts > 4 || second.Lists > 7 || second.Gets > 7 || second.Deletes != 1 {
		t.Errorf("an unchanged backup took %+v", second)
	}
}

// Opening, listing the points and a first ls. DESIGN promises four round
// trips: list, point, upper page, leaf page. Two more are paid so far: each
// pack's head before its frame.
func TestRoundTripsOfAFirstListing(t *testing.T) {
	m := newMachine(t)
	for i := range 6000 { // with long names, for two levels of pages below the root page
		m.write(fmt.Sprintf("many/%05d%x", i*7919%6000, noise(uint64(i), 110)), fmt.Appendf(nil, "content of file %d", i))
	}
	m.backup()
	r := m.open()
	m.store.ResetCounts()
	step := func(what string, most int64) {
		t.Helper()
		n := m.store.Counts().RoundTrips()
		m.store.ResetCounts()
		t.Logf("%s: %d round trips", what, n)
		if n > most {
			t.Errorf("%s took %d round trips, and not %d", what, n, most)
		}
	}
	ctx := t.Context()
	points, err := r.Points(ctx)
	if err != nil {
		t.Fatal(err)
	}
	step("list of one point", 2)
	tree, err := r.Tree(ctx, points[0], table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	step("table", 0)
	it, err := tree.Lookup(ctx, table.Key(m.src))
	if err != nil || it.Entry.Kind != table.Folder {
		t.Fatal(err)
	}
	step("first entry", 4)
	if _, _, err := tree.Seek(ctx, table.Key(filepath.Join(m.src, "many/03"))); err != nil {
		t.Fatal(err)
	}
	step("entry far away", 3)
	if _, err := r.Points(ctx); err != nil {
		t.Fatal(err)
	}
	step("list again", 1)
}

// Many runs that commit at once all succeed, and their points make one chain.
func TestRunsAtOnce(t *testing.T) {
	for _, n := range []int{2, 12} {
		for _, shared := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d runs, one state %v", n, shared), func(t *testing.T) { runsAtOnce(t, n, shared) })
		}
	}
}

func runsAtOnce(t *testing.T, n int, shared bool) {
	m := newMachine(t)
	m.sources()
	m.backup()
	m.write("new", noise(7, 100_000))
	m.store.SetLatency(time.Millisecond)
	var group sync.WaitGroup
	for i := range n {
		other := *m
		if !shared {
			other.state = filepath.Join(t.TempDir(), fmt.Sprint(i))
		}
		r := m.open()
		group.Go(func() {
			s, err := other.tryOn(r)
			if err != nil {
				t.Errorf("run %d: %v", i, err)
			} else if s.Statistics.Warnings != 0 {
				t.Errorf("run %d: %v", i, s.Warned)
			}
		})
	}
	group.Wait()
	m.store.SetLatency(0)
	points := m.points()
	if len(points) != n+1 {
		t.Fatalf("%d points of %d runs", len(points), n+1)
	}
	for i, p := range points {
		if p.Sequence != uint64(i+1) || i > 0 && p.Previous != points[i-1].ID {
			t.Errorf("point %d of sequence %d follows %s", i, p.Sequence, p.Previous.Short())
		}
	}
	if left := m.names("intents/"); len(left) > 0 {
		t.Errorf("intents are left: %v", left)
	}
	r := m.open()
	for _, p := range points[1:] {
		m.compare(r, p)
	}
	m.whole()
	if s := m.backup(); s.BytesNew != 0 || s.New+s.Changed > 0 && shared {
		t.Errorf("a run after all of them finds news: %+v", s.Statistics)
	}
}

// A run that is cancelled anywhere returns soon, and the next one goes on.
func TestCancelledRuns(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.store.SetLatency(time.Millisecond)
	for i := range 12 {
		r := m.open()
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*i)*2*time.Millisecond)
		started := time.Now()
		_, err := backup.Run(ctx, r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: later})
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if err == nil && i < 2 {
			t.Error("it ended before it began")
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Errorf("it took %v to stop", took)
		}
		cancel()
	}
	m.backup()
	m.whole()
}

// copyTree copies files and folders, modes too.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, path[len(from):])
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
