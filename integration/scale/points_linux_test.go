package scale

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/replicate"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// cost is what something took: processor time, memory, and how often the vault
// was asked.
type cost struct {
	processor time.Duration
	heap      int64
	trips     int64
}

func (c cost) String() string {
	return fmt.Sprintf("%.2f s, %d MiB, %d", c.processor.Seconds(), c.heap>>20, c.trips)
}

// alive is what the last collection of garbage has left in memory.
func alive() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// measure says what do takes. The vault is in this process's memory, so that the
// garbage of others would be counted for long: it is collected more often here.
func (y *years) measure(do func()) cost {
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	runtime.GC()
	base, most := alive(), int64(0)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				most = max(most, alive()-base)
			}
		}
	})
	y.store.ResetCounts()
	before := processor()
	do()
	c := cost{processor: processor() - before, trips: y.store.Counts().RoundTrips()}
	close(stop)
	group.Wait()
	c.heap = max(most, alive()-base)
	return c
}

// open opens the repository as a new process does, which remembers of the
// ledger what l does.
func (y *years) open(l repo.Local) *repo.Repository {
	r, err := repo.Open(y.t.Context(), y.store, repo.Options{})
	if err == nil {
		_, err = r.Grant(y.t.Context(), y.local())
	}
	if err == nil {
		err = r.OpenLedger(y.t.Context(), l, repo.LedgerOptions{})
	}
	if err != nil {
		y.t.Fatal(err)
	}
	return r
}

// points lists the points in a new process.
func (y *years) points(l repo.Local, want int) {
	points, err := y.open(l).Points(y.t.Context())
	if err != nil || len(points) != want {
		y.t.Fatal(len(points), err)
	}
	runtime.GC() // they are still needed
	runtime.KeepAlive(points)
}

// forget makes the machine forget which points it has seen.
func (y *years) forget() {
	if err := os.Remove(y.local().Points()); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		y.t.Fatal(err)
	}
}

// replicate brings a replica up to date.
func (y *years) replicate(to *mem.Store) {
	r, err := replicate.Run(y.t.Context(), y.store, to, replicate.Options{Key: y.device.Key, Now: func() time.Time { return y.now }})
	if err != nil || len(r.Problems) > 0 {
		y.t.Fatal(r, err)
	}
}

// look opens the tree that a mount shows, and lists its points, and in the
// oldest and the newest of them the protected folder.
func (y *years) look(want int) {
	tree := fs.New(y.open(y.local()), fs.Options{Now: func() time.Time { return y.now }})
	defer tree.Close()
	root := y.folders(tree, fs.Root)
	points := y.folders(tree, root["points"])
	if len(points) != want {
		y.t.Fatalf("%d points are shown, not %d", len(points), want)
	}
	oldest, newest := "~", ""
	for name := range points {
		oldest, newest = min(oldest, name), max(newest, name)
	}
	for _, name := range []string{oldest, newest} {
		at := points[name]
		for folder := filepath.Join(y.dir, "src")[1:]; folder != ""; {
			part := folder
			for i := range folder {
				if folder[i] == '/' {
					part = folder[:i]
					break
				}
			}
			a, err := tree.Lookup(y.t.Context(), at, part)
			if err != nil {
				y.t.Fatal(err)
			}
			at, folder = a.Node, folder[min(len(part)+1, len(folder)):]
		}
		if n := len(y.folders(tree, at)); n != min(97, y.files) {
			y.t.Fatalf("%s has %d folders", name, n)
		}
	}
}

// folders lists what is in a folder.
func (y *years) folders(tree *fs.Tree, at fs.Node) map[string]fs.Node {
	out := map[string]fs.Node{}
	for d, err := range tree.ReadDir(y.t.Context(), at, 0) {
		if err != nil {
			y.t.Fatal(err)
		}
		if name := string(d.Name); name != "." && name != ".." {
			out[name] = d.Attr.Node
		}
	}
	return out
}

