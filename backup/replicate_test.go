package backup_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// grown returns a repository of n points of a small tree that grows, in memory.
func grown(t *testing.T, n int) *mem.Store {
	t.Helper()
	s := mem.New()
	r, err := repo.Create(t.Context(), s, repo.CreateOptions{Passphrase: passphrase, Cost: cheap, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	src, local := t.TempDir(), r.Local(t.TempDir())
	for i := range n {
		for k := range 3 {
			write(t, fmt.Sprintf("%s/file %d.%d", src, i, k), noise(uint64(10*i+k), 5000*(k+1)))
		}
		if _, err := backup.Run(t.Context(), r, local, backup.Job{Paths: []string{src}, Now: time.Now, Host: "h"}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func replicateOptions() replicate.Options {
	return replicate.Options{Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Now: time.Now}
}

func mustReplicate(t *testing.T, from, to store.Store, o replicate.Options) *replicate.Report {
	t.Helper()
	report, err := replicate.Run(t.Context(), from, to, o)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("replicate: %+v, %v", report, err)
	}
	return report
}

// all reads everything in a place that holds a repository.
func all(t *testing.T, s *mem.Store) map[string][32]byte {
	t.Helper()
	r, err := reopen(t, s)
	if err != nil {
		t.Fatal(err)
	}
	files, err := contents(t, r)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// wholePoints checks that whatever points are listed are whole, and returns how
// many there are.
func wholePoints(t *testing.T, s *mem.Store, where string) int {
	t.Helper()
	names := objects(t, s, point.Prefix)
	if len(names) == 0 {
		return 0
	}
	r, err := reopen(t, s)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	report, err := repo.Check(t.Context(), r, repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 || report.Points != len(names) {
		t.Fatalf("%s: %d points listed: %+v, %v", where, len(names), report, err)
	}
	return len(names)
}

func TestReplicate(t *testing.T) {
	source := grown(t, 5)
	want := all(t, source)
	for _, oldest := range []bool{false, true} {
		o := replicateOptions()
		o.OldestFirst = oldest
		replica := mem.New()
		report := mustReplicate(t, source, replica, o)
		order := []uint64{5, 4, 3, 2, 1}
		if oldest {
			slices.Reverse(order)
		}
		if !slices.Equal(report.Copied, order) || report.There != 0 || len(report.Slots) != 0 {
			t.Errorf("%+v", report)
		}
		if have := all(t, replica); !maps.Equal(have, want) {
			t.Errorf("%d files of %d", len(have), len(want))
		}
		wholePoints(t, replica, "after it")
		if left := objects(t, replica, "intents/"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		if n := len(objects(t, replica, "ledger/")); n != 5 {
			t.Errorf("%d entries in its ledger", n)
		}
	}
}

// A second run costs what is new, and next to nothing if nothing is.
func TestReplicateAgain(t *testing.T) {
	source := grown(t, 5)
	replica := mem.New()
	mustReplicate(t, source, replica, replicateOptions())
	source.ResetCounts()
	replica.ResetCounts()
	report := mustReplicate(t, source, replica, replicateOptions())
	if len(report.Copied) != 0 || report.There != 5 {
		t.Errorf("%+v", report)
	}
	from, to := source.Counts(), replica.Counts()
	if from.RoundTrips() > 12 || to.RoundTrips() > 25 || to.Puts > 3 || from.Out+to.Out > 20<<10 {
		t.Errorf("nothing new: %+v from the source, %+v from the replica", from, to)
	}
	var trips [2]int64
	for i, points := range []int{6, 12} { // one new point, after few and after more
		source := grown(t, points)
		replica := mem.New()
		o := replicateOptions()
		o.SourceMemory, o.Memory = t.TempDir()+"/source", t.TempDir()+"/replica"
		for n := range points - 1 {
			o.Points = append(o.Points, uint64(n+1))
		}
		mustReplicate(t, source, replica, o)
		source.ResetCounts()
		replica.ResetCounts()
		o.Points = nil
		if report := mustReplicate(t, source, replica, o); len(report.Copied) != 1 || report.Packs > 3 {
			t.Errorf("one new: %+v", report)
		}
		trips[i] = source.Counts().RoundTrips() + replica.Counts().RoundTrips()
	}
	if trips[1] > trips[0]+2 {
		t.Errorf("one new point costs %d round trips after 5, %d after 11", trips[0], trips[1])
	}
}

// The first point is of use before the others are there.
func TestNewestFirstIsOfUseAtOnce(t *testing.T) {
	source := grown(t, 20)
	replica := mem.New()
	o := replicateOptions()
	seen := 0
	o.Progress = func(p replicate.Progress) {
		if p.Points != 1 || seen > 0 {
			return
		}
		seen++
		now := replica.Clone()
		if n := wholePoints(t, now, "after the first"); n != 1 {
			t.Errorf("%d points", n)
		}
	}
	mustReplicate(t, source, replica, o)
	if seen != 1 {
		t.Error("never looked")
	}
}

// Every operation fails in both ways, at either side: whatever is listed is
// whole, and the next run goes on to the end.
func TestReplicateEveryStepFails(t *testing.T) {
	source := grown(t, 2)
	want := all(t, source)
	for _, side := range []string{"source", "replica"} {
		states := 0
		for n := int64(1); ; n++ {
			ended := false
			for _, stored := range []bool{false, true} {
				where := fmt.Sprintf("%s, operation %d, stored %v", side, n, stored)
				from, to := source.Clone(), mem.New()
				failing := map[string]*mem.Store{"source": from, "replica": to}[side]
				failing.SetHook(mem.FailAt(n, stored, fault.Unavailable))
				_, err := replicate.Run(t.Context(), from, to, replicateOptions())
				ended = ended || failing.Counts().RoundTrips() < n
				failing.SetHook(nil)
				if err == nil && !ended && !stored {
					t.Logf("%s: went on", where)
				}
				states++
				wholePoints(t, to.Clone(), where)
				mustReplicate(t, from, to, replicateOptions())
				if have := all(t, to); !maps.Equal(have, want) {
					t.Fatalf("%s: %d files of %d", where, len(have), len(want))
				}
				mustReplicate(t, from, to, replicateOptions()) // tidies up after it
				if left := objects(t, to, "intents/"); len(left) > 0 {
					t.Fatalf("%s: left %q", where, left)
				}
			}
			if ended {
				break
			}
		}
		if states < 30 {
			t.Errorf("%s: only %d states", side, states)
		}
	}
}

// A replica that is full or takes no writes ends the run with that, whole as
// far as it is.
func TestReplicateIntoAFullPlace(t *testing.T) {
	source := grown(t, 3)
	for _, kind := range []fault.Kind{fault.NoSpace, fault.ReadOnly} {
		for after := range 12 {
			replica := mem.New()
			puts := 0
			var mu sync.Mutex
			replica.SetHook(func(op mem.Op) (before, lost error) {
				mu.Lock()
				defer mu.Unlock()
				if op.Verb == mem.Put {
					puts++
				}
				if op.Verb == mem.Put && puts > 4*after {
					return kind, nil
				}
				return nil, nil
			})
			_, err := replicate.Run(t.Context(), source, replica, replicateOptions())
			if puts > 4*after && (fault.KindOf(err) != kind || !strings.Contains(err.Error(), "the replica")) {
				t.Fatalf("%v after %d: %v", kind, 4*after, err)
			}
			replica.SetHook(nil)
			wholePoints(t, replica.Clone(), fmt.Sprint(kind, after))
			mustReplicate(t, source, replica, replicateOptions())
			wholePoints(t, replica, fmt.Sprint(kind, after))
		}
	}
}

// What is damaged at its source is named and not spread, points that do not
// need it are copied, and once it is healed the others follow.
func TestReplicateFromADamagedSource(t *testing.T) {
	pristine := grown(t, 4)
	want := all(t, pristine)
	for _, name := range objects(t, pristine, "") {
		if name == "repository" {
			continue
		}
		for _, lost := range []bool{false, true} {
			if lost && (strings.HasPrefix(name, "points/") || strings.HasPrefix(name, "keys/")) {
				continue // those are removed lawfully
			}
			source, replica := pristine.Clone(), mem.New()
			var err error
			if lost {
				err = source.Delete(t.Context(), name)
			} else {
				err = source.Tamper(name, func(b []byte) []byte { b[len(b)-20] ^= 1; return b })
			}
			if err != nil {
				t.Fatal(err)
			}
			report, err := replicate.Run(t.Context(), source, replica, replicateOptions())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if strings.HasPrefix(name, "keys/") {
				continue // without keys nobody sees one bit of those
			}
			if strings.HasPrefix(name, "ledger/") {
				if len(report.Problems) > 1 || len(report.Copied) != 4 { // a lost last entry leaves no trace
					t.Errorf("%s: %+v", name, report)
				}
				continue
			}
			if len(report.Problems) != 1 || !strings.Contains(report.Problems[0].Object, name) && !strings.Contains(report.Problems[0].Object, "live set") {
				t.Fatalf("%s: %+v", name, report.Problems)
			}
			p := report.Problems[0]
			if len(p.Points) == 0 || len(report.Copied)+len(p.Points) != 4 {
				t.Errorf("%s: %d copied, %+v", name, len(report.Copied), p)
			}
			wholePoints(t, replica.Clone(), name)
			b, err := store.ReadAll(t.Context(), pristine, name, 1<<30)
			if err == nil {
				err = source.Replace(t.Context(), name, b)
			}
			if err != nil {
				t.Fatal(err)
			}
			mustReplicate(t, source, replica, replicateOptions())
			if have := all(t, replica); !maps.Equal(have, want) {
				t.Errorf("%s: %d files of %d", name, len(have), len(want))
			}
		}
	}
}

func TestReplicateRefuses(t *testing.T) {
	source, other := grown(t, 1), grown(t, 1)
	if _, err := replicate.Run(t.Context(), source, other, replicateOptions()); fault.KindOf(err) != fault.Exist || !strings.Contains(err.Error(), "another repository") {
		t.Errorf("another repository: %v", err)
	}
	foreign := mem.New()
	if err := foreign.Put(t.Context(), "photos/cat", []byte("meow")); err != nil {
		t.Fatal(err)
	}
	if _, err := replicate.Run(t.Context(), source, foreign, replicateOptions()); fault.KindOf(err) != fault.Exist || !strings.Contains(err.Error(), "photos/cat") {
		t.Errorf("a foreign folder: %v", err)
	}
	if _, err := replicate.Run(t.Context(), mem.New(), mem.New(), replicateOptions()); fault.KindOf(err) != fault.NotExist {
		t.Errorf("from nothing: %v", err)
	}
	newer := source.Clone()
	if err := newer.Put(t.Context(), "keys/feature-0f00", make([]byte, 26)); err != nil {
		t.Fatal(err)
	}
	if _, err := replicate.Run(t.Context(), newer, mem.New(), replicateOptions()); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("of a later version: %v", err)
	}
	// A source that went back and wrote another point under a number in use.
	replica := mem.New()
	mustReplicate(t, source, replica, replicateOptions())
	forged := source.Clone()
	b, err := store.ReadAll(t.Context(), grown(t, 1), "points/0000000000000001", 1<<20)
	if err == nil {
		err = forged.Replace(t.Context(), "points/0000000000000001", b)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := replica.Clone()
	report, err := replicate.Run(t.Context(), forged, replica, replicateOptions())
	if err != nil || len(report.Problems) == 0 || !errors.Is(report.Problems[0].Err, fault.Rollback) {
		t.Errorf("another point under a number: %+v, %v", report, err)
	}
	sameObjects(t, replica, before)
}

// Deletions at the source are not followed, and a chain of replicas works.
func TestReplicaObeysNoDelete(t *testing.T) {
	source := grown(t, 3)
	want := all(t, source)
	replica, third := mem.New(), mem.New()
	mustReplicate(t, source, replica, replicateOptions())
	for _, name := range objects(t, source, "") {
		if name != "repository" && !strings.HasPrefix(name, "keys/") {
			if err := source.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustReplicate(t, source, replica, replicateOptions())
	mustReplicate(t, replica, third, replicateOptions())
	for _, s := range []*mem.Store{replica, third} {
		if have := all(t, s); !maps.Equal(have, want) {
			t.Errorf("%d files of %d", len(have), len(want))
		}
	}
}

// Several at once make one whole replica.
func TestReplicateSideBySide(t *testing.T) {
	source := grown(t, 6)
	want := all(t, source)
	replica := mem.New()
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			o := replicateOptions()
			o.OldestFirst = i%2 == 0
			for range 3 { // of two that make the replica at once one may be told that it was too slow
				report, err := replicate.Run(t.Context(), source, replica, o)
				if err == nil && len(report.Problems) == 0 {
					return
				}
				if i == 0 {
					t.Logf("%+v, %v", report, err)
				}
			}
			t.Error("it does not come to an end")
		})
	}
	wait.Wait()
	if have := all(t, replica); !maps.Equal(have, want) {
		t.Errorf("%d files of %d", len(have), len(want))
	}
	wholePoints(t, replica, "side by side")
	mustReplicate(t, source, replica, replicateOptions())
	if left := objects(t, replica, "intents/"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
