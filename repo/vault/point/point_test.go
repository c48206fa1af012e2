package point

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

func sample(t testing.TB) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("sealed body")
	h := &Header{Sequence: 3, Session: bytes.Repeat([]byte{1}, 80), Device: public, BodySize: uint32(len(body)), BodyRaw: 100, BodySum: sha256.Sum256(body), Epoch: 1}
	return append(h.Sign([32]byte{5}, private), body...)
}

func TestRoundTripAndEveryFlippedBit(t *testing.T) {
	b := sample(t)
	h, body, err := Parse(b)
	if err != nil || string(body) != "sealed body" || h.Sequence != 3 || h.MAC != [32]byte{5} {
		t.Fatal(h, err)
	}
	for i := range b {
		b[i] ^= 0x10
		if _, _, err := Parse(b); err == nil {
			t.Fatalf("byte %d changed, and nobody saw it", i)
		}
		b[i] ^= 0x10
		if _, _, err := Parse(b[:i]); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestNames(t *testing.T) {
	if n, err := ParseName(Name(258)); n != 258 || err != nil {
		t.Fatal(n, err)
	}
	for _, bad := range []string{"points/", "points/1", "points/0000000000000000", "points/000000000000000A", "0000000000000001"} {
		if _, err := ParseName(bad); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, body, err := Parse(b)
		if err == nil && !bytes.Equal(append(append(append(h.signedPart(), h.MAC[:]...), h.Signature[:]...), body...), b) {
			t.Fatal("parsed, but not what Sign writes")
		}
	})
}
