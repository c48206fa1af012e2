package backup_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/store"
	"github.com/tidemark-backup/tidemark/repo/vault/store/mem"
)

// move puts frames of a pack into a container of their own, as a compaction
// does, and leaves out those for which keep is false.
func (m *machine) move(id pack.ID, generation uint32, keep func(frame int) bool) {
	m.t.Helper()
	repository := m.open().ID
	at, err := place.Find(m.t.Context(), m.store, repository, id)
	if err != nil {
		m.t.Fatal(err)
	}
	c := &pack.Container{Repository: repository, ID: pack.NewID(1)}
	r := &pack.Moved{Repository: repository, Pack: id, Generation: generation, Head: at.Head, Containers: []pack.ID{c.ID}}
	var frames []byte
	for i := range at.Head.Frames() {
		object, offset, length, ok := at.Frame(i)
		if !ok || !keep(i) {
			continue
		}
		b := make([]byte, length)
		if n, err := m.store.Get(m.t.Context(), object, int64(offset), b); err != nil || n != len(b) {
			m.t.Fatal(n, err)
		}
		r.Places = append(r.Places, pack.Place{Frame: uint32(i), Offset: uint32(len(frames))})
		c.Frames = append(c.Frames, pack.Stored{Pack: id, Frame: uint32(i), Length: length, Hash: sha256.Sum256(b)})
		frames = append(frames, b...)
	}
	for i := range r.Places {
		r.Places[i].Offset += uint32(c.Size())
	}
	m.put(place.Feature, place.FeatureBytes(repository))
	m.put(pack.ContainerName(c.ID), append(c.Marshal(), frames...))
	m.put(pack.MovedName(id, generation), r.Marshal())
}

func (m *machine) put(name string, b []byte) {
	m.t.Helper()
	if err := m.store.Put(m.t.Context(), name, b); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) packIDs() []pack.ID {
	m.t.Helper()
	var ids []pack.ID
	for _, name := range m.names(pack.Prefix) {
		id, err := pack.ParseName(name)
		if err != nil {
			m.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func every(int) bool { return true }

// Points whose packs were all moved, twice, are whole, with and without the
// local index, and runs rely on what is in containers.
func TestMovedPacks(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	ids := m.packIDs()
	for _, id := range ids {
		m.move(id, 1, every)
	}
	m.nothingNew("while the originals are there")
	m.whole()
	for _, id := range ids {
		m.delete(id.Name())
	}
	m.nothingNew("in containers")
	m.whole()
	m.forget("index", "copies")
	m.nothingNew("in containers, without local state")
	old := m.names(pack.ContainerPrefix)
	for _, id := range ids {
		m.move(id, 2, every)
	}
	// A record whose container never came does not count.
	for _, name := range old[:len(old)/2] {
		m.delete(name)
	}
	m.nothingNew("in the second containers")
	m.whole()
	report, err := repo.Check(t.Context(), m.open(), repo.CheckOptions{ReadData: 1})
	if err != nil || len(report.Faults) > 0 || report.Bytes == 0 {
		t.Errorf("%v %+v", err, report)
	}
}

// A record whose containers are not there leaves the one before in force.
func TestMovedWithoutContainer(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	for _, id := range m.packIDs() {
		m.move(id, 1, every)
		m.delete(id.Name())
	}
	first := m.names(pack.ContainerPrefix)
	for _, name := range m.names(pack.MovedPrefix) {
		id, _, _ := pack.ParseMovedName(name)
		m.move(id, 2, every)
	}
	for _, name := range m.names(pack.ContainerPrefix) {
		if !slices.Contains(first, name) {
			m.delete(name)
		}
	}
	m.whole()
	m.nothingNew("with a record too many")
}

// Chunks in frames that a compaction left out are not there: they are stored
// again, and a check names what is missing to whoever needs it.
func TestMovedFramesLeftOut(t *testing.T) {
	for _, original := range []bool{true, false} {
		m := newMachine(t)
		m.sources()
		m.backup()
		some := 0
		for _, p := range m.packs() {
			if p.Frames() > 1 && p.Kind != pack.Pages {
				some++
				m.move(p.ID, 1, func(i int) bool { return i > 0 })
				if !original {
					m.delete(p.ID.Name())
				}
			}
		}
		if some == 0 {
			t.Fatal("no pack has two frames")
		}
		m.forget("copies")
		if s := m.backup(); s.BytesNew == 0 {
			t.Error("nothing was stored again")
		}
		report, err := repo.Check(t.Context(), m.open(), repo.CheckOptions{ReadData: 1})
		if err != nil {
			t.Fatal(err)
		}
		if original != (len(report.Faults) == 0) {
			t.Errorf("original there: %v; faults: %v", original, report.Faults)
		}
		for _, f := range report.Faults {
			if !errors.Is(f.Err, fault.Corrupt) || f.Count == 0 {
				t.Errorf("%+v", f)
			}
		}
		bury(t, m.store, m.open().ID, "points/0000000000000001")
		m.whole()
	}
}

// Whoever has opened a pack reads on while it is moved, and moved again, and
// what was there before is deleted.
func TestReadingWhilePacksAreMoved(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	r, err := repo.Open(t.Context(), m.store, repo.Options{FrameCache: 1}) // so that each reading goes to the store
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unlock(t.Context(), passphrase); err != nil {
		t.Fatal(err)
	}
	packs := m.packs()
	want := make([][]byte, len(packs))
	read := func(i int) []byte {
		b := make([]byte, packs[i].Total)
		if err := r.ReadRaw(t.Context(), packs[i].ID, 0, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for i := range packs {
		want[i] = read(i)
	}
	for g := uint32(1); g < 4; g++ {
		before := append(m.names(pack.ContainerPrefix), m.names(pack.Prefix)...)
		for _, p := range packs {
			m.move(p.ID, g, every)
		}
		for _, name := range before {
			m.delete(name)
		}
		for i := range packs {
			if !bytes.Equal(read(i), want[i]) {
				t.Fatalf("generation %d: other bytes", g)
			}
		}
	}
	m.whole()
}

// A pack is deleted just between two steps of somebody who looks for it.
func TestFindingAPackThatIsMovedJustNow(t *testing.T) {
	m := newMachine(t)
	m.sources()
	m.backup()
	id := m.packIDs()[0]
	repository := m.open().ID
	m.move(id, 1, every)
	gets := 0
	m.store.SetHook(func(op mem.Op) (error, error) {
		// Of what was there when it began to look, nothing is left.
		if op.Verb == mem.Get && strings.HasPrefix(op.Name, pack.Prefix) {
			if gets++; gets == 1 {
				m.store.SetHook(nil)
				m.delete(id.Name())
				old := m.names(pack.ContainerPrefix)
				m.move(id, 2, every)
				m.delete(old[0])
			}
		}
		return nil, nil
	})
	p, err := place.Find(t.Context(), m.store, repository, id)
	if err != nil || p.Moved == nil || p.Moved.Generation != 2 {
		t.Fatalf("%+v %v", p, err)
	}
	if _, err := place.Find(t.Context(), store.Store(mem.New()), repository, id); !errors.Is(err, fault.NotExist) {
		t.Errorf("in an empty store: %v", err)
	}
}
