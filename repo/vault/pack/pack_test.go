package pack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func sample() *Head {
	h := &Head{Repository: [16]byte{1}, ID: NewID(7), Epoch: 1, Commitment: [32]byte{2}, Session: bytes.Repeat([]byte{3}, 80), ChunkList: []byte("list")}
	for i := range 5 {
		h.Lengths = append(h.Lengths, uint32(100+i))
		h.Hashes = append(h.Hashes, sha256.Sum256([]byte{byte(i)}))
	}
	return h
}

func TestHeadRoundTrip(t *testing.T) {
	h := sample()
	b := h.Marshal()
	got, err := Parse(append(b[:len(b):len(b)], "frames"...))
	if err != nil {
		t.Fatal(err)
	}
	if again := got.Marshal(); !bytes.Equal(again, b) || len(b) != h.Size() {
		t.Fatal("the head changed on its way")
	}
	if at, n := got.Frame(2); int(at) != len(b)+100+101 || n != 102 {
		t.Fatalf("frame 2 is at %d, %d bytes long", at, n)
	}
	if id, err := ParseName(h.ID.Name()); err != nil || id != h.ID || id.Run() != 7 {
		t.Fatal(id, err)
	}
}

func TestHeadFindsEveryFlippedBit(t *testing.T) {
	b := sample().Marshal()
	for i := range b {
		b[i] ^= 4
		if _, err := Parse(b); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		b[i] ^= 4
	}
	for i := range b {
		if _, err := Parse(b[:i]); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestGeometry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := rapid.Uint32Range(MinStep, 1<<16).Draw(t, "step")
		total := rapid.Uint32Range(1, 1<<20).Draw(t, "total")
		g := Geometry{First: min(rapid.Uint32Range(1, step).Draw(t, "first"), total), Step: step, Total: total}
		if err := g.Validate(g.Frames()); err != nil {
			t.Fatal(err)
		}
		var at uint32
		for i := range g.Frames() {
			start, end := g.Span(i)
			if start != at || end <= start || g.FrameOf(start) != i || g.FrameOf(end-1) != i {
				t.Fatalf("frame %d of %+v spans [%d, %d)", i, g, start, end)
			}
			at = end
		}
		if at != total {
			t.Fatalf("frames end at %d of %d", at, total)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(sample().Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := Parse(b); err == nil {
			if m := h.Marshal(); !bytes.Equal(m, b[:len(m)]) {
				t.Fatal("parsed, but not what Marshal writes")
			}
		} else if !errors.Is(err, fault.Corrupt) {
			t.Fatal(err)
		}
	})
}
