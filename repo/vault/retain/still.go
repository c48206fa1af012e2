package retain

import (
	"slices"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

// While the clock of the place is behind the last entry, the vault's time stands
// still: every entry has the time of the last one, however many days go by, and
// when the clock is right again time makes up for them at once. A life, or a time
// of grace, that began meanwhile may have begun just before that, and so becomes
// longer by all that time makes up. Entries say by a record that time stands
// still; that they have one time would be said by two of one second, too.

// slack is how far a clock may be behind the last entry and still be right, in
// seconds: two machines that ask one after the other, a clock that is set.
const slack = 60

// stands says whether an entry with such records, written now, is to say that time
// stands still.
func (s *State) stands(r Reading, records []ledger.Record) bool {
	return s.Head.Number > 0 && clamp(r.Place) < s.Head.Time-slack && slices.ContainsFunc(records, func(r ledger.Record) bool {
		return r.Kind() == ledger.KindReceipt || r.Kind() == ledger.KindDeleted
	})
}

// stand notes that a point came, or was deleted, while time stands still.
func (f *folding) stand(p *Point) {
	if f.stands && !slices.Contains(f.still, p.Sequence) {
		f.still = append(f.still, p.Sequence)
	}
}

// goOn is called when the vault's time goes on by so many seconds. If it goes back
// a clock had been ahead, and lives are long enough.
func (s *State) goOn(seconds int64) {
	for _, n := range s.still {
		p := s.points[n]
		if p == nil || seconds < 0 {
			continue
		}
		p.Stood += seconds
		if p.Deleted != nil {
			d := *p.Deleted // clones share it
			d.GoneAfter = clamp(d.GoneAfter + seconds)
			p.Deleted = &d
		}
	}
	s.still = nil
}

// standing returns by how much a point's life, or its time of grace, becomes longer
// if an entry is written now.
func (s *State) standing(p *Point, now int64) int64 {
	if !slices.Contains(s.still, p.Sequence) {
		return 0
	}
	return max(0, now-s.Head.Time)
}
