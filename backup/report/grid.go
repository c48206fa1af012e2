package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/backup/journal"
)

// maxGrid bounds the days of a grid.
const maxGrid = 400

// Cells of a grid, one a day.
const (
	signPoint = '#' // at least one point
	signNone  = '.'
	signEarly = ' ' // the policy was not there yet
)

// adherence says for each policy on which days, and in which weeks, there was at
// least one point.
func adherence(in *Input) Table {
	first := midnight(in.Since.In(in.Zone))
	today := midnight(in.Now.In(in.Zone))
	if n := days(first, today); n > maxGrid {
		first = today.AddDate(0, 0, -maxGrid)
	}
	t := Table{
		Title: "Adherence", Empty: "The configuration has no policies.",
		Note: fmt.Sprintf("From %s to %s, a sign a day: # at least one point, . none. Days before a policy was there do not count. Weeks begin on Monday; those at either end may be short.",
			first.Format(time.DateOnly), today.Format(time.DateOnly)),
		Columns: []Column{{"policy", "Policy", false}, {"days", "Days", true}, {"days_with_point", "With a point", true}, {"days_percent", "Of days", true},
			{"weeks", "Weeks", true}, {"weeks_with_point", "With a point", true}, {"weeks_percent", "Of weeks", true}, {"grid", "Days", false}},
	}
	for i := range in.Items {
		item := &in.Items[i]
		good := map[string]bool{}
		for k := range in.Jobs {
			j := &in.Jobs[k]
			if j.Policy == item.Name && j.Task == "" && (j.State == journal.Completed || j.State == journal.Warned) {
				good[j.Ended.In(in.Zone).Format(time.DateOnly)] = true
			}
		}
		added := midnight(item.Progress.Added.In(in.Zone))
		var grid strings.Builder
		weeks := map[string]bool{}
		all, with := 0, 0
		for d := first; !d.After(today); d = d.AddDate(0, 0, 1) {
			if d.Before(added) {
				grid.WriteRune(signEarly)
				continue
			}
			all++
			has := good[d.Format(time.DateOnly)]
			year, week := d.ISOWeek()
			key := fmt.Sprintf("%d-%02d", year, week)
			weeks[key] = weeks[key] || has
			if has {
				with++
				grid.WriteRune(signPoint)
			} else {
				grid.WriteRune(signNone)
			}
		}
		full := 0
		for _, has := range weeks {
			if has {
				full++
			}
		}
		t.Rows = append(t.Rows, []Cell{text(item.Name), number(all), number(with), percent(with, all), number(len(weeks)), number(full), percent(full, len(weeks)), text(grid.String())})
	}
	return t
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

// days counts the nights between two midnights, which may be odd ones.
func days(from, to time.Time) int { return int((to.Sub(from) + day/2) / day) }
