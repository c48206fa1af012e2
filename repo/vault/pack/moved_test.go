package pack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func sampleContainer() *Container {
	c := &Container{Repository: [16]byte{1}, ID: NewID(9)}
	for i := range 3 {
		c.Frames = append(c.Frames, Stored{Pack: NewID(7), Frame: uint32(i), Length: uint32(50 + i), Hash: sha256.Sum256([]byte{byte(i)})})
	}
	return c
}

func sampleMoved() *Moved {
	h := sample()
	return &Moved{
		Repository: h.Repository, Pack: h.ID, Generation: 2, Arrival: 1_700_000_000, Head: h, Containers: []ID{NewID(1), NewID(2)},
		Places: []Place{{0, 0, 500}, {2, 1, 200}, {4, 0, 600}},
	}
}

func TestContainerRoundTrip(t *testing.T) {
	c := sampleContainer()
	b := c.Marshal()
	got, err := ParseContainer(append(b[:len(b):len(b)], "frames"...))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Marshal(), b) || len(b) != c.Size() {
		t.Fatal("the container changed on its way")
	}
	if at, n := got.Frame(2); int(at) != len(b)+50+51 || n != 52 || got.ObjectSize() != int64(at+n) {
		t.Fatalf("frame 2 is at %d, %d bytes long", at, n)
	}
	if id, err := ParseContainerName(ContainerName(c.ID)); err != nil || id != c.ID {
		t.Fatal(id, err)
	}
	for i := range b {
		b[i] ^= 16
		if _, err := ParseContainer(b); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		b[i] ^= 16
		if _, err := ParseContainer(b[:i]); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestMovedRoundTrip(t *testing.T) {
	m := sampleMoved()
	b := m.Marshal()
	got, err := ParseMoved(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Marshal(), b) {
		t.Fatal("the record changed on its way")
	}
	for frame, want := range map[int]ID{0: m.Containers[0], 2: m.Containers[1], 4: m.Containers[0]} {
		if c, _, n, ok := got.Find(frame); !ok || c != want || n != m.Head.Lengths[frame] {
			t.Errorf("frame %d: %v %d %v", frame, c, n, ok)
		}
	}
	for _, frame := range []int{-1, 1, 3, 5} {
		if _, _, _, ok := got.Find(frame); ok {
			t.Errorf("frame %d was found", frame)
		}
	}
	if id, g, err := ParseMovedName(MovedName(m.Pack, 2)); err != nil || id != m.Pack || g != 2 {
		t.Fatal(id, g, err)
	}
	for i := range b {
		b[i] ^= 32
		if _, err := ParseMoved(b); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		b[i] ^= 32
	}
}

// Records that break a rule are refused even with a right hash.
func TestMovedRefused(t *testing.T) {
	for name, change := range map[string]func(*Moved){
		"generation 0":       func(m *Moved) { m.Generation = 0 },
		"another repository": func(m *Moved) { m.Repository[3] = 1 },
		"another pack":       func(m *Moved) { m.Pack[0] ^= 1 },
		"no frame":           func(m *Moved) { m.Places = nil },
		"frame twice":        func(m *Moved) { m.Places[1].Frame = 0 },
		"frame beyond":       func(m *Moved) { m.Places[2].Frame = 5 },
		"container beyond":   func(m *Moved) { m.Places[2].Container = 2 },
		"container unused":   func(m *Moved) { m.Places[1].Container = 0 },
		"container twice":    func(m *Moved) { m.Containers[1] = m.Containers[0] },
		"containers swapped": func(m *Moved) { m.Places[0].Container = 1 },
		"beyond the object":  func(m *Moved) { m.Places[0].Offset = MaxObject },
	} {
		m := sampleMoved()
		change(m)
		if _, err := ParseMoved(m.Marshal()); !errors.Is(err, fault.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseContainer(f *testing.F) {
	b := sampleContainer().Marshal()
	f.Add(b[:len(b)-32])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b) // put right, so that what is behind it is tried
		whole := append(bytes.Clone(b), sum[:]...)
		if c, err := ParseContainer(whole); err == nil {
			if m := c.Marshal(); !bytes.Equal(m, whole[:len(m)]) {
				t.Fatal("parsed, but not what Marshal writes")
			}
		} else if !errors.Is(err, fault.Corrupt) {
			t.Fatal(err)
		}
	})
}

func FuzzParseMoved(f *testing.F) {
	b := sampleMoved().Marshal()
	f.Add(b[:len(b)-32])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b)
		whole := append(bytes.Clone(b), sum[:]...)
		if m, err := ParseMoved(whole); err == nil {
			if !bytes.Equal(m.Marshal(), whole) {
				t.Fatal("parsed, but not what Marshal writes")
			}
		} else if !errors.Is(err, fault.Corrupt) {
			t.Fatal(err)
		}
	})
}
