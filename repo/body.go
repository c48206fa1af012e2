package repo

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/platform/meta"
)

// Statistics say what a run found and did.
type Statistics struct {
	Files, Folders, Links, Others    uint64 // entries by kind
	Bytes                            uint64 // of content, in all files
	New, Changed, Unchanged, Removed uint64 // entries, against the point before
	BytesRead, BytesNew, BytesStored uint64
	Warnings                         uint64
}

func (s *Statistics) fields() []*uint64 {
	return []*uint64{&s.Files, &s.Folders, &s.Links, &s.Others, &s.Bytes, &s.New, &s.Changed, &s.Unchanged, &s.Removed,
		&s.BytesRead, &s.BytesNew, &s.BytesStored, &s.Warnings}
}

// Warning names a file that was not saved as it is, and why.
type Warning struct {
	Path   string
	Reason string
}

// MaxWarnings bounds the warnings that a point keeps; all are counted.
const MaxWarnings = 1000

// Details are what the sealed body of a point says of it.
type Details struct {
	Started, Finished       time.Time // by the client's clock
	Statistics              Statistics
	Host, User, OS, Program string
	Version                 string
	Paths, Tags             []string
	Users, Groups           map[uint32]string // names of owners
	ServerUsers             []meta.ServerUser // of the server, in ascending order of names; who may log in is another matter
	Devices                 []uint64          // device number of each slot
	Warnings                []Warning         // Points leaves them out, see Repository.Warnings
	Consistency             Consistency
	Suspect                 []string // why the files look as if somebody had encrypted them; none: they do not
}

// body is a sealed body, opened.
type body struct {
	Details
	entries uint64
	level   int
	root    []byte
}

// Tags of the sections, FORMAT.md section 8.
const (
	tagTimes = iota + 1
	tagRoot
	tagStatistics
	tagOrigin
	tagPaths
	tagTags
	tagUsers
	tagGroups
	tagDevices
	tagWarnings
	tagServerUsers
	tagConsistency
	tagSuspect
	numTags // and one more
)

const (
	maxWarningBytes = 4 << 20
	maxNames        = 1 << 16
)

func (b *body) marshal() []byte {
	var out []byte
	b.sections(func(tag byte, content []byte) {
		out = append(out, tag)
		out = binary.AppendUvarint(out, uint64(len(content)))
		out = append(out, content...)
	})
	return out
}

// sections gives tag and content of each section, in order.
func (b *body) sections(section func(tag byte, content []byte)) {
	section(tagTimes, appendTime(appendTime(nil, b.Started), b.Finished))
	root := binary.AppendUvarint(nil, b.entries)
	root = binary.AppendUvarint(root, uint64(b.level))
	section(tagRoot, append(root, b.root...))
	var numbers []byte
	for _, f := range b.Statistics.fields() {
		numbers = binary.AppendUvarint(numbers, *f)
	}
	section(tagStatistics, numbers)
	var origin []byte
	for _, s := range []string{b.Host, b.User, b.OS, b.Program, b.Version} {
		origin = appendString(origin, s)
	}
	section(tagOrigin, origin)
	section(tagPaths, appendStrings(b.Paths))
	section(tagTags, appendStrings(b.Tags))
	section(tagUsers, appendNames(b.Users))
	section(tagGroups, appendNames(b.Groups))
	devices := binary.AppendUvarint(nil, uint64(len(b.Devices)))
	for _, d := range b.Devices {
		devices = binary.LittleEndian.AppendUint64(devices, d)
	}
	section(tagDevices, devices)
	section(tagWarnings, b.appendWarnings())
	if len(b.ServerUsers) > 0 {
		section(tagServerUsers, appendServerUsers(b.ServerUsers))
	}
	if b.Consistency.Type != Untyped {
		section(tagConsistency, appendConsistency(b.Consistency))
	}
	if len(b.Suspect) > 0 {
		section(tagSuspect, appendSuspect(b.Suspect))
	}
}

func (b *body) appendWarnings() []byte {
	var list []byte
	n := 0
	for _, w := range b.Warnings {
		if n == MaxWarnings || len(list)+len(w.Path)+len(w.Reason)+20 > maxWarningBytes {
			break
		}
		list = appendString(appendString(list, w.Path), w.Reason)
		n++
	}
	return append(binary.AppendUvarint(nil, uint64(n)), list...)
}

