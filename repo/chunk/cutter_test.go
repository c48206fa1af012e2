package chunk

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"
)

var (
	small = Params{Min: 64, Avg: 256, Max: 1024}
	large = Params{Min: 3000, Avg: 40000, Max: 131072} // long enough for lanes
)

// naive is the rule of the package comment, word by word.
func naive(key *[32]byte, p Params, data []byte) int {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err)
	}
	h.Write([]byte("tidemark gear v1\x00\x00"))
	table := make([]byte, 2048)
	h.Digest().Read(table)
	gear := func(b byte) (n uint64) {
		for i := range 8 {
			n |= uint64(table[8*int(b)+i]) << (8 * i)
		}
		return n
	}
	end := min(len(data), p.Max)
	for at := p.Min; at < end; at++ {
		var sum uint64
		for j := range 64 {
			sum += gear(data[at-1-j]) << j
		}
		limit := math.MaxUint64 / (4 * uint64(p.Avg))
		if at >= p.Avg-3*p.Avg/16 {
			limit = math.MaxUint64 / uint64(p.Avg/4)
		}
		if sum < limit {
			return at
		}
	}
	return end
}

// cutAll returns all chunks of data.
func cutAll(c *Cutter, data []byte) (chunks [][]byte) {
	for len(data) > 0 {
		n := c.Cut(data)
		chunks = append(chunks, data[:n])
		data = data[n:]
	}
	return chunks
}

// mixed returns content with random parts, text-like parts and runs.
func mixed(r *rand.Rand, n int) []byte {
	data := make([]byte, 0, n)
	for len(data) < n {
		part := min(n-len(data), 1+r.IntN(20000))
		kind := r.IntN(3)
		b := byte(r.Uint32())
		for range part {
			switch kind {
			case 0:
				b = byte(r.Uint32())
			case 1:
				b = "the cat sat on a mat\n"[r.IntN(21)]
			}
			data = append(data, b)
		}
	}
	return data
}

func TestCutFollowsTheRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		r := rand.New(rand.NewPCG(seed, 1))
		p := rapid.SampledFrom([]Params{
			small, large, {64, 128, 128}, {64, 65 * 2, 1 << 20}, {100, 9000, 60000},
		}).Draw(t, "params")
		key := [32]byte{byte(seed), byte(seed >> 8)}
		data := mixed(r, rapid.IntRange(0, 150000).Draw(t, "length"))
		c := NewCutter(&key, p)
		for len(data) > 0 {
			got, want := c.Cut(data), naive(&key, p, data)
			if got != want {
				t.Fatalf("cut of %d bytes at %d, the rule says %d", len(data), got, want)
			}
			if got != len(data) && (got < p.Min || got > p.Max) {
				t.Fatalf("a chunk of %d bytes with %+v", got, p)
			}
			data = data[got:]
		}
	})
}

// TestCutIgnoresWhatFollows: Max bytes are enough to decide.
func TestCutIgnoresWhatFollows(t *testing.T) {
	c := NewCutter(&[32]byte{3}, large)
	data := random(3, 4<<20)
	for len(data) > large.Max {
		if whole, head := c.Cut(data), c.Cut(data[:large.Max]); whole != head {
			t.Fatalf("cut at %d with all bytes, %d with Max bytes", whole, head)
		}
		data = data[c.Cut(data):]
	}
}

// TestGoldenCuts fails if writers of two versions would not dedup against
// each other.
func TestGoldenCuts(t *testing.T) {
	c := NewCutter(&[32]byte{1, 2, 3}, DefaultParams())
	var lengths []int
	for _, chunk := range cutAll(c, random(9, 1<<20)) {
		lengths = append(lengths, len(chunk))
	}
	want := []int{111478, 123910, 118031, 106776, 108938, 107657, 130799, 112202, 128785}
	if !slices.Equal(lengths, want) {
		t.Errorf("chunks of %v bytes, want %v", lengths, want)
	}
}

func TestLengthsAreDistributedAsPromised(t *testing.T) {
	p := DefaultParams()
	chunks := cutAll(NewCutter(&[32]byte{5}, p), random(5, 256<<20))
	mean := float64(256<<20) / float64(len(chunks))
	if mean < 0.95*float64(p.Avg) || mean > 1.05*float64(p.Avg) {
		t.Errorf("mean length %.0f, want about %d", mean, p.Avg)
	}
	var atMax, nearMean int
	for _, chunk := range chunks {
		if len(chunk) == p.Max {
			atMax++
		}
		if len(chunk) > p.Avg/2 && len(chunk) < 2*p.Avg {
			nearMean++
		}
	}
	if atMax > len(chunks)/500 {
		t.Errorf("%d of %d chunks were cut by force", atMax, len(chunks))
	}
	if nearMean < len(chunks)*3/4 {
		t.Errorf("only %d of %d chunks are within a factor 2 of the mean", nearMean, len(chunks))
	}
}

