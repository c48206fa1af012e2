// Package schedule says when jobs are due, and how fast they may go.
//
// Nouns: a [Rule] is a schedule as somebody writes it; a [Schedule] is one that
// was checked; a slot is a moment for which it asks for a job; a [Table] says
// how many bytes a second are allowed at which times of the week.
//
// Slots are times on the clock of a zone, and that clock has two odd nights:
//
//	it skips 02:30   a slot at 02:30 comes when the clock jumps, at 03:00; all
//	                 slots that were skipped are one
//	it shows 02:30   a slot at 02:30 comes the first time only; cron lines whose
//	twice            hour begins with a * count hours that pass, not hands of a
//	                 clock, and come both times
//
// "every" counts from each midnight of the zone: with 4h a day of 25 hours has
// seven slots, with 24h one.
//
// The package reads no clock: every question has its time in it.
package schedule

import (
	"fmt"
	"hash/fnv"
	"math/bits"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a rule means the same on a machine that has no zones of its own

	"github.com/hashicorp/cronexpr"

	"github.com/tidemark-backup/tidemark/platform/fault"
)

// Rule is a schedule as a configuration has it. One of Every, Cron and At is
// given; Days and EveryWeeks belong to At, which is midnight if only they are
// there.
type Rule struct {
	Every      Span     `toml:"every"`       // 1m to 24h, counted from midnight
	At         []string `toml:"at"`          // times of day, "HH:MM"
	Days       []string `toml:"days"`        // "mon", "tue" …; none: all
	EveryWeeks int      `toml:"every_weeks"` // only each nth week; 0 and 1: all
	First      string   `toml:"first"`       // a date in one of those weeks; "": the week of 1970-01-05
	Cron       string   `toml:"cron"`        // five fields, or @daily and the like
	Zone       string   `toml:"zone"`        // "": of this machine
	Jitter     Span     `toml:"jitter"`      // each slot is put off by a part of that
}

// Schedule is a Rule that was checked.
type Schedule struct {
	zone   *time.Location
	jitter time.Duration

	every time.Duration // 0: another way

	cron  *cronexpr.Expression
	hours bool // it counts hours that pass

	at    []clock
	days  [7]bool
	weeks int64 // of every so many weeks one
	phase int64 // of weeks
}

// clock is a time of day.
type clock struct{ hour, minute int }

// The bounds of what a rule may say.
const (
	minEvery  = time.Minute
	maxEvery  = 24 * time.Hour
	maxTimes  = 288
	maxWeeks  = 520
	maxJitter = 24 * time.Hour
)

var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// IsZero says that nothing was asked for.
func (r *Rule) IsZero() bool {
	return r.Every == 0 && len(r.At) == 0 && len(r.Days) == 0 && r.EveryWeeks == 0 && r.Cron == ""
}

// New checks a rule; what is wrong with it is fault.Invalid. Rules that name no
// zone are in the one that is given.
func New(r Rule, local *time.Location) (*Schedule, error) {
	s := &Schedule{zone: local, jitter: time.Duration(r.Jitter), every: time.Duration(r.Every), weeks: 1}
	fail := func(format string, args ...any) (*Schedule, error) {
		return nil, fmt.Errorf("schedule: %s: %w", fmt.Sprintf(format, args...), fault.Invalid)
	}
	if r.Zone != "" {
		var err error
		if s.zone, err = time.LoadLocation(r.Zone); err != nil || r.Zone == "Local" {
			return fail("zone %q is not in the database of time zones", r.Zone)
		}
	}
	weekly := len(r.At) > 0 || len(r.Days) > 0 || r.EveryWeeks != 0
	switch n := count(weekly, r.Every != 0, r.Cron != ""); {
	case n == 0:
		return fail("say when: every, at, or cron")
	case n > 1:
		return fail("every, cron, and at with days are three ways to say it; keep one")
	case r.First != "" && r.EveryWeeks == 0:
		return fail("first belongs to every_weeks")
	case s.jitter < 0 || s.jitter > maxJitter:
		return fail("jitter: %v, but up to %v is possible", s.jitter, maxJitter)
	case r.Every != 0 && (s.every < minEvery || s.every > maxEvery):
		return fail("every: %v, but 1m to 24h are possible", s.every)
	}
	why := ""
	switch {
	case s.every == maxEvery: // a day of 25 hours has one midnight, too
		s.every = 0
		why = s.parseWeekly(&Rule{})
	case r.Cron != "":
		why = s.parseCron(r.Cron)
	case weekly:
		why = s.parseWeekly(&r)
	}
	if why != "" {
		return fail("%s", why)
	}
	return s, nil
}

