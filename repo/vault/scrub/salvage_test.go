package scrub_test

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/scrub"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// unreadable is a store on a disk with bad sectors.
type unreadable struct {
	store.Store
	from, to int64 // bytes of each object that cannot be read
	gets     int
}

func (u *unreadable) Get(ctx context.Context, name string, offset int64, dst []byte) (int, error) {
	u.gets++
	if offset < u.to && offset+int64(len(dst)) > u.from {
		return 0, fmt.Errorf("get %s: %w", name, syscall.EIO)
	}
	return u.Store.Get(ctx, name, offset, dst)
}

// What can be read of an object is read, around what cannot; and no further than
// the object goes, where nothing of it can be read: each try may take the disk
// seconds.
func TestSalvage(t *testing.T) {
	const size = 300_000
	name := "packs/ab/000000000000000000000000000000ab"
	data := bytes.Repeat([]byte{7}, size)
	s := mem.New()
	must(t, s.Put(t.Context(), name, data))
	for _, c := range []struct {
		from, to int64
		lost     [2]int // bytes that are zeros
	}{
		{100_000, 100_001, [2]int{64 << 10, 128 << 10}},
		{size - 1, size, [2]int{256 << 10, size}},
		{0, 1 << 40, [2]int{0, size}},
	} {
		u := &unreadable{Store: s, from: c.from, to: c.to}
		got, err := scrub.Salvage(t.Context(), u, name)
		must(t, err)
		want := bytes.Clone(data)
		clear(want[c.lost[0]:c.lost[1]])
		if !bytes.Equal(got, want) {
			t.Errorf("bytes %d to %d unreadable: %d bytes salvaged, not as expected", c.from, c.to, len(got))
		}
		if u.gets > 10 {
			t.Errorf("bytes %d to %d unreadable: read %d times", c.from, c.to, u.gets)
		}
	}
}
