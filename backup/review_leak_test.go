package backup_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup"
	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// A run that is stopped, or fails, at any moment leaves no goroutine and no
// open file behind.
func TestStoppedRunsLeaveNothingBehind(t *testing.T) {
	m := newMachine(t)
	m.sources()
	for i := range 40 { // more folders than batches are on their way
		m.write(fmt.Sprintf("more/%d/file", i), noise(uint64(5000+i), 40_000))
		m.write(fmt.Sprintf("more/%d/large", i), noise(uint64(6000+i), 1<<20+1))
	}
	m.store.SetLatency(200 * time.Microsecond)
	random := rand.New(rand.NewPCG(1, 1))
	r := m.open()
	run := func(ctx context.Context) error {
		_, err := backup.Run(ctx, r, r.Local(m.state), backup.Job{Paths: []string{m.src}, Now: later, Scan: true})
		return err
	}
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	settled := func(after string) {
		t.Helper()
		deadline := time.Now().Add(5 * time.Second)
		for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond) // a goroutine that has told its end is there for a moment
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			buf := make([]byte, 1<<20)
			t.Fatalf("%s: %d goroutines more:\n%s", after, n-goroutines, buf[:runtime.Stack(buf, true)])
		}
		if n := openFiles(t); n > files {
			t.Fatalf("%s: %d open files more", after, n-files)
		}
	}
	for i := range 25 {
		after := time.Duration(random.IntN(60*(1+i%5))) * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), after)
		if err := run(ctx); err == nil {
			m.forget("copies", "index")
		}
		cancel()
		settled(fmt.Sprint("stopped after ", after))
	}
	for range 25 {
		var left atomic.Int64 // hooks run side by side
		left.Store(random.Int64N(60))
		m.store.SetHook(func(mem.Op) (error, error) {
			if left.Add(-1) < 0 {
				return fault.Unavailable, nil
			}
			return nil, nil
		})
		_ = run(t.Context())
		m.store.SetHook(nil)
		settled("failed")
	}
	m.store.SetLatency(0)
	m.backup()
	m.whole()
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // not on Linux: only goroutines are counted
	}
	return len(entries)
}
