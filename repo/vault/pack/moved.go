package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

const (
	magicMoved = "tidmMOV\x01"
	movedFixed = 52 // bytes before the head
	movedFrame = 10

	// MovedPrefix is where moved records are in a store.
	MovedPrefix = "moved/"
	// MaxGeneration bounds how often the frames of a pack are moved.
	MaxGeneration = 65535
	// MaxMoved bounds a moved record in bytes.
	MaxMoved = 32 << 20

	maxContainers = 65536
)

// Place is where a frame of a moved pack is now.
type Place struct {
	Frame     uint32
	Container uint16 // index into Containers
	Offset    uint32 // in the container's object
}

// Moved says where the frames of a pack are after a compaction, and which of
// them are there at all. It repeats what stood before the frames of the pack,
// so that the pack's own object is not needed any more.
type Moved struct {
	Repository [16]byte
	Pack       ID
	Generation uint32 // from 1; the highest one counts whose containers exist
	Arrival    int64  // when the pack was stored, Unix seconds, by the clock of the place
	Head       *Head
	Containers []ID
	Places     []Place // ascending frames, at least one
}

// MovedName returns the name of the object of a moved record.
func MovedName(id ID, generation uint32) string {
	return MovedOf(id) + fmt.Sprintf("%04x", generation)
}

// MovedOf returns what the names of all moved records of a pack begin with.
func MovedOf(id ID) string {
	s := id.String()
	return MovedPrefix + s[30:] + "/" + s + "-"
}

// ParseMovedName returns the pack and the generation of the moved record that
// is stored under name.
func ParseMovedName(name string) (ID, uint32, error) {
	if len(name) == len(MovedPrefix)+3+32+5 {
		id, err := ParseID(name[len(MovedPrefix)+3:][:32])
		g, errG := strconv.ParseUint(name[len(name)-4:], 16, 16)
		if err == nil && errG == nil && g > 0 && MovedName(id, uint32(g)) == name {
			return id, uint32(g), nil
		}
	}
	return ID{}, 0, fmt.Errorf("parse name of a moved record %q: %w", name, fault.Invalid)
}

// Marshal returns the object.
func (m *Moved) Marshal() []byte {
	head := m.Head.Marshal()
	b := make([]byte, 0, movedFixed+len(head)+8+16*len(m.Containers)+movedFrame*len(m.Places)+32)
	b = append(b, magicMoved...)
	b = append(b, m.Repository[:]...)
	b = append(b, m.Pack[:]...)
	b = binary.LittleEndian.AppendUint32(b, m.Generation)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Arrival))
	b = append(b, head...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Containers)))
	for _, id := range m.Containers {
		b = append(b, id[:]...)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Places)))
	for _, p := range m.Places {
		b = binary.LittleEndian.AppendUint32(b, p.Frame)
		b = binary.LittleEndian.AppendUint16(b, p.Container)
		b = binary.LittleEndian.AppendUint32(b, p.Offset)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// ParseMoved reads what Marshal wrote, and checks bounds, hashes and order. It
// keeps b.
func ParseMoved(b []byte) (*Moved, error) {
	bad := func(why string) (*Moved, error) { return nil, fmt.Errorf("moved record: %s: %w", why, fault.Corrupt) }
	n := len(b) - 32
	if n < movedFixed+HeadSize+8 || n > MaxMoved || string(b[:8]) != magicMoved {
		return bad("not of version 1")
	}
	if sha256.Sum256(b[:n]) != [32]byte(b[n:]) {
		return bad("does not match its hash")
	}
	m := &Moved{
		Repository: [16]byte(b[8:24]), Pack: ID(b[24:40]), Generation: binary.LittleEndian.Uint32(b[40:]),
		Arrival: int64(binary.LittleEndian.Uint64(b[44:])),
	}
	rest := b[movedFixed:n]
	need, err := Need(rest)
	if err != nil {
		return nil, fmt.Errorf("moved record: %w", err)
	}
	if m.Head, err = Parse(rest); err != nil {
		return nil, fmt.Errorf("moved record: %w", err)
	}
	if m.Head.ID != m.Pack || m.Head.Repository != m.Repository || m.Generation == 0 || m.Generation > MaxGeneration {
		return bad("of another pack, or of an impossible generation")
	}
	rest = rest[need:]
	count, rest, ok := listOf(rest, 16, maxContainers)
	if !ok {
		return bad("containers cut short")
	}
	m.Containers = make([]ID, count)
	for i := range m.Containers {
		m.Containers[i] = ID(rest[16*i:])
	}
	if count, rest, ok = listOf(rest[16*count:], movedFrame, MaxFrames); !ok || len(rest) != movedFrame*count {
		return bad("frames cut short")
	}
	m.Places = make([]Place, count)
	for i := range m.Places {
		r := rest[movedFrame*i:]
		m.Places[i] = Place{binary.LittleEndian.Uint32(r), binary.LittleEndian.Uint16(r[4:]), binary.LittleEndian.Uint32(r[6:])}
	}
	if why := m.bad(); why != "" {
		return bad(why)
	}
	return m, nil
}

// listOf reads the u32 count of a list whose records take size bytes each.
func listOf(b []byte, size, most int) (count int, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, false
	}
	n := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if n == 0 || int64(n) > int64(most) || int64(n)*int64(size) > int64(len(b)) {
		return 0, nil, false
	}
	return int(n), b, true
}

// bad tells which rule the lists break, "" if none. Containers stand in the
// order in which frames name them first.
func (m *Moved) bad() string {
	named := 0
	for i, p := range m.Places {
		if int(p.Frame) >= m.Head.Frames() || i > 0 && m.Places[i-1].Frame >= p.Frame {
			return "frames out of order or of another pack"
		}
		if int(p.Container) > named || int(p.Container) >= len(m.Containers) {
			return "containers out of order"
		}
		if int(p.Container) == named {
			named++
		}
		if uint64(p.Offset)+uint64(m.Head.Lengths[p.Frame]) > MaxObject {
			return "a frame beyond the end of a container"
		}
	}
	if named != len(m.Containers) {
		return "a container without a frame"
	}
	once := make(map[ID]bool, len(m.Containers))
	for _, id := range m.Containers {
		if once[id] {
			return "a container twice"
		}
		once[id] = true
	}
	return ""
}

// Find returns where a frame is now; false if it was not kept.
func (m *Moved) Find(frame int) (container ID, offset, length uint32, ok bool) {
	lo, hi := 0, len(m.Places)
	for lo < hi {
		mid := (lo + hi) / 2
		if int(m.Places[mid].Frame) < frame {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(m.Places) || int(m.Places[lo].Frame) != frame {
		return ID{}, 0, 0, false
	}
	p := m.Places[lo]
	return m.Containers[p.Container], p.Offset, m.Head.Lengths[frame], true
}