func appendTime(b []byte, t time.Time) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Unix()))
	return binary.LittleEndian.AppendUint32(b, uint32(t.Nanosecond()))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(list []string) []byte {
	b := binary.AppendUvarint(nil, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendNames(names map[uint32]string) []byte {
	ids := make([]uint32, 0, len(names))
	for id := range names {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ids = ids[:min(len(ids), maxNames)]
	b := binary.AppendUvarint(nil, uint64(len(ids)))
	for _, id := range ids {
		b = appendString(binary.AppendUvarint(b, uint64(id)), names[id])
	}
	return b
}

// bodyReader reads sections; the first thing that is wrong ends it.
type bodyReader struct {
	b   []byte
	err error
}

func (r *bodyReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("body of point: %s: %w", what, fault.Corrupt)
	}
	r.b = nil
}

func (r *bodyReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("cut short")
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *bodyReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail("bad number")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things of which each takes at least one byte.
func (r *bodyReader) count() uint64 {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail("more things than bytes")
		return 0
	}
	return n
}

func (r *bodyReader) string() string { return string(r.take(r.uvarint())) }

func (r *bodyReader) strings() (list []string) {
	for n := r.count(); n > 0 && r.err == nil; n-- {
		list = append(list, r.string())
	}
	return list
}

func (r *bodyReader) names() map[uint32]string {
	names := make(map[uint32]string)
	next := uint64(0)
	for n := r.count(); n > 0 && r.err == nil; n-- {
		id := r.uvarint()
		if id < next || id >= 1<<32 {
			r.fail("names out of order")
			return nil
		}
		names[uint32(id)] = r.string()
		next = id + 1
	}
	return names
}

func (r *bodyReader) time() time.Time {
	b := r.take(12)
	if b == nil {
		return time.Time{}
	}
	nsec := binary.LittleEndian.Uint32(b[8:])
	if nsec >= 1e9 {
		r.fail("bad time")
	}
	return time.Unix(int64(binary.LittleEndian.Uint64(b)), int64(nsec))
}

func (r *bodyReader) section(tag byte, b *body) {
	switch tag {
	case tagTimes:
		b.Started, b.Finished = r.time(), r.time()
	case tagRoot:
		b.entries = r.uvarint()
		level := r.uvarint()
		if level > 12 || b.entries == 0 {
			r.fail("bad root")
		}
		b.level, b.root = int(level), r.take(uint64(len(r.b)))
	case tagStatistics:
		for _, f := range b.Statistics.fields() {
			*f = r.uvarint()
		}
	case tagOrigin:
		for _, s := range []*string{&b.Host, &b.User, &b.OS, &b.Program, &b.Version} {
			*s = r.string()
		}
	case tagPaths:
		b.Paths = r.strings()
	case tagTags:
		b.Tags = r.strings()
	case tagUsers:
		b.Users = r.names()
	case tagGroups:
		b.Groups = r.names()
	case tagDevices:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			if d := r.take(8); d != nil {
				b.Devices = append(b.Devices, binary.LittleEndian.Uint64(d))
			}
		}
	case tagWarnings:
		n := r.count()
		if n > MaxWarnings {
			r.fail("too many warnings")
		}
		for ; n > 0 && r.err == nil; n-- {
			b.Warnings = append(b.Warnings, Warning{Path: r.string(), Reason: r.string()})
		}
	case tagServerUsers:
		b.ServerUsers = r.serverUsers()
	case tagConsistency:
		b.Consistency = r.consistency()
	case tagSuspect:
		b.Suspect = r.suspect()
	default:
		r.b = nil // of a later version
	}
}

// parseBody reads what marshal wrote. It keeps raw.
func parseBody(raw []byte) (*body, error) {
	out := &body{}
	r := bodyReader{b: raw}
	last := byte(0)
	seen := 0
	for len(r.b) > 0 && r.err == nil {
		tag := r.take(1)[0]
		if tag <= last {
			r.fail("sections out of order")
			break
		}
		last = tag
		content := bodyReader{b: r.take(r.uvarint()), err: r.err}
		content.section(tag, out)
		if content.err == nil && len(content.b) != 0 {
			content.fail(fmt.Sprintf("section %d is too long", tag))
		}
		if r.err == nil {
			r.err = content.err
		}
		if tag <= tagStatistics {
			seen++
		}
	}
	if r.err == nil && seen != 3 {
		r.fail("a section is missing")
	}
	if r.err != nil {
		return nil, r.err
	}
	return out, nil
}
