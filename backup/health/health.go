// Package health says what is wrong with the place where points are: whether
// somebody works against them, whether its clock can be right, and when it runs
// out of space.
//
// Nouns: [Facts] are what a look at a repository found, with no key; [Seen] is
// what is remembered of looks before; a [Sample] is how much room there was on a
// day; a [Change] is an alert to be raised or ended.
//
// All is pure but [Certificate]: who looks, and who keeps what was seen, is the
// agent's affair.
package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// Facts are what a look at a repository found.
type Facts struct {
	Entries   uint64         // of its ledger
	Policy    *retain.Policy // nil: nothing expires
	Deleted   []Deleted      // points that can be had back still
	Purged    []uint64       // of those that were asked for: gone for good
	Suspended string         // why no point expires; "": they do
	Points    int
	Space     *Space // nil: not known
}

// Deleted is a point that was deleted before its time.
type Deleted struct {
	Sequence  uint64    `json:"sequence"`
	GoneAfter time.Time `json:"gone_after"`
}

// Space is how much room there is, in bytes.
type Space struct {
	Free   int64 `json:"free"`
	Total  int64 `json:"total"`
	Stored int64 `json:"stored"` // by the repository; -1: not counted this time
}

// Seen is what is remembered of a repository.
type Seen struct {
	First   time.Time      `json:"first"` // look
	Last    time.Time      `json:"last"`  // that succeeded
	Failing time.Time      `json:"failing,omitzero"`
	Entries uint64         `json:"entries"`
	Points  int            `json:"points"`
	Policy  *retain.Policy `json:"policy,omitempty"`
	Deleted []Deleted      `json:"deleted,omitempty"`
	Space   *Space         `json:"space,omitempty"`
	Counted time.Time      `json:"counted,omitzero"` // when Space.Stored was
}

// Sample is how much room a repository had on a day.
type Sample struct {
	Time time.Time `json:"time"`
	Space
	Points int `json:"points"`
}

// Change is an alert that is to be raised, or to end.
type Change struct {
	Kind     journal.Kind
	Severity journal.Severity // "": the kind's
	Text     string           // why it is raised; "": it ends
	Note     string           // why it ends
	Again    bool             // each time is one more; otherwise it is one as long as it lasts
}

const (
	soon          = 2 * 24 * time.Hour // before deleted points are gone
	unreached     = 24 * time.Hour     // a repository that cannot be looked at for so long is an alert
	unscrubbedFor = 90 * 24 * time.Hour
)

// Failed judges a look that failed.
func Failed(old Seen, err error, now time.Time) (Seen, []Change) {
	next := old
	if next.First.IsZero() {
		next.First = now
	}
	if next.Failing.IsZero() {
		next.Failing = now
	}
	if now.Sub(next.Failing) < unreached {
		return next, nil
	}
	return next, []Change{{Kind: journal.Unreachable, Text: fmt.Sprintf("it cannot be looked at since %s: %v", stamp(next.Failing), err)}}
}

// Judge compares what a look found with what was seen before. Of a first look
// only how things are is judged, since nobody knows how they became so. checked
// is when somebody last looked for damage; samples are ascending.
func Judge(old Seen, f *Facts, samples []Sample, checked, now time.Time) (Seen, []Change) {
	next := Seen{First: old.First, Last: now, Entries: f.Entries, Points: f.Points, Policy: f.Policy, Deleted: f.Deleted, Space: f.Space, Counted: old.Counted}
	first := old.Last.IsZero()
	if next.First.IsZero() {
		next.First = now
	}
	if f.Space != nil && f.Space.Stored >= 0 {
		next.Counted = now
	} else if f.Space != nil && old.Space != nil {
		s := *f.Space
		s.Stored = old.Space.Stored
		next.Space = &s
	}
	list := []Change{{Kind: journal.Unreachable, Note: "it can be looked at"}}
	add := func(c Change) { list = append(list, c) }
	if !first {
		if f.Entries < old.Entries {
			add(Change{Kind: journal.VaultRolledBack, Again: true, Text: fmt.Sprintf("its ledger has %d entries, and had %d", f.Entries, old.Entries)})
		}
		list = append(list, policyChanges(old.Policy, f.Policy)...)
		list = append(list, deletions(&old, f)...)
	}
	add(purgeSoon(f.Deleted, now))
	add(when(f.Suspended != "", journal.ClockWrong, f.Suspended+"; no point expires until then", "the clocks agree"))
	add(unscrubbed(next.First, checked, now))
	if f.Space != nil {
		add(spaceLow(f.Space, samples, now))
	}
	return next, list
}

