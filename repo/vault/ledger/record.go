package ledger

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

// Kind is the kind of a record. Kinds with the bit Critical make a reader that
// does not know them refuse the ledger.
type Kind uint8

// The kinds.
const (
	KindReceipt   Kind = 1
	KindRetag     Kind = 2
	KindDeleted   Kind = 3
	KindUndeleted Kind = 4
	KindRemoved   Kind = 5
	KindHold      Kind = 6
	KindRelease   Kind = 7
	KindPolicy    Kind = 8
	KindClock     Kind = 9
	KindCondemned Kind = 10
	KindDropped   Kind = 11
	KindCompacted Kind = 12
	KindCollected Kind = 13
	KindExtended  Kind = 14
	KindStanding  Kind = 15

	Critical Kind = 0x80
)

// String names the kind as users see it.
func (k Kind) String() string {
	names := [...]string{"", "receipt", "retag", "deleted", "undeleted", "removed", "hold", "release", "policy", "clock",
		"condemned", "dropped", "compacted", "collected", "extended", "standing"}
	if k > 0 && int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Tier is what a tag was given for.
type Tier uint8

// The tiers. Hourly to Yearly have slots; the others' tags have slot 0.
const (
	Hourly  Tier = 1
	Daily   Tier = 2
	Weekly  Tier = 3
	Monthly Tier = 4
	Yearly  Tier = 5
	Within  Tier = 6 // every point's least life
	Others  Tier = 7 // a point that got no other tag
	Until   Tier = 8 // asked for when the point was made
)

// String names the tier as users see it.
func (t Tier) String() string {
	names := [...]string{"tier 0", "hourly", "daily", "weekly", "monthly", "yearly", "within", "others", "until"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("tier %d", uint8(t))
}

// Tag is one reason for which a point lives, and until when.
type Tag struct {
	Tier   Tier
	Slot   int64 // instant that was due, Unix seconds; 0 for Within, Others and Until
	Expiry int64 // Unix seconds
}

// Bounds of what records hold.
const (
	MaxTags   = 64
	MaxReason = 1024
	MaxPolicy = 64 << 10
	// maxTime is the end of the year 9999: beyond it times cannot be written.
	maxTime = 253402300799
)

// Record is one thing that an entry says: one of the types below.
type Record interface {
	// Kind returns what the record says.
	Kind() Kind
	append(b []byte) []byte
}

// Receipt says that a point arrived.
type Receipt struct {
	Sequence uint64
	Point    point.ID
	Live     [32]byte // root of its live set
	Arrival  int64
	Tags     []Tag
}

// Retag replaces a point's tags; only behind a Policy of the same entry.
type Retag struct {
	Sequence uint64
	Tags     []Tag
}

// DeleteReason is why a point was deleted.
type DeleteReason uint8

// The reasons for deletion.
const (
	ByHand   DeleteReason = 1
	ByPolicy DeleteReason = 2
)

// Deleted hides a point; it can be had back until GoneAfter, and longer if no
// prune comes by.
type Deleted struct {
	Sequence  uint64
	Why       DeleteReason
	GoneAfter int64
}

// Undeleted shows a deleted point again.
type Undeleted struct{ Sequence uint64 }

// RemoveReason is why a point was removed for good.
type RemoveReason uint8

// The reasons for removal.
const (
	Expired    RemoveReason = 1
	WasDeleted RemoveReason = 2
)

// String names the reason.
func (r RemoveReason) String() string {
	if r == Expired {
		return "expired"
	}
	return "deleted"
}

// Removed is a point's tombstone.
type Removed struct {
	Sequence uint64
	Point    point.ID
	Live     [32]byte
	Why      RemoveReason
}

// Hold keeps a point from expiring.
type Hold struct {
	Sequence uint64
	Reason   string
}

// Release ends a Hold.
type Release struct {
	Sequence uint64
	Reason   string
}

// Policy is the policy in force from here, in JSON.
type Policy struct{ JSON []byte }

// Clock is the operator's word that the place's clock is right.
type Clock struct {
	Place   int64 // what the place's clock said
	Machine int64 // what the clock of the operator's machine said
}

// Condemned says that a round's condemned object is durable.
type Condemned struct{ Round uint64 }

// Dropped says that a round's dropped object is durable.
type Dropped struct{ Round uint64 }

// CompactStep is how far a compaction is.
type CompactStep uint8

// The steps of a compaction.
const (
	Moved CompactStep = 0 // containers and moved records are durable
	Done  CompactStep = 1 // the originals are deleted
)

// Compacted says how far the compaction of packs is.
type Compacted struct {
	Step  CompactStep
	Packs []pack.ID // ascending
}

// Collected says up to where a collection has seen everything.
type Collected struct {
	Entry uint64 // of the ledger
	Run   uint64 // run number of packs
	Round uint64
}

// Extended gives a point a tag Until, unless it has one that ends later.
type Extended struct {
	Sequence uint64
	Until    int64
}

// Standing says that the vault's time stands still, as the place's clock is behind:
// what receipts and deletions behind it in the entry count from then on is longer
// by what time makes up with the next entry that goes on.
type Standing struct{}

// Unknown is a record of a later version.
type Unknown struct {
	Type    Kind
	Payload []byte
}

// Kind implements Record.
func (Receipt) Kind() Kind { return KindReceipt }

// Kind implements Record.
func (Retag) Kind() Kind { return KindRetag }

// Kind implements Record.
func (Deleted) Kind() Kind { return KindDeleted }

// Kind implements Record.
func (Undeleted) Kind() Kind { return KindUndeleted }

// Kind implements Record.
func (Removed) Kind() Kind { return KindRemoved }

// Kind implements Record.
func (Hold) Kind() Kind { return KindHold }

// Kind implements Record.
func (Release) Kind() Kind { return KindRelease }

// Kind implements Record.
func (Policy) Kind() Kind { return KindPolicy }

// Kind implements Record.
func (Clock) Kind() Kind { return KindClock }

// Kind implements Record.
func (Condemned) Kind() Kind { return KindCondemned }

// Kind implements Record.
func (Dropped) Kind() Kind { return KindDropped }

// Kind implements Record.
func (Compacted) Kind() Kind { return KindCompacted }

// Kind implements Record.
func (Collected) Kind() Kind { return KindCollected }

// Kind implements Record.
func (Extended) Kind() Kind { return KindExtended }

// Kind implements Record.
func (Standing) Kind() Kind { return KindStanding }

// Kind implements Record.
func (u Unknown) Kind() Kind { return u.Type }

func appendRecord(b []byte, r Record) []byte {
	payload := r.append(nil)
	b = append(b, byte(r.Kind()))
	b = binary.AppendUvarint(b, uint64(len(payload)))
	return append(b, payload...)
}

func u64(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }

func text(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }

func appendTags(b []byte, tags []Tag) []byte {
	b = binary.AppendUvarint(b, uint64(len(tags)))
	for _, t := range tags {
		b = u64(u64(append(b, byte(t.Tier)), uint64(t.Slot)), uint64(t.Expiry))
	}
	return b
}

func (r Receipt) append(b []byte) []byte {
	b = append(append(u64(b, r.Sequence), r.Point[:]...), r.Live[:]...)
	return appendTags(u64(b, uint64(r.Arrival)), r.Tags)
}

func (r Retag) append(b []byte) []byte { return appendTags(u64(b, r.Sequence), r.Tags) }

func (r Deleted) append(b []byte) []byte {
	return u64(append(u64(b, r.Sequence), byte(r.Why)), uint64(r.GoneAfter))
}

func (r Undeleted) append(b []byte) []byte { return u64(b, r.Sequence) }

func (r Removed) append(b []byte) []byte {
	return append(append(append(u64(b, r.Sequence), r.Point[:]...), r.Live[:]...), byte(r.Why))
}

func (r Hold) append(b []byte) []byte { return text(u64(b, r.Sequence), r.Reason) }

func (r Release) append(b []byte) []byte { return text(u64(b, r.Sequence), r.Reason) }

func (r Policy) append(b []byte) []byte { return append(b, r.JSON...) }

func (r Clock) append(b []byte) []byte { return u64(u64(b, uint64(r.Place)), uint64(r.Machine)) }

func (r Condemned) append(b []byte) []byte { return u64(b, r.Round) }

func (r Dropped) append(b []byte) []byte { return u64(b, r.Round) }

func (r Compacted) append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, byte(r.Step)), uint64(len(r.Packs)))
	for _, p := range r.Packs {
		b = append(b, p[:]...)
	}
	return b
}

