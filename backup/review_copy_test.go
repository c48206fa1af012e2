package backup

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/chunk"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/table"
)

// Of two runs over the same paths the second keeps its pages within the same
// bounds as the first, and leaves the copy alone.
func TestCopiesOfTwoRuns(t *testing.T) {
	dir := t.TempDir()
	key := chunk.Key{1}
	open := func() *copies {
		c, err := openCopies(dir, seal.RepositoryID{}, []string{"/a"}, key, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first, second := open(), open()
	if first.lock == nil || second.lock != nil {
		t.Fatal("the lock is not with the first")
	}
	for k, c := range []*copies{first, second} {
		var refs []table.Ref
		for i := range 2000 {
			page := binary.LittleEndian.AppendUint64(bytes.Repeat([]byte{byte(k)}, 4096), uint64(i))
			id := key.Sum(page)
			if err := c.put(id, page); err != nil {
				t.Fatal(err)
			}
			refs = append(refs, table.Ref{ID: id, Address: table.Address{Length: uint32(len(page))}})
		}
		if cap(c.added) > 3<<20 {
			t.Errorf("run %d keeps %d bytes of pages in memory", k, cap(c.added))
		}
		for i := range refs {
			page, err := c.Page(t.Context(), &refs[i])
			if err != nil || binary.LittleEndian.Uint64(page[4096:]) != uint64(i) {
				t.Fatalf("page %d of run %d: %v", i, k, err)
			}
		}
	}
	if err := second.commit(seal.RepositoryID{}, state{}); err != nil {
		t.Error(err)
	}
}
