package scrub

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/keep"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/live"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/place"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// shape is what is known of the objects below one name.
type shape struct {
	prefix string // or the whole name
	limit  int64  // bytes
	// verify checks bytes against what they carry themselves and against the
	// name.
	verify func(name string, data []byte) error
	// owner is where the repository's ID stands; 0: nowhere.
	owner int
	// unproven: nothing in the object covers all of its bits, so that a
	// machine remembers its SHA-256.
	unproven bool
}

const (
	small          = 1 << 20 // keys, intents and live pages are no larger
	nameRepository = "repository"
	intents        = "intents/"
)

// frames returns what is wrong with an object of frames, each by itself.
func (s shape) frames(name string, data []byte) []Finding {
	switch s.prefix {
	case pack.Prefix:
		return checkPack(name, data)
	case pack.ContainerPrefix:
		return checkContainer(name, data)
	}
	return nil
}

// shapes returns all that are known. Others are let be: a later version may
// have put them.
func shapes() []shape {
	return []shape{
		{prefix: pack.Prefix, limit: pack.MaxObject, verify: verifyPack, owner: 8},
		{prefix: live.Prefix, limit: small, verify: verifyLive},
		{prefix: point.Prefix, limit: point.MaxObject, verify: verifyPoint, owner: 8},
		{prefix: pack.ContainerPrefix, limit: pack.MaxObject, verify: verifyContainer, owner: 8},
		{prefix: pack.MovedPrefix, limit: pack.MaxMoved, verify: verifyMoved, owner: 8},
		{prefix: ledger.Prefix + "roll-", limit: ledger.MaxRoll, verify: verifyRoll, owner: 12},
		{prefix: ledger.Prefix, limit: ledger.MaxEntry, verify: verifyEntry, owner: 8},
		{prefix: ledger.Copied, limit: ledger.MaxRoll, verify: verifyCopied},
		{prefix: prefixParity, limit: maxParityObject, verify: verifyParity, owner: 8},
		{prefix: keep.Rounds, limit: pack.MaxObject, verify: verifyRound, owner: 8},
		{prefix: intents, limit: small, verify: verifyIntent, owner: 8, unproven: true},
		{prefix: nameRepository, limit: small, verify: verifyRepository, owner: 8, unproven: true},
		{prefix: "keys/epoch-", limit: small, verify: verifyEpoch, owner: 8, unproven: true},
		// One of another repository may be there: FORMAT.md, 3.4.
		{prefix: "keys/slot-", limit: small, verify: verifySlot, unproven: true},
		{prefix: place.Feature, limit: small, verify: verifyFeature, owner: 8},
		{prefix: "keys/feature-", limit: small, verify: func(string, []byte) error { return nil }, unproven: true},
	}
}

// shapeOf returns the shape of a name, the zero one if none is known.
func shapeOf(name string) shape {
	for _, s := range shapes() {
		if strings.HasPrefix(name, s.prefix) && (s.prefix != nameRepository || name == nameRepository) {
			return s
		}
	}
	return shape{limit: pack.MaxObject} // nothing that is stored is larger
}

// Verify says whether bytes are right for an object's name, as far as that can
// be seen without a key and without anything but them: by the hashes and the
// signatures that they carry. What is wrong is fault.Corrupt. Names that it
// knows nothing of are right.
func Verify(name string, data []byte) error {
	s := shapeOf(name)
	if s.verify == nil {
		return nil
	}
	if int64(len(data)) > s.limit {
		return bad("%d bytes", len(data))
	}
	return s.verify(name, data)
}

// check returns all that is wrong with the bytes of an object of a repository.
func check(name string, data []byte, repository [16]byte) []Finding {
	s := shapeOf(name)
	if at := s.owner; at > 0 && len(data) >= at+16 && string(data[at-8:at-4]) == "tidm" && [16]byte(data[at:at+16]) != repository {
		// Of a pack or a point whose own hashes are right this is no flipped bit.
		kind := Foreign
		if s.verify(name, data) != nil {
			kind = Damaged
		}
		return []Finding{{Object: name, Frame: -1, Kind: kind, Err: bad("it belongs to repository %x", data[at:at+16])}}
	}
	if frames := s.frames(name, data); frames != nil {
		return frames
	}
	if err := Verify(name, data); err != nil {
		return []Finding{{Object: name, Frame: -1, Kind: Damaged, Err: err}}
	}
	return nil
}

func bad(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, fault.Corrupt)...)
}

func verifyPack(name string, data []byte) error      { return first(checkPack(name, data)) }
func verifyContainer(name string, data []byte) error { return first(checkContainer(name, data)) }

func first(findings []Finding) error {
	if len(findings) == 0 {
		return nil
	}
	return findings[0].Err
}

// checkPack returns all that is wrong with a pack: the head, or its frames.
func checkPack(name string, data []byte) []Finding {
	h, err := pack.Parse(data)
	if err != nil {
		return []Finding{{Object: name, Frame: -1, Kind: Damaged, Err: err}}
	}
	if h.ID.Name() != name {
		return []Finding{{Object: name, Frame: -1, Kind: Foreign, Err: bad("it holds pack %s", h.ID)}}
	}
	return checkFrames(name, data, h.ObjectSize(), h.Frames(), func(i int) (at, n uint32, sum [32]byte) {
		at, n = h.Frame(i)
		return at, n, h.Hashes[i]
	})
}

