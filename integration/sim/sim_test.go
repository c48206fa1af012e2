package sim

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

func TestSeeds(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "tidemark-sim")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cryptotest.SetGlobalRandom(t, 1) // where pages end depends on keys
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
		if seed > 0 && seed%1000 == 0 {
			t.Log(seed)
		}
		home := filepath.Join(dir, "world")
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		w, err := tmpl.world(seed, home)
		if err != nil {
			t.Fatal(err)
		}
		w.keep = os.Getenv("TRACE") != ""
		synctest.Test(t, func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, seed)
			if err := w.life(t.Context()); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
		steps += w.steps
		if w.keep {
			t.Logf("%x", sha256.Sum256([]byte(strings.Join(w.trace, "\n"))))
			if f := os.Getenv("TRACE"); f != "" {
				os.WriteFile(fmt.Sprint(f, seed), []byte(strings.Join(w.trace, "\n")), 0o644)
			}
		}
		os.RemoveAll(home)
	}
	t.Logf("%d seeds, %d steps, %v each", n, steps, time.Since(started)/time.Duration(n))
}
