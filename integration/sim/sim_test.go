package sim

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

// Variables that make this program do something else than all seeds.
const (
	seedVariable  = "TIDEMARK_SEED"  // one seed, whose trace is written to a file
	rangeVariable = "TIDEMARK_SEEDS" // FIRST COUNT: a part of them, for another process
	bugVariable   = "TIDEMARK_BUG"   // a planted bug, to be found by a process of its own
)

// lab runs seeds.
type lab struct {
	t    *testing.T
	dir  string
	tmpl *template
}

func newLab(t *testing.T) *lab {
	t.Helper()
	base := "/dev/shm"
	if info, err := os.Stat(base); err != nil || !info.IsDir() {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "tidemark-sim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	cryptotest.SetGlobalRandom(t, 1) // where pages end depends on keys
	tmpl, err := newTemplate(t.Context(), filepath.Join(dir, "template"))
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t, dir, tmpl}
}

// run lives through one seed, and returns what went wrong.
func (l *lab) run(seed uint64, m mutant, trace bool) (*world, error) {
	home := filepath.Join(l.dir, "world")
	if err := os.Mkdir(home, 0o700); err != nil {
		l.t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(home); err != nil {
			l.t.Error(err)
		}
	}()
	w, err := l.tmpl.world(seed, home)
	if err != nil {
		l.t.Fatal(err)
	}
	w.keep, w.mutant = trace, m
	var problem error
	synctest.Test(l.t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		problem = w.life(t.Context())
	})
	return w, problem
}

// TestSeeds: whatever happens to three servers, a vault and its replica, nothing
// that was promised is lost, and what nobody needs goes. A seed is a history,
// and tells it again in each run: processes with one processor each, since a
// history must not hang on how fast somebody is.
func TestSeeds(t *testing.T) {
	if text := os.Getenv(seedVariable); text != "" {
		replay(t, text)
		return
	}
	if text := os.Getenv(rangeVariable); text != "" {
		part(t, text)
		return
	}
	n := 2_200 // 20,000 would take four minutes of two processors
	if os.Getenv("TIDEMARK_LONG") != "" {
		n = 1_000_000
	}
	const processes = 2
	started := time.Now()
	var group sync.WaitGroup
	var mu sync.Mutex
	counts := map[string]int{}
	for i := range processes {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSeeds$", "-test.v", "-test.timeout=0")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", rangeVariable, i*n/processes, n/processes), "GOMAXPROCS=1", "GOGC=400")
		group.Go(func() {
			out, err := cmd.CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%v: %s", err, tail(out))
			}
			for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
				var what string
				var count int
				if _, after, ok := strings.Cut(lines.Text(), "count: "); ok {
					if _, err := fmt.Sscan(after, &count, &what); err == nil {
						counts[what] += count
					}
				}
			}
		})
	}
	group.Wait()
	t.Logf("%v in %v", counts, time.Since(started).Round(time.Second))
	if counts["seeds"] != n/processes*processes {
		t.Errorf("only %d of %d seeds were lived through", counts["seeds"], n)
	}
	for _, what := range []string{"points", "removed", "crash", "asleep", "replicated", "gc", "moved"} {
		if counts[what] < n/100 {
			t.Errorf("%s: only %d in %d seeds: they show too little", what, counts[what], n)
		}
	}
}

// tail is the end of some output.
func tail(out []byte) []byte { return out[max(0, len(out)-6000):] }

// part lives through a part of the seeds.
func part(t *testing.T, text string) {
	var first, count uint64
	if _, err := fmt.Sscan(text, &first, &count); err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	counts := map[string]int{}
	failed := 0
	for seed := first; seed < first+count && failed < 5; seed++ {
		w, problem := l.run(seed, mutant{}, false)
		if problem != nil {
			failed++
			t.Errorf("seed %d: %v; replay it with %s=%d GOMAXPROCS=1 go test ./integration/sim -run '^TestSeeds$'", seed, problem, seedVariable, seed)
		}
		counts["seeds"]++
		for what, n := range w.counts {
			counts[what] += n
		}
	}
	for what, n := range counts {
		t.Logf("count: %d %s", n, what)
	}
}

