package scrub_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
	"github.com/tidemark-backup/tidemark/repo/vault/store/storetest"
)

// world is a repository made with no key: everything of it that is sealed is
// noise.
type world struct {
	t      *testing.T
	id     [16]byte
	store  *mem.Store
	packs  []pack.ID
	device ed25519.PrivateKey
	other  *mem.Store // a replica: no pack is moved there, and its ledger is its own
}

// newWorld has every kind of object.
func newWorld(t *testing.T, seed byte) *world {
	w := &world{t: t, id: [16]byte{seed, 9}, store: mem.New(), device: ed25519.NewKeyFromSeed(make([]byte, 32))}
	w.put("repository", append(w.head("tidmREP\x01"), storetest.Data(uint64(seed), 62)...))
	epoch := binary.LittleEndian.AppendUint32(w.head("tidmEPO\x01"), 1)
	epoch = append(epoch, storetest.Data(2, 14)...)
	epoch = binary.LittleEndian.AppendUint16(epoch, 32)
	w.put("keys/epoch-00000001", append(epoch, storetest.Data(3, 64)...))
	slot := append(w.head("tidmSLT\x01"), 1, 2, 3, 4, 5, 6, 7, 8)
	slot = append(slot, make([]byte, 35)...)
	slot = append(append(slot, 2, 'm', 'e'), make([]byte, 44)...)
	slot = binary.LittleEndian.AppendUint32(slot, 99)
	w.put("keys/slot-0102030405060708", append(slot, storetest.Data(4, 99)...))
	for i := range 6 {
		id, b := makePackOf(w.id, uint64(seed)<<16+uint64(i)*100, 5, 3000)
		w.put(id.Name(), b)
		w.packs = append(w.packs, id)
	}
	w.point(1, w.packs[:4])
	w.point(2, w.packs)
	r := keep.Round{Repository: w.id, Number: 1, Frames: []live.Need{{Pack: pack.ID{7}, Frames: 2, Runs: []live.Run{{Need: 255, Length: 2}}}}}
	w.put(r.Name(), r.Marshal())
	w.other = w.store.Clone()
	must(t, w.other.Delete(t.Context(), r.Name()))
	w.move(w.packs[3])
	w.ledger(4)
	i := keep.Intent{Repository: w.id, Run: 77, Number: 1}
	w.put(i.Name(), i.Marshal())
	return w
}

// move compacts a pack: its frames 0, 2 and 3 are in a container, and the pack's
// own object is gone.
func (w *world) move(id pack.ID) {
	w.t.Helper()
	object := w.bytes(id.Name())
	h, err := pack.Parse(object)
	if err != nil {
		w.t.Fatal(err)
	}
	c := pack.Container{Repository: w.id, ID: pack.NewID(1)}
	m := pack.Moved{Repository: w.id, Pack: id, Generation: 1, Head: h, Containers: []pack.ID{c.ID}}
	var frames []byte
	for _, i := range []int{0, 1, 2, 3, 4} {
		at, n := h.Frame(i)
		frames = append(frames, object[at:at+n]...)
		c.Frames = append(c.Frames, pack.Stored{Pack: id, Frame: uint32(i), Length: n, Hash: h.Hashes[i]})
	}
	at := uint32(c.Size())
	for i, f := range c.Frames {
		m.Places = append(m.Places, pack.Place{Frame: uint32(i), Offset: at})
		at += f.Length
	}
	w.put(pack.ContainerName(c.ID), append(c.Marshal(), frames...))
	w.put(pack.MovedName(id, 1), m.Marshal())
	if err := w.store.Delete(w.t.Context(), id.Name()); err != nil {
		w.t.Fatal(err)
	}
}

// ledger writes entries: receipts of both points, and then holds.
func (w *world) ledger(entries int) {
	w.t.Helper()
	l, err := ledger.Open(w.t.Context(), w.store, ledger.Options{Repository: w.id, Fold: func(*ledger.Entry) {}})
	for n := range entries {
		if err != nil {
			w.t.Fatal(err)
		}
		_, err = l.Append(w.t.Context(), w.device, func(ledger.Head) (int64, []ledger.Record, error) {
			if n < 2 {
				h, _, err := point.Parse(w.bytes(point.Name(uint64(n) + 1)))
				if err != nil {
					return 0, nil, err
				}
				return 1000, []ledger.Record{ledger.Receipt{Sequence: h.Sequence, Point: h.ID, Live: h.Live, Arrival: 1000}}, nil
			}
			return int64(1000 + n), []ledger.Record{ledger.Hold{Sequence: uint64(n)%2 + 1, Reason: fmt.Sprint("reason ", n)}}, nil
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) head(magic string) []byte { return append([]byte(magic), w.id[:]...) }

func (w *world) put(name string, b []byte) {
	w.t.Helper()
	if err := w.store.Put(w.t.Context(), name, b); err != nil {
		w.t.Fatal(err)
	}
}

// point commits a point that needs packs.
func (w *world) point(sequence uint64, packs []pack.ID) {
	w.t.Helper()
	set := live.NewSet()
	for _, id := range packs {
		if err := set.Add(id, pack.Geometry{First: 4096, Step: 4096, Total: 5 * 4096}, 0, 5*4096); err != nil {
			w.t.Fatal(err)
		}
	}
	written, err := live.Write(w.t.Context(), w.store, set, live.WriteOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	body := storetest.Data(sequence, 700)
	h := point.Header{
		Repository: w.id, Sequence: sequence, Live: written.Root, Epoch: 1, BodyID: pack.NewID(sequence), BodyRaw: 600,
		Device: w.device.Public().(ed25519.PublicKey), BodySum: sha256.Sum256(body), BodySize: uint32(len(body)), Session: make([]byte, 80),
	}
	w.put(point.Name(sequence), append(h.Sign([32]byte{}, w.device), body...))
}

func (w *world) names() []string {
	w.t.Helper()
	return listed(w.t, w.store)
}

func listed(t *testing.T, s store.Store) []string {
	t.Helper()
	var names []string
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	return names
}

func (w *world) bytes(name string) []byte {
	w.t.Helper()
	b, err := store.ReadAll(w.t.Context(), w.store, name, 64<<20)
	if err != nil {
		w.t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return b
}