// remove deletes a point by hand.
func (y *years) remove(sequence uint64) {
	b := y.repo.Book()
	reading, err := b.Read(y.t.Context(), y.now)
	if err != nil {
		y.t.Fatal(err)
	}
	_, err = b.Append(y.t.Context(), y.device.Key, reading, func(s *retain.State, v retain.Verdict) ([]ledger.Record, error) {
		return s.Delete(v, sequence)
	})
	if err != nil {
		y.t.Fatal(err)
	}
}

// A point a day for 27 years, all of them kept: what listing, mounting, backing
// up, pruning and replicating take as the points grow to the most that a policy
// may ask for.
func TestPointsOfManyYears(t *testing.T) {
	sizes := []int{100, 250}
	if long() {
		sizes = []int{100, 1000, 3000, 9999}
	}
	y := newYears(t, 300, `{"daily":{"keep":9999}}`)
	if err := y.repo.Keep(y.local(), repo.Unattended); err != nil {
		t.Fatal(err)
	}
	replica := mem.New()
	replica.SetClock(func() time.Time { return y.now })
	t.Log("| points | list, seen first | list | open the mounted tree, list it and two points | back up | prune after a day | prune, everything counted anew | replicate after a day |")
	t.Log("|---|---|---|---|---|---|---|---|")
	day, gone := 0, 0
	var daily, lists []cost // point by point
	for _, n := range sizes {
		for ; day < n-1; day++ {
			if day == n-20 {
				y.remove(uint64(n / 2)) // gone for good when it comes to prune
			}
			y.change()
			y.backUp()
			y.now = y.now.Add(24 * time.Hour)
		}
		y.prune(false) // what came since the last one
		y.replicate(replica)
		y.now = y.now.Add(time.Hour)
		y.change()
		backUp := y.measure(y.backUp)
		prune := y.measure(func() {
			if p := y.prune(false); p.Recount {
				t.Error("a prune forgot what it had counted")
			}
		})
		gone++
		y.forget()
		first := y.measure(func() { y.points(y.local(), n-gone) })
		list := y.measure(func() { y.points(y.local(), n-gone) })
		mount := y.measure(func() { y.look(n - gone) })
		copied := y.measure(func() { y.replicate(replica) })
		full := y.measure(func() { y.prune(true) })
		t.Logf("| %d | %v | %v | %v | %v | %v | %v | %v |", n-gone, first, list, mount, backUp, prune, full, copied)
		daily, lists = append(daily, prune), append(lists, list)
		y.now = y.now.Add(24 * time.Hour)
		day++
	}
	if first, last := daily[0], daily[len(daily)-1]; last.trips > 3*first.trips+100 {
		t.Errorf("a prune after one day took %d round trips among %d points, and %d among %d", first.trips, sizes[0], last.trips, sizes[len(sizes)-1])
	}
	// A page of a listing is a round trip, too.
	if first, last := lists[0], lists[len(lists)-1]; last.trips > first.trips+2*int64(sizes[len(sizes)-1])/1000+5 {
		t.Errorf("a list of %d points took %d round trips, and one of %d %d", sizes[0], first.trips, sizes[len(sizes)-1], last.trips)
	}
	y.run(sizes[len(sizes)-1] - gone)
}

// run lets the program list what is there, as it does on a disk.
func (y *years) run(points int) {
	dump(y.t, y.store, filepath.Join(y.dir, "vault"))
	p := &place{t: y.t, dir: y.dir}
	y.forget()
	for _, what := range []string{"first", "again"} {
		took, memory := p.run("points")
		y.t.Logf("tidemark points, %s: %v, %d MiB for %d points", what, took.Round(time.Millisecond), memory>>10, points)
	}
	took, memory := p.run("ls", "latest")
	y.t.Logf("tidemark ls latest: %v, %d MiB", took.Round(time.Millisecond), memory>>10)
	if memory > 256<<10 {
		y.t.Errorf("ls of one of %d points took %d MiB", points, memory>>10)
	}
}
