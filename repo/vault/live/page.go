package live

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
)

const (
	magic      = "tidmLIV\x01"
	headLength = 15
	maxPage    = 1 << 20
	maxLevels  = 12
	leastLeaf  = 16 + 1 + 1 + 2 // bytes of a leaf record at least
	leastUpper = 16 + 32 + 1    // bytes of an upper record at least
)

// ref is an upper record.
type ref struct {
	first pack.ID // below it
	page  Hash
	packs uint64 // below it, ≥ 1
}

// page is a decoded page: needs if level is 0, else refs.
type page struct {
	level int
	salt  uint16
	needs []Need
	refs  []ref
}

func compareIDs(a, b pack.ID) int { return bytes.Compare(a[:], b[:]) }

// bad tells which rule a Need breaks, "" if none.
func (n *Need) bad() string {
	if n.Frames < 1 || n.Frames > pack.MaxFrames {
		return "number of frames out of bounds"
	}
	total, any := uint64(0), uint8(0)
	for i, r := range n.Runs {
		if r.Length == 0 || i > 0 && n.Runs[i-1].Need == r.Need {
			return "runs that are empty or equal"
		}
		total += uint64(r.Length)
		any |= r.Need
	}
	if total != uint64(n.Frames) {
		return "runs do not add up to the number of frames"
	}
	if any == 0 {
		return "nothing is needed"
	}
	return ""
}

// AppendNeed appends the leaf record of a Need that follows the rules.
func AppendNeed(dst []byte, n *Need) []byte {
	dst = append(dst, n.Pack[:]...)
	dst = binary.AppendUvarint(dst, uint64(n.Frames))
	dst = binary.AppendUvarint(dst, uint64(len(n.Runs)))
	for _, r := range n.Runs {
		dst = append(dst, r.Need)
		dst = binary.AppendUvarint(dst, uint64(r.Length))
	}
	return dst
}

// DecodeNeed reads the leaf record at the beginning of b and returns what
// follows it. One that breaks a rule is fault.Corrupt.
func DecodeNeed(b []byte) (n Need, rest []byte, err error) {
	bad := func(why string) (Need, []byte, error) {
		return Need{}, nil, fmt.Errorf("decode need of a pack: %s: %w", why, fault.Corrupt)
	}
	if len(b) < leastLeaf {
		return bad("ends early")
	}
	b = b[copy(n.Pack[:], b):]
	frames, b, ok1 := uvarint(b)
	count, b, ok2 := uvarint(b)
	if !ok1 || !ok2 || frames > pack.MaxFrames || count > frames || count > uint64(len(b)/2) {
		return bad("numbers out of bounds")
	}
	n.Frames, n.Runs = uint32(frames), make([]Run, count)
	for i := range n.Runs {
		if len(b) < 2 {
			return bad("ends early")
		}
		need := b[0]
		length, after, ok := uvarint(b[1:])
		if !ok || length > frames {
			return bad("length of a run out of bounds")
		}
		n.Runs[i], b = Run{need, uint32(length)}, after
	}
	if why := n.bad(); why != "" {
		return bad(why)
	}
	return n, b, nil
}

// uvarint reads a number in its shortest form.
func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

func appendRef(dst []byte, r *ref) []byte {
	dst = append(dst, r.first[:]...)
	dst = append(dst, r.page[:]...)
	return binary.AppendUvarint(dst, r.packs)
}

// appendHead appends what comes before the records of a page.
func appendHead(dst []byte, level int, salt uint16, records int) []byte {
	dst = append(dst, magic...)
	dst = append(dst, byte(level))
	dst = binary.LittleEndian.AppendUint16(dst, salt)
	return binary.LittleEndian.AppendUint32(dst, uint32(records))
}

// encode returns the bytes of a page.
func (p *page) encode() []byte {
	b := appendHead(nil, p.level, p.salt, len(p.needs)+len(p.refs))
	for i := range p.needs {
		b = AppendNeed(b, &p.needs[i])
	}
	for i := range p.refs {
		b = appendRef(b, &p.refs[i])
	}
	return b
}

// decodePage decodes a page. Whatever is not exactly what encode writes is
// fault.Corrupt.
func decodePage(b []byte) (*page, error) {
	bad := func(why string) (*page, error) {
		return nil, fmt.Errorf("decode live page: %s: %w", why, fault.Corrupt)
	}
	if len(b) < headLength || len(b) > maxPage || string(b[:8]) != magic {
		return bad("no live page of version 1")
	}
	p := &page{level: int(b[8]), salt: binary.LittleEndian.Uint16(b[9:])}
	n := uint64(binary.LittleEndian.Uint32(b[11:]))
	b = b[headLength:]
	least := uint64(leastLeaf)
	if p.level > 0 {
		least = leastUpper
	}
	if p.level >= maxLevels || n > uint64(len(b))/least || n == 0 && p.level > 0 {
		return bad("level or number of records out of bounds")
	}
	var err error
	if p.level > 0 {
		p.refs = make([]ref, n)
		b, err = p.decodeRefs(b)
	} else {
		p.needs = make([]Need, n)
		b, err = p.decodeNeeds(b)
	}
	if err != nil {
		return nil, err
	}
	if len(b) > 0 {
		return bad("bytes after the last record")
	}
	return p, nil
}

// CheckPage says whether bytes are a page that keeps all rules; else it is
// fault.Corrupt.
func CheckPage(b []byte) error {
	_, err := decodePage(b)
	return err
}

func (p *page) decodeNeeds(b []byte) ([]byte, error) {
	var err error
	for i := range p.needs {
		if p.needs[i], b, err = DecodeNeed(b); err != nil {
			return nil, err
		}
		if i > 0 && compareIDs(p.needs[i-1].Pack, p.needs[i].Pack) >= 0 {
			return nil, fmt.Errorf("decode live page: packs are not in order: %w", fault.Corrupt)
		}
	}
	return b, nil
}

func (p *page) decodeRefs(b []byte) ([]byte, error) {
	for i := range p.refs {
		r := &p.refs[i]
		ok := len(b) >= leastUpper
		if ok {
			b = b[copy(r.first[:], b):]
			b = b[copy(r.page[:], b):]
			r.packs, b, ok = uvarint(b)
		}
		if !ok || r.packs == 0 || r.packs > 1<<48 {
			return nil, fmt.Errorf("decode live page: record out of bounds: %w", fault.Corrupt)
		}
		if i > 0 && compareIDs(p.refs[i-1].first, r.first) >= 0 {
			return nil, fmt.Errorf("decode live page: packs are not in order: %w", fault.Corrupt)
		}
	}
	return b, nil
}

// below returns the first pack and the number of packs below a page that has
// a record.
func (p *page) below() (first pack.ID, packs uint64) {
	if p.level == 0 {
		return p.needs[0].Pack, uint64(len(p.needs))
	}
	for i := range p.refs {
		packs += p.refs[i].packs
	}
	return p.refs[0].first, packs
}

func hashOf(b []byte) Hash { return sha256.Sum256(b) }
