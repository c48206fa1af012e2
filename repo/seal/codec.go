package seal

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Codecs of a plain text.
const (
	codecRaw  = 0
	codecZstd = 1

	codecHead = 5 // codec, payload length
)

// Effort is how hard an Encoder tries.
type Effort uint8

// The efforts.
const (
	Store   Effort = iota // do not try: what comes is known not to shrink
	Fast                  // content
	Careful               // pages: few bytes, kept for years, read often
)

// Encoder turns raw bytes into the plain text that is sealed: compressed
// where that helps, and padded. It is for one goroutine.
type Encoder struct {
	fast, careful *zstd.Encoder
	// literals is for what has few different bytes and no repeats: digits,
	// base64, genomes, measured values. The others leave literals as they are
	// where they find no repeats, so that such content stays as long as it is.
	// To have them coded always would cost a large file 7 % of its time.
	literals *zstd.Encoder
	plain    []byte // the last one of EncodeInPlace
}

// NewEncoder makes an encoder; it takes about 3 MiB once it is used.
func NewEncoder() *Encoder {
	return &Encoder{}
}

func newZstd(level zstd.EncoderLevel, o ...zstd.EOption) *zstd.Encoder {
	e, err := zstd.NewWriter(nil, append(o, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithWindowSize(2<<20))...)
	if err != nil { // only for bad options
		panic(err)
	}
	return e
}

// HeadRoom is what EncodeInPlace wants before the raw bytes.
const HeadRoom = codecHead

// Encode appends the plain text of raw to dst. step is the pack's, or 0: raw
// bytes of just that length are not padded, as it says nothing.
func (e *Encoder) Encode(dst, raw []byte, effort Effort, step int) []byte {
	start := len(dst)
	if dst = e.compress(dst, raw, effort); len(dst) > start {
		return dst
	}
	dst = append(slices.Grow(dst, codecHead+len(raw)), make([]byte, codecHead)...)
	return finishRaw(append(dst, raw...), start, step)
}

// EncodeInPlace returns the plain text of the raw bytes that follow HeadRoom
// bytes of any value in room. Where they do not shrink it lies in room itself,
// which spares copying them; else it holds until the next call.
func (e *Encoder) EncodeInPlace(room []byte, effort Effort, step int) []byte {
	if e.plain = e.compress(e.plain[:0], room[HeadRoom:], effort); len(e.plain) > 0 {
		return e.plain
	}
	return finishRaw(room, 0, step)
}

// compress appends the plain text of raw to dst, or nothing if raw is better
// stored as it is.
func (e *Encoder) compress(dst, raw []byte, effort Effort) []byte {
	spread := spread(raw)
	if effort == Store || spread > dense {
		return dst
	}
	start, enc := len(dst), e.zstd(effort)
	dst = slices.Grow(dst, codecHead+len(raw)+len(raw)/8+64)
	dst = enc.EncodeAll(raw, append(dst, codecZstd, 0, 0, 0, 0))
	if float64(len(dst)-start) > 1.05*spread*float64(len(raw)) && spread > 0 {
		if e.literals == nil {
			e.literals = newZstd(zstd.SpeedFastest, zstd.WithAllLitEntropyCompression(true))
		}
		dst = e.literals.EncodeAll(raw, dst[:start+codecHead])
	}
	payload := len(dst) - start - codecHead
	// A frame that hardly shrinks would cost a decompression at each reading
	// and padding for nothing.
	if payload >= len(raw)-len(raw)/32 {
		return dst[:start]
	}
	binary.LittleEndian.PutUint32(dst[start+1:], uint32(payload))
	return pad(dst, start)
}

func (e *Encoder) zstd(effort Effort) *zstd.Encoder {
	if effort == Fast {
		if e.fast == nil {
			e.fast = newZstd(zstd.SpeedFastest)
		}
		return e.fast
	}
	if e.careful == nil {
		e.careful = newZstd(zstd.SpeedDefault)
	}
	return e.careful
}

// finishRaw writes the head of a plain text that is raw, and pads it.
func finishRaw(b []byte, start, step int) []byte {
	n := len(b) - start - codecHead
	b[start] = codecRaw
	binary.LittleEndian.PutUint32(b[start+1:], uint32(n))
	if n == step {
		return b
	}
	return pad(b, start)
}

// dense is the spread from which raw bytes are taken not to shrink: entropy
// coding has nothing to gain, and long repeats are rare. Of what shrinks by more
// than 3 %, it misjudges less than one frame in 100; trying in vain would cost
// photographs and archives a third of the whole way in.
const dense = 7.95 / 8

// spread guesses, in 15 µs, to what share of its size raw would shrink by entropy
// coding alone, from how often each byte comes in 16 samples; 0 for what is too
// short to tell.
func spread(raw []byte) float64 {
	const samples, size = 16, 1 << 10
	if len(raw) < samples*size {
		return 0
	}
	var counts [256]int
	for i := range samples {
		at := i * (len(raw) - size) / (samples - 1)
		for _, b := range raw[at : at+size] {
			counts[b]++
		}
	}
	bits := 0.0
	for _, n := range counts {
		if n > 0 {
			bits -= float64(n) * math.Log2(float64(n)/(samples*size))
		}
	}
	return bits / (samples * size) / 8
}