// when raises an alert or ends it.
func when(is bool, kind journal.Kind, text, note string) Change {
	if is {
		return Change{Kind: kind, Text: text}
	}
	return Change{Kind: kind, Note: note}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func unscrubbed(first, checked, now time.Time) Change {
	since, text := first, "no scrub and no check was done since this agent knows it, "+stamp(first)
	if checked.After(since) {
		since, text = checked, "the last scrub or check was done on "+stamp(checked)
	}
	return when(now.Sub(since) > unscrubbedFor, journal.Unscrubbed, text, "it was looked for damage")
}

func purgeSoon(list []Deleted, now time.Time) Change {
	var near []Deleted
	for _, d := range list {
		if d.GoneAfter.Sub(now) <= soon {
			near = append(near, d)
		}
	}
	if len(near) == 0 {
		return Change{Kind: journal.PurgeSoon, Note: "no deleted point is about to go"}
	}
	first := slices.MinFunc(near, func(a, b Deleted) int { return a.GoneAfter.Compare(b.GoneAfter) })
	return Change{Kind: journal.PurgeSoon, Text: fmt.Sprintf("%s will be gone for good, the first after %s", points(sequences(near)), stamp(first.GoneAfter))}
}

func sequences(list []Deleted) []uint64 {
	out := make([]uint64, len(list))
	for i, d := range list {
		out[i] = d.Sequence
	}
	return out
}

// points names points by their numbers, the first few of them.
func points(list []uint64) string {
	const shown = 5
	names := make([]string, 0, shown)
	for _, s := range list[:min(len(list), shown)] {
		names = append(names, fmt.Sprint(s))
	}
	text := "point " + names[0]
	if len(list) > 1 {
		text = fmt.Sprintf("%d points (%s", len(list), strings.Join(names, ", "))
		if len(list) > shown {
			text += " …"
		}
		text += ")"
	}
	return text
}

// deletions tells of points that were deleted since the last look, and of those
// that are gone by now.
func deletions(old *Seen, f *Facts) []Change {
	var list []Change
	had := map[uint64]bool{}
	for _, d := range old.Deleted {
		had[d.Sequence] = true
	}
	var fresh []Deleted
	for _, d := range f.Deleted {
		if !had[d.Sequence] {
			fresh = append(fresh, d)
		}
	}
	if len(fresh) > 0 {
		list = append(list, Change{Kind: journal.PointsDeleted, Again: true,
			Text: fmt.Sprintf("%s deleted before the time; to be had back until %s", was(sequences(fresh)), stamp(fresh[0].GoneAfter))})
	}
	if len(f.Purged) > 0 {
		list = append(list, Change{Kind: journal.PointsPurged, Again: true, Text: was(f.Purged) + " deleted before the time, and can not be had back any more"})
	}
	if len(f.Deleted) == 0 && len(f.Purged) == 0 && len(old.Deleted) > 0 {
		list = append(list, Change{Kind: journal.PointsDeleted, Note: "they were brought back"})
	}
	return list
}

func was(list []uint64) string {
	if len(list) == 1 {
		return points(list) + " was"
	}
	return points(list) + " were"
}

// policyChanges tells of what a new policy takes from points.
func policyChanges(old, now *retain.Policy) []Change {
	if old == nil || now == nil {
		return nil // a first policy is how a repository begins
	}
	var list []Change
	if now.SoftDeleteDays < old.SoftDeleteDays {
		list = append(list, Change{Kind: journal.SoftDeleteReduced, Again: true,
			Text: fmt.Sprintf("deleted points can be had back for %d days, and could for %d", now.SoftDeleteDays, old.SoftDeleteDays)})
	}
	if now.Immutable == retain.ImmutableOff && old.Immutable != retain.ImmutableOff && old.Immutable != "" {
		list = append(list, Change{Kind: journal.ImmutabilityOff, Again: true, Text: "immutability was turned off: lives of points can be cut short"})
	}
	if now.Immutable != retain.ImmutableOff && old.Immutable == retain.ImmutableOff {
		list = append(list, Change{Kind: journal.ImmutabilityOff, Note: "immutability is on"})
	}
	if less := shortened(old, now); len(less) > 0 {
		list = append(list, Change{Kind: journal.RetentionShortened, Again: true, Text: "points are kept for less long: " + strings.Join(less, ", ")})
	}
	return list
}

// shortened names the tiers of which fewer are kept.
func shortened(old, now *retain.Policy) []string {
	var less []string
	before, after := tiers(old), tiers(now)
	for i, t := range before {
		if after[i].keep < t.keep {
			less = append(less, fmt.Sprintf("%s %d, was %d", t.name, after[i].keep, t.keep))
		}
	}
	return less
}

type tier struct {
	name string
	keep int
}

func tiers(p *retain.Policy) []tier {
	list := []tier{{"hourly", 0}, {"daily", 0}, {"weekly", 0}, {"monthly", 0}, {"yearly", 0},
		{"keep_last", p.KeepLast}, {"keep_within_days", p.KeepWithinDays}, {"others_days", p.OthersDays}}
	if p.Hourly != nil {
		list[0].keep = p.Hourly.Keep
	}
	if p.Daily != nil {
		list[1].keep = p.Daily.Keep
	}
	if p.Weekly != nil {
		list[2].keep = p.Weekly.Keep
	}
	if p.Monthly != nil {
		list[3].keep = p.Monthly.Keep
	}
	if p.Yearly != nil {
		list[4].keep = p.Yearly.Keep
	}
	return list
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
