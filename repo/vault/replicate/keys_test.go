package replicate

import (
	"crypto/ed25519"
	"encoding/binary"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// A key object that is cut short at its source, or by a disk that reads less
// than there is, is named and not copied: a replica would keep the half for ever.
func TestHalfAKey(t *testing.T) {
	id := make([]byte, 16)
	id[0] = 9
	object := append(append([]byte(magicRepository), id...), make([]byte, 62)...)
	slot := append(append([]byte("tidmSLT\x01"), id...), 1, 2, 3, 4, 5, 6, 7, 8)
	slot = append(slot, make([]byte, 35)...)
	slot = append(slot, 0)
	slot = append(slot, make([]byte, 44)...)
	slot = binary.LittleEndian.AppendUint32(slot, 99)
	slot = append(slot, make([]byte, 99)...)
	const name = "keys/slot-0102030405060708"
	for length := range len(slot) + 1 {
		from, to := mem.New(), mem.New()
		for name, b := range map[string][]byte{nameRepository: object, name: slot[:length]} {
			if err := from.Put(t.Context(), name, b); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Run(t.Context(), from, to, Options{Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.ReadAll(t.Context(), to, name, maxKey)
		if whole := length == len(slot); whole != (len(r.Problems) == 0) || whole == (fault.KindOf(err) == fault.NotExist && err != nil) {
			t.Fatalf("%d bytes: %v, %v", length, r.Problems, err)
		}
	}
}
