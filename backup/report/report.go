// Package report says how backups went, for people who answer for them: what has
// how old a point, what failed and why, what it holds, grows and costs.
//
// Nouns: an [Input] is what the agent's journal knows of a time; a [Table] is a
// part of the report, whose cells have a text for people and a value for
// programs. Each part is a pure function of the Input, which has its time in it.
package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/health"
	"github.com/tidemark-backup/tidemark/backup/journal"
)

// Input is what a report is made of.
type Input struct {
	Host  string        `json:"host"`
	Since time.Time     `json:"since"`
	Now   time.Time     `json:"now"`
	Jobs  []journal.Job `json:"jobs"` // of that time, the newest first
	Items []Item        `json:"items"`
	Vault []Vault       `json:"vault"`

	Prices config.Prices  `json:"-"`
	Zone   *time.Location `json:"-"`
}

// Item is a policy, and how far it is.
type Item struct {
	config.Policy `json:"-"`
	Name          string           `json:"name"`
	Progress      journal.Progress `json:"progress"`
	Last          *journal.Job     `json:"last,omitempty"` // that wrote a point
}

// Vault is a repository.
type Vault struct {
	Address string `json:"address"`
	health.Seen
	Checked time.Time       `json:"checked,omitzero"` // the last scrub or check by schedule
	Samples []health.Sample `json:"samples"`          // ascending
}

// Column is one of a table.
type Column struct {
	Key   string `json:"key"`   // in JSON, and of CSV
	Title string `json:"title"` // for people
	Right bool   `json:"-"`
}

// Cell is one of a row.
type Cell struct {
	Text  string
	Value any    // a string, number, bool, time or list
	Mark  string // "good", "warn" or "bad"; "": neither
}

// Table is a part of a report.
type Table struct {
	Name    string
	Title   string
	Note    string // how it was reckoned
	Columns []Column
	Rows    [][]Cell
	Empty   string // what there is to say without rows
}

// part makes one Table.
type part struct {
	name string
	make func(*Input) Table
}

var parts = [...]part{
	{"items", items}, {"storage", storage}, {"jobs", jobs}, {"adherence", adherence}, {"failures", failures},
	{"cost", cost}, {"forecast", forecast}, {"advice", advice},
}

// Parts names all parts, in their order.
func Parts() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// Make returns the parts of those names, or all; a name that is none is left
// out.
func Make(in *Input, names ...string) []Table {
	var list []Table
	for _, p := range parts {
		if len(names) == 0 || slices.Contains(names, p.name) {
			t := p.make(in)
			t.Name = p.name
			list = append(list, t)
		}
	}
	return list
}

const day = 24 * time.Hour

func text(s string) Cell { return Cell{Text: s, Value: s} }

func number(n int) Cell { return Cell{Text: humanize.Comma(int64(n)), Value: n} }

func size(n int64) Cell { return Cell{Text: humanize.IBytes(uint64(max(0, n))), Value: n} }

func none(why string) Cell { return Cell{Text: why} }

func (in *Input) moment(t time.Time) Cell {
	if t.IsZero() {
		return none("never")
	}
	return Cell{Text: t.In(in.Zone).Format("2006-01-02 15:04"), Value: t.UTC()}
}

// span is a length of time for people.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d/day))
}

func (in *Input) age(t time.Time) Cell {
	if t.IsZero() {
		return none("")
	}
	d := max(0, in.Now.Sub(t))
	return Cell{Text: span(d), Value: int64(d.Seconds())}
}

func percent(part, whole int) Cell {
	if whole == 0 {
		return none("")
	}
	share := 100 * float64(part) / float64(whole)
	c := Cell{Text: fmt.Sprintf("%.1f %%", share), Value: float64(int(share*10+0.5)) / 10}
	switch {
	case part == whole:
		c.Text, c.Mark = "100 %", "good"
	case share >= 95:
		c.Mark = "warn"
	default:
		c.Mark = "bad"
	}
	return c
}

// late is after how long without a point an item needs somebody.
const late = 7 * day

