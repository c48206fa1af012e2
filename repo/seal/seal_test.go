package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

// cheap keeps tests fast; the bounds allow it.
var cheap = Cost{Passes: 1, MemoryKiB: 8192, Lanes: 1}

func testSecrets(t testing.TB) (*Secrets, *Epoch, *Keys) {
	t.Helper()
	id := RepositoryID{9}
	e, p, err := NewEpoch(id, 1, 5)
	if err != nil {
		t.Fatal(err)
	}
	s := &Secrets{Private: []Private{*p}}
	_, _ = rand.Read(s.Root[:])
	return s, e, Derive(s.Root, id)
}

func TestSlot(t *testing.T) {
	secrets, _, _ := testSecrets(t)
	slot, err := NewSlot(RepositoryID{9}, Passphrase, "office", 1, cheap, []byte("correct horse"), secrets)
	if err != nil {
		t.Fatal(err)
	}
	stored := slot.Marshal()
	parsed, err := ParseSlot(stored)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parsed.Open([]byte("correct horse"))
	if err != nil || got.Root != secrets.Root || !bytes.Equal(got.Private[0].Key, secrets.Private[0].Key) {
		t.Fatal(got, err)
	}
	if _, err := parsed.Open([]byte("wrong horse")); !errors.Is(err, fault.Locked) {
		t.Fatal("another passphrase:", err)
	}
	for i := range stored {
		bad := bytes.Clone(stored)
		bad[i] ^= 1
		s, err := ParseSlot(bad)
		if err == nil && s.Cost == cheap {
			_, err = s.Open([]byte("correct horse"))
		} else if err == nil {
			continue // another cost: another key, so fault.Locked, slowly
		}
		if err == nil {
			t.Fatalf("byte %d changed, and nobody saw it", i)
		}
	}
}

func TestRecoveryKeyForgivesTyping(t *testing.T) {
	key := NewRecoveryKey()
	a, ok := CanonicalRecoveryKey([]byte(key))
	b, ok2 := CanonicalRecoveryKey([]byte(" " + string(bytes.ToLower(bytes.ReplaceAll([]byte(key), []byte("-"), []byte(" ")))) + "\n"))
	if !ok || !ok2 || !bytes.Equal(a, b) {
		t.Fatalf("%q %v, %q %v", a, ok, b, ok2)
	}
	if _, ok := CanonicalRecoveryKey([]byte("correct horse battery staple")); ok {
		t.Fatal("a passphrase passes for a recovery key")
	}
}

func TestSessionAndFrames(t *testing.T) {
	secrets, epoch, keys := testSecrets(t)
	parsed, err := ParseEpoch(epoch.Marshal(keys.RepMAC), keys.RepMAC)
	if err != nil {
		t.Fatal(err)
	}
	session, sealed, err := parsed.NewSession()
	if err != nil || len(sealed) != 80 {
		t.Fatal(len(sealed), err)
	}
	opened, err := secrets.Private[0].OpenSession(keys.Repository, sealed)
	if err != nil || opened != session {
		t.Fatal(err)
	}
	id := pack.NewID(3)
	box, commitment := keys.Pack(session, id)
	again, commitment2 := keys.Pack(opened, id)
	if commitment != commitment2 {
		t.Fatal("two commitments")
	}
	ad := AD{Pack: id, Number: 4, Kind: DataFrame, Raw: 11}
	frame := box.Sealer().Seal(nil, []byte("hello world"), ad)
	plain, err := again.Open(nil, frame, ad)
	if err != nil || string(plain) != "hello world" {
		t.Fatal(err)
	}
	other := []AD{{pack.NewID(3), 4, DataFrame, 11}, {id, 5, DataFrame, 11}, {id, 4, PageFrame, 11}, {id, 4, DataFrame, 12}}
	for _, ad := range other {
		if _, err := again.Open(nil, frame, ad); !errors.Is(err, fault.Corrupt) {
			t.Fatalf("opened as %+v: %v", ad, err)
		}
	}
}