func (r Collected) append(b []byte) []byte { return u64(u64(u64(b, r.Entry), r.Run), r.Round) }

func (Standing) append(b []byte) []byte   { return b }
func (r Extended) append(b []byte) []byte { return u64(u64(b, r.Sequence), uint64(r.Until)) }

func (u Unknown) append(b []byte) []byte { return append(b, u.Payload...) }

// payload reads a record's fields. After a failure everything is zero.
type payload struct {
	b   []byte
	bad bool
}

func (p *payload) take(n int) []byte {
	if p.bad || n > len(p.b) {
		p.bad = true
		return make([]byte, min(n, 64))
	}
	out := p.b[:n]
	p.b = p.b[n:]
	return out
}

func (p *payload) u8() byte { return p.take(1)[0] }

func (p *payload) u64() uint64 { return binary.LittleEndian.Uint64(p.take(8)) }

// time reads an instant from 1970 to 9999.
func (p *payload) time() int64 {
	n := p.u64()
	if n > maxTime {
		p.bad = true
		return 0
	}
	return int64(n)
}

func (p *payload) sequence() uint64 {
	n := p.u64()
	p.bad = p.bad || n == 0 || n > point.MaxSequence
	return n
}

func (p *payload) uvarint(limit uint64) int {
	n, size := uvarint(p.b)
	if p.bad || size == 0 || n > limit || n > math.MaxInt32 {
		p.bad = true
		return 0
	}
	p.b = p.b[size:]
	return int(n)
}

