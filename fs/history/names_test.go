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
