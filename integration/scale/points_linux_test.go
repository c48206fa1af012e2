package scale

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/fs"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// cost is what something took: time, memory, and how often the vault was asked.
type cost struct {
	took  time.Duration
	heap  int64
	trips int64
}

func (c cost) String() string {
	return fmt.Sprintf("%d ms, %d MiB, %d", c.took.Milliseconds(), c.heap>>20, c.trips)
}

// measure says what do takes.
func (y *years) measure(do func()) cost {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	runtime.GC()
	base, most := heap(), int64(0)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				most = max(most, heap()-base)
			}
		}
	})
	y.store.ResetCounts()
	started := time.Now()
	do()
	c := cost{took: time.Since(started), trips: y.store.Counts().RoundTrips()}
	close(stop)
	group.Wait()
	c.heap = max(most, heap()-base)
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
	if points, err := y.open(l).Points(y.t.Context()); err != nil || len(points) != want {
		y.t.Fatal(len(points), err)
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
// up and pruning take as the points grow to the most that a policy may ask for.
func TestPointsOfManyYears(t *testing.T) {
	sizes := []int{100, 250}
	if long() {
		sizes = []int{100, 1000, 3000, 9999}
	}
	y := newYears(t, 300, `{"daily":{"keep":9999}}`)
	if err := y.repo.Keep(y.local(), repo.Unattended); err != nil {
		t.Fatal(err)
	}
	t.Log("| points | list | list, the ledger remembered | open the mounted tree, list it and two points | back up | prune after a day | prune, everything counted anew |")
	t.Log("|---|---|---|---|---|---|---|")
	day, gone := 0, 0
	var daily []cost // of the last prunes, point by point
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
		y.now = y.now.Add(time.Hour)
		y.change()
		backUp := y.measure(y.backUp)
		prune := y.measure(func() {
			if p := y.prune(false); p.Recount {
				t.Error("a prune forgot what it had counted")
			}
		})
		daily = append(daily, prune)
		gone++
		list := y.measure(func() { y.points(repo.Local{}, n-gone) })
		again := y.measure(func() { y.points(y.local(), n-gone) })
		mount := y.measure(func() { y.look(n - gone) })
		full := y.measure(func() { y.prune(true) })
		t.Logf("| %d | %v | %v | %v | %v | %v | %v |", n-gone, list, again, mount, backUp, prune, full)
		y.now = y.now.Add(24 * time.Hour)
		day++
	}
	first, last := daily[0], daily[len(daily)-1]
	if last.trips > 3*first.trips+100 {
		t.Errorf("a prune after one day took %d round trips among %d points, and %d among %d", first.trips, sizes[0], last.trips, sizes[len(sizes)-1])
	}
}
