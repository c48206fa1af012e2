package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/backup/schedule"
)

// event writes one as "ID kind-of-happening what of".
func event(id uint64, minute int, happening journal.Happening, kind journal.Kind, alert uint64, policy string) *journal.Event {
	e := &journal.Event{ID: id, Happening: happening, Time: when(10).Add(time.Duration(minute) * time.Minute)}
	switch happening {
	case journal.Raised, journal.Renewed, journal.Resolved:
		e.Alert = &journal.Alert{ID: alert, Kind: kind, Severity: kind.Severity(), Policy: policy, First: when(10)}
	default:
		e.Job = &journal.Job{ID: alert, Policy: policy, Started: when(10), Ended: when(11)}
	}
	return e
}

func outline(o Outline) string {
	var parts []string
	for _, l := range o.Letters {
		var ids []string
		for _, e := range l {
			ids = append(ids, fmt.Sprint(e.ID))
		}
		parts = append(parts, strings.Join(ids, "+"))
	}
	text := strings.Join(parts, " ")
	if len(o.Skip) > 0 {
		text += fmt.Sprintf(" skip %v", o.Skip)
	}
	if !o.Next.IsZero() {
		text += " next " + o.Next.Format("15:04")
	}
	return strings.TrimSpace(text)
}

func TestPlan(t *testing.T) {
	failed, deleted, silent := journal.BackupFailed, journal.PointsDeleted, journal.Silent
	digest := Target{Way: "mail", Wishes: Wishes{Digest: schedule.Span(time.Hour)}}
	mail, ping := Target{Way: "mail"}, Target{Way: "ping"}
	flood := make([]*journal.Event, maxSeparate+1)
	for i := range flood {
		flood[i] = event(uint64(i+1), 0, journal.Raised, failed, uint64(i+1), "p")
	}
	for _, c := range []struct {
		name   string
		target Target
		events []*journal.Event
		minute int
		want   string
	}{
		{"each by itself", mail, []*journal.Event{event(1, 0, journal.Raised, failed, 1, "p"), event(2, 5, journal.Resolved, failed, 1, "p")}, 5, "1 2"},
		{"a flood is one", mail, flood, 1, "1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17+18+19+20+21"},
		{"a digest waits", digest, []*journal.Event{event(1, 0, journal.Raised, failed, 1, "p")}, 59, "next 11:00"},
		{"and comes", digest, []*journal.Event{event(1, 0, journal.Raised, failed, 1, "p"), event(2, 30, journal.Raised, silent, 2, "q")}, 60, "1+2"},
		{"what came and went is left out", digest, []*journal.Event{event(1, 0, journal.Raised, failed, 1, "p"), event(2, 30, journal.Raised, silent, 2, "q"),
			event(3, 31, journal.Resolved, failed, 1, "p")}, 61, "2 skip [1 3]"},
		{"nothing is left", digest, []*journal.Event{event(1, 0, journal.Raised, failed, 1, "p"), event(2, 59, journal.Resolved, failed, 1, "p")}, 61, "skip [1 2]"},
		{"what lasted longer is not", digest, []*journal.Event{event(1, 0, journal.Raised, failed, 1, "p"), event(2, 90, journal.Resolved, failed, 1, "p")}, 100, "1+2"},
		{"an end of what was told is", digest, []*journal.Event{event(2, 10, journal.Resolved, failed, 1, "p")}, 70, "2"},
		{"security does not wait", digest, []*journal.Event{event(1, 0, journal.Raised, failed, 1, "p"), event(2, 1, journal.Raised, deleted, 2, ""),
			event(3, 2, journal.Resolved, deleted, 2, "")}, 2, "2 3 next 11:00"},
		{"the clock was set back", digest, []*journal.Event{event(1, 0, journal.Raised, failed, 1, "p")}, -200, "1"},
		{"ping: each as it comes", ping, []*journal.Event{event(1, 0, journal.Began, "", 1, "p")}, 1, "1"},
		{"ping: only how it stands", ping, []*journal.Event{event(1, 0, journal.Began, "", 1, "p"), event(2, 5, journal.Success, "", 1, "p"),
			event(3, 6, journal.Began, "", 2, "p"), event(4, 7, journal.Failure, "", 2, "p"), event(5, 7, journal.Success, "", 3, "q")}, 8, "4 5 skip [1 2 3]"},
		{"ping: an end, then a start", ping, []*journal.Event{event(1, 0, journal.Success, "", 1, "p"), event(2, 1, journal.Began, "", 2, "p")}, 2, "1 2"},
		{"ping: an old start says nothing", ping, []*journal.Event{event(1, 0, journal.Began, "", 1, "p")}, 11, "skip [1]"},
	} {
		if got := outline(Plan(&c.target, c.events, when(10).Add(time.Duration(c.minute)*time.Minute))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestWants goes through what everybody may want: by default, by severity, of
// some policies; and security alerts, which nobody can refuse.
func TestWants(t *testing.T) {
	all := []*journal.Event{
		event(1, 0, journal.Raised, journal.BackupFailed, 1, "p"), event(2, 0, journal.Resolved, journal.BackupFailed, 1, "p"),
		event(3, 0, journal.Raised, journal.BackupWarnings, 2, "q"), event(4, 0, journal.Renewed, journal.SpaceLow, 3, ""),
		event(5, 0, journal.Raised, journal.PointsDeleted, 4, ""), event(6, 0, journal.Resolved, journal.RetentionShortened, 5, ""),
		event(7, 0, journal.Began, "", 1, "p"), event(8, 0, journal.Success, "", 1, "p"), event(9, 0, journal.Failure, "", 1, "q"),
		event(10, 0, journal.Resolved, journal.BackupWarnings, 2, "q"),
	}
	for _, c := range []struct {
		target Target
		want   []uint64
	}{
		{Target{Way: "mail"}, []uint64{1, 2, 3, 4, 5, 6, 10}},
		{Target{Way: "mail", Wishes: Wishes{Events: []string{"critical"}}}, []uint64{1, 5, 6}},
		{Target{Way: "mail", Wishes: Wishes{Events: []string{"critical", "resolved", "success"}}}, []uint64{1, 2, 5, 6, 8}},
		{Target{Way: "webhook", Wishes: Wishes{Policies: []string{"q"}}}, []uint64{3, 4, 5, 6, 10}},
		{Target{Way: "ping"}, []uint64{7, 8, 9}},
		{Target{Way: "ping", Wishes: Wishes{Policies: []string{"q"}}}, []uint64{9}},
	} {
		var got []uint64
		for _, e := range all {
			if c.target.Wants(e) {
				got = append(got, e.ID)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.target, got, c.want)
		}
	}
}

// TestWords reads the messages.
func TestWords(t *testing.T) {
	a := raised(7, journal.BackupFailed, "documents", "job 12 failed: the disk is full")
	if got, want := sender().Message([]*journal.Event{a}).Text, `job 12 failed: the disk is full

  what      Backup failed (critical)
  policy    documents
  machine   fileserver
  since     2026-11-26 03:00:00 UTC

What to do: `+"`tidemark jobs` has the error, and `tidemark backup now POLICY` tries again"+`.

This is alert 7 of fileserver; `+"`tidemark alerts` lists all, `tidemark alerts close 7`"+` ends it.
`; got != want {
		t.Errorf("%s", got)
	}
	done := &journal.Event{ID: 9, Happening: journal.Success, Time: when(4), Job: &journal.Job{ID: 13, Policy: "documents", State: journal.Completed,
		Started: when(3), Ended: when(4), Files: 1234, Bytes: 5 << 20, BytesStored: 1 << 20, Point: "ab"}}
	end := *a
	end.ID, end.Happening, end.Time = 8, journal.Resolved, when(4)
	over := *a.Alert
	over.Ended, over.Note = when(4), "job 13 wrote a point"
	end.Alert = &over
	if m := sender().Message([]*journal.Event{a, &end, done}); m.Subject != "1 critical, 1 resolved, 1 success on fileserver" ||
		m.Text != `From 2026-11-26 03:00:00 UTC to 2026-11-26 04:00:00 UTC on fileserver:

2026-11-26 03:00:00  CRITICAL: Backup failed (documents on fileserver)
    job 12 failed: the disk is full

2026-11-26 04:00:00  resolved: Backup failed (documents on fileserver)
    job 13 wrote a point

2026-11-26 04:00:00  backup done (documents on fileserver)
    1,234 files, 1.0 MiB stored, 0 warnings
` || m.What != "digest" {
		t.Errorf("%s\n%s", m.Subject, m.Text)
	}
}

func TestEveryKindHasWords(t *testing.T) {
	for _, k := range journal.Kinds() {
		if k.Severity() == "" || k.Text() == string(k) || k.Advice() == "" {
			t.Errorf("%s: %q %q %q", k, k.Severity(), k.Text(), k.Advice())
		}
	}
	if k := journal.Kind("of_later"); k.Text() != "of_later" || k.Security() {
		t.Error(k.Text())
	}
}