func items(in *Input) Table {
	t := Table{
		Title: "Items", Empty: "The configuration has no policies.",
		Columns: []Column{{"policy", "Policy", false}, {"paths", "Paths", false}, {"newest_point", "Newest point", false}, {"age_seconds", "Age", true},
			{"last_job", "Last job", false}, {"files", "Files", true}, {"bytes", "Size", true}, {"repository", "Repository", false}},
	}
	last := map[string]*journal.Job{}
	for i := range in.Jobs {
		j := &in.Jobs[i]
		if last[j.Policy] == nil && j.State.Over() {
			last[j.Policy] = j
		}
	}
	for i := range in.Items {
		item := &in.Items[i]
		paths := Cell{Text: strings.Join(item.Paths, ", "), Value: item.Paths}
		age := in.age(item.Progress.LastPoint)
		switch {
		case item.Progress.LastPoint.IsZero() || in.Now.Sub(item.Progress.LastPoint) > late:
			age.Mark = "bad"
		case !item.Progress.Failing.IsZero():
			age.Mark = "warn"
		default:
			age.Mark = "good"
		}
		files, bytes := none(""), none("")
		if item.Last != nil {
			files, bytes = number(int(item.Last.Files)), size(int64(item.Last.Bytes))
		}
		t.Rows = append(t.Rows, []Cell{text(item.Name), paths, in.moment(item.Progress.LastPoint), age, state(last[item.Name]), files, bytes, text(item.Repository)})
	}
	return t
}

func state(j *journal.Job) Cell {
	if j == nil {
		return none("none")
	}
	c := Cell{Text: j.State.Text(), Value: string(j.State)}
	switch j.State {
	case journal.Completed:
		c.Mark = "good"
	case journal.Warned:
		c.Mark = "warn"
	case journal.Failed:
		c.Mark = "bad"
	}
	return c
}

func jobs(in *Input) Table {
	t := Table{
		Title: "Jobs", Empty: "No job ended in this time.", Note: "A job that somebody cancelled counts neither way.",
		Columns: []Column{{"name", "Name", false}, {"task", "Task", false}, {"jobs", "Jobs", true}, {"completed", "Completed", true}, {"warned", "With warnings", true},
			{"failed", "Failed", true}, {"cancelled", "Cancelled", true}, {"success_percent", "Success", true}, {"mean_seconds", "Mean time", true},
			{"longest_seconds", "Longest", true}, {"stored_bytes", "Stored", true}},
	}
	type sum struct {
		task                             string
		all, done, warned, failed, ended int
		time, longest                    time.Duration
		stored                           int64
	}
	sums := map[string]*sum{}
	var names []string
	for i := range in.Jobs {
		j := &in.Jobs[i]
		if !j.State.Over() {
			continue
		}
		s := sums[j.Policy]
		if s == nil {
			s = &sum{task: "backup"}
			if j.Task != "" {
				s.task = j.Task
			}
			sums[j.Policy] = s
			names = append(names, j.Policy)
		}
		s.all++
		switch j.State {
		case journal.Completed:
			s.done++
		case journal.Warned:
			s.warned++
		case journal.Failed:
			s.failed++
		default:
			s.ended++
		}
		took := j.Took(in.Now)
		s.time += took
		s.longest = max(s.longest, took)
		s.stored += int64(j.BytesStored)
	}
	slices.Sort(names)
	duration := func(d time.Duration) Cell { return Cell{Text: span(d), Value: int64(d.Seconds())} }
	for _, name := range names {
		s := sums[name]
		t.Rows = append(t.Rows, []Cell{text(name), text(s.task), number(s.all), number(s.done), number(s.warned), number(s.failed), number(s.ended),
			percent(s.done+s.warned, s.all-s.ended), duration(s.time / time.Duration(s.all)), duration(s.longest), size(s.stored)})
	}
	return t
}

// maxCauses is how many causes of failure are named.
const maxCauses = 20

func failures(in *Input) Table {
	t := Table{
		Title: "Causes of failure", Empty: "No job failed in this time.",
		Columns: []Column{{"cause", "Cause", false}, {"failures", "Failures", true}, {"policies", "Policies", false}, {"last", "Last", false}, {"example", "Example", false}},
	}
	type cause struct {
		text, example string
		count         int
		names         []string
		last          time.Time
	}
	causes := map[string]*cause{}
	for i := range in.Jobs {
		j := &in.Jobs[i]
		if j.State != journal.Failed {
			continue
		}
		key := j.Kind
		if key == "" {
			key = j.Error
		}
		c := causes[key]
		if c == nil {
			c = &cause{text: key, example: fmt.Sprintf("job %d: %s", j.ID, j.Error), last: j.Ended}
			causes[key] = c
		}
		c.count++
		if !slices.Contains(c.names, j.Policy) {
			c.names = append(c.names, j.Policy)
		}
	}
	var list []*cause
	for _, c := range causes {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *cause) int {
		if a.count != b.count {
			return b.count - a.count
		}
		return strings.Compare(a.text, b.text)
	})
	for _, c := range list[:min(len(list), maxCauses)] {
		slices.Sort(c.names)
		t.Rows = append(t.Rows, []Cell{text(c.text), number(c.count), {Text: strings.Join(c.names, ", "), Value: c.names}, in.moment(c.last), text(c.example)})
	}
	return t
}