func count(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

func (s *Schedule) parseWeekly(r *Rule) (why string) {
	if len(r.At) > maxTimes {
		return fmt.Sprintf("at: %d times, but %d are possible", len(r.At), maxTimes)
	}
	for _, text := range r.At {
		c, ok := parseClock(text)
		if !ok {
			return fmt.Sprintf("at: %q: a time of day is \"HH:MM\"", text)
		}
		s.at = append(s.at, c)
	}
	if len(s.at) == 0 {
		s.at = []clock{{}}
	}
	slices.SortFunc(s.at, func(a, b clock) int { return a.hour*60 + a.minute - b.hour*60 - b.minute })
	if s.days, why = parseDays(r.Days); why != "" {
		return why
	}
	if r.EveryWeeks < 0 || r.EveryWeeks > maxWeeks {
		return fmt.Sprintf("every_weeks: %d, but 1 to %d are possible", r.EveryWeeks, maxWeeks)
	}
	s.weeks = int64(max(1, r.EveryWeeks))
	if r.First != "" {
		day, err := time.Parse(time.DateOnly, r.First)
		if err != nil {
			return fmt.Sprintf("first: %q: a date is \"2026-11-23\"", r.First)
		}
		s.phase = mod(week(day), s.weeks)
	}
	return ""
}

// parseDays reads days of the week; none are all.
func parseDays(names []string) (days [7]bool, why string) {
	for _, name := range names {
		i := slices.Index(weekdays[:], name)
		if i < 0 {
			return days, fmt.Sprintf("days: %q: a day is \"mon\", \"tue\" …", name)
		}
		days[i] = true
	}
	if len(names) == 0 {
		days = [7]bool{true, true, true, true, true, true, true}
	}
	return days, ""
}

func parseClock(text string) (clock, bool) {
	t, err := time.Parse("15:04", text)
	return clock{t.Hour(), t.Minute()}, err == nil && len(text) == len("15:04")
}

func (s *Schedule) parseCron(line string) (why string) {
	fields := strings.Fields(line)
	word := len(fields) == 1 && strings.HasPrefix(fields[0], "@")
	if !word && len(fields) != 5 {
		return fmt.Sprintf("cron: %q: give five fields (minute, hour, day, month, day of the week), or @daily and the like", line)
	}
	var err error
	if s.cron, err = cronexpr.Parse(line); err != nil {
		return fmt.Sprintf("cron: %q: %v", line, err)
	}
	s.hours = word && fields[0] == "@hourly" || !word && strings.HasPrefix(fields[1], "*")
	if s.cron.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return fmt.Sprintf("cron: %q: that day never comes", line)
	}
	return ""
}

// Next returns the first slot after a moment, the zero Time if there is none
// any more.
func (s *Schedule) Next(after time.Time) time.Time {
	after = after.Round(0).In(s.zone)
	switch {
	case s.every != 0:
		return s.nextEvery(after)
	case s.cron == nil:
		return s.nextWeekly(after)
	case s.hours:
		return s.nextHours(after)
	}
	return s.nextCron(after)
}