// checkContainer is checkPack for a container.
func checkContainer(name string, data []byte) []Finding {
	c, err := pack.ParseContainer(data)
	if err != nil {
		return []Finding{{Object: name, Frame: -1, Kind: Damaged, Err: err}}
	}
	if pack.ContainerName(c.ID) != name {
		return []Finding{{Object: name, Frame: -1, Kind: Foreign, Err: bad("it holds container %s", c.ID)}}
	}
	return checkFrames(name, data, c.ObjectSize(), len(c.Frames), func(i int) (at, n uint32, sum [32]byte) {
		at, n = c.Frame(i)
		return at, n, c.Frames[i].Hash
	})
}

// checkFrames compares the frames of an object of size bytes.
func checkFrames(name string, data []byte, size int64, frames int, frame func(int) (at, n uint32, sum [32]byte)) []Finding {
	var out []Finding
	switch {
	case int64(len(data)) < size:
		out = append(out, Finding{Object: name, Frame: -1, Kind: Damaged, Err: bad("cut short: %d of %d bytes are left", len(data), size)})
	case int64(len(data)) > size:
		out = append(out, Finding{Object: name, Frame: -1, Kind: Damaged, Err: bad("%d bytes follow its end", int64(len(data))-size)})
	}
	for i := range frames {
		at, n, sum := frame(i)
		if int(at)+int(n) > len(data) {
			break
		}
		if sha256.Sum256(data[at:at+n]) != sum {
			out = append(out, Finding{Object: name, Frame: i, Kind: Damaged, Err: bad("frame %d does not match its SHA-256", i)})
		}
	}
	return out
}

func verifyMoved(name string, data []byte) error {
	m, err := pack.ParseMoved(data)
	if err == nil && pack.MovedName(m.Pack, m.Generation) != name {
		err = bad("it is that of pack %s, generation %d", m.Pack, m.Generation)
	}
	return err
}

func verifyEntry(name string, data []byte) error {
	e, err := ledger.Parse(data)
	if err == nil {
		err = e.Verify()
	}
	if err == nil && ledger.Name(e.Number) != name {
		err = bad("it holds entry %d", e.Number)
	}
	return err
}

// verifyRoll checks the entries of a roll and that each follows the one before.
func verifyRoll(name string, data []byte) error {
	last, roll, err := ledger.ParseName(name)
	if err != nil || !roll {
		return bad("no name of a roll")
	}
	entries, err := parseRoll(data)
	if err != nil {
		return err
	}
	if len(entries) != ledger.RollSize {
		return bad("a roll of %d entries", len(entries))
	}
	for i, e := range entries {
		if err := e.Verify(); err != nil {
			return err
		}
		if e.Number != last-ledger.RollSize+1+uint64(i) || i > 0 && (e.Previous != entries[i-1].Hash || e.Repository != entries[i-1].Repository) {
			return bad("entry %d does not follow the one before", e.Number)
		}
	}
	return nil
}

func verifyCopied(name string, data []byte) error {
	own, err := ledger.OfCopy(name)
	if err != nil {
		return bad("no name of a ledger's copy")
	}
	return Verify(own, data)
}

// parseRoll parses entries that stand back to back.
func parseRoll(data []byte) ([]*ledger.Entry, error) {
	var entries []*ledger.Entry
	for len(data) > 0 {
		if len(data) < 4 || uint64(binary.LittleEndian.Uint32(data)) > uint64(len(data)-4) || len(entries) == ledger.RollSize {
			return nil, bad("entries cut short, or too many")
		}
		n := 4 + binary.LittleEndian.Uint32(data)
		e, err := ledger.Parse(data[4:n])
		if err != nil {
			return nil, err
		}
		entries, data = append(entries, e), data[n:]
	}
	return entries, nil
}

func verifyLive(name string, data []byte) error {
	h, err := live.ParseName(name)
	if err != nil {
		return bad("no name of a live page")
	}
	if h != sha256.Sum256(data) {
		return bad("its bytes have another SHA-256 than its name says")
	}
	return live.CheckPage(data)
}

func verifyPoint(name string, data []byte) error {
	h, _, err := point.Parse(data)
	if err == nil && point.Name(h.Sequence) != name {
		err = bad("it holds point %d", h.Sequence)
	}
	return err
}

func verifyRound(name string, data []byte) error { return keep.VerifyRound(name, data) }

func verifyIntent(name string, data []byte) error {
	i, err := keep.ParseIntent(data)
	if err == nil && i.Name() != name {
		err = bad("it holds %s", i.Name())
	}
	return err
}

func verifyRepository(_ string, data []byte) error {
	if len(data) != 86 || string(data[:8]) != "tidmREP\x01" {
		return bad("it is not an object repository of version 1")
	}
	return nil
}

func verifyEpoch(name string, data []byte) error {
	if len(data) < 44+32 || string(data[:8]) != "tidmEPO\x01" ||
		len(data) != 44+32+int(binary.LittleEndian.Uint16(data[42:])) ||
		fmt.Sprintf("keys/epoch-%08x", binary.LittleEndian.Uint32(data[24:])) != name {
		return bad("it is not the epoch of its name")
	}
	return nil
}

// verifyFeature compares with the only bytes that the object can have.
func verifyFeature(_ string, data []byte) error {
	if len(data) < 24 || !bytes.Equal(data, place.FeatureBytes([16]byte(data[8:24]))) {
		return bad("no feature object of this version")
	}
	return nil
}

func verifySlot(name string, data []byte) error {
	if len(data) < 116 || string(data[:8]) != "tidmSLT\x01" || "keys/slot-"+hex.EncodeToString(data[24:32]) != name {
		return bad("it is not the key slot of its name")
	}
	label := int(data[67])
	if label > 64 || len(data) < 116+label ||
		uint64(len(data)) != uint64(116+label)+uint64(binary.LittleEndian.Uint32(data[112+label:])) {
		return bad("it is no key slot")
	}
	return nil
}