// MaxSealed returns how long a sealed frame of raw bytes is at most.
func MaxSealed(raw int) int { return Overhead + padme(codecHead+raw) }

func pad(dst []byte, start int) []byte {
	n := len(dst) - start
	return append(dst, make([]byte, padme(n)-n)...)
}

// padme returns the padded length of n bytes: Padmé, from "Reducing Metadata
// Leakage from Encrypted Files and Communication with PURBs" (Nikitin et al.,
// 2019). It leaks O(log log n) bits of a length, for at most 12 % of it.
func padme(n int) int {
	if n < 2 {
		return n
	}
	e := bits.Len(uint(n)) - 1
	s := bits.Len(uint(e))
	mask := 1<<(e-s) - 1
	return (n + mask) &^ mask
}

// Decoder turns plain texts back. It may be used by several goroutines.
type Decoder struct {
	zstd *zstd.Decoder
}

// Slack is the room behind a payload's end that lets the decoder copy in
// steps of 16 bytes up to the end. Without it the last 128 KiB of a frame, and
// all of a small one, take half as long again.
const Slack = 16

// NewDecoder makes a decoder that opens up to concurrent frames at once.
func NewDecoder(concurrent int) *Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(concurrent), zstd.WithDecoderLowmem(false),
		zstd.WithDecoderMaxMemory(16<<20), zstd.WithDecoderMaxWindow(16<<20), zstd.WithDecodeAllCapLimit(true), zstd.IgnoreChecksum(true))
	if err != nil { // only for bad options
		panic(err)
	}
	return &Decoder{zstd: d}
}

// Decode appends the raw bytes of a plain text to dst, at most raw of them;
// exact demands just raw. Never more memory than that is taken.
func (d *Decoder) Decode(dst, plain []byte, raw int, exact bool) ([]byte, error) {
	payload, stored, err := Payload(plain)
	if err != nil {
		return nil, err
	}
	start := len(dst)
	if stored {
		if len(payload) > raw {
			return nil, tooLong(len(payload), raw)
		}
		dst = append(dst, payload...)
	} else if dst, err = d.Inflate(slices.Grow(dst, raw+Slack), payload, raw); err != nil {
		return nil, err
	}
	if exact && len(dst)-start != raw {
		return nil, fmt.Errorf("decode: %d bytes where %d belong: %w", len(dst)-start, raw, fault.Corrupt)
	}
	return dst, nil
}

func tooLong(n, raw int) error {
	return fmt.Errorf("decode: %d bytes where at most %d belong: %w", n, raw, fault.Corrupt)
}

// Inflate appends the raw bytes of a compressed payload to dst, at most raw of
// them. dst has room for them, and better for Slack more.
func (d *Decoder) Inflate(dst, payload []byte, raw int) ([]byte, error) {
	start := len(dst)
	// The cap of dst is the limit: a bomb stops there. The caller gets back all
	// the room that it gave: who decodes frame after frame would else move to a
	// new place for each.
	out, err := d.zstd.DecodeAll(payload, dst[:start:min(cap(dst), start+raw+Slack)])
	if err != nil {
		return nil, fmt.Errorf("decompress: %v: %w", err, fault.Corrupt)
	}
	if len(out)-start > raw {
		return nil, tooLong(len(out)-start, raw)
	}
	return dst[:len(out)], nil
}

// Payload checks a plain text's head and padding, and returns what is between
// them: the raw bytes themselves where stored, else compressed ones.
func Payload(plain []byte) (payload []byte, stored bool, err error) {
	payload, codec, err := split(plain)
	return payload, codec == codecRaw, err
}

// split checks a plain text's head and padding.
func split(plain []byte) (payload []byte, codec byte, err error) {
	if len(plain) < codecHead {
		return nil, 0, fmt.Errorf("decode: %d bytes: %w", len(plain), fault.Corrupt)
	}
	codec = plain[0]
	n := uint64(codecHead) + uint64(binary.LittleEndian.Uint32(plain[1:]))
	want := uint64(len(plain))
	switch {
	case codec > codecZstd:
		return nil, 0, fmt.Errorf("decode: codec %d: %w", codec, fault.Corrupt)
	case n > uint64(len(plain)):
		return nil, 0, fmt.Errorf("decode: payload of %d bytes in %d: %w", n-codecHead, len(plain), fault.Corrupt)
	case codec == codecZstd || n != want: // raw bytes may go without padding
		want = uint64(padme(int(n)))
	}
	if want != uint64(len(plain)) {
		return nil, 0, fmt.Errorf("decode: padded to %d instead of %d: %w", len(plain), want, fault.Corrupt)
	}
	for _, b := range plain[n:] {
		if b != 0 {
			return nil, 0, fmt.Errorf("decode: padding that is not zero: %w", fault.Corrupt)
		}
	}
	return plain[codecHead:n], codec, nil
}
