package seal

import (
	"encoding/binary"
	"math/bits"
)

// A random read wants 4 KiB of a frame of 512 KiB or 2 MiB. The tag is checked
// over all of it, which takes a tenth of the time; but a zstd frame is a row of
// blocks, each with its stored length in front, and a block needs those before
// it and none behind it. So the row is cut behind the block that holds the last
// byte wanted, which saves half of the decoding on average. How many raw bytes
// a block stands for is not written; encoders cut all alike (this one 64 KiB at
// the fast level, 128 KiB at the careful one), so their number tells.

const (
	zstdMagic     = 0xfd2fb528
	blockHead     = 3
	lastBlock     = 1
	runLength     = 1  // kind of a block
	zstdHead      = 14 // magic, descriptor, length of at most 8 bytes, or a little of a block
	cutFrameHead  = 6  // magic, descriptor, window: what a cut frame begins with
	singleSegment = 0x20
)

// PrefixRoom returns how much room InflatePrefix needs for the first want raw
// bytes, beside Slack; raw if it would save nothing.
func PrefixRoom(payload []byte, want, raw int) int {
	if _, last, size := cutBlocks(payload, want, raw); last >= 0 {
		return min(size, raw)
	}
	return raw
}

// InflatePrefix appends the first raw bytes of a compressed payload to dst,
// which has room for PrefixRoom of them, less than raw. Where a writer's blocks
// are not alike there may be fewer than wanted, or it fails though Inflate does
// not.
// It changes payload while it works, and puts back what it changed.
func (d *Decoder) InflatePrefix(dst, payload []byte, want, raw int) ([]byte, error) {
	begin, last, size := cutBlocks(payload, want, raw)
	if last < 0 || size >= raw {
		return d.Inflate(dst, payload, raw)
	}
	end := last + blockHead + blockBytes(payload[last:])
	// The head says how long all is, which the decoder would miss; so a head
	// without that, and a window as large as the frame, takes its place.
	head := payload[begin-cutFrameHead : begin]
	saved, flags := [cutFrameHead]byte(head), payload[last]
	binary.LittleEndian.PutUint32(head, zstdMagic)
	head[4], head[5] = 0, windowFor(raw)
	payload[last] |= lastBlock
	defer func() {
		copy(head, saved[:])
		payload[last] = flags
	}()
	return d.Inflate(dst, payload[begin-cutFrameHead:end], size)
}

// cutBlocks finds the block that holds the last of the first want of raw bytes:
// it begins at last, which is -1 if that is the frame's last block or the frame
// is not one that can be cut. The first block is at begin, and up to the cut
// there should be size raw bytes.
func cutBlocks(payload []byte, want, raw int) (begin, last, size int) {
	if len(payload) < zstdHead || binary.LittleEndian.Uint32(payload) != zstdMagic || payload[4]&^0xc0 != singleSegment {
		return 0, -1, 0
	}
	begin = 5 + 1<<(payload[4]>>6) // behind the content's size
	n := 0
	for at := begin; ; n++ {
		if at+blockHead > len(payload) {
			return 0, -1, 0
		}
		if payload[at]&lastBlock != 0 {
			break
		}
		at += blockHead + blockBytes(payload[at:])
	}
	each := 1 << bits.Len(uint(raw/(n+1)))
	if raw%(n+1) == 0 && raw/(n+1) == each/2 {
		each /= 2
	}
	want = max((want+each-1)/each, 1)
	if want > n {
		return 0, -1, 0
	}
	last = begin
	for range want - 1 {
		last += blockHead + blockBytes(payload[last:])
	}
	return begin, last, min(want*each, raw)
}

// blockBytes is how many bytes follow a block's head.
func blockBytes(b []byte) int {
	v := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	if v>>1&3 == runLength {
		return 1 // one byte, repeated
	}
	return v >> 3
}

// windowFor returns the window descriptor of the least power of two that is
// not below n.
func windowFor(n int) byte {
	return byte(max(bits.Len(uint(n-1)), 10)-10) << 3
}