// A reverted machine draws the same session key and pack IDs again. Then equal
// nonces must mean equal frames.
func TestRevertedRandomness(t *testing.T) {
	_, _, keys := testSecrets(t)
	box, _ := keys.Pack(Key{1}, pack.ID{2})
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) ([]byte, AD) {
			plain := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, name)
			return plain, AD{Pack: pack.ID{2}, Number: rapid.Uint32Range(0, 1).Draw(t, name+"n"), Kind: DataFrame, Raw: uint32(len(plain))}
		}
		p, adp := draw("p")
		q, adq := draw("q")
		a, b := box.Sealer().Seal(nil, p, adp), box.Sealer().Seal(nil, q, adq)
		sameNonce := bytes.Equal(a[:12], b[:12])
		same := bytes.Equal(p, q) && adp == adq
		if sameNonce != same || same != bytes.Equal(a, b) {
			t.Fatalf("%x %+v and %x %+v: same nonce %v", p, adp, q, adq, sameNonce)
		}
	})
}

func TestCodec(t *testing.T) {
	d := NewDecoder(1)
	e := NewEncoder()
	rapid.Check(t, func(t *rapid.T) {
		raw := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "raw"), rapid.IntRange(1, 50).Draw(t, "n"))
		effort := Effort(rapid.IntRange(0, 2).Draw(t, "effort"))
		plain := e.Encode([]byte("x"), raw, effort, 0)[1:]
		if again := e.EncodeInPlace(append(make([]byte, HeadRoom), raw...), effort, 0); !bytes.Equal(again, plain) {
			t.Fatal("in place it is another plain text")
		}
		got, err := d.Decode([]byte("y"), plain, len(raw), true)
		if err != nil || !bytes.Equal(got[1:], raw) {
			t.Fatal(err)
		}
		room := make([]byte, 0, len(raw)+1000)
		if got, err := d.Decode(room, plain, len(raw), true); err != nil || cap(got) != cap(room) {
			t.Fatal("of the room that was given, this comes back:", cap(got), cap(room), err)
		}
		if len(raw) > 0 {
			if _, err := d.Decode(nil, plain, len(raw)-1, false); !errors.Is(err, fault.Corrupt) {
				t.Fatal("longer than announced:", err)
			}
		}
		if _, err := d.Decode(nil, append(plain, 0), len(raw), false); !errors.Is(err, fault.Corrupt) {
			t.Fatal("one byte too many:", err)
		}
	})
}

// TestInflatePrefix reads the beginnings of frames of every kind of content,
// made by this encoder and by one with other blocks.
func TestInflatePrefix(t *testing.T) {
	d, e := NewDecoder(1), NewEncoder()
	short, err := zstd.NewWriter(nil, zstd.WithWindowSize(16<<10), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		raw := material(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 1<<20).Draw(t, "length"))
		var payload []byte
		if rapid.Bool().Draw(t, "other writer") {
			payload = short.EncodeAll(raw, nil)
		} else if p, stored, err := Payload(e.Encode(nil, raw, Fast, 0)); err != nil || stored {
			return
		} else {
			payload = p
		}
		before := bytes.Clone(payload)
		want := rapid.IntRange(1, len(raw)).Draw(t, "want")
		room := PrefixRoom(payload, want, len(raw))
		got, err := d.InflatePrefix(make([]byte, 0, room+Slack), payload, want, len(raw))
		if err != nil || len(got) < want || !bytes.HasPrefix(raw, got) {
			t.Fatalf("%d bytes of %d wanted, others, or %v", len(got), want, err)
		}
		if !bytes.Equal(payload, before) {
			t.Fatal("the payload has changed")
		}
		if want <= 128<<10 && len(raw) > 512<<10 && room > 128<<10 {
			t.Fatalf("%d bytes of room for %d of %d", room, want, len(raw))
		}
	})
}

