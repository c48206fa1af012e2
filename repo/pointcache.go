package repo

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidemark-backup/tidemark/platform/durable"
	"github.com/tidemark-backup/tidemark/repo/seal"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

const (
	// magicPoints has a version of its own: one that keeps more of a point than
	// this has another.
	magicPoints = "tidmPTS\x01"
	// maxPointCache bounds the file in bytes. Points that do not fit are read
	// each time.
	maxPointCache = 64 << 20
	pointFixed    = 32 + 2 + 16 + 32 + 32
	sameSection   = 0x80
)

// Points returns the file in which the machine keeps what it has opened of the
// points of the place.
func (l Local) Points() string {
	return filepath.Join(l.Dir, "points"+strings.TrimPrefix(filepath.Base(l.Memory()), "ledger"))
}

// pointCache is the file of the points that this machine has opened, FORMAT.md
// section 12. A point's ID is a hash of everything that the file has of it, and
// which ID a number has the ledger says: so what is in the file need not be read
// again, and whatever is wrong with it costs reading only.
type pointCache struct {
	path string // "": none
	read bool   // whether load was called
}

// cacheKey is that of the file, which only those have who can open points.
func (r *Repository) cacheKey() seal.Key { return r.keys.OfReaders(&r.private[0], "points") }

// NamesKey is that of the names in pages that this machine remembers, see
// Local.Names. The repository must be unlocked for reading.
func (r *Repository) NamesKey() seal.Key { return r.keys.OfReaders(&r.private[0], "names") }

// loadPoints returns what the file has of points that are listed and that the
// ledger names, and whether it has others, too.
func (r *Repository) loadPoints(s *standing) (points map[uint64]*Point, more bool) {
	c := &r.cache
	points = map[uint64]*Point{}
	if c.path == "" || c.read {
		return points, false
	}
	c.read = true
	if info, err := os.Stat(c.path); err != nil || info.Size() > maxPointCache {
		return points, false
	}
	b, err := os.ReadFile(c.path)
	if err == nil {
		b, err = seal.OpenLocal(r.cacheKey(), magicPoints, b)
	}
	var list []*Point
	if err == nil {
		list, err = parsePoints(b)
	}
	if err != nil {
		return points, true // as if it were not there, and it is written anew
	}
	for _, p := range list {
		if id, named := s.named[p.Sequence]; named && id == p.ID {
			points[p.Sequence] = p
		} else {
			more = true
		}
	}
	for _, p := range s.missing {
		delete(points, p.Sequence) // a replica may have it
	}
	return points, more
}

// savePoints writes the file anew. What fails costs the next process the reading
// of what this one has read.
func (r *Repository) savePoints(points []*Point, named map[uint64]point.ID) {
	if r.cache.path == "" || r.mender.away.Load() {
		return
	}
	b := seal.SealLocal(r.cacheKey(), magicPoints, marshalPoints(points, named))
	if err := durable.MkdirAll(filepath.Dir(r.cache.path), 0o700); err == nil {
		_ = durable.WriteFile(r.cache.path, b, 0o600)
	}
}

// marshalPoints writes those points that have a receipt, ascending.
func marshalPoints(points []*Point, named map[uint64]point.ID) []byte {
	var out []byte
	var share sharing
	last := uint64(0)
	for _, p := range points {
		if id, ok := named[p.Sequence]; !ok || id != p.ID {
			continue
		}
		start := len(out)
		out = binary.AppendUvarint(out, p.Sequence-last)
		out = append(out, p.ID[:]...)
		out = binary.LittleEndian.AppendUint16(out, p.Flags)
		out = append(out, p.Server[:]...)
		out = append(out, p.Previous[:]...)
		out = append(out, p.Live[:]...)
		out = binary.AppendUvarint(out, p.Entries)
		details := p.Details
		same := share.take(&details)
		for tag, content := range share.sections {
			switch {
			case same[tag]:
				out = append(out, byte(tag)|sameSection)
			case content != nil:
				out = append(out, byte(tag))
				out = binary.AppendUvarint(out, uint64(len(content)))
				out = append(out, content...)
			}
		}
		out = append(out, 0)
		if len(out) > maxPointCache-1024 {
			return out[:start]
		}
		last = p.Sequence
	}
	return out
}

// parsePoints reads what marshalPoints wrote.
func parsePoints(b []byte) ([]*Point, error) {
	r := bodyReader{b: b}
	var points []*Point
	last := &Point{}
	for len(r.b) > 0 && r.err == nil {
		p := &Point{Sequence: last.Sequence + r.uvarint()}
		f := r.take(pointFixed)
		if r.err != nil {
			break
		}
		p.ID, p.Flags, p.Server = point.ID(f[:32]), binary.LittleEndian.Uint16(f[32:]), [16]byte(f[34:])
		p.Previous, p.Live = point.ID(f[50:82]), [32]byte(f[82:])
		p.Entries = r.uvarint()
		if p.Sequence <= last.Sequence || p.Sequence > point.MaxSequence {
			r.fail("points out of order")
		}
		r.details(&p.Details, &last.Details)
		points, last = append(points, p), p
	}
	if r.err != nil {
		return nil, fmt.Errorf("read this machine's points: %w", r.err)
	}
	return points, nil
}

// details reads the sections of a point in the cache; before are those of the
// point before.
func (r *bodyReader) details(d, before *Details) {
	out := body{}
	for last := byte(0); r.err == nil; {
		t := r.take(1)
		if t == nil || t[0] == 0 {
			break
		}
		tag := t[0] &^ sameSection
		if tag <= last || tag >= numTags || tag == tagRoot || tag == tagWarnings {
			r.fail("sections out of order")
			break
		}
		last = tag
		if t[0] != tag {
			out.copySection(tag, before)
			continue
		}
		content := bodyReader{b: r.take(r.uvarint()), err: r.err}
		content.section(tag, &out)
		if len(content.b) != 0 {
			content.fail("section is too long")
		}
		r.err = content.err
	}
	*d = out.Details
}
