package ledger

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemark-backup/tidemark/repo/vault/pack"
	"github.com/tidemark-backup/tidemark/repo/vault/point"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]struct {
		n    uint64
		roll bool
		ok   bool
	}{
		"ledger/0000000000000001":      {1, false, true},
		"ledger/00000000000000ff":      {255, false, true},
		"ledger/roll-0000000000000100": {256, true, true},
		"ledger/roll-00000000000000ff": {},
		"ledger/0000000000000000":      {},
		"ledger/00000000000000FF":      {},
		"ledger/1":                     {},
		"ledger/":                      {},
		"points/0000000000000001":      {},
	} {
		n, roll, err := ParseName(name)
		if want.ok != (err == nil) || want.ok && (n != want.n || roll != want.roll) {
			t.Errorf("%s: %d, %v, %v", name, n, roll, err)
		}
	}
}

func genRecord() *rapid.Generator[Record] {
	return rapid.Custom(func(t *rapid.T) Record {
		sequence := func() uint64 { return rapid.Uint64Range(1, point.MaxSequence).Draw(t, "sequence") }
		at := func() int64 { return rapid.Int64Range(0, maxTime).Draw(t, "time") }
		hash := func() (h [32]byte) { copy(h[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash")); return h }
		tags := func() []Tag {
			return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Tag {
				return Tag{Tier(rapid.IntRange(1, 20).Draw(t, "tier")), rapid.Int64Range(0, maxTime).Draw(t, "slot"), at()}
			}), 0, 5, func(t Tag) string { return fmt.Sprint(t.Tier, t.Slot) }).Draw(t, "tags")
		}
		text := func() string { return rapid.StringN(0, 100, MaxReason).Draw(t, "reason") }
		var r Record
		switch Kind(rapid.IntRange(1, 15).Draw(t, "kind")) {
		case KindReceipt:
			r = Receipt{sequence(), hash(), hash(), at(), tags()}
		case KindRetag:
			r = Retag{sequence(), tags()}
		case KindDeleted:
			r = Deleted{sequence(), DeleteReason(rapid.IntRange(1, 2).Draw(t, "why")), at()}
		case KindUndeleted:
			r = Undeleted{sequence()}
		case KindRemoved:
			r = Removed{sequence(), hash(), hash(), RemoveReason(rapid.IntRange(1, 2).Draw(t, "why"))}
		case KindHold:
			r = Hold{sequence(), text()}
		case KindRelease:
			r = Release{sequence(), text()}
		case KindPolicy:
			r = Policy{rapid.SliceOf(rapid.Byte()).Draw(t, "json")}
		case KindClock:
			r = Clock{at(), at()}
		case KindCondemned:
			r = Condemned{rapid.Uint64().Draw(t, "round")}
		case KindDropped:
			r = Dropped{rapid.Uint64().Draw(t, "round")}
		case KindCompacted:
			ids := rapid.SliceOfDistinct(rapid.Uint64(), func(n uint64) uint64 { return n }).Draw(t, "packs")
			slices.Sort(ids)
			c := Compacted{Step: CompactStep(rapid.IntRange(0, 1).Draw(t, "step")), Packs: []pack.ID{}}
			for _, n := range ids {
				c.Packs = append(c.Packs, pack.NewID(n))
			}
			r = c
		case KindCollected:
			r = Collected{rapid.Uint64().Draw(t, "entry"), rapid.Uint64().Draw(t, "run"), rapid.Uint64().Draw(t, "round")}
		case KindExtended:
			r = Extended{sequence(), at()}
		case KindStanding:
			r = Standing{}
		default:
			r = Unknown{Type: Kind(rapid.IntRange(50, 127).Draw(t, "kind")), Payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload")}
		}
		return r
	})
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &Entry{
			Repository: repository, Number: rapid.Uint64Range(1, 1<<40).Draw(t, "number"),
			Time: rapid.Int64Range(0, maxTime).Draw(t, "time"), Records: rapid.SliceOfN(genRecord(), 1, 8).Draw(t, "records"),
		}
		if err := e.Sign(key(1)); err != nil {
			t.Fatal(err)
		}
		got, err := Parse(e.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Verify(); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.Records) != fmt.Sprint(e.Records) || got.Head() != e.Head() {
			t.Fatalf("%v\n%v", got.Records, e.Records)
		}
		// Written again it is the same, so that nobody can say one thing in two ways.
		twice := &Entry{Repository: got.Repository, Number: got.Number, Previous: got.Previous, Time: got.Time, Records: got.Records}
		if err := twice.Sign(key(1)); err != nil || !bytes.Equal(twice.Bytes(), e.Bytes()) {
			t.Fatal("other bytes the second time")
		}
		flipped := slices.Clone(e.Bytes())
		flipped[rapid.IntRange(0, len(flipped)-1).Draw(t, "flip")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if f, err := Parse(flipped); err == nil && f.Verify() == nil {
			t.Fatal("a flipped bit went unseen")
		}
	})
}

func FuzzParse(f *testing.F) {
	e := &Entry{Repository: repository, Number: 1, Records: []Record{
		Receipt{1, point.ID{1}, [32]byte{2}, 5, []Tag{{Daily, 1, 2}}}, Hold{1, "why"}, Policy{[]byte("{}")}, Unknown{Type: 99},
	}}
	if err := e.Sign(key(1)); err != nil {
		f.Fatal(err)
	}
	f.Add(e.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			return
		}
		same := []byte{}
		for _, r := range e.Records {
			same = appendRecord(same, r)
		}
		if !bytes.Equal(same, b[fixed:len(b)-64]) {
			t.Fatal("an entry that is written otherwise")
		}
		if _, err := parseRoll(b, RollSize); err == nil {
			t.Fatal("an entry is a roll")
		}
	})
}