func (p *payload) hash() [32]byte { return [32]byte(p.take(32)) }

func (p *payload) text() string {
	n := p.uvarint(MaxReason)
	if p.bad {
		return ""
	}
	return string(p.take(n))
}

func (p *payload) tags() []Tag {
	n := p.uvarint(MaxTags)
	if n == 0 {
		return nil
	}
	tags := make([]Tag, n)
	for i := range tags {
		tags[i] = Tag{Tier(p.u8()), p.time(), p.time()}
		p.bad = p.bad || tags[i].Tier == 0 || slices.ContainsFunc(tags[:i], func(t Tag) bool { return t.Tier == tags[i].Tier && t.Slot == tags[i].Slot })
	}
	return tags
}

func (p *payload) packs() []pack.ID {
	n := p.uvarint(MaxRecords)
	if p.bad || n*16 != len(p.b) {
		p.bad = true
		return nil
	}
	ids := make([]pack.ID, n)
	for i := range ids {
		ids[i] = pack.ID(p.take(16))
		p.bad = p.bad || i > 0 && string(ids[i-1][:]) >= string(ids[i][:])
	}
	return ids
}

// uvarint reads a uvarint in its shortest form; size 0 if there is none.
func uvarint(b []byte) (n uint64, size int) {
	n, size = binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 {
		return 0, 0
	}
	return n, size
}

// parseRecord reads the record at the beginning of b and returns what follows.
func parseRecord(b []byte) (Record, []byte, error) {
	bad := fmt.Errorf("record cut short: %w", fault.Corrupt)
	if len(b) < 2 {
		return nil, nil, bad
	}
	kind := Kind(b[0])
	n, size := uvarint(b[1:])
	if size == 0 || n > uint64(len(b)-1-size) {
		return nil, nil, bad
	}
	b = b[1+size:]
	p := &payload{b: b[:n:n]}
	r := p.record(kind)
	if r == nil {
		if kind&Critical != 0 {
			return nil, nil, fmt.Errorf("record of kind %#x, which this version of Tidemark does not know; use a newer one: %w", uint8(kind), fault.Unsupported)
		}
		return Unknown{kind, b[:n:n]}, b[n:], nil
	}
	if p.bad || len(p.b) != 0 {
		return nil, nil, fmt.Errorf("record of kind %d is not of this form: %w", kind, fault.Corrupt)
	}
	return r, b[n:], nil
}

// record reads the payload of a kind; nil if it is not known.
func (p *payload) record(kind Kind) Record {
	switch kind {
	case KindReceipt:
		return Receipt{p.sequence(), p.hash(), p.hash(), p.time(), p.tags()}
	case KindRetag:
		return Retag{p.sequence(), p.tags()}
	case KindDeleted:
		r := Deleted{p.sequence(), DeleteReason(p.u8()), p.time()}
		p.bad = p.bad || r.Why != ByHand && r.Why != ByPolicy
		return r
	case KindUndeleted:
		return Undeleted{p.sequence()}
	case KindRemoved:
		r := Removed{p.sequence(), p.hash(), p.hash(), RemoveReason(p.u8())}
		p.bad = p.bad || r.Why != Expired && r.Why != WasDeleted
		return r
	case KindHold:
		return Hold{p.sequence(), p.text()}
	case KindRelease:
		return Release{p.sequence(), p.text()}
	case KindPolicy:
		p.bad = p.bad || len(p.b) > MaxPolicy
		return Policy{p.take(len(p.b))}
	case KindClock:
		return Clock{p.time(), p.time()}
	case KindCondemned:
		return Condemned{p.u64()}
	case KindDropped:
		return Dropped{p.u64()}
	case KindCompacted:
		r := Compacted{CompactStep(p.u8()), p.packs()}
		p.bad = p.bad || r.Step > Done
		return r
	case KindCollected:
		return Collected{p.u64(), p.u64(), p.u64()}
	case KindExtended:
		return Extended{p.sequence(), p.time()}
	case KindStanding:
		return Standing{}
	}
	return nil
}
