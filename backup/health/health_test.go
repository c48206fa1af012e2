package health

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

func at(days float64) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(days * float64(day)))
}

func policy(t *testing.T, text string) *retain.Policy {
	t.Helper()
	p, err := retain.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// raisedOf lists what is raised as "severity kind".
func raisedOf(list []Change) string {
	var parts []string
	for _, c := range list {
		if c.Text != "" {
			severity := c.Severity
			if severity == "" {
				severity = c.Kind.Severity()
			}
			parts = append(parts, fmt.Sprintf("%s %s", severity, c.Kind))
		}
	}
	return strings.Join(parts, ", ")
}

// TestTable goes through everything that a look at a repository can find, from a
// state in which all is well: each has its alert, and nothing has another.
func TestTable(t *testing.T) {
	full := `{"zone":"UTC","daily":{"keep":30},"weekly":{"keep":8},"yearly":{"keep":10},"soft_delete_days":30,"immutable":"on"}`
	gone := []Deleted{{Sequence: 4, GoneAfter: at(20)}, {Sequence: 5, GoneAfter: at(21)}}
	gib := int64(1 << 30)
	for _, c := range []struct {
		name string
		old  func(*Seen)
		now  func(*Facts)
		days float64 // since the look before, of day 1
		want string
	}{
		{"nothing", nil, nil, 0, ""},
		{"more points", nil, func(f *Facts) { f.Entries, f.Points = 30, 30 }, 0, ""},
		{"a point deleted", nil, func(f *Facts) { f.Deleted = gone[:1] }, 0, "critical points_deleted"},
		{"still deleted", func(s *Seen) { s.Deleted = gone[:1] }, func(f *Facts) { f.Deleted = gone[:1] }, 0, ""},
		{"another", func(s *Seen) { s.Deleted = gone[:1] }, func(f *Facts) { f.Deleted = gone }, 0, "critical points_deleted"},
		{"brought back", func(s *Seen) { s.Deleted = gone }, nil, 0, ""},
		{"about to go", func(s *Seen) { s.Deleted = gone }, func(f *Facts) { f.Deleted = gone }, 17.5, "warning purge_soon"},
		{"gone", func(s *Seen) { s.Deleted = gone }, func(f *Facts) { f.Purged = []uint64{4, 5} }, 0, "warning points_purged"},
		{"soft delete", nil, func(f *Facts) { f.Policy.SoftDeleteDays = 14 }, 0, "critical soft_delete_reduced"},
		{"immutability", nil, func(f *Facts) { f.Policy.Immutable = retain.ImmutableOff }, 0, "critical immutability_off"},
		{"retention", nil, func(f *Facts) { f.Policy.Daily.Keep = 29 }, 0, "warning retention_shortened"},
		{"a tier is gone", nil, func(f *Facts) { f.Policy.Yearly = nil }, 0, "warning retention_shortened"},
		{"retention grows", nil, func(f *Facts) { f.Policy.Daily.Keep = 300 }, 0, ""},
		{"immutability is locked", nil, func(f *Facts) { f.Policy.Immutable = retain.ImmutableLocked }, 0, ""},
		{"all at once", nil, func(f *Facts) {
			f.Deleted = gone
			f.Policy = policy(t, `{"zone":"UTC","daily":{"keep":7}}`)
		}, 0, "critical soft_delete_reduced, critical immutability_off, warning retention_shortened, critical points_deleted"},
		{"a first policy", func(s *Seen) { s.Policy = nil }, nil, 0, ""},
		{"an older ledger", nil, func(f *Facts) { f.Entries = 9 }, 0, "critical vault_rolled_back"},
		{"a clock", nil, func(f *Facts) { f.Suspended = "the vault's clock jumped" }, 0, "warning clock_wrong"},
		{"little space", nil, func(f *Facts) { f.Space = &Space{Free: 4 * gib, Total: 100 * gib, Stored: -1} }, 0, "warning space_low"},
		{"no space", nil, func(f *Facts) { f.Space = &Space{Free: gib / 2, Total: 100 * gib, Stored: -1} }, 0, "critical space_low"},
		{"a large disk", nil, func(f *Facts) { f.Space = &Space{Free: 100 * gib, Total: 10000 * gib, Stored: -1} }, 0, ""},
		{"nobody scrubs", nil, nil, 100, "warning unscrubbed"},
		{"a first look", func(s *Seen) { *s = Seen{} }, func(f *Facts) { f.Deleted = gone }, 0, ""},
	} {
		old := Seen{First: at(0), Last: at(1), Entries: 10, Points: 10, Policy: policy(t, full), Space: &Space{Free: 50 * gib, Total: 100 * gib, Stored: 7}, Counted: at(1)}
		facts := &Facts{Entries: 11, Points: 10, Policy: policy(t, full), Space: &Space{Free: 50 * gib, Total: 100 * gib, Stored: -1}}
		if c.old != nil {
			c.old(&old)
		}
		if c.now != nil {
			c.now(facts)
		}
		next, changes := Judge(old, facts, nil, time.Time{}, at(1.5+c.days))
		if got := raisedOf(changes); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		facts.Purged = nil // nobody asks for them again
		again, changes := Judge(next, facts, nil, time.Time{}, at(1.6+c.days))
		for _, x := range changes {
			if x.Again && x.Text != "" {
				t.Errorf("%s is raised again: %+v", c.name, x)
			}
		}
		if again.Entries != facts.Entries || old.Space != nil && again.Space.Stored != 7 {
			t.Errorf("%s: %+v", c.name, again)
		}
	}
}

// TestUnreachable: a repository that is away for an hour is no news, for a day
// it is.
func TestUnreachable(t *testing.T) {
	s, list := Failed(Seen{}, errors.New("away"), at(0))
	if len(list) != 0 {
		t.Error(list)
	}
	if s, list = Failed(s, errors.New("away"), at(0.9)); len(list) != 0 {
		t.Error(list)
	}
	if s, list = Failed(s, errors.New("away"), at(1)); raisedOf(list) != "warning unreachable" {
		t.Error(list)
	}
	if s, _ = Judge(s, &Facts{}, nil, at(1), at(1.1)); !s.Failing.IsZero() || s.First != at(0) {
		t.Errorf("%+v", s)
	}
}

// TestForecast: a steady growth is seen, a first backup and a prune are not
// taken for one.
func TestForecast(t *testing.T) {
	for _, c := range []struct {
		name string
		free func(day int) int64
		n    int
		days float64
		ok   bool
	}{
		{"steady", func(d int) int64 { return int64(2000 - 10*d) }, 31, 170, true},
		{"a first backup", func(d int) int64 {
			if d == 0 {
				return 10_000
			}
			return 2000
		}, 31, 0, true},
		{"a prune", func(d int) int64 {
			if d > 20 {
				return int64(2500 - 10*d)
			}
			return int64(2000 - 10*d)
		}, 31, 220, true},
		{"it shrinks", func(d int) int64 { return int64(1000 + d) }, 31, 0, true},
		{"too short", func(d int) int64 { return int64(2000 - 100*d) }, 6, 0, false},
	} {
		var samples []Sample
		for d := range c.n {
			samples = append(samples, Sample{Time: at(float64(d)), Space: Space{Free: c.free(d), Total: 10_000}})
		}
		trend, ok := Forecast(samples, at(float64(c.n-1)))
		if ok != c.ok || trend.Days < c.days-0.5 || trend.Days > c.days+0.5 {
			t.Errorf("%s: %+v, %v, want %v", c.name, trend, ok, c.days)
		}
	}
	var samples []Sample
	for d := range 31 {
		samples = append(samples, Sample{Time: at(float64(d)), Space: Space{Free: (500 - 16*int64(d)) << 30, Total: 1 << 40}})
	}
	c := spaceLow(&samples[30].Space, samples, at(30))
	if c.Severity != journal.SeverityCritical || c.Text != "20 GiB of 1.0 TiB are free, and 16 GiB a day are used: enough for 1 days" {
		t.Errorf("%+v", c)
	}
}