// TestCutsMoveWithTheContent inserts, deletes and overwrites a few bytes
// every 4 MiB or so and asks how much would be stored again.
func TestCutsMoveWithTheContent(t *testing.T) {
	edits := map[string]func(r *rand.Rand, before, after []byte) []byte{
		"insert": func(r *rand.Rand, before, after []byte) []byte {
			return slices.Concat(before, random(r.Uint64(), 1+r.IntN(100)), after)
		},
		"delete": func(r *rand.Rand, before, after []byte) []byte {
			return slices.Concat(before, after[1+r.IntN(100):])
		},
		"overwrite": func(r *rand.Rand, before, after []byte) []byte {
			fresh := random(r.Uint64(), 1+r.IntN(100))
			return slices.Concat(before, fresh, after[len(fresh):])
		},
	}
	p := DefaultParams()
	c := NewCutter(&[32]byte{6}, p)
	const regions, length = 40, 4 << 20
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(6, 6))
			old := random(6, regions*length)
			var changed []byte
			for i := range regions {
				region := old[i*length:][:length]
				at := r.IntN(length - 100)
				changed = append(changed, edit(r, region[:at], region[at:])...)
			}
			known := map[ID]bool{}
			key := Key{6}
			for _, chunk := range cutAll(c, old) {
				known[key.Sum(chunk)] = true
			}
			fresh := 0
			for _, chunk := range cutAll(c, changed) {
				if !known[key.Sum(chunk)] {
					fresh += len(chunk)
				}
			}
			each := float64(fresh) / regions / float64(p.Avg)
			t.Logf("an edit costs %.2f chunks", each)
			if each > 1.5 {
				t.Errorf("an edit costs %.2f chunks", each)
			}
		})
	}
}

func TestKeysCutDifferently(t *testing.T) {
	data := random(8, 32<<20)
	ends := func(key byte) map[int]bool {
		at, all := 0, map[int]bool{}
		for _, chunk := range cutAll(NewCutter(&[32]byte{key}, DefaultParams()), data) {
			at += len(chunk)
			all[at] = true
		}
		return all
	}
	a, b := ends(1), ends(2)
	shared := 0
	for at := range a {
		if b[at] {
			shared++
		}
	}
	if shared > 2 { // the end, and one by chance
		t.Errorf("two keys share %d of %d cuts", shared, len(a))
	}
}

func TestNewCutterRefusesNonsense(t *testing.T) {
	for _, p := range []Params{
		{}, {63, 128, 256}, {64, 64, 256}, {64, 127, 256}, {64, 256, 255}, {64, 128, 1<<30 + 1}, {-1, 128, 256},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewCutter accepted %+v", p)
				}
			}()
			NewCutter(&[32]byte{}, p)
		}()
	}
}

func FuzzCut(f *testing.F) {
	f.Add([]byte{}, byte(0), false)
	f.Add(bytes.Repeat([]byte{0}, 3000), byte(1), false)
	f.Add(random(1, 200000), byte(2), true)
	f.Fuzz(func(t *testing.T, data []byte, key byte, long bool) {
		p := small
		if long {
			p = large
		}
		k := [32]byte{key}
		got := NewCutter(&k, p).Cut(data)
		if want := naive(&k, p, data); got != want {
			t.Fatalf("cut at %d, the rule says %d", got, want)
		}
	})
}

func TestIDsAreTruncatedKeyedBLAKE3(t *testing.T) {
	key := Key([]byte("whats the Elvish word for friend")) // of BLAKE3's own test vectors
	data := make([]byte, 102400)
	for i := range data {
		data[i] = byte(i % 251)
	}
	h := NewHasher(&key)
	for length, want := range map[int]string{
		0:    "92b2b75604ed3c761f9d6f62392c8a92",
		1:    "6d7878dfff2f485635d39013278ae14f",
		1024: "75c46f6f3d9eb4f55ecaaee480db732e",
	} {
		if got := h.Sum(data[:length]).String(); got != want {
			t.Errorf("ID of %d bytes is %s, want %s", length, got, want)
		}
		if key.Sum(data[:length]) != h.Sum(data[:length]) {
			t.Errorf("Key and Hasher disagree on %d bytes", length)
		}
	}
	if n := testing.AllocsPerRun(100, func() { h.Sum(data) }); n != 0 {
		t.Errorf("Hasher.Sum allocates %v times", n)
	}
}

func TestParseID(t *testing.T) {
	id := ID{0xab, 15: 0x01}
	if got, err := ParseID(id.String()); err != nil || got != id {
		t.Errorf("ParseID(%s) = %v, %v", id, got, err)
	}
	for _, bad := range []string{"", "ab", id.String() + "00", "AB" + id.String()[2:], "g" + id.String()[1:]} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("ParseID accepted %q", bad)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	key := Key{0xde, 0xad}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, key); bytes.Contains([]byte(text), []byte(hex.EncodeToString(key[:2]))) || len(text) > 12 {
			t.Errorf("%s prints %q", verb, text)
		}
	}
}
