package history

import (
	"testing"

	"github.com/tidemark-backup/tidemark/repo/table"
)

// What is sealed was written by this program, and still is not trusted.
func FuzzNameSet(f *testing.F) {
	f.Add([]byte{0, 0, 1, 'a', 1, 1, 2, 'b', 'c'}, false, 3)
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 0}, true, 2)
	f.Fuzz(func(t *testing.T, data []byte, upper bool, number int) {
		s := nameSet{upper: upper, data: data}
		if !s.valid(number) || upper {
			return
		}
		bytes := 0
		if !s.each(func(key []byte, _ table.Kind) bool { bytes += len(key); return true }) {
			t.Error("a valid set that is not whole")
		}
		if bytes > len(data)*len(data) {
			t.Errorf("%d bytes of keys out of %d", bytes, len(data))
		}
	})
}

func FuzzRecord(f *testing.F) {
	leaf := append(make([]byte, 17), 4, 0, 0, 0, 0, 0, 1, 'a')
	f.Add(leaf)
	f.Add(append(append(leaf, 1), append(make([]byte, 16), append([]byte{16, 0, 0, 0}, make([]byte, 16)...)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := newNames()
		n.takeRecord(b)
		for id, number := range n.pages {
			if int(number) >= len(n.sets) || !n.sets[number].valid(int(number)) {
				t.Errorf("page %s has set %d of %d, which is not valid", id, number, len(n.sets))
			}
		}
	})
}