// replay lives through one seed, and writes down everything that happened.
func replay(t *testing.T, text string) {
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	w, problem := newLab(t).run(seed, mutant{}, true)
	path := filepath.Join(os.TempDir(), fmt.Sprintf("tidemark-seed-%d", seed))
	if problem != nil {
		w.trace = append(w.trace, w.ledgers()...)
	}
	if err := os.WriteFile(path, []byte(strings.Join(w.trace, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("what happened is in %s", path)
	if problem != nil {
		t.Error(problem)
	}
}

// ledgers tells what the ledgers of vault and replica say.
func (w *world) ledgers() []string {
	out := []string{fmt.Sprintf("the time is %v", w.truth)}
	for name, place := range map[string]*Place{"vault": w.primary, "replica": w.replica} {
		for n := uint64(1); ; n++ {
			b, err := store.ReadAll(context.Background(), place.Mem(), ledger.Name(n), maxObject)
			if err != nil {
				break
			}
			e, err := ledger.Parse(b)
			if err != nil {
				out = append(out, fmt.Sprintf("%s: entry %d: %v", name, n, err))
				continue
			}
			out = append(out, fmt.Sprintf("%s: entry %d by %v at %v", name, n, e.Signer, time.Unix(e.Time, 0).UTC()))
			for _, r := range e.Records {
				out = append(out, fmt.Sprintf("%s:   %T %+v", name, r, r))
			}
		}
	}
	return out
}

// A seed tells the same history each time.
func TestSeedsAreReplayed(t *testing.T) {
	if os.Getenv(seedVariable)+os.Getenv(rangeVariable) != "" {
		t.Skip("this is a replay")
	}
	for seed := range 6 {
		var traces [2][]byte
		for i := range traces {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestSeeds$", "-test.v")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", seedVariable, seed), "GOMAXPROCS=1", "TMPDIR="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var err error
			if traces[i], err = os.ReadFile(filepath.Join(dir, fmt.Sprintf("tidemark-seed-%d", seed))); err != nil {
				t.Fatal(err)
			}
		}
		if len(traces[0]) == 0 || !bytes.Equal(traces[0], traces[1]) {
			t.Errorf("seed %d tells two histories, of %d and %d bytes", seed, len(traces[0]), len(traces[1]))
		}
	}
}

// Each planted bug is found, and soon. Package keep's own tests plant those that
// take one order of steps in a million (points listed before intents), package
// crash those that a crash shows.
func TestSeedsFindPlantedBugs(t *testing.T) {
	if name := os.Getenv(bugVariable); name != "" {
		find(t, name)
		return
	}
	if os.Getenv(seedVariable)+os.Getenv(rangeVariable) != "" {
		t.Skip("this is a replay")
	}
	var rows errgroup.Group
	rows.SetLimit(2)
	t.Log("| planted bug | caught by | after how many seeds | with |")
	t.Log("|---|---|---|---|")
	for _, m := range mutants() {
		rows.Go(func() error {
			cmd := exec.Command(os.Args[0], "-test.run=^TestSeedsFindPlantedBugs$", "-test.v", "-test.timeout=0")
			cmd.Env = append(os.Environ(), bugVariable+"="+m.name, "GOMAXPROCS=1", "GOGC=400")
			out, err := cmd.CombinedOutput()
			_, row, ok := strings.Cut(string(out), "row: ")
			row, _, _ = strings.Cut(row, "\n")
			if err != nil || !ok {
				t.Errorf("%s: %v: %s", m.name, err, tail(out))
				return nil
			}
			t.Log(row)
			return nil
		})
	}
	_ = rows.Wait() // each has told its own
}

// find lives through seeds until one shows a planted bug.
func find(t *testing.T, name string) {
	const most = 2000
	l := newLab(t)
	for _, m := range mutants() {
		if m.name != name {
			continue
		}
		for seed := range uint64(most) {
			if _, problem := l.run(seed, m, false); problem != nil {
				text, _, _ := strings.Cut(problem.Error(), "\n")
				t.Logf("row: | %s | sim | %d | %s |", m.name, seed+1, text)
				return
			}
		}
	}
	t.Errorf("nobody noticed: %s", name)
}