// nextWeekly looks at one day after the other.
func (s *Schedule) nextWeekly(after time.Time) time.Time {
	// From the day before: where the clock goes back over midnight, or skips a
	// day, slots of one day come on another.
	day := date(after).AddDate(0, 0, -1)
	for range 7*s.weeks + 9 {
		if s.days[day.Weekday()] && mod(week(day), s.weeks) == s.phase {
			for _, c := range s.at {
				if t := instant(day.Add(time.Duration(c.hour)*time.Hour+time.Duration(c.minute)*time.Minute), s.zone); t.After(after) {
					return t
				}
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{} // no day is chosen, which New refuses
}

// nextEvery finds the day that holds the moment, by its midnights.
func (s *Schedule) nextEvery(after time.Time) time.Time {
	day := date(after).AddDate(0, 0, -1)
	begin := instant(day, s.zone)
	for {
		day = day.AddDate(0, 0, 1)
		end := instant(day, s.zone)
		if end.After(after) {
			n := after.Sub(begin)/s.every + 1
			if t := begin.Add(n * s.every); t.Before(end) {
				return t
			}
			return end
		}
		begin = end
	}
}

// nextCron goes along the hands of the clock, as if it had no odd nights.
func (s *Schedule) nextCron(after time.Time) time.Time {
	hands := naive(after).Add(-25 * time.Hour)
	for {
		hands = s.cron.Next(hands)
		if hands.IsZero() {
			return time.Time{}
		}
		if t := instant(hands, s.zone); t.After(after) {
			return t
		}
	}
}

// nextHours goes along the hours that pass: in each time between two changes of
// the clock, hands and hours go alike.
func (s *Schedule) nextHours(after time.Time) time.Time {
	for range 1000 { // changes of the clock
		_, seconds := after.Zone()
		offset := time.Duration(seconds) * time.Second
		_, end := after.ZoneBounds()
		hands := s.cron.Next(naive(after))
		if hands.IsZero() {
			return time.Time{}
		}
		if t := time.Unix(hands.Unix(), 0).Add(-offset).In(s.zone); end.IsZero() || t.Before(end) {
			return t
		}
		// The next one begins with end, which may be a slot.
		if t := end.In(s.zone); s.cron.Next(naive(t).Add(-time.Second)).Equal(naive(t)) {
			return t
		}
		after = end.In(s.zone)
	}
	return time.Time{}
}

// Due returns when the slot is due: put off by a part of the jitter, which is
// the same whenever it is asked for, and another for each seed.
func (s *Schedule) Due(slot time.Time, seed string) time.Time {
	if s.jitter == 0 || slot.IsZero() {
		return slot
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", seed, slot.Unix())
	part, _ := bits.Mul64(spread(h.Sum64()), uint64(s.jitter))
	return slot.Add(time.Duration(part))
}

// spread mixes a hash whose high bits change little between neighbours; it is
// the finaliser of MurmurHash3 by Austin Appleby.
func spread(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// After returns the nth slot after a moment, the zero Time if there are fewer.
func (s *Schedule) After(t time.Time, n int) time.Time {
	for range n {
		if t = s.Next(t); t.IsZero() {
			return t
		}
	}
	return t
}

// Jitter returns by how much slots may be put off.
func (s *Schedule) Jitter() time.Duration { return s.jitter }

// naive returns what the hands of the clock show, as a time in UTC.
func naive(t time.Time) time.Time {
	y, m, d := t.Date()
	hour, minute, second := t.Clock()
	return time.Date(y, m, d, hour, minute, second, 0, time.UTC)
}

// date returns the day that the calendar shows, as its midnight in UTC.
func date(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// week numbers weeks, which begin on Mondays.
func week(day time.Time) int64 {
	days := day.Unix()/(24*3600) - 4 // 1970-01-05 was a Monday
	return (days - mod(days, 7)) / 7
}

func mod(a, b int64) int64 { return ((a % b) + b) % b }

// instant returns when the clock of a zone first shows what hands say, or, if
// it skips that, when it does.
func instant(hands time.Time, zone *time.Location) time.Time {
	y, m, d := hands.Date()
	hour, minute, second := hands.Clock()
	t := time.Date(y, m, d, hour, minute, second, 0, zone)
	start, end := t.ZoneBounds()
	switch shown := naive(t); {
	case shown.After(hands): // counted by the time before the change
		return start.In(zone)
	case shown.Before(hands): // by the one after it
		return end.In(zone)
	}
	if !start.IsZero() {
		_, offset := start.Add(-time.Second).In(zone).Zone()
		if earlier := hands.Add(-time.Duration(offset) * time.Second); earlier.Before(start) {
			return earlier.In(zone)
		}
	}
	return t
}
