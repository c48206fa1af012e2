package keep_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
)

// Variables that make TestEverySchedule do something else than all seeds.
const (
	seedVariable  = "TIDEMARK_SEED"  // one seed
	rangeVariable = "TIDEMARK_SEEDS" // FIRST COUNT: a part of them, for another process
)

// TestEverySchedule tries the real code under orders that seeds decide: in
// processes with one processor each and one schedule at a time, so that a seed
// is the same history each time, with the same random names.
func TestEverySchedule(t *testing.T) {
	if text := os.Getenv(seedVariable); text != "" {
		schedules(t, text+" 1")
		return
	}
	if text := os.Getenv(rangeVariable); text != "" {
		schedules(t, text)
		return
	}
	seeds := 2000
	if os.Getenv("TIDEMARK_LONG") != "" {
		seeds = 60_000
	}
	if testing.Short() {
		seeds = 100
	}
	const processes = 2
	var sums [processes]outcome
	var group sync.WaitGroup
	for i := range processes {
		group.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestEverySchedule$", "-test.v", "-test.timeout=0")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", rangeVariable, i*seeds/processes, seeds/processes), "GOMAXPROCS=1", "GOGC=400")
			out, err := cmd.CombinedOutput()
			_, after, ok := strings.Cut(string(out), "sum: ")
			if ok {
				_, scanErr := fmt.Sscan(after, &sums[i].points, &sums[i].prunes, &sums[i].deleted, &sums[i].moved, &sums[i].killed)
				err = errors.Join(err, scanErr)
			}
			if err != nil || !ok {
				t.Errorf("%v: %s", err, out[max(0, len(out)-6000):])
			}
		})
	}
	group.Wait()
	var sum outcome
	for _, s := range sums {
		sum.add(s)
	}
	t.Logf("%d schedules: %d points, %d collections, %d objects deleted, %d compacted, %d killed", seeds, sum.points, sum.prunes, sum.deleted, sum.moved, sum.killed)
	if sum.points < seeds || sum.deleted < seeds || sum.moved < seeds/20 {
		t.Error("too little was done")
	}
}

func (o *outcome) add(more outcome) {
	o.points, o.prunes, o.deleted = o.points+more.points, o.prunes+more.prunes, o.deleted+more.deleted
	o.moved, o.killed = o.moved+more.moved, o.killed+more.killed
}

// schedules runs a part of the schedules, one by one.
func schedules(t *testing.T, text string) {
	var first, count, failed uint64
	if _, err := fmt.Sscan(text, &first, &count); err != nil {
		t.Fatal(err)
	}
	var sum outcome
	for seed := first; seed < first+count && failed < 5; seed++ {
		cryptotest.SetGlobalRandom(t, seed) // of containers' names
		out := run(t, seed, nil)
		if out.lost != "" {
			failed++
			t.Errorf("seed %d: %s; replay it with %s=%d GOMAXPROCS=1 go test ./repo/vault/keep -run '^TestEverySchedule$'", seed, out.lost, seedVariable, seed)
		}
		sum.add(out)
	}
	t.Logf("sum: %d %d %d %d %d", sum.points, sum.prunes, sum.deleted, sum.moved, sum.killed)
}
