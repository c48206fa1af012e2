package page

import (
	"fmt"
	"net/url"
	"time"

	"github.com/tidemark-backup/tidemark/backup/agent"
	"github.com/tidemark-backup/tidemark/backup/journal"
)

// calendarPage shows the points of a repository by the days of a month.
type calendarPage struct {
	frame
	Places []place
	Place  place
	Locked bool
	Error  string // why some points, or all, are not shown
	Month  time.Time
	Weeks  [][7]day
	Day    *day // whose points are listed; nil: none is chosen
	All    int  // points in all
	Newest *pointRow
}

// day is a day of the calendar.
type day struct {
	Date   time.Time
	Inside bool // of the month
	Today  bool
	Chosen bool
	Points []*pointRow
	Failed []journal.Job
}

// Before and After are months beside the one that is shown.
func (d *calendarPage) Before() string { return d.at(d.Month.AddDate(0, -1, 0)) }

// After is the month after.
func (d *calendarPage) After() string { return d.at(d.Month.AddDate(0, 1, 0)) }

// This is the month of today.
func (d *calendarPage) This() string { return d.at(d.now.In(d.zone)) }

func (d *calendarPage) at(t time.Time) string {
	return "points?" + url.Values{"at": {d.Place.Name}, "month": {t.Format("2006-01")}}.Encode()
}

// DayHref is where the points of a day are listed.
func (d *calendarPage) DayHref(date time.Time) string {
	return "points?" + url.Values{"at": {d.Place.Name}, "day": {date.Format(time.DateOnly)}}.Encode()
}

// Warned says whether something was left out of a point of that day.
func (d *day) Warned() bool {
	for _, p := range d.Points {
		if p.Warned() {
			return true
		}
	}
	return false
}

// Says is the day in words, as a screen reader reads it.
func (d *day) Says() string {
	s := d.Date.Format("Monday, 2 January") + ": "
	if len(d.Points) == 0 {
		s += "no recovery points"
	} else {
		s += plural(len(d.Points), "recovery point", "recovery points")
	}
	if d.Warned() {
		s += ", with warnings"
	}
	if n := len(d.Failed); n > 0 {
		s += ", " + plural(n, "job failed", "jobs failed")
	}
	return s
}

// points shows the calendar.
func (q *request) points() error {
	form := q.r.URL.Query()
	d := &calendarPage{frame: q.frame("points", "Recovery points"), Places: q.places()}
	d.Live = true
	if len(d.Places) == 0 {
		return q.show("points", d)
	}
	d.Place = d.Places[0]
	if name := form.Get("at"); name != "" {
		var err error
		if d.Place, err = q.place(name); err != nil {
			return err
		}
	}
	d.choose(form)
	v, err := q.vaults.take(q.r.Context(), d.Place)
	if err != nil {
		d.Error = sentence(err.Error())
		return q.show("points", d)
	}
	defer q.vaults.give(v)
	d.Locked = v.Locked()
	list, err := q.pointsOf(v)
	if err != nil {
		d.Error = sentence(err.Error())
	}
	if d.All = len(list); d.All > 0 {
		d.Newest = list[0]
	}
	jobs, err := q.agent.Jobs(agent.Filter{Since: d.Month.AddDate(0, 0, -8)})
	if err != nil {
		return err
	}
	d.fill(list, jobs)
	return q.show("points", d)
}

// choose takes month and day out of a form; this month, if it names none.
func (d *calendarPage) choose(form url.Values) {
	today := d.now.In(d.zone)
	month := today
	if t, err := time.ParseInLocation("2006-01", form.Get("month"), d.zone); err == nil {
		month = t
	}
	chosen, err := time.ParseInLocation(time.DateOnly, form.Get("day"), d.zone)
	if err == nil {
		month = chosen
	}
	d.Month = time.Date(month.Year(), month.Month(), 1, 0, 0, 0, 0, d.zone)
	monday := d.Month.AddDate(0, 0, -(int(d.Month.Weekday())+6)%7)
	for week := 0; week == 0 || monday.AddDate(0, 0, 7*week).Month() == d.Month.Month(); week++ {
		var days [7]day
		for i := range days {
			t := monday.AddDate(0, 0, 7*week+i)
			days[i] = day{Date: t, Inside: t.Month() == d.Month.Month(), Today: sameDay(t, today), Chosen: err == nil && sameDay(t, chosen)}
		}
		d.Weeks = append(d.Weeks, days)
	}
}

// fill puts points and failed jobs on their days.
func (d *calendarPage) fill(points []*pointRow, jobs []journal.Job) {
	days := map[string]*day{}
	for w := range d.Weeks {
		for i := range d.Weeks[w] {
			one := &d.Weeks[w][i]
			days[one.Date.Format(time.DateOnly)] = one
			if one.Chosen {
				d.Day = one
			}
		}
	}
	of := map[string]string{} // point → policy
	ours := map[string]bool{}
	for _, name := range d.Place.Policies {
		ours[name] = true
	}
	for i := range jobs {
		j := &jobs[i]
		if j.Point != "" {
			of[j.Point] = j.Policy
		}
		if one := days[j.Started.In(d.zone).Format(time.DateOnly)]; one != nil && j.State == journal.Failed && ours[j.Policy] {
			one.Failed = append(one.Failed, *j)
		}
	}
	for _, p := range points {
		if one := days[p.At.In(d.zone).Format(time.DateOnly)]; one != nil {
			p.Policy = of[p.ID]
			one.Points = append(one.Points, p)
		}
	}
}

// Clock is a moment of a day.
func (f *frame) Clock(t time.Time) string { return t.In(f.zone).Format("15:04:05") }

// Expires is when a point's life ends.
func (f *frame) Expires(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%s (%s)", t.In(f.zone).Format(time.DateOnly), f.In(t))
}
