package page

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
	"github.com/tidemark-backup/tidemark/repo/vault/retain"
)

// policiesPage shows what each policy does and will do, and what is kept.
type policiesPage struct {
	frame
	Vaults   []vaultPolicies
	Throttle []string
}

// vaultPolicies are the policies of a repository, which have one retention.
type vaultPolicies struct {
	place
	Policies []policyView
	Chores   []policyView
	Error    string
	Set      bool // the vault has a policy of retention
	Tiers    []tierRow
	Others   string // what becomes of points that no tier takes
	Suspends string // why nothing expires just now
}

// policyView is a policy as people read it.
type policyView struct {
	Name  string
	Task  string
	Paths []string
	Items []string
	Keys  [][2]string // what the configuration says of it
	When  string
	Runs  []time.Time // the next ones
}

// tierRow is what is kept of a tier.
type tierRow struct {
	Tier           string
	Keep           string
	Points         int
	Oldest, Newest time.Time // slots, or arrivals
	Next           time.Time // when the first of these tags runs out
}

// shownRuns is how many runs to come are shown.
const shownRuns = 5

func (q *request) policies() error {
	d := &policiesPage{frame: q.frame("policies", "Policies")}
	conf := q.agent.Config()
	for _, w := range conf.Agent.Throttle {
		d.Throttle = append(d.Throttle, windowText(w))
	}
	for _, at := range q.places() {
		v := vaultPolicies{place: at}
		for i := range conf.Policies {
			if p := &conf.Policies[i]; p.Repository == at.Address {
				v.Policies = append(v.Policies, q.policyView(p, ""))
			}
		}
		for i := range conf.Maintenance {
			if m := &conf.Maintenance[i]; m.Repository == at.Address {
				p := m.AsPolicy()
				v.Chores = append(v.Chores, q.policyView(&p, string(m.Task)))
			}
		}
		if err := q.retention(&v); err != nil {
			v.Error = sentence(err.Error())
		}
		d.Vaults = append(d.Vaults, v)
	}
	return q.show("policies", d)
}

func (q *request) policyView(p *config.Policy, task string) policyView {
	v := policyView{Name: p.Name, Task: task, Paths: p.Paths, Keys: p.Keys(), When: whenText(&p.Schedule), Runs: q.agent.Upcoming(p.Name, shownRuns)}
	for _, i := range p.Items {
		v.Items = append(v.Items, i.Name+": "+strings.Join(i.Command, " "))
	}
	return v
}

// retention tells what the vault keeps, and which points are there for what.
func (q *request) retention(v *vaultPolicies) error {
	open, err := q.vaults.take(q.r.Context(), v.place)
	if err != nil {
		return err
	}
	defer q.vaults.give(open)
	if open.Book() == nil {
		return nil
	}
	if err := open.Book().Refresh(q.r.Context()); err != nil {
		return err
	}
	verdict := q.verdict(open)
	if verdict.Suspended {
		v.Suspends = verdict.Why
	}
	rows := map[ledger.Tier]*tierRow{}
	var policy *retain.Policy
	open.Book().View(func(s *retain.State) {
		if s.Policy != nil {
			policy = s.Policy.Clone()
		}
		for _, p := range s.Shown() {
			for _, t := range p.Tags {
				count(rows, t, p.Arrival)
			}
		}
	})
	v.Set = policy != nil
	if policy == nil {
		return nil
	}
	v.Others = fmt.Sprintf("Points that no tier takes live for %s; deleted ones can be had back for %s.", plural(policy.OthersDays, "day", "days"), plural(policy.SoftDeleteDays, "day", "days"))
	keeps := keepTexts(policy)
	for t := ledger.Hourly; t <= ledger.Until; t++ {
		row := rows[t]
		if row == nil {
			row = &tierRow{}
		}
		if row.Tier, row.Keep = t.String(), keeps[t]; row.Keep != "" || row.Points > 0 {
			v.Tiers = append(v.Tiers, *row)
		}
	}
	return nil
}

// count counts a tag in.
func count(rows map[ledger.Tier]*tierRow, t ledger.Tag, arrival int64) {
	r := rows[t.Tier]
	if r == nil {
		r = &tierRow{}
		rows[t.Tier] = r
	}
	at, ends := time.Unix(arrival, 0), time.Unix(t.Expiry, 0)
	if r.Points == 0 || at.Before(r.Oldest) {
		r.Oldest = at
	}
	if r.Points == 0 || at.After(r.Newest) {
		r.Newest = at
	}
	if r.Points == 0 || ends.Before(r.Next) {
		r.Next = ends
	}
	r.Points++
}

// keepTexts say of each tier how long it keeps.
func keepTexts(p *retain.Policy) map[ledger.Tier]string {
	texts := map[ledger.Tier]string{}
	if p.Hourly != nil {
		texts[ledger.Hourly] = "one an hour, " + plural(p.Hourly.Keep, "hour", "hours")
	}
	if p.Daily != nil {
		texts[ledger.Daily] = listed("one a day", p.Daily.At) + ", " + plural(p.Daily.Keep, "day", "days")
	}
	if p.Weekly != nil {
		texts[ledger.Weekly] = listed("one a week", p.Weekly.Days, p.Weekly.At) + ", " + plural(p.Weekly.Keep, "week", "weeks")
	}
	if p.Monthly != nil {
		texts[ledger.Monthly] = listed("one a month", p.Monthly.On, p.Monthly.At) + ", " + plural(p.Monthly.Keep, "month", "months")
	}
	if p.Yearly != nil {
		texts[ledger.Yearly] = listed("one a year", p.Yearly.Months, p.Yearly.On, p.Yearly.At) + ", " + plural(p.Yearly.Keep, "year", "years")
	}
	if p.KeepWithinDays > 0 {
		texts[ledger.Within] = "every point, " + plural(p.KeepWithinDays, "day", "days")
	}
	return texts
}

// listed is a text with what narrows it down in brackets.
func listed(text string, lists ...[]string) string {
	var words []string
	for _, l := range lists {
		if len(l) > 0 {
			words = append(words, strings.Join(l, ", "))
		}
	}
	if len(words) == 0 {
		return text
	}
	return text + " (" + strings.Join(words, "; ") + ")"
}

// whenText is a schedule in words.
func whenText(r *schedule.Rule) string {
	text := ""
	switch {
	case r.IsZero():
		return "when somebody asks"
	case r.Cron != "":
		text = "cron: " + r.Cron
	case r.Every != 0:
		text = "every " + r.Every.String()
	default:
		text = "at midnight"
		if len(r.At) > 0 {
			text = "at " + strings.Join(r.At, ", ")
		}
		if len(r.Days) > 0 {
			text += " on " + strings.Join(r.Days, ", ")
		}
		if r.EveryWeeks > 1 {
			text += fmt.Sprintf(", every %d weeks", r.EveryWeeks)
		}
	}
	if r.Zone != "" {
		text += ", by the clocks of " + r.Zone
	}
	if r.Jitter != 0 {
		text += ", put off by up to " + r.Jitter.String()
	}
	return text
}

// windowText is a window of a throttle in words.
func windowText(w schedule.Window) string {
	text := "always"
	if w.From != "" || w.To != "" {
		text = w.From + " to " + w.To
	}
	if len(w.Days) > 0 {
		text = strings.Join(w.Days, ", ") + " " + text
	}
	return text + ": " + w.Rate
}
