package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	magicContainer  = "tidmCON\x01"
	containerFixed  = 44 // bytes before the list of frames
	containerRecord = 56

	// ContainerPrefix is where containers are in a store.
	ContainerPrefix = "containers/"
	// MaxStored bounds the frames of a container.
	MaxStored = 65536
)

// Stored is a frame in a container: which one it is, for ever, and its bytes.
type Stored struct {
	Pack   ID // in which it was written
	Frame  uint32
	Length uint32
	Hash   [32]byte // SHA-256 of the stored frame
}

// Container is what stands before the frames of a container: an object to
// which frames of packs were moved as they are. Its ID is drawn as a pack's is,
// and no pack has it.
type Container struct {
	Repository [16]byte
	ID         ID
	Frames     []Stored // in the order in which they lie

	offsets []uint32
}

// ContainerName returns the name of the object of a container.
func ContainerName(id ID) string {
	s := id.String()
	return ContainerPrefix + s[30:] + "/" + s
}

// ParseContainerName returns the ID of the container that is stored under name.
func ParseContainerName(name string) (ID, error) {
	if len(name) > 32 {
		if id, err := ParseID(name[len(name)-32:]); err == nil && ContainerName(id) == name {
			return id, nil
		}
	}
	return ID{}, fmt.Errorf("parse container name %q: %w", name, fault.Invalid)
}

// Size returns the length of what stands before the frames.
func (c *Container) Size() int { return containerFixed + containerRecord*len(c.Frames) + 32 }

// Marshal returns the bytes before the first frame.
func (c *Container) Marshal() []byte {
	b := make([]byte, 0, c.Size())
	b = append(b, magicContainer...)
	b = append(b, c.Repository[:]...)
	b = append(b, c.ID[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.Frames)))
	for i := range c.Frames {
		f := &c.Frames[i]
		b = append(b, f.Pack[:]...)
		b = binary.LittleEndian.AppendUint32(b, f.Frame)
		b = binary.LittleEndian.AppendUint32(b, f.Length)
		b = append(b, f.Hash[:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// ContainerNeed returns how long the part before the frames is, from the first
// bytes of a container, and checks them against bounds.
func ContainerNeed(b []byte) (int, error) {
	if len(b) < containerFixed || string(b[:8]) != magicContainer {
		return 0, fmt.Errorf("not a container of version 1: %w", fault.Corrupt)
	}
	n := binary.LittleEndian.Uint32(b[40:])
	if n == 0 || n > MaxStored {
		return 0, fmt.Errorf("container of %d frames: %w", n, fault.Corrupt)
	}
	return containerFixed + containerRecord*int(n) + 32, nil
}

// ParseContainer reads what Marshal wrote, from the first ContainerNeed bytes
// of a container or more, and checks bounds and the hash.
func ParseContainer(b []byte) (*Container, error) {
	need, err := ContainerNeed(b)
	if err != nil {
		return nil, err
	}
	if len(b) < need {
		return nil, fmt.Errorf("container cut short: %d of %d bytes before the frames: %w", len(b), need, fault.Corrupt)
	}
	head := b[:need-32]
	if sha256.Sum256(head) != [32]byte(b[need-32:need]) {
		return nil, fmt.Errorf("head of container does not match its hash: %w", fault.Corrupt)
	}
	n := (need - 32 - containerFixed) / containerRecord
	c := &Container{Repository: [16]byte(b[8:24]), ID: ID(b[24:40]), Frames: make([]Stored, n), offsets: make([]uint32, n+1)}
	at := uint64(need)
	for i := range c.Frames {
		r := head[containerFixed+containerRecord*i:]
		f := Stored{Pack: ID(r[:16]), Frame: binary.LittleEndian.Uint32(r[16:]), Length: binary.LittleEndian.Uint32(r[20:]), Hash: [32]byte(r[24:56])}
		if f.Frame >= MaxFrames {
			return nil, fmt.Errorf("container %s holds frame %d of a pack: %w", c.ID, f.Frame, fault.Corrupt)
		}
		c.Frames[i], c.offsets[i] = f, uint32(at)
		if at += uint64(f.Length); at > MaxObject {
			return nil, fmt.Errorf("container %s is longer than %d bytes: %w", c.ID, MaxObject, fault.Corrupt)
		}
	}
	c.offsets[n] = uint32(at)
	return c, nil
}

// Frame returns where the i-th frame is in the object. The container must come
// from ParseContainer.
func (c *Container) Frame(i int) (offset, length uint32) { return c.offsets[i], c.Frames[i].Length }

// ObjectSize returns the length of the whole object. The container must come
// from ParseContainer.
func (c *Container) ObjectSize() int64 { return int64(c.offsets[len(c.Frames)]) }
