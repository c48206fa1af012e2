package sim

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestSeeds(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "tidemark-sim")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	tmpl, err := newTemplate(t.Context(), filepath.Join(dir, "template"))
	if err != nil {
		t.Fatal(err)
	}
	n := 100
	if s := os.Getenv("SEEDS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	started := time.Now()
	steps := 0
	for seed := range uint64(n) {
		if seed > 0 && seed%1000 == 0 { t.Log(seed) }
		home := filepath.Join(dir, "world")
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		w, err := tmpl.world(seed, home)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			if err := w.life(t.Context()); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
		steps += w.steps
		os.RemoveAll(home)
	}
	t.Logf("%d seeds, %d steps, %v each", n, steps, time.Since(started)/time.Duration(n))
}
