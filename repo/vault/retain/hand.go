package retain

import (
	"fmt"

	"github.com/tidemark-backup/tidemark/platform/fault"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

// Delete returns what deletes a point by hand. fault.Denied: points are
// immutable and this one's life is not over.
func (s *State) Delete(v Verdict, sequence uint64) ([]ledger.Record, error) {
	p := s.points[sequence]
	if p == nil {
		return nil, fmt.Errorf("delete point number %d: %w", sequence, fault.NotExist)
	}
	if p.Deleted != nil {
		return nil, nil
	}
	if s.immutable() && !s.over(p, v.Now) {
		return nil, fmt.Errorf("delete point %s: points are immutable, and this one has not expired: %w", p.ID.Short(), fault.Denied)
	}
	return []ledger.Record{ledger.Deleted{Sequence: sequence, Why: ledger.ByHand, GoneAfter: v.Latest + s.grace()}}, nil
}

// Undelete returns what brings a deleted point back. One that no tag keeps
// alive is held, or the next prune would remove it.
func (s *State) Undelete(v Verdict, sequence uint64) ([]ledger.Record, error) {
	p := s.points[sequence]
	if p == nil {
		return nil, fmt.Errorf("undelete point number %d: it is gone for good: %w", sequence, fault.NotExist)
	}
	if p.Deleted == nil {
		return nil, nil
	}
	records := []ledger.Record{ledger.Undeleted{Sequence: sequence}}
	if !p.Held && len(p.Tags) > 0 && p.end() <= v.Now {
		records = append(records, ledger.Hold{Sequence: sequence, Reason: "undeleted"})
	}
	return records, nil
}

// Hold returns what keeps a point from expiring until it is released.
func (s *State) Hold(sequence uint64, reason string) ([]ledger.Record, error) {
	p := s.points[sequence]
	switch {
	case p == nil:
		return nil, fmt.Errorf("hold point number %d: %w", sequence, fault.NotExist)
	case len(reason) > ledger.MaxReason:
		return nil, fmt.Errorf("hold point %s: a reason of %d bytes, but %d are possible: %w", p.ID.Short(), len(reason), ledger.MaxReason, fault.Invalid)
	case p.Held && p.Reason == reason:
		return nil, nil
	}
	return []ledger.Record{ledger.Hold{Sequence: sequence, Reason: reason}}, nil
}

// Release returns what ends a point's hold.
func (s *State) Release(sequence uint64) ([]ledger.Record, error) {
	p := s.points[sequence]
	if p == nil {
		return nil, fmt.Errorf("release point number %d: %w", sequence, fault.NotExist)
	}
	if !p.Held {
		return nil, nil
	}
	return []ledger.Record{ledger.Release{Sequence: sequence}}, nil
}

// Confirm returns the operator's word that the place's clock is right. Time goes
// back by it only if the machine's clock says the same.
func (s *State) Confirm(r Reading) ([]ledger.Record, error) {
	if s.Back(r) && apart(r.Place-r.Machine) {
		return nil, fmt.Errorf("confirm the vault's clock: it says %s, this machine's %s, and the ledger has an entry of %s: time goes back only if both clocks say so; set the wrong one right: %w",
			stamp(r.Place), stamp(r.Machine), stamp(s.Head.Time), fault.Invalid)
	}
	return []ledger.Record{ledger.Clock{Place: clamp(r.Place), Machine: clamp(r.Machine)}}, nil
}