// material makes bytes of several kinds: words, zeros, and what does not shrink.
func material(seed uint64, n int) []byte {
	r := mathrand.New(mathrand.NewPCG(seed, 1))
	var b []byte
	for len(b) < n {
		part := 1 + r.IntN(200<<10)
		switch r.IntN(4) {
		case 0:
			b = append(b, make([]byte, part)...)
		case 1:
			for range part / 8 {
				b = binary.LittleEndian.AppendUint64(b, r.Uint64())
			}
		default:
			for end := len(b) + part; len(b) < end; {
				b = fmt.Appendf(b, "line %d of %x\n", r.IntN(100), r.IntN(1<<20))
			}
		}
	}
	return b[:n]
}

// Content without repeats, of few different bytes, shrinks too.
func TestDigitsShrink(t *testing.T) {
	noise := make([]byte, 256<<10)
	rand.Read(noise)
	for _, effort := range []Effort{Fast, Careful} {
		e := NewEncoder()
		if n := len(e.Encode(nil, []byte(hex.EncodeToString(noise)), effort, 0)); n > len(noise)*21/20 {
			t.Errorf("effort %d: %d hexadecimal digits take %d bytes", effort, 2*len(noise), n)
		}
		raw := append(make([]byte, HeadRoom), noise...)
		if plain := e.EncodeInPlace(raw, effort, len(noise)); &plain[0] != &raw[0] || len(plain) != len(raw) {
			t.Errorf("effort %d: noise is copied, or takes %d bytes", effort, len(plain))
		}
	}
}

func TestPadme(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 1, 2: 2, 9: 10, 100: 104, 1000: 1024, 131073: 135168} {
		if got := padme(n); got != want {
			t.Errorf("padme(%d) = %d, not %d", n, got, want)
		}
	}
	for n := 2; n < 1<<20; n++ {
		if p := padme(n); p < n || p > n+n/8 {
			t.Fatalf("padme(%d) = %d", n, p)
		}
	}
}

func FuzzParseSlot(f *testing.F) {
	secrets, _, _ := testSecrets(f)
	slot, _ := NewSlot(RepositoryID{9}, Recovery, "x", 1, cheap, []byte("p"), secrets)
	f.Add(slot.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSlot(b); err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Fatal("parsed, but not what Marshal writes")
		}
	})
}

func FuzzParseEpoch(f *testing.F) {
	_, e, keys := testSecrets(f)
	f.Add(e.Marshal(keys.RepMAC))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ParseEpoch(b, keys.RepMAC); err == nil && !bytes.Equal(b, e.Marshal(keys.RepMAC)) {
			t.Fatal("a forged epoch passes")
		}
	})
}

func FuzzParseSecrets(f *testing.F) {
	secrets, _, _ := testSecrets(f)
	f.Add(secrets.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseSecrets(b); err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Fatal("parsed, but not what Marshal writes")
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(NewEncoder().Encode(nil, bytes.Repeat([]byte("abc"), 100), Fast, 0), 300)
	d := NewDecoder(1)
	f.Fuzz(func(t *testing.T, plain []byte, raw int) {
		raw &= 1<<16 - 1
		if got, err := d.Decode(nil, plain, raw, false); err == nil && len(got) > raw {
			t.Fatalf("%d bytes where at most %d belong", len(got), raw)
		} else if err != nil && !errors.Is(err, fault.Corrupt) {
			t.Fatal(err)
		}
		payload, stored, err := Payload(plain)
		if err != nil || stored {
			return
		}
		want := 1 + raw/2
		room := PrefixRoom(payload, want, raw)
		got, err := d.InflatePrefix(make([]byte, 0, room+Slack), payload, want, raw)
		if err == nil && len(got) > raw {
			t.Fatalf("%d bytes where at most %d belong", len(got), raw)
		} else if err != nil && !errors.Is(err, fault.Corrupt) {
			t.Fatal(err)
		}
	})
}
