package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/store"
)

func testList(t *testing.T, s store.Store) {
	if got := names(t, s, ""); len(got) != 0 {
		t.Fatalf("an empty store lists %q", got)
	}
	before := time.Now().Add(-time.Minute)
	// '-' and '.' sort before '/', digits and letters after: a listing that
	// goes folder by folder gets this wrong.
	want := []string{"a-b", "a.b", "a/x", "a/x-1", "a/x.y", "a/x0/z", "a/y/z", "a0", "a_b", "aa/b", "b"}
	shuffled := slices.Clone(want)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) {
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	})
	for _, name := range shuffled {
		put(t, s, name, make([]byte, len(name)*1000))
	}
	if got := names(t, s, ""); !slices.Equal(got, want) {
		t.Fatalf("List: %q, want %q", got, want)
	}
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if o.Size != int64(len(o.Name)*1000) {
			t.Errorf("%s: size %d, want %d", o.Name, o.Size, len(o.Name)*1000)
		}
		if o.Modified.Before(before) || o.Modified.After(time.Now().Add(time.Minute)) {
			t.Errorf("%s: modified %v", o.Name, o.Modified)
		}
	}
}

func testListPrefixes(t *testing.T, s store.Store) {
	all := []string{"live/aa", "live/ab", "packs/00/00aa", "packs/00/00bb", "packs/01/01aa", "packs/1", "point", "points/1", "points/10", "points/2"}
	for _, name := range all {
		put(t, s, name, []byte(name))
	}
	for _, prefix := range []string{
		"", "p", "packs", "packs/", "packs/0", "packs/00", "packs/00/", "packs/00/00", "packs/00/00a", "packs/00/00aa",
		"packs/00/00aax", "packs/00/00aa/", "packs/1", "packs/2", "packs/2/", "point", "points", "points/1", "points/1/",
		"live/", "live/a", "q", "z/z/z", "/", "//", ".", "..", "../", "P", "tmp", "tmp/", "points/../", "\x00", "\xff",
		strings.Repeat("a/", 400),
	} {
		var want []string
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		if got := names(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("List %q: %q, want %q", prefix, got, want)
		}
	}
}

// testListMany lists more than the pages in which remote stores answer.
func testListMany(t *testing.T, s store.Store) {
	const count = 2300
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < count; i += 4 {
				if err := s.Put(t.Context(), fmt.Sprintf("n/%05d", i), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := names(t, s, "n/")
	if len(got) != count || got[0] != "n/00000" || got[count-1] != fmt.Sprintf("n/%05d", count-1) {
		t.Errorf("List shows %d objects of %d", len(got), count)
	}
}

func testListStops(t *testing.T, s store.Store) {
	for i := range 10 {
		put(t, s, fmt.Sprintf("d%d/x", i), nil)
	}
	seen := 0
	list := s.List(t.Context(), "")
	for _, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Fatalf("saw %d objects", seen)
	}
	seen = 0
	for _, err := range list { // a listing can be ranged over again
		if err != nil {
			t.Fatal(err)
		}
		seen++
	}
	if seen != 10 {
		t.Errorf("the second time: %d objects", seen)
	}
}

// testListWhole lists while objects are put: each listed one is whole, and all
// are there whose Put has returned.
func testListWhole(t *testing.T, s store.Store) {
	const count, size = 12, 2 << 20
	data := Data(1, size)
	var done atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range count {
			if err := s.Put(t.Context(), fmt.Sprintf("packs/%02d", i), data); err != nil {
				t.Error(err)
			}
			done.Add(1)
		}
	})
	for done.Load() < count && !t.Failed() {
		least := done.Load()
		seen := int64(0)
		for o, err := range s.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if o.Size != size || !strings.HasPrefix(o.Name, "packs/") {
				t.Errorf("listed %s with %d bytes", o.Name, o.Size)
			}
			seen++
		}
		if seen < least {
			t.Errorf("listed %d objects after %d were put", seen, least)
		}
	}
	wg.Wait()
}
