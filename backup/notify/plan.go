package notify

import (
	"slices"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
)

const (
	maxSeparate = 20               // beyond so many at once a message has several events
	freshStart  = 10 * time.Minute // a ping of a start that is older says nothing
)

// Wants says whether somebody wants to be told of an event. What concerns
// security is told to all.
func (t *Target) Wants(e *journal.Event) bool {
	if t.Way == "ping" {
		return e.Job != nil && t.concerns(e.Job.Policy)
	}
	wanted := t.Events
	if len(wanted) == 0 {
		wanted = standard[:]
	}
	switch {
	case e.Alert != nil && e.Alert.Kind.Security():
		return true
	case e.Alert != nil:
		return t.concerns(e.Alert.Policy) && slices.Contains(wanted, string(e.Alert.Severity)) &&
			(e.Happening != journal.Resolved || slices.Contains(wanted, resolved))
	}
	return e.Happening == journal.Success && slices.Contains(wanted, success) && t.concerns(e.Job.Policy)
}

func (t *Target) concerns(policy string) bool {
	return len(t.Policies) == 0 || policy == "" || slices.Contains(t.Policies, policy)
}

// Outline is what is to be done for a target.
type Outline struct {
	Letters [][]*journal.Event // one message each, in this order
	Skip    []uint64           // events that need not be told any more
	Next    time.Time          // when there is more to do; zero: with the next event
}

// Plan says what to tell a target of events that it wants and was not told of,
// the oldest first.
func Plan(t *Target, pending []*journal.Event, now time.Time) Outline {
	switch {
	case t.Way == "ping":
		return planPings(pending, now)
	case t.Digest != 0:
		return planDigest(pending, time.Duration(t.Digest), now)
	case len(pending) > maxSeparate:
		return Outline{Letters: [][]*journal.Event{pending}}
	}
	var o Outline
	for _, e := range pending {
		o.Letters = append(o.Letters, []*journal.Event{e})
	}
	return o
}

// planDigest gathers, but for what concerns security. An alert that came and
// went within the time of a digest is not told.
func planDigest(pending []*journal.Event, span time.Duration, now time.Time) Outline {
	var o Outline
	var gathered []*journal.Event
	raised, passing := map[uint64]time.Time{}, map[uint64]bool{}
	for _, e := range pending {
		switch {
		case e.Alert != nil && e.Alert.Kind.Security():
			o.Letters = append(o.Letters, []*journal.Event{e})
			continue
		case e.Happening == journal.Raised:
			raised[e.Alert.ID] = e.Time
		case e.Happening == journal.Resolved:
			since, ok := raised[e.Alert.ID]
			passing[e.Alert.ID] = ok && e.Time.Sub(since) <= span
		}
		gathered = append(gathered, e)
	}
	if len(gathered) == 0 {
		return o
	}
	if due := gathered[0].Time.Add(span); now.Before(due) && due.Sub(now) <= span { // unless the clock was set back
		o.Next = due
		return o
	}
	var rest []*journal.Event
	for _, e := range gathered {
		if e.Alert != nil && passing[e.Alert.ID] {
			o.Skip = append(o.Skip, e.ID)
		} else {
			rest = append(rest, e)
		}
	}
	if len(rest) > 0 {
		o.Letters = append(o.Letters, rest)
	}
	return o
}

// planPings tells of each policy how it stands: late news of what was before
// would say that all is well when it is not.
func planPings(pending []*journal.Event, now time.Time) Outline {
	var o Outline
	ends, starts := map[string]*journal.Event{}, map[string]*journal.Event{}
	for _, e := range pending {
		if e.Happening == journal.Began {
			starts[e.Job.Policy] = e
		} else {
			ends[e.Job.Policy] = e
			delete(starts, e.Job.Policy)
		}
	}
	for _, e := range pending {
		fresh := now.Sub(e.Time).Abs() < freshStart
		if ends[e.Job.Policy] == e || starts[e.Job.Policy] == e && fresh {
			o.Letters = append(o.Letters, []*journal.Event{e})
		} else {
			o.Skip = append(o.Skip, e.ID)
		}
	}
	return o
}
