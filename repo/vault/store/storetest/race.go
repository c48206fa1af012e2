package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

func testRacingPuts(t *testing.T, s store.Store) {
	const writers = 12
	for round := range 10 {
		name := fmt.Sprintf("points/%020d", round)
		var won atomic.Int64
		var winner atomic.Int64
		start := make(chan struct{})
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				data := Data(uint64(w), 2000+w%3)
				<-start
				err := s.Put(t.Context(), name, data)
				if err == nil {
					won.Add(1)
					winner.Store(int64(w))
				} else if fault.KindOf(err) != fault.Exist {
					t.Errorf("writer %d: %v", w, err)
				}
			})
		}
		close(start)
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d writers won %s", won.Load(), name)
		}
		w := winner.Load()
		holds(t, s, name, Data(uint64(w), 2000+int(w)%3))
	}
}

func testRacingEqualPuts(t *testing.T, s store.Store) {
	data := Data(1, 200_000)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if err := s.Put(t.Context(), "live/x", data); err != nil {
				t.Errorf("Put of the same bytes: %v", err)
			}
		})
	}
	wg.Wait()
	holds(t, s, "live/x", data)
	if got := names(t, s, ""); len(got) != 1 {
		t.Errorf("List: %q", got)
	}
}

// testRacingMix puts, reads and deletes a few names at once: a reader finds
// the whole object or none.
func testRacingMix(t *testing.T, s store.Store) {
	const objects, rounds = 5, 60
	data := make([][]byte, objects)
	for i := range data {
		data[i] = Data(uint64(i), 3000+i)
	}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			buf := make([]byte, 5000)
			for range rounds {
				i := r.IntN(objects)
				name := fmt.Sprintf("m%d/o", i)
				switch w % 3 {
				case 0:
					if err := s.Put(t.Context(), name, data[i]); err != nil {
						t.Errorf("Put: %v", err)
					}
				case 1:
					n, err := s.Get(t.Context(), name, 0, buf)
					if err != nil && fault.KindOf(err) != fault.NotExist {
						t.Errorf("Get: %v", err)
					}
					if err == nil && !bytes.Equal(buf[:n], data[i]) {
						t.Errorf("Get: %d bytes that are not the object", n)
					}
				case 2:
					if err := s.Delete(t.Context(), name); err != nil {
						t.Errorf("Delete: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
}
