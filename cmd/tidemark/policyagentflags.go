package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemark-backup/tidemark/backup/config"
	"github.com/tidemark-backup/tidemark/backup/schedule"
	"github.com/tidemark-backup/tidemark/cmd/internal/cli"
)

// agentPolicyFlags say what the agent backs up, and when.
type agentPolicyFlags struct {
	exclude, excludeFiles, tags, throttle []string
	caches, oneFileSystem                 bool

	every, cron, zone, first, jitter string
	at, days                         []string
	everyWeeks                       int
	noSchedule                       bool
	retries, silent                  int
	battery, metered                 string
}

func (o *agentPolicyFlags) declare(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&o.exclude, "exclude", nil, "leave out what matches this pattern, as in a gitignore file")
	f.StringArrayVar(&o.excludeFiles, "exclude-file", nil, "leave out what the patterns in this file match")
	f.BoolVar(&o.caches, "exclude-caches", false, "leave out folders that a CACHEDIR.TAG file marks as caches")
	f.BoolVar(&o.oneFileSystem, "one-file-system", false, "do not enter other file systems")
	f.StringArrayVar(&o.tags, "tag", nil, "label for the points")
	f.StringVar(&o.every, "every", "", "run each so many hours or minutes, counted from midnight, such as 4h")
	f.StringSliceVar(&o.at, "at", nil, "run at these times of day, such as 09:00,18:00")
	f.StringSliceVar(&o.days, "days", nil, "run on these days of the week only, such as mon,fri")
	f.IntVar(&o.everyWeeks, "every-weeks", 0, "run only every so many weeks")
	f.StringVar(&o.first, "first", "", "a `DATE` in one of those weeks")
	f.StringVar(&o.cron, "cron", "", "run by a `LINE` of cron: minute, hour, day, month, day of the week")
	f.StringVar(&o.zone, "schedule-zone", "", "time zone of the schedule, such as Europe/Vienna (default: this machine's)")
	f.StringVar(&o.jitter, "jitter", "", "put each run off by a part of this time")
	f.BoolVar(&o.noSchedule, "no-schedule", false, "run only when somebody asks")
	f.IntVar(&o.retries, "retries", 0, "how often a run that failed is tried again before its next time")
	f.IntVar(&o.silent, "silent-after", 0, "after how many times without a point that is an alert; 0: never")
	f.StringVar(&o.battery, "on-battery", "", "what it does on battery: run or wait")
	f.StringVar(&o.metered, "metered", "", "what it does where the network costs by the byte: run or wait")
	f.StringArrayVar(&o.throttle, "throttle", nil, "bytes in a second, by time of the week: \"mon,tue 08:00-18:00 512 KB\"; \"none\" for no bound")
}

// apply puts the flags that were given into a policy.
func (o *agentPolicyFlags) apply(c *cobra.Command, p *config.Policy) error {
	given := c.Flags().Changed
	for _, l := range []struct {
		flag     string
		from, to *[]string
	}{{"exclude", &o.exclude, &p.Exclude}, {"exclude-file", &o.excludeFiles, &p.ExcludeFiles}, {"tag", &o.tags, &p.Tags}} {
		if given(l.flag) {
			*l.to = *l.from
		}
	}
	if given("exclude-caches") {
		p.ExcludeCaches = o.caches
	}
	if given("one-file-system") {
		p.OneFileSystem = o.oneFileSystem
	}
	if given("on-battery") {
		p.OnBattery = o.battery
	}
	if given("metered") {
		p.Metered = o.metered
	}
	for _, n := range []struct {
		flag string
		from int
		to   **int
	}{{"retries", o.retries, &p.Retries}, {"silent-after", o.silent, &p.SilentAfter}} {
		if given(n.flag) {
			*n.to = &n.from
		}
	}
	var err error
	if p.ExcludeFiles, err = absolutes(p.ExcludeFiles); err != nil {
		return err
	}
	if given("throttle") {
		if p.Throttle, err = parseThrottle(o.throttle); err != nil {
			return err
		}
	}
	return o.schedule(c, &p.Schedule)
}

// schedule changes a rule. Another way to say when takes the place of the one
// before; zone and jitter stay.
func (o *agentPolicyFlags) schedule(c *cobra.Command, r *schedule.Rule) error {
	given := c.Flags().Changed
	span := func(flag, text string, to *schedule.Span) error {
		d, err := schedule.ParseSpan(text)
		if err != nil {
			return cli.Usage("--%s %w", flag, err)
		}
		*to = schedule.Span(d)
		return nil
	}
	weekly := given("at") || given("days") || given("every-weeks") || given("first")
	if n := bools(weekly, given("every"), given("cron"), o.noSchedule); n > 1 {
		return cli.Usage("--every, --cron, --no-schedule, and --at with --days are ways to say when; give one")
	}
	switch {
	case o.noSchedule:
		*r = schedule.Rule{}
	case given("every"):
		*r = schedule.Rule{Zone: r.Zone, Jitter: r.Jitter}
		if err := span("every", o.every, &r.Every); err != nil {
			return err
		}
	case given("cron"):
		*r = schedule.Rule{Zone: r.Zone, Jitter: r.Jitter, Cron: o.cron}
	case weekly:
		r.Every, r.Cron = 0, ""
		if given("at") {
			r.At = o.at
		}
		if given("days") {
			r.Days = o.days
		}
		if given("every-weeks") {
			r.EveryWeeks = o.everyWeeks
		}
		if given("first") {
			r.First = o.first
		}
	}
	if given("schedule-zone") {
		r.Zone = o.zone
	}
	if given("jitter") {
		return span("jitter", o.jitter, &r.Jitter)
	}
	return nil
}

func bools(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// parseThrottle reads windows: days and times if wanted, then the rate.
func parseThrottle(list []string) ([]schedule.Window, error) {
	var out []schedule.Window
	for _, text := range list {
		if text == "none" {
			continue
		}
		var w schedule.Window
		words := strings.Fields(text)
		if len(words) > 1 && len(words[0]) >= 3 && !strings.ContainsAny(words[0], "0123456789") {
			w.Days, words = strings.Split(words[0], ","), words[1:]
		}
		if len(words) > 1 {
			if from, to, ok := strings.Cut(words[0], "-"); ok {
				w.From, w.To, words = from, to, words[1:]
			}
		}
		w.Rate = strings.Join(words, " ")
		if _, err := schedule.NewTable([]schedule.Window{w}, time.UTC); err != nil {
			return nil, cli.Usage("--throttle %q: %w", text, err)
		}
		out = append(out, w)
	}
	return out, nil
}

// scheduleText says in words when a policy runs.
func scheduleText(r *schedule.Rule) string {
	if r.IsZero() {
		return "when asked"
	}
	var text string
	switch {
	case r.Every != 0:
		text = "every " + r.Every.String()
	case r.Cron != "":
		text = "cron " + r.Cron
	default:
		text = "at " + strings.Join(r.At, ", ")
		if len(r.At) == 0 {
			text = "at 00:00"
		}
		if len(r.Days) > 0 {
			text += " on " + strings.Join(r.Days, ", ")
		}
		if r.EveryWeeks > 1 {
			text += fmt.Sprintf(", each %d weeks", r.EveryWeeks)
		}
	}
	if r.Zone != "" {
		text += ", " + r.Zone
	}
	return text
}
