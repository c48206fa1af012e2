package retain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

// endOf returns when the longest of tags ends; 0 for none.
func endOf(tags []ledger.Tag) int64 {
	var end int64
	for _, t := range tags {
		end = max(end, t.Expiry)
	}
	return end
}

// Lives returns the point's tags as they end by now: those that were given to it,
// and one for what became of them since.
func (p *Point) Lives() []ledger.Tag {
	tags := slices.Clone(p.Tags)
	for i := range tags {
		tags[i].Expiry = clamp(tags[i].Expiry + p.Stood)
	}
	if p.Extended > 0 && len(tags) > 0 {
		tags = append(tags, ledger.Tag{Tier: ledger.Others, Expiry: p.Extended})
	}
	return tags
}

// end returns when the point's life ends by itself.
func (p *Point) end() int64 {
	end := endOf(p.Tags)
	if end > 0 {
		end = clamp(end + p.Stood)
	}
	return max(end, p.Extended)
}

// protected returns what keeps a point alive whatever its tags say, "" if
// nothing does.
func (s *State) protected(p *Point) string {
	switch {
	case p.Held && p.Reason != "":
		return "held: " + p.Reason
	case p.Held:
		return "held"
	case s.Policy == nil:
		return "no policy is set"
	case len(p.Tags) == 0:
		return "it has no tags"
	case p.Deleted != nil || p.Sequence < s.protectedFrom():
		return ""
	case s.Policy.KeepLast > 1:
		return fmt.Sprintf("among the newest %d", s.Policy.KeepLast)
	}
	return "the newest"
}

// protectedFrom returns the sequence from which on points that are shown are
// protected: that of the newest, or of the last of the newest keep_last.
func (s *State) protectedFrom() uint64 {
	if s.newest == 0 {
		n := 1
		if s.Policy != nil {
			n = max(n, s.Policy.KeepLast)
		}
		s.newest = ^uint64(0)
		for _, sequence := range slices.Backward(s.order) {
			if s.points[sequence].Deleted == nil {
				s.newest = sequence
				if n--; n == 0 {
					break
				}
			}
		}
	}
	return s.newest
}

// over says whether a point's life is over at that time.
func (s *State) over(p *Point, now int64) bool {
	return s.protected(p) == "" && p.end()+s.standing(p, now) <= now
}

// Action is what is due for a point.
type Action uint8

// The actions.
const (
	Keep   Action = iota // it lives
	Expire               // its life is over: the next prune removes it
	Grace                // it is deleted, and can be had back
	Erase                // its time of grace is over: the next prune removes it
)

// String names the action as users see it.
func (a Action) String() string { return [...]string{"keep", "expire", "deleted", "erase"}[a] }

// Decision is what is due for a point, and why.
type Decision struct {
	Point  *Point
	Action Action
	// Ends is when the point's life ends, or its time of grace, by the vault's
	// time. 0: it has no end as things are.
	Ends int64
	Why  string
}

// Plan decides about every kept point, ascending by sequence. While the clock
// is suspended nothing is over.
func (s *State) Plan(v Verdict) []Decision {
	out := make([]Decision, 0, len(s.order))
	for _, p := range s.Kept() {
		out = append(out, s.decide(p, v))
	}
	return out
}

func (s *State) decide(p *Point, v Verdict) Decision {
	d := Decision{Point: p}
	if p.Deleted != nil {
		d.Action, d.Ends = Grace, p.Deleted.GoneAfter+s.standing(p, v.Now)
		d.Why = "deleted by hand"
		if p.Deleted.Why == ledger.ByPolicy {
			d.Why = "cut by a policy"
		}
		if d.Ends <= v.Now && !v.Suspended {
			d.Action = Erase
		}
		return d
	}
	if d.Why = s.protected(p); d.Why != "" {
		if tags := tagWords(p.Tags); tags != "" {
			d.Why += "; " + tags
		}
		return d
	}
	d.Ends, d.Why = p.end()+s.standing(p, v.Now), tagWords(p.Tags)
	if p.Extended > endOf(p.Tags)+p.Stood {
		d.Why = "was the newest for long"
	}
	if d.Ends <= v.Now && !v.Suspended {
		d.Action = Expire
	}
	return d
}

// tagWords names the tiers of tags, the one that ends last first.
func tagWords(tags []ledger.Tag) string {
	sorted := slices.Clone(tags)
	slices.SortStableFunc(sorted, func(a, b ledger.Tag) int { return int(min(max(b.Expiry-a.Expiry, -1), 1)) })
	words := make([]string, len(sorted))
	for i, t := range sorted {
		words[i] = t.Tier.String()
	}
	return strings.Join(words, ", ")
}

// Due returns the records that remove for good what is over: nothing while the
// clock is suspended.
func (s *State) Due(v Verdict) []ledger.Record {
	var out []ledger.Record
	for _, d := range s.Plan(v) {
		p := d.Point
		switch d.Action {
		case Expire:
			out = append(out, ledger.Removed{Sequence: p.Sequence, Point: p.ID, Live: p.Live, Why: ledger.Expired})
		case Erase:
			out = append(out, ledger.Removed{Sequence: p.Sequence, Point: p.ID, Live: p.Live, Why: ledger.WasDeleted})
		}
	}
	return out[:min(len(out), maxBatch)]
}

// maxBatch bounds the records of points in one entry; what is more waits for
// the next.
const maxBatch = 20000
