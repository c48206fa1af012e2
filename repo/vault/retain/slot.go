package retain

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

// date is a day of the calendar.
type date struct {
	year  int
	month time.Month
	day   int
}

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date{y, m, d}
}

func (d date) add(days int) date {
	return dateOf(time.Date(d.year, d.month, d.day+days, 0, 0, 0, 0, time.UTC))
}

func (d date) weekday() time.Weekday {
	return time.Date(d.year, d.month, d.day, 0, 0, 0, 0, time.UTC).Weekday()
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// instant returns when it is that time of that day in a zone: the first time
// if it comes twice, and if it is skipped, as much later as the clock was put
// forward. Unlike time.Date it promises which.
func instant(d date, second int, loc *time.Location) time.Time {
	wall := time.Date(d.year, d.month, d.day, 0, 0, second, 0, time.UTC)
	offset := func(at time.Time) time.Duration {
		_, seconds := at.In(loc).Zone()
		return time.Duration(seconds) * time.Second
	}
	// Zones are at most 15 hours from UTC, so these two are before and after
	// the moment that is looked for.
	before, after := offset(wall.Add(-16*time.Hour)), offset(wall.Add(16*time.Hour))
	early, late := wall.Add(-max(before, after)), wall.Add(-min(before, after))
	if early.Add(offset(early)).Equal(wall) {
		return early.In(loc)
	}
	return late.In(loc)
}

func unix(t int64) time.Time { return time.Unix(t, 0) }

// latest returns the latest slot of a tier that is due at or before t.
func (p *Policy) latest(tier ledger.Tier, t time.Time) (time.Time, bool) {
	t = t.In(p.location)
	switch {
	case tier == ledger.Hourly && p.Hourly != nil:
		return t.Add(-time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second - time.Duration(t.Nanosecond())), true
	case tier == ledger.Daily && p.Daily != nil:
		return p.latestDay(t, p.Daily.At, func(date) bool { return true })
	case tier == ledger.Weekly && p.Weekly != nil:
		return p.latestDay(t, p.Weekly.At, func(d date) bool { return slices.Contains(p.Weekly.Days, weekdays[d.weekday()]) })
	case tier == ledger.Monthly && p.Monthly != nil:
		return p.latestMonth(t, p.Monthly.On, p.Monthly.At, func(time.Month) bool { return true })
	case tier == ledger.Yearly && p.Yearly != nil:
		return p.latestMonth(t, p.Yearly.On, p.Yearly.At, func(m time.Month) bool { return slices.Contains(p.Yearly.Months, months[m-1]) })
	}
	return time.Time{}, false
}

// latestDay goes back day by day. A slot that was moved by a clock put forward
// may lie on the day after its own, so it begins with tomorrow.
func (p *Policy) latestDay(t time.Time, at []string, due func(date) bool) (time.Time, bool) {
	for back := 1; back >= -9; back-- {
		d := dateOf(t).add(back)
		if !due(d) {
			continue
		}
		if slot, ok := p.latestAt(t, d, at); ok {
			return slot, true
		}
	}
	return time.Time{}, false
}

// latestAt returns the latest of a day's slots that is not after t.
func (p *Policy) latestAt(t time.Time, d date, at []string) (time.Time, bool) {
	var latest time.Time
	found := false
	for _, s := range at {
		clock, err := time.Parse("15:04", s)
		if err != nil {
			continue // Validate has looked
		}
		slot := instant(d, clock.Hour()*3600+clock.Minute()*60, p.location)
		if !slot.After(t) && (!found || slot.After(latest)) {
			latest, found = slot, true
		}
	}
	return latest, found
}

// latestMonth goes back month by month.
func (p *Policy) latestMonth(t time.Time, on, at []string, due func(time.Month) bool) (time.Time, bool) {
	first := date{t.Year(), t.Month(), 1}
	if tomorrow := dateOf(t).add(1); tomorrow.day == 1 {
		first = tomorrow
	}
	for range 14 {
		if due(first.month) {
			var days []date
			for _, word := range on {
				days = append(days, dayOf(first.year, first.month, word))
			}
			slices.SortFunc(days, func(a, b date) int { return b.day - a.day })
			for _, d := range days {
				if slot, ok := p.latestAt(t, d, at); ok {
					return slot, true
				}
			}
		}
		first = dateOf(time.Date(first.year, first.month-1, 1, 0, 0, 0, 0, time.UTC))
	}
	return time.Time{}, false
}

// dayOf returns the day of a month that a word of a policy means. A date that
// the month does not have is its last day.
func dayOf(year int, month time.Month, word string) date {
	last := daysIn(year, month)
	nth, name, ok := strings.Cut(word, " ")
	if !ok {
		n, err := strconv.Atoi(word)
		if err != nil || n > last {
			n = last
		}
		return date{year, month, n}
	}
	weekday := time.Weekday(slices.Index(weekdays[:], name))
	if nth == "last" {
		d := date{year, month, last}
		return d.add(-(int(d.weekday()-weekday) + 7) % 7)
	}
	d := date{year, month, 1}
	return d.add((int(weekday-d.weekday())+7)%7 + 7*slices.Index(nths[:], nth))
}

// end returns when a tag of a tier that begins at arrival ends. Months and
// years go by the calendar: what a month does not have goes over into the next.
func (p *Policy) end(tier ledger.Tier, arrival int64) int64 {
	t := time.Unix(arrival, 0).In(p.location)
	n := p.keep(tier)
	var years, months, days int
	switch tier {
	case ledger.Hourly:
		return arrival + int64(n)*3600
	case ledger.Daily, ledger.Within, ledger.Others:
		days = n
	case ledger.Weekly:
		days = 7 * n
	case ledger.Monthly:
		months = n
	case ledger.Yearly:
		years = n
	}
	d := dateOf(time.Date(t.Year()+years, t.Month()+time.Month(months), t.Day()+days, 0, 0, 0, 0, time.UTC))
	second := t.Hour()*3600 + t.Minute()*60 + t.Second()
	end := instant(d, second, p.location).Unix()
	// An hour that comes twice, in which the point arrived the second time.
	if first := instant(dateOf(t), second, p.location).Unix(); first < arrival {
		end += arrival - first
	}
	return min(end, maxTime)
}
