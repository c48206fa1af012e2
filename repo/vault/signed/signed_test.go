package signed

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"testing"
)

// What is remembered is not believed of anything else: another key, message or
// signature, before or after the right one was seen.
func TestVerify(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	public := key.Public().(ed25519.PublicKey)
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	message := []byte("what is promised")
	signature := ed25519.Sign(key, message)
	flipped := func(b []byte, bit int) []byte {
		b = bytes.Clone(b)
		b[bit/8] ^= 1 << (bit % 8)
		return b
	}
	for range 2 { // not remembered, remembered
		if !Verify(public, message, signature) {
			t.Fatal("the right signature is wrong")
		}
		for bit := 0; bit < 8*len(signature); bit += 37 {
			if Verify(public, message, flipped(signature, bit)) {
				t.Errorf("bit %d of the signature flipped: still right", bit)
			}
		}
		for bit := 0; bit < 8*len(message); bit += 19 {
			if Verify(public, flipped(message, bit), signature) {
				t.Errorf("bit %d of the message flipped: still right", bit)
			}
		}
		if Verify(other, message, signature) || Verify(public, message[:3], signature) {
			t.Error("a signature is right for another key, or a shorter message")
		}
		// What is hashed is the same, what is said is not.
		if Verify(public[:31], message, append(public[31:], signature...)) || Verify(public, append(signature[63:], message...), signature[:63]) {
			t.Error("a key or signature of another length is right")
		}
	}
	for i := range 40 {
		text := fmt.Append(nil, i)
		s := ed25519.Sign(key, text)
		if !Verify(public, text, s) || Verify(public, message, s) {
			t.Fatal(i)
		}
	}
}

func BenchmarkAgain(b *testing.B) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	message := make([]byte, 300)
	signature := ed25519.Sign(key, message)
	for b.Loop() {
		if !Verify(key.Public().(ed25519.PublicKey), message, signature) {
			b.Fatal("wrong")
		}
	}
}
